"""SEED-Bench: four options, over pictures and over the middle frames of videos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.data.checks import image_name
from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Choice, Loaded, Picture
from pumice.evaluate.tasks.collected import Collected, asked_by_llava
from pumice.evaluate.tasks.official import Official, missing, need
from pumice.evaluate.tasks.prompts import LETTER, lettered
from pumice.evaluate.tasks.seed_video import VIDEOS, middle_frame
from pumice.score import Inputs
from pumice.score.answers import counted, row_id
from pumice.score.files import Row, object_rows, read_under, text_of
from pumice.score.files import need as key_of
from pumice.score.seed import LETTERS

_SOURCE = "SEED-Bench, github.com/AILab-CVC/SEED-Bench, DATASET.md"
QUESTIONS = Official(("SEED-Bench.json",), _SOURCE)
PICTURES = Official(("SEED-Bench-image",), _SOURCE)
FRAMES = Official(
    ("SEED-Bench-video-image", "v1_video", "videos"),
    f"{_SOURCE}: TYPE_ID.png, the middle frame of each video, as LLaVA's extract_video_frames.py writes "
    "them; or v1_video, eight frames of each; or videos, the three data sets themselves",
)
LLAVA = Official(("llava-seed-bench.jsonl",), "LLaVA, docs/Evaluation.md, eval.zip; may be left out")
EIGHT = {10: "task10/ssv2_8_frame", 11: "task11/kitchen_8_frame", 12: "task12/breakfast_8_frame"}
"""Folders of the authors' eight frames by the type of question."""


def _load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    videos = choices["kind"] != "image"
    questions, pictures = need(folder, "seed", (QUESTIONS, PICTURES))
    types = {str(value): name for name, value in read_under(questions, "question_type", "question file")}
    rows = [row for _, row in object_rows(questions, "questions", "question file")]
    llava = LLAVA.find(folder)
    asked = None if llava is None else asked_by_llava(llava)
    samples = Collected()
    left = 0
    for row in rows:
        video = text_of(row.value, "data_type", row.where) == "video"
        if video and not videos:
            left += 1
            continue
        if video and FRAMES.find(folder) is None:
            hint = "or say --set seed.kind=image to ask about pictures alone"
            raise missing(folder, "seed", (QUESTIONS, PICTURES, FRAMES), hint)
        name, number = row_id(row), key_of(row.value, "question_type_id", row.where)
        if str(number) not in types:
            raise DataError(
                f"the type {number} has no name", where=row.where, remedy="take the file as it was published"
            )
        prompt = seed_prompt(row)
        if asked is not None:
            prompt = _of_llava(asked, name, row)
        samples.add(
            name,
            prompt,
            [_frame(folder, row, number, name) if video else _image(pictures, row)],
            {"question_id": key_of(row.value, "question_id", row.where), "prompt": prompt},
            row.where,
            truth=_truth(row),
            group=types[str(number)],
        )
    notes = (f"pictures alone: {counted(left, 'question')} on videos left out",) if left else ()
    return Loaded(
        "seed",
        samples.done(questions),
        lambda answers: Inputs(answers, questions, missing="skip" if left else "error"),
        LETTERS,
        notes,
    )


def _of_llava(asked: Mapping[str, Row], name: str, row: Row) -> str:
    if name not in asked:
        raise DataError(
            f"LLaVA's file does not ask question {name}",
            where=row.where,
            remedy=f"take {LLAVA.names[0]} as it was published, whole, or take it away",
        )
    return str(asked[name].value["text"])


def seed_prompt(row: Row) -> str:
    """The question, its four options and the instruction.

    Raises:
        DataError: a part is missing.
    """
    options = [text_of(row.value, f"choice_{letter}", row.where) for letter in "abcd"]
    return f"{lettered(text_of(row.value, 'question', row.where), options)}\n{LETTER}"


def _truth(row: Row) -> str:
    truth = text_of(row.value, "answer", row.where)
    if truth not in LETTERS:
        raise DataError(f"the answer is {truth!r}", where=row.where, remedy="an answer is A, B, C or D")
    return truth


def _image(pictures: Path, row: Row) -> Path:
    """The authors' files have no ending; those that were given one are found, too."""
    path = pictures / image_name(key_of(row.value, "data_id", row.where), row.where, "data_id")
    if path.is_file():
        return path
    return next((found for end in (".jpg", ".png") if (found := Path(f"{path}{end}")).is_file()), path)


def _frame(folder: Path, row: Row, number: object, name: str) -> Picture:
    """The middle frame: LLaVA's file of it, or else the middle one of the authors' eight, or of the video.

    Of N frames the middle is number (N - 1) / 2 rounded down, from 0, as in LLaVA's script.
    """
    own = folder / FRAMES.names[0] / image_name(f"{number}_{name}.png", row.where, "question_id")
    if own.is_file() or not isinstance(number, int) or number not in EIGHT:
        return own
    for place in (folder / one / EIGHT[number] / name for one in FRAMES.names[:2]):
        frames = sorted(
            (path for path in place.glob("*") if path.stem.isdecimal()), key=lambda path: int(path.stem)
        )
        if frames:
            return frames[(len(frames) - 1) // 2]
    video = image_name(key_of(row.value, "data_id", row.where), row.where, "data_id")
    place = folder / VIDEOS[number]
    for path in (place / video, place / Path(video).name):
        if path.is_file():
            return middle_frame(path, number, row, own.name)
    return own


SEED = Benchmark(
    "seed",
    tuple(one.told for one in (QUESTIONS, PICTURES, FRAMES, LLAVA)),
    _load,
    choices=(Choice("kind", ("all", "image"), "all questions, or those on pictures alone"),),
)
