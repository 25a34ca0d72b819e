from __future__ import annotations

from typing import Any

import pytest

from pumice.infer.text import TextStream


def run(
    tokenizer: Any, text: str, stops: tuple[str, ...] = (), lead: str = ""
) -> tuple[list[str], TextStream]:
    stream = TextStream(tokenizer, stops, lead)
    pieces = []
    for token in tokenizer.encode(text, add_special_tokens=False):
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()], stream


@pytest.mark.parametrize("text", ["It is blue .", "naïve café", "日本語 と 🙂🙃", " a  b\n\n c", "�", ""])
def test_pieces_join_to_the_text(tiny: Any, text: str) -> None:
    pieces, stream = run(tiny.tokenizer, text)
    assert "".join(pieces) == text
    assert stream.text == text


def test_characters_are_whole(tiny: Any) -> None:
    pieces, _ = run(tiny.tokenizer, "日本 🙂")
    assert all("\ufffd" not in piece for piece in pieces)
    assert sum(map(len, pieces)) == 4


def test_an_unfinished_character_comes_at_the_end(tiny: Any) -> None:
    stream = TextStream(tiny.tokenizer, (), "")
    first = tiny.tokenizer.encode("🙂", add_special_tokens=False)[0]
    assert stream.push(first) == ""
    assert stream.finish() == "\ufffd"


@pytest.mark.parametrize("stop", ["END", "E", " END", "DD"])
def test_nothing_of_a_stop_string_is_given_out(tiny: Any, stop: str) -> None:
    text = "a b ENENDD c"
    pieces, stream = run(tiny.tokenizer, text, (stop,))
    assert "".join(pieces) == (text[: text.index(stop)] if stop in text else text)
    assert stream.stopped == (stop in text)


def test_an_open_stop_string_is_given_out_in_the_end(tiny: Any) -> None:
    pieces, _ = run(tiny.tokenizer, "a b EN", ("END",))
    assert "".join(pieces[:-1]) == "a b "
    assert pieces[-1] == "EN"


def test_the_first_of_two_stops_counts(tiny: Any) -> None:
    assert run(tiny.tokenizer, "abcdef", ("ef", "cd"))[1].text == "ab"


def test_the_templates_space_is_no_part_of_the_answer(tiny: Any) -> None:
    assert run(tiny.tokenizer, " red square", lead=" ")[1].text == "red square"
    assert run(tiny.tokenizer, "red", lead=" ")[1].text == "red"


def test_special_tokens_give_no_text(tiny: Any) -> None:
    stream = TextStream(tiny.tokenizer, (), "")
    assert stream.push(tiny.tokenizer.eos_token_id) + stream.finish() == ""
