from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pumice.data import read_samples
from pumice.data.llava_mix import PUBLISHED, SOURCES, Built, base, build_mix, ocrvqa, vg
from pumice.errors import DataError, UsageError
from pumice.types import Message

from . import official

Row = dict[str, Any]


def words(messages: Sequence[Message]) -> int:
    return sum(len(message.text.split()) for message in messages)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    official.write_all(tmp_path / "official")
    return tmp_path / "official"


def build(
    files: Path, *only: str, seed: int = 0, suffix: str = ".json"
) -> tuple[list[Row], dict[str, Built]]:
    out = files.parent / f"mix{suffix}"
    built = build_mix(files, out, seed=seed, only=only, count_tokens=words)
    text = out.read_text("utf-8")
    rows = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    return rows, {source.name: source for source in built}


def turns(row: Row) -> list[str]:
    return [turn["value"] for turn in row["conversations"]]


def test_the_published_table() -> None:
    assert [(source.name, source.published) for source in SOURCES] == [
        ("instruct", 157_712),
        ("sharegpt", 40_688),
        ("vqav2", 82_783),
        ("gqa", 72_140),
        ("okvqa", 8_998),
        ("ocrvqa", 80_000),
        ("aokvqa", 66_160),
        ("textcaps", 21_953),
        ("refcoco", 48_447),
        ("vg", 86_417),
    ]
    assert PUBLISHED == 665_298


def test_all_sources_make_one_file_that_reads(files: Path) -> None:
    rows, built = build(files)
    assert {name: source.rows for name, source in built.items()} == {
        "instruct": 1,
        "sharegpt": 3,
        "vqav2": 2,
        "gqa": 2,
        "okvqa": 2,
        "ocrvqa": 2,
        "aokvqa": 4,
        "textcaps": 2,
        "refcoco": 2,
        "vg": 1,
    }
    samples = read_samples(files.parent / "mix.json", Path("images"), check_files=False)
    assert [sample.id for sample in samples] == [str(row["id"]) for row in rows]
    assert sorted(path.name for path in files.parent.iterdir()) == ["mix.json", "official"]


def test_the_same_files_and_seed_give_the_same_bytes(files: Path) -> None:
    first, _ = build(files, seed=3)
    assert build(files, seed=3)[0] == first
    assert build(files, seed=3, suffix=".jsonl")[0] == first
    other, _ = build(files, seed=4)
    assert other != first
    assert Counter(str(row["id"]) for row in other) == Counter(str(row["id"]) for row in first)


def test_instruct_rows_stay_as_they_are(files: Path) -> None:
    (row,), _ = build(files, "instruct")
    assert row["image"] == "coco/train2017/000000033471.jpg"
    assert row["conversations"] == official.INSTRUCT[0]["conversations"]


def test_sharegpt_is_cleaned_and_cut(files: Path) -> None:
    rows, built = build(files, "sharegpt")
    by_id = {row["id"]: turns(row) for row in rows}
    assert by_id["whole"] == ["Hi there", "Ho"]
    assert by_id["late"] == ["Why ?", "So"]
    assert len(by_id["long"]) == 4, "two pairs of 1,002 words; a third would be too long"
    assert built["sharegpt"].left_out == {
        "(pairs cut from the end, not rows)": 3,
        "the first pair has more than 2,048 tokens": 1,
        "speakers do not take turns": 1,
        "no question with an answer": 1,
        "a turn is empty": 1,
        "a text holds <image>": 1,
        "a turn has no text or an unknown speaker": 1,
    }
    with pytest.raises(UsageError, match="no tokenizer"):
        build_mix(files, files.parent / "x.json", only=["sharegpt"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "vqav2",
            {
                "000000262148": [
                    "<image>\nWhere is he looking?\nAnswer the question using a single word or phrase.",
                    "Down",
                    "What war is it?",
                    "Civil war",
                ],
                "000000393225": [
                    "<image>\nHow many cows are there?\nAnswer the question using a single word or phrase.",
                    "2",
                ],
            },
        ),
        (
            "okvqa",
            {
                "000000051606": [
                    "<image>\nWhat hairstyle is it?\nAnswer the question using a single word or phrase.",
                    "Pony tail",
                ],
                "000000081721": [
                    "<image>\nHow old is she?\nAnswer the question using a single word or phrase.",
                    "Old",
                ],
            },
        ),
        (
            "gqa",
            {
                2354786: [
                    "<image>\nIs the sky dark?\nAnswer the question using a single word or phrase.",
                    "Yes",
                    "Is the sky light blue?",
                    "Light blue",
                ],
                "n161313": [
                    "<image>\nWhat is on the wall?\nAnswer the question using a single word or phrase.",
                    "Pipe",
                ],
            },
        ),
        (
            "ocrvqa",
            {
                "761183272": [
                    "<image>\nWho wrote this book?\nAnswer the question using a single word or phrase.",
                    "Sandra Boynton",
                    "Is this a games related book?",
                    "No",
                ],
                "1501119133": [
                    "<image>\nWhat is the title?\nAnswer the question using a single word or phrase.",
                    "The McDougall Plan",
                ],
            },
        ),
        (
            "textcaps",
            {
                "a1": [
                    "<image>\nProvide a one-sentence caption for the provided image.\n"
                    "Reference OCR token: aussie, moist",
                    "A bottle of shampoo.",
                ],
                "b2": [
                    "<image>\nProvide a one-sentence caption for the provided image.\nReference OCR token: ",
                    "a red can",
                ],
            },
        ),
    ],
)
def test_questions_of_a_picture_are_one_conversation(files: Path, source: str, expected: Row) -> None:
    rows, _ = build(files, source)
    assert {row["id"]: turns(row) for row in rows} == expected
    folder = {"gqa": "gqa/images", "ocrvqa": "ocr_vqa/images", "textcaps": "textvqa/train_images"}
    where = folder.get(source, "coco/train2017")
    assert {row["image"] for row in rows} == {f"{where}/{identity}.jpg" for identity in expected}


