"""SEED-Bench: pictures without endings, LLaVA's middle frames, the authors' eight frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import DataError
from pumice.evaluate.samples import Stored
from pumice.evaluate.tasks.seed_video import middle_index
from pumice.image.video import VideoInfo

from .conftest import Ask, Put, pixel, scored

LETTER = "\nAnswer with the option's letter from the given choices directly."
NAME = "SEED-Bench.json"


def question(name: str, data: str, text: str, answer: str, number: int) -> dict[str, Any]:
    return {
        "answer": answer,
        "choice_a": "One",
        "choice_b": "Two",
        "choice_c": "Three",
        "choice_d": "Four",
        "data_id": data,
        "data_type": "video" if number > 9 else "image",
        "question": text,
        "question_id": name,
        "question_type_id": number,
    }


ROWS = [
    question("101669", "1454426_2591111986", "How many towels are in the image?", "A", 5),
    question("v1738", "94328.webm", "What is the action?", "B", 10),
    question("101670", "1454426_2591111986", "Where is it?", "D", 1),
]
TYPES = {"Scene Understanding": 1, "Instances Counting": 5, "Action Recognition": 10}
PROMPT = f"How many towels are in the image?\nA. One\nB. Two\nC. Three\nD. Four{LETTER}"


@pytest.fixture
def folder(put: Put) -> None:
    put(NAME, {"questions": ROWS, "question_type": TYPES})
    put("SEED-Bench-image/1454426_2591111986")


@pytest.mark.usefixtures("folder")
def test_prompts_and_scores(ask: Ask, put: Put, tmp_path: Path) -> None:
    put("SEED-Bench-video-image/10_v1738.png", pixel(form="PNG"))
    loaded = ask("seed")
    assert [sample.id for sample in loaded.samples] == ["101669", "101670", "v1738"]
    first, _, video = loaded.samples
    assert first.text == PROMPT
    assert first.row == {"question_id": "101669", "prompt": PROMPT}
    assert (first.truth, first.group) == ("A", "Instances Counting")
    assert first.images == (tmp_path / "data/SEED-Bench-image/1454426_2591111986",)
    assert video.images == (tmp_path / "data/SEED-Bench-video-image/10_v1738.png",)
    assert loaded.guesses == ("A", "B", "C", "D")
    result = scored(loaded, tmp_path)
    assert (result.metrics["accuracy"], result.metrics["accuracy_video"], result.n) == (100, 100, 3)
    assert scored(loaded, tmp_path, lambda _: "C").metrics["accuracy"] == 0


@pytest.mark.usefixtures("folder")
def test_pictures_alone(ask: Ask, put: Put, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="seed lacks SEED-Bench-video-image") as caught:
        ask("seed")
    assert "--set seed.kind=image" in str(caught.value.remedy)
    loaded = ask("seed", kind="image")
    assert loaded.notes == ("pictures alone: 1 question on videos left out",)
    result = scored(loaded, tmp_path)
    assert (result.metrics["accuracy_image"], result.n) == (100, 2)
    put("SEED-Bench-image/1454426_2591111986").rename(
        tmp_path / "data/SEED-Bench-image/1454426_2591111986.jpg"
    )
    assert ask("seed", kind="image").samples[0].images[0].name == "1454426_2591111986.jpg"


@pytest.mark.usefixtures("folder")
def test_the_middle_of_the_authors_eight_frames(ask: Ask, put: Put, tmp_path: Path) -> None:
    for number in range(1, 9):
        put(f"v1_video/task10/ssv2_8_frame/v1738/{number}.png", pixel(number, "PNG"))
    video = ask("seed").samples[-1]
    assert video.images == (tmp_path / "data/v1_video/task10/ssv2_8_frame/v1738/4.png",)


@pytest.mark.usefixtures("folder")
def test_the_middle_of_the_video_itself(ask: Ask, put: Put) -> None:
    held = io.BytesIO()
    frames = [PIL.Image.new("RGB", (4, 4), (20 * number, 0, 0)) for number in range(9)]
    frames[0].save(held, "GIF", save_all=True, append_images=frames[1:], duration=100)
    put("videos/20bn-something-something-v2/94328.webm", held.getvalue())
    stored = ask("seed").samples[-1].images[0]
    assert isinstance(stored, Stored)
    assert stored.name == "10_v1738.png"
    with PIL.Image.open(io.BytesIO(stored.read())) as image:
        assert image.getpixel((0, 0)) == (60, 0, 0)  # number 3: the script leaves out the last of nine


@pytest.mark.parametrize(
    ("number", "segment", "frames", "expected"),
    [
        (10, (0, 0), 9, 3),
        (10, (0, 0), 1, 0),
        (11, (2, 4), 100, 29),  # 10 a second: frames 20 to 40
        (11, (8, 20), 100, 89),  # cut at the last frame, 99
        (11, (50, 60), 100, 99),
        (12, (18, 166), 500, 91),
        (12, (18, 166), 100, 58),
        (12, (0, 1), 100, 0),
    ],
)
def test_the_frame_is_the_one_of_llavas_script(
    number: int, segment: tuple[float, float], frames: int, expected: int
) -> None:
    info = VideoInfo(Path("x"), "file", frames, 10.0)
    assert middle_index(info, number, segment) == expected


@pytest.mark.usefixtures("folder")
def test_a_segment_must_be_two_numbers(ask: Ask, put: Put) -> None:
    row = {**question("v1962", "P03/P03_24.MP4", "What next?", "B", 11), "segment": [648.0]}
    put(NAME, {"questions": [ROWS[0], row], "question_type": {**TYPES, "Action Prediction": 11}})
    put("videos/EPIC-KITCHENS/P03_24.MP4", b"x")
    with pytest.raises(DataError, match=r"the segment is \[648\.0\]"):
        ask("seed")
    put(
        NAME,
        {"questions": [ROWS[0], {**row, "segment": [648.0, 658.0]}], "question_type": {**TYPES, "P": 11}},
    )
    assert ask("seed").samples[-1].images[0].name == "11_v1962.png"


@pytest.mark.usefixtures("folder")
def test_llavas_file(ask: Ask, put: Put) -> None:
    rows = [{"question_id": "101670", "image": "SEED-Bench-image/x", "text": "Its own prompt"}]
    put("llava-seed-bench.jsonl", rows, lines=True)
    with pytest.raises(DataError, match="LLaVA's file does not ask question 101669"):
        ask("seed", kind="image")
    put("llava-seed-bench.jsonl", [*rows, {"question_id": 101669, "text": PROMPT}], lines=True)
    assert [sample.text for sample in ask("seed", kind="image").samples] == [PROMPT, "Its own prompt"]


@pytest.mark.usefixtures("folder")
def test_errors_name_file_and_row(ask: Ask, put: Put, tmp_path: Path) -> None:
    put("SEED-Bench-video-image/other.png")
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 2") as caught:
        ask("seed")
    assert "10_v1738.png" in str(caught.value.remedy)
    assert f"{NAME}, line 15" in str(caught.value.where)
    put(NAME, {"questions": [{**ROWS[0], "answer": "E"}], "question_type": TYPES})
    with pytest.raises(DataError, match="the answer is 'E'"):
        ask("seed")
    put(NAME, {"questions": [{**ROWS[0], "question_type_id": 7}], "question_type": TYPES})
    with pytest.raises(DataError, match="the type 7 has no name"):
        ask("seed")
    put(NAME, {"questions": [{**ROWS[0], "data_id": "../../x"}], "question_type": TYPES})
    with pytest.raises(DataError, match="leaves the image folder"):
        ask("seed")
    put(NAME, (tmp_path / "data" / NAME).read_text()[:-80])
    with pytest.raises(DataError) as caught:
        ask("seed")
    assert f"{NAME}, line" in str(caught.value.where)


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put(NAME, {})
    with pytest.raises(DataError, match="seed lacks SEED-Bench-image") as caught:
        ask("seed")
    assert "found  SEED-Bench.json (SEED-Bench, github.com/AILab-CVC/SEED-Bench, DATASET.md)" in str(
        caught.value.remedy
    )
