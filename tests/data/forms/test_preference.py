from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.data import read_samples
from pumice.data.convert import convert
from pumice.data.formats import detect_format
from pumice.errors import DataError, ImageError
from pumice.types import Image, Message, Sample, Text, Video

PAIR = {"chosen": "It is red.", "rejected": "It is blue."}
QUESTION = Message("user", (Image(0), Text("\n"), Text("What colour?")))
ANSWER = Message("assistant", (Text("It is red."),))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "v").mkdir(parents=True)
    for name in ("a.png", "b.png", "v/0.png"):
        (root / name).write_bytes(b"looked at later")
    return root


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def said(text: str, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": text}


ASKED = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What colour?"}]}

PUBLISHED = {
    "LLaVA-NeXT": {"id": "v1", "image": "a.png", "prompt": "<image>\nWhat colour?", **PAIR},
    "with a score": {
        "id": "v1",
        "image": "a.png",
        "prompt": "What colour?",
        "answer": "red",
        "chosen_score": 5,
        "rejected_score": 2,
        **PAIR,
    },
    "RLAIF-V": {
        "ds_name": "RLAIF-V",
        "image": "a.png",
        "question": "What colour?",
        "origin_dataset": "vqav2",
        "origin_split": "{}",
        "idx": "v1",
        "image_path": "elsewhere.png",
        **PAIR,
    },
    "RLAIF-V by its path": {"idx": "v1", "image_path": "a.png", "question": "What colour?", **PAIR},
    "RLHF-V": {"image": "a.png", "text": json.dumps({"question": "What colour?", **PAIR}), "idx": "v1"},
    "TRL": {
        "id": "v1",
        "images": ["a.png"],
        "prompt": [ASKED],
        "chosen": [said("It is red.")],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "It is blue."}]}],
    },
    "TRL, answers as text": {"id": "v1", "images": ["a.png"], "prompt": [ASKED], **PAIR},
    "TRL, whole": {
        "id": "v1",
        "images": ["a.png"],
        "chosen": [ASKED, said("It is red.")],
        "rejected": [ASKED, said("It is blue.")],
    },
    "TRL, a question as text": {
        "id": "v1",
        "images": ["a.png"],
        "prompt": "What colour?",
        "chosen": [said("It is red.")],
        "rejected": [said("It is blue.")],
    },
}
OURS = {
    "llava": {
        "id": "v1",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat colour?"},
            {"from": "gpt", "value": "It is red."},
        ],
        "rejected": "It is blue.",
    },
    "messages": {
        "id": "v1",
        "images": ["a.png"],
        "messages": [ASKED, said("It is red.")],
        "rejected": "It is blue.",
    },
}


@pytest.mark.parametrize("name", [*PUBLISHED, *OURS])
def test_every_way_of_writing_a_pair_says_the_same(tmp_path: Path, images: Path, name: str) -> None:
    path = write(tmp_path, {**PUBLISHED, **OURS}[name])
    assert detect_format(str(path)) == (name if name in OURS else "preference")
    (sample,) = read_samples(path, images)
    assert sample.messages == (QUESTION, ANSWER)
    assert sample.rejected == "It is blue."
    assert sample.images == (images / "a.png",)
    assert sample.id == "v1"


def test_a_video_and_a_row_without_a_picture(tmp_path: Path, images: Path) -> None:
    """As LLaVA-Hound has them: a folder of frames, its placeholder in the prompt or not."""
    shown = {"id": "x", "video": "v", **PAIR}
    rows = [{**shown, "prompt": "<video>\nWhy?"}, {**shown, "prompt": "Why?"}, {"prompt": "Why?", **PAIR}]
    first, second, third = read_samples(write(tmp_path, *rows), images)
    assert first.messages == second.messages
    assert first.images == (Video(images / "v"),)
    assert third.messages[0] == Message("user", (Text("Why?"),))
    assert third.id == "2"


