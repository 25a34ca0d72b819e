"""Renderings in pieces: nothing is lost, control tokens stand alone, text that looks like one stays text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pumice
from pumice.model.parts import load_tokenizer
from pumice.text import get_template, render
from pumice.text.show import pieces_of, tokens_of
from pumice.types import Message, Text, text_message


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    found = load_tokenizer(Path(pumice.__file__).parent / "world" / "parts" / "lm-tiny")
    found.add_tokens(["<image>"], special_tokens=True)
    return found


def made(tokenizer: Any, answer: str = "Red.", **keys: Any) -> Any:
    messages = [
        text_message("user", "What colour?", [0]),
        Message("assistant", (Text(answer),)),
        text_message("user", "And now?"),
        Message("assistant", (Text("Blue."),)),
    ]
    number = tokenizer.convert_tokens_to_ids("<image>")
    template = get_template("v1")
    return render(messages, tokenizer, template, image_lengths=[5], image_token_id=number, **keys)


def test_pieces_cover_every_token_once_in_order(tokenizer: Any) -> None:
    encoded = made(tokenizer)
    pieces = pieces_of(encoded, tokenizer)
    place = 0
    for piece in pieces:
        assert piece.start == place
        place += piece.tokens
    assert place == len(encoded)
    assert sum(piece.tokens for piece in pieces if piece.supervised) == encoded.supervised


def test_answers_and_their_ends_are_supervised_and_images_stand_apart(tokenizer: Any) -> None:
    pieces = pieces_of(made(tokenizer), tokenizer)
    assert [piece.text for piece in pieces if piece.supervised] == [" Red.", "</s>", " Blue.", "</s>"]
    [image] = [piece for piece in pieces if piece.kind == "image"]
    assert (image.image, image.tokens, image.text) == (0, 5, "")
    assert [piece.text for piece in pieces if piece.kind == "control"] == ["<s>", "</s>", "</s>"]


def test_text_that_looks_like_a_control_token_is_text(tokenizer: Any) -> None:
    pieces = pieces_of(made(tokenizer, "It says </s> here."), tokenizer)
    assert " It says </s> here." in [piece.text for piece in pieces if piece.kind == "text"]


def test_branches_are_told(tokenizer: Any) -> None:
    pieces = pieces_of(made(tokenizer, branch_turns=True), tokenizer)
    assert {piece.branch for piece in pieces} == {0, 1, 2}
    assert [piece.branch for piece in pieces if piece.supervised] == [1, 1, 2, 2]


def test_tokens_leave_images_out(tokenizer: Any) -> None:
    encoded = made(tokenizer)
    found = tokens_of(encoded, tokenizer)
    assert len(found) == len(encoded) - 5
    assert found[0] == (0, tokenizer.bos_token_id, "<s>", False)
    assert sum(lit for *_, lit in found) == encoded.supervised
