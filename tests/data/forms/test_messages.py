from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.data.draft import Embedded
from pumice.data.forms import FORMS, form_of
from pumice.data.turns import canonical
from pumice.errors import DataError
from pumice.types import Image, Message, Origin, Part, Sample, Text

FORM = FORMS["messages"]
ANSWER = {"role": "assistant", "content": "Paint."}
BARE = {"type": "image"}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def named(name: str) -> dict[str, Any]:
    return {"type": "image", "image": name}


def row(content: Any, **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}, ANSWER], **keys}


def parse(content: Any, given: int | None = None, **keys: Any) -> Any:
    return FORM.parse(row(content, **keys), 3, "here", given)


@pytest.mark.parametrize(
    ("content", "parts", "images"),
    [
        ("Why <image>?", (Text("Why <image>?"),), ()),
        ([words("Why?")], (Text("Why?"),), ()),
        ([named("a.png"), words("Why?")], (Image(0), Text("\n"), Text("Why?")), ("a.png",)),
        (
            [named("a.png"), {"type": "image", "path": "b.png"}, words("Why?")],
            (Image(0), Text("\n"), Image(1), Text("\n"), Text("Why?")),
            ("a.png", "b.png"),
        ),
        ([words("See "), named("a.png"), words("?")], (Text("See "), Image(0), Text("?")), ("a.png",)),
        ([words(""), named("a.png"), words("Why?")], (Image(0), Text("Why?")), ("a.png",)),
        ([named("a.png")], (Image(0),), ("a.png",)),
        ([{"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}}], (Image(0),), ("a.png",)),
        ([{"type": "image_url", "image_url": "a.png"}], (Image(0),), ("a.png",)),
        ([words("a"), words("b")], (Text("ab"),), ()),
    ],
)
def test_contents(content: Any, parts: tuple[Part, ...], images: tuple[str, ...]) -> None:
    draft = parse(content)
    assert draft.messages[0].parts == parts
    assert draft.images == images


def test_names_beside_the_messages_go_to_the_parts_in_order() -> None:
    draft = parse([BARE, words("a"), named("b.png"), BARE, words("c")], images=["a.png", "c.png"])
    assert draft.images == ("a.png", "b.png", "c.png")


def test_a_container_gives_the_pictures_and_the_row_may_name_them() -> None:
    assert parse([BARE, words("a")], given=1).images == (None,)
    assert parse([named("a.png"), words("a")], given=1).images == ("a.png",)
    assert parse([BARE, words("a")], given=1, images=["a.png"]).images == ("a.png",)


def test_a_picture_in_the_row_itself() -> None:
    data = base64.b64encode(b"\x89PNG bytes").decode()
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    image = parse([url, words("a")]).images[0]
    assert isinstance(image, Embedded)
    assert image.data() == b"\x89PNG bytes"
    with pytest.raises(DataError, match="no base64"):
        Embedded("*", "here").data()


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        (3, {}, "the content of message 0 is a number"),
        (" ", {}, "message 0 is empty"),
        ([], {}, "message 0 is empty"),
        (["a"], {}, "part 0 of message 0 is a string"),
        ([{"type": "audio"}], {}, "part 0 of message 0 has the type 'audio'"),
        ([{"type": "video"}], {}, "part 0 of message 0 names no video"),
        ([{"type": "video", "video": "https://a/b.mp4"}], {}, "videos are not fetched"),
        ([{"type": "video", "video": "../b.mp4"}], {}, "video '../b.mp4' leaves the image folder"),
        ([{"type": "text"}], {}, "the text of part 0 of message 0 is null"),
        ([{"type": "text", "text": "a", "image": "b"}], {}, "unknown key 'image' of part 0 of message 0"),
        ([{"type": "image", "image": "a", "path": "b"}], {}, "names several pictures"),
        ([{"type": "image_url"}], {}, "has no url"),
        ([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}], {}, "pictures are not fetched"),
        ([named("file:///etc/a.png")], {}, "pictures are not fetched"),
        ([named("/etc/a.png")], {}, "leaves the image folder"),
        ([BARE, words("a")], {}, "1 image part(s) name no picture"),
        ([BARE, words("a")], {"images": ["a", "b"]}, "1 image part(s) without a name for 2 image(s)"),
        ([named("a"), words("a")], {"images": ["a"]}, "0 image part(s) without a name for 1 image(s)"),
        ("a", {"images": ["a"], "image": "a"}, "both images and image"),
        ("a", {"mesages": []}, "unknown key 'mesages'"),
    ],
)
def test_refusals(content: Any, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse(content, **keys)
    assert message in caught.value.what
    assert caught.value.where == "here"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages is null"),
        ([], "messages is empty"),
        (["a"], "message 0 is a string"),
        ([{"role": "user"}, ANSWER], "the key 'content' of message 0 is missing"),
        ([{"role": "human", "content": "a"}, ANSWER], "message 0 is from 'human'"),
        ([{"role": "user", "content": "a", "name": "b"}, ANSWER], "unknown key 'name' of message 0"),
        ([ANSWER], "turn 0 is from assistant where user must speak"),
        ([{"role": "user", "content": "a"}], "the last turn is not an answer"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}], "the answer of turn 1"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": [named("a")]}], "turn 1"),
        ([{"role": "system", "content": ""}, {"role": "user", "content": "a"}, ANSWER], "message 0 is empty"),
    ],
)
def test_refused_messages(messages: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        FORM.parse({"messages": messages}, 0, "here", None)
    assert message in caught.value.what


PARTS = st.lists(
    st.sampled_from(["image", "", "\n", "\nWhy?", "Why?", " ", "<image>"]), min_size=1, max_size=6
)


@given(pieces=PARTS)
def test_whatever_is_written_reads_back(pieces: list[str]) -> None:
    parts: list[Part] = []
    for piece in pieces:
        shown = sum(isinstance(part, Image) for part in parts)
        parts.append(Image(shown) if piece == "image" else Text(piece))
    asked = canonical(parts)
    images = sum(isinstance(part, Image) for part in asked)
    if not images and not "".join(pieces).strip():
        return
    messages = (Message("user", asked), Message("assistant", (Text("Paint."),)))
    names = [f"{index}.png" for index in range(images)]
    written = FORM.write(Sample("7", messages, (), "s", Origin("f", 0)), names)
    again = FORM.parse(written, 0, "here", None)
    assert (again.id, again.messages, again.images) == ("7", messages, tuple(names))
    assert form_of(written, "here").name == "messages"