def test_several_pictures_come_first_or_where_the_question_says(tmp_path: Path, images: Path) -> None:
    rows = [
        {"image": ["a.png", "b.png"], "prompt": prompt, **PAIR}
        for prompt in ("Which is red?", "Is <image> or <image> red?")
    ]
    first, second = read_samples(write(tmp_path, *rows), images)
    assert [part.index for part in first.messages[0].parts if isinstance(part, Image)] == [0, 1]
    assert first.messages[0].text == "\n\nWhich is red?"
    assert second.messages[0].parts[0] == Text("Is ")


ROW = PUBLISHED["LLaVA-NeXT"]
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({**ROW, "choosen": "x"}, "unknown key 'choosen'", "did you mean 'chosen'?"),
    ({k: v for k, v in ROW.items() if k != "chosen"}, "the key 'chosen' is missing", "it needs"),
    ({k: v for k, v in ROW.items() if k != "prompt"}, "the key 'prompt' is missing", "under prompt"),
    ({**ROW, "question": "Why?"}, "both prompt and question", "keep prompt"),
    ({**ROW, "rejected": "  "}, "rejected is empty", "as text"),
    ({**ROW, "chosen": 3}, "chosen is", "as text"),
    ({**ROW, "chosen": []}, "chosen is", "as text"),
    ({**ROW, "rejected": " It is red."}, "say the same", "write a worse answer"),
    ({**ROW, "rejected": "<image>"}, "rejected holds <image>", "belong to the question"),
    ({**ROW, "prompt": "<image><image>"}, "2 <image> placeholder(s) for 1", "once in a turn"),
    ({**OURS["llava"], "rejected": "It is red."}, "say the same", "write a worse answer"),
    ({**PUBLISHED["TRL"], "rejected": []}, "rejected is empty", "list of messages"),
    (
        {**PUBLISHED["TRL, whole"], "rejected": [ASKED, said("Yes."), said("Why?", "user"), said("No.")]},
        "answer different conversations",
        "the last answer alone",
    ),
    ({"idx": 1, "text": json.dumps({"question": "Why?", "rejected": "x"})}, "'chosen' of text", "it needs"),
]


@pytest.mark.parametrize(("row", "what", "remedy"), BROKEN)
def test_what_is_wrong_is_named(
    tmp_path: Path, images: Path, row: dict[str, Any], what: str, remedy: str
) -> None:
    path = write(tmp_path, PUBLISHED["TRL"], row)
    with pytest.raises(DataError) as caught:
        read_samples(path, images, format="llava" if "conversations" in row else "preference")
    told = str(caught.value)
    assert what in told
    assert remedy in told
    assert "row 1" in told


def test_a_missing_picture_is_named(tmp_path: Path, images: Path) -> None:
    path = write(tmp_path, {**ROW, "image": "c.png"})
    with pytest.raises((ImageError, DataError), match=r"c\.png does not exist"):
        read_samples(path, images)


def read(path: Path, images: Path | None = None) -> list[Sample]:
    return read_samples(path, images, "s", check_files=False)


@pytest.mark.parametrize("to", ["llava", "sharegpt", "messages", "preference", "parquet", "webdataset"])
def test_no_format_loses_the_worse_answer(tmp_path: Path, images: Path, to: str) -> None:
    ending = {"parquet": "parquet", "webdataset": "tar"}.get(to, "jsonl")
    out = tmp_path / f"out.{ending}"
    path = write(tmp_path, PUBLISHED["TRL"], {"id": "t", "prompt": "Why?", **PAIR})
    convert(path, out, to, image_root=images)
    for before, after in zip(read(path, images), read(out, images), strict=True):
        assert (after.id, after.messages, after.rejected) == (before.id, before.messages, before.rejected)


def test_rows_without_a_pair_are_not_written_as_one(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Why?"}, said("Paint.")]}
    with pytest.raises(DataError, match="no rejected answer"):
        convert(write(tmp_path, row), tmp_path / "out.jsonl", "preference")