def test_choices_turn_until_each_letter_was_right(files: Path) -> None:
    rows, _ = build(files, "aokvqa")
    said = sorted(turns(row) for row in rows)
    assert {(row["id"], row["image"]) for row in rows} == {
        ("000000299207", "coco/train2017/000000299207.jpg")
    }
    assert sorted((first[1], first[3]) for first in said) == [("A", "B"), ("B", "C"), ("C", "D"), ("D", "A")]
    as_given = next(turn for turn in said if turn[1] == "D")
    assert as_given[0] == (
        "<image>\nWhat is the man awaiting?\nA. skateboarder\nB. train\nC. delivery\nD. cab\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert as_given[2] == "Where is he?\nA. street\nB. sea\nC. sky\nD. moon"
    turned = next(turn for turn in said if turn[1] == "C")
    assert "\nA. train\nB. delivery\nC. cab\nD. skateboarder\n" in turned[0]


LOCATED = re.compile(re.escape(base.LOCATE) + r"(?P<phrase>.+)\.")
DESCRIBED = re.compile(re.escape(base.DESCRIBE) + r"(?P<box>\[.+\])\.")


def regions(rows: Sequence[Row]) -> Counter[tuple[str, str]]:
    """(phrase in lower case, box) of every pair, whichever was asked for."""
    found: Counter[tuple[str, str]] = Counter()
    for row in rows:
        values = turns(row)
        for question, answer in zip(values[::2], values[1::2], strict=True):
            question = question.removeprefix("<image>\n")
            if match := LOCATED.fullmatch(question):
                found[match["phrase"].lower(), answer] += 1
            else:
                described = DESCRIBED.fullmatch(question)
                assert described, question
                assert answer[-1] == "."
                assert answer[:-1] == answer[:-1].capitalize()
                found[answer[:-1].lower(), described["box"]] += 1
    return found


def test_phrases_of_all_three_come_in_conversations_of_ten(files: Path) -> None:
    rows, _ = build(files, "refcoco")
    # 640 x 427 padded to 640 x 640: 106 pixels above and below.
    box, whole = "[0.16, 0.63, 0.37, 0.91]", "[0.0, 0.17, 1.0, 0.83]"
    things = ["the whole picture", "man with a phone", *[f"thing {i}" for i in range(10)]]
    assert regions(rows) == Counter(
        [("woman left", box), ("blue shirt lady", box), ("the lady with the blue shirt", box)]
        + [(thing, whole) for thing in things]
    )
    assert sorted(len(row["conversations"]) // 2 for row in rows) == [7, 8], "fifteen, shared out evenly"
    assert all(row["image"] == "coco/train2017/000000581857.jpg" for row in rows)


def test_a_pickle_is_refused_with_a_way_out(files: Path) -> None:
    folder = files / "refcoco" / "refcoco"
    (folder / "refs(unc).json").rename(folder / "refs(unc).p")
    with pytest.raises(DataError, match="pickles are not read") as caught:
        build(files, "refcoco")
    assert "refs(unc).json" in str(caught.value.remedy)
    (folder / "refs(unc).p").unlink()
    with pytest.raises(DataError, match="the phrases are missing"):
        build(files, "refcoco")
    for name in ("refs(unc).json", "refs(google).json"):
        (folder / name).write_text("[]")
    with pytest.raises(DataError, match="several lists of phrases"):
        build(files, "refcoco")


def test_ten_regions_of_a_picture_are_drawn(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, built = build(files, "vg")
    assert [(row["id"], row["image"]) for row in rows] == [("VG_100K_2/1", "vg/VG_100K_2/1.jpg")]
    found = regions(rows)
    # 800 x 600: 100 pixels above and below.
    boxes = {f"[{round(10 * i / 800, 2)}, 0.16, {round((10 * i + 40) / 800, 2)}, 0.23]" for i in range(14)}
    assert len(found) == 10
    assert {box for _, box in found} <= boxes
    assert {len(found & regions(build(files, "vg", seed=seed)[0])) for seed in range(1, 5)} != {10}
    assert built["vg"].left_out == {
        "a picture has no region that can be used": 1,
        "a picture is not in image_data.json": 1,
    }
    monkeypatch.setattr(vg, "MOST_PICTURES", 1)
    drawn = {len(build(files, "vg", seed=seed)[0]) for seed in range(6) if _has_one(files, seed)}
    assert drawn == {1}


def _has_one(files: Path, seed: int) -> bool:
    try:
        return bool(build(files, "vg", seed=seed)[0])
    except DataError:  # the one picture that was drawn has no region
        return False


def test_books_are_drawn(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocrvqa, "BOOKS", 1)
    drawn = {build(files, "ocrvqa", seed=seed)[0][0]["id"] for seed in range(8)}
    assert drawn == {"761183272", "1501119133"}
    assert build(files, "ocrvqa")[1]["ocrvqa"].left_out["not drawn"] == 1


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ((0, 0, 200, 100), (200, 100), "[0.0, 0.25, 1.0, 0.75]"),
        ((0, 0, 100, 200), (100, 200), "[0.25, 0.0, 0.75, 1.0]"),
        ((10, 20, 30, 40), (100, 100), "[0.1, 0.2, 0.4, 0.6]"),
        ((-5, 0, 300, 100), (200, 100), "[0.0, 0.25, 1.0, 0.75]"),
        ((10, 10, 0.2, 40), (100, 100), None),
        ((0, 0, 1, 1), (0, 0), None),
    ],
)
def test_boxes_are_of_the_padded_square(box: Any, size: Any, expected: str | None) -> None:
    assert base.box_text(*box, size) == expected


def test_missing_files_are_all_named(files: Path) -> None:
    (files / "gqa" / "train_balanced_questions.json").unlink()
    (files / "vg" / "image_data.json").unlink()
    with pytest.raises(DataError, match="2 of 16 files") as caught:
        build(files)
    assert "gqa/train_balanced_questions.json" in caught.value.what
    assert "--only" in str(caught.value.remedy)
    assert len(build(files, "vqav2")[0]) == 2


@pytest.mark.parametrize(
    ("source", "file", "content", "message"),
    [
        ("gqa", "train_balanced_questions.json", {"1": {"imageId": 3}}, "the key 'imageId' is not text"),
        ("gqa", "train_balanced_questions.json", {"1": 3}, "this is no object"),
        ("vqav2", "v2_mscoco_train2014_annotations.json", {"info": 1}, "has no key 'annotations'"),
        ("aokvqa", "aokvqa_v1p0_train.json", [{"choices": []}], "'correct_choice_idx' is not a whole number"),
        ("aokvqa", "aokvqa_v1p0_train.json", [{"choices": ["a"], "correct_choice_idx": 1}], "is no choice"),
        ("instruct", "llava_instruct_150k.json", [{"image": "a.jpg"}], "conversations is null"),
        ("instruct", "llava_instruct_150k.json", [3], "the row is a number"),
    ],
)
def test_files_that_are_not_the_official_ones(
    files: Path, source: str, file: str, content: Any, message: str
) -> None:
    official.write(files / source, {file: content})
    with pytest.raises(DataError) as caught:
        build(files, source)
    assert message in str(caught.value)
    assert source in str(caught.value.where)
    assert not (files.parent / "mix.json").exists()


@pytest.mark.parametrize(
    ("only", "out", "message"), [("gpa", "x.json", "'gqa'"), ("gqa", "x.txt", ".json or")]
)
def test_words_that_name_nothing(files: Path, only: str, out: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_mix(files, files.parent / out, only=[only])
    assert message in str(caught.value)


def test_published_rows_are_written_as_we_write_them() -> None:
    """Every published row is what our functions make of its questions and answers."""
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    lines = Path(folder, "mix", "llava_v1_5_mix1k.jsonl").read_text("utf-8").splitlines()
    kinds: Counter[str] = Counter()
    for row in map(json.loads, lines):
        values = turns(row)
        head = values[0].removeprefix("<image>\n")
        if head.startswith((base.LOCATE, base.DESCRIBE)):
            regions([row])
            assert len(values) // 2 <= 10
            kinds["regions"] += 1
            for question, answer in zip(values[::2], values[1::2], strict=True):
                if match := LOCATED.fullmatch(question.removeprefix("<image>\n")):
                    assert base.region_pair(match["phrase"], answer, locate=True)[0] in question
            continue
        prompt = next((p for p in (base.SHORT, base.LETTER) if head.endswith(f"\n{p}")), None)
        if prompt is None and not head.startswith(base.CAPTION):
            kinds["instruct"] += 1
            continue
        kinds[prompt or base.CAPTION] += 1
        questions = [head.removesuffix(f"\n{prompt}"), *values[2::2]]
        pairs = list(zip(questions, values[1::2], strict=True))
        assert base.conversation(row["id"], row["image"], pairs, prompt) == row
        assert all(prompt not in question for question in questions) if prompt else True
    assert set(kinds) == {"regions", "instruct", base.SHORT, base.LETTER, base.CAPTION}
    assert sum(kinds.values()) == 1000
