from __future__ import annotations

from typing import Any

import pytest

from pumice.data.forms import FORMS, form_of
from pumice.errors import DataError
from pumice.types import Image, Message, Origin, Region, Sample, Text

FORM = FORMS["sharegpt"]
TURNS = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Paint."}]


def parse(**row: Any) -> Any:
    return FORM.parse(row, 3, "here", None)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": TURNS},
        {"items": TURNS},
        {"conversations": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Paint."}]},
        {"conversations": [{"from": "user", "value": "Why?"}, {"from": "chatgpt", "content": "Paint."}]},
    ],
)
def test_the_ways_to_write_a_turn(row: dict[str, Any]) -> None:
    draft = parse(**row, source="a place")
    assert draft.messages == (Message("user", (Text("Why?"),)), Message("assistant", (Text("Paint."),)))
    assert (draft.id, draft.images, draft.rights.dataset) == ("3", (), "a place")


def test_pictures_keep_their_places_and_the_system_prompt_comes_first() -> None:
    turns = [{"from": "human", "value": "What is <image>\nthat?"}, TURNS[1]]
    draft = parse(id="x", system="Be brief.", conversations=turns, images=["a.png"])
    assert draft.messages[0] == Message("system", (Text("Be brief."),))
    assert draft.messages[1].parts == (Text("What is "), Image(0), Text("\n"), Text("that?"))
    assert draft.images == ("a.png",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"conversations": TURNS, "items": TURNS}, "both conversations and items"),
        ({"conversations": TURNS, "image": "a", "images": ["a"]}, "both images and image"),
        ({"conversations": TURNS, "system": " "}, "system is ' '"),
        ({"conversations": TURNS, "system": 3}, "system is a number"),
        ({"conversations": [{"from": "system", "value": "s"}, *TURNS], "system": "s"}, "a system prompt and"),
        ({"conversations": TURNS, "tools": []}, "unknown key 'tools'"),
        ({"conversations": [{**TURNS[0], "content": "Why?"}, TURNS[1]]}, "turn 0 has the keys"),
        ({"conversations": [{**TURNS[0], "weight": 0}, TURNS[1]]}, "unknown key 'weight' of turn 0"),
        ({"conversations": [{"from": "bing", "value": "x"}, TURNS[1]]}, "turn 0 is from 'bing'"),
        ({"conversations": [TURNS[1], TURNS[0]]}, "turn 0 is from gpt where human must speak"),
    ],
)
def test_refusals(row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(**row)
    assert message in caught.value.what
    assert caught.value.where == "here"
    assert caught.value.remedy


def test_what_is_written_reads_back() -> None:
    messages = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("From "), Image(0), Text(" to "), Image(1), Text("\n"), Text("?"))),
        Message("assistant", (Text("Paint."),)),
    )
    sample = Sample("7", messages, (), "s", Origin("f", 0), (Region((0, 0.5, 0.25, 1), "a dog", 1),))
    row = FORM.write(sample, ["a.png", "b.png"])
    again = FORM.parse(row, 0, "here", None)
    assert (again.id, again.messages, again.images) == ("7", messages, ("a.png", "b.png"))
    assert again.regions == sample.regions
    assert form_of(row, "here").name == "sharegpt"


def test_words_that_would_become_a_picture_are_refused() -> None:
    sample = Sample("7", (Message("user", (Text("an <image> tag"),)),), (), "s", Origin("f", 4))
    with pytest.raises(DataError, match="which means a picture") as caught:
        FORM.write(sample, [])
    assert caught.value.where == "f, row 4"
