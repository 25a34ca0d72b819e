"""AI2D's test set: questions on diagrams with four options, from the hub's rows or the authors' archive."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded, Picture, Sample, Stored, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import Pictures, absent, labelled, letters, sample, whole_set
from pumice.evaluate.tasks.mmmu import whole_parts
from pumice.evaluate.tasks.prompts import LETTER, lettered
from pumice.image.decode import open_image
from pumice.score.answers import counted
from pumice.score.choice import true_letter
from pumice.score.files import Row, need, object_rows, strings_of, text_of

IDS = "ai2d_test_ids.csv"
FILES = (
    f"{IDS} (AI2D, prior.allenai.org/projects/diagram-understanding)",
    "questions (the same: NAME.png.json)",
    "images (the same: NAME.png)",
    "annotations (the same: NAME.png.json; or abc_images with letters in the pictures)",
    "data/test-*.parquet (hub: lmms-lab/ai2d; instead of all these)",
)
COLUMNS = ("question", "options", "answer")
PUBLISHED = (3088,)
DRAWN = (
    "texts of the diagram were replaced by letters here, as the annotations say, for {count}; the hub's rows "
    "have such pictures ready"
)
LARGEST = 100
"""Points of the letters that are drawn into a diagram, where its boxes have room."""


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of the authors' archive, or of the hub's parquet files.

    Raises:
        DataError: files, rows or pictures are missing or wrong.
        MissingExtraError: the files are parquet and pyarrow is not installed.
    """
    own = next((at for at in (folder, folder / "ai2d") if (at / "questions").is_dir()), None)
    if own is None:
        tables = sorted(folder.rglob("test-*.parquet")) if folder.is_dir() else []
        if not tables:
            raise absent(folder, "ai2d", FILES)
        return from_table(ParquetTable(whole_parts(tables)))
    return _from_archive(own, folder)


def from_table(table: Table) -> Loaded:
    """The questions of a table in the layout of lmms-lab/ai2d. They have no ids and are numbered."""
    rows = [(str(number), row) for number, row in enumerate(table.rows(COLUMNS))]
    return _loaded((id, row, [stored(table, int(id), "image", id)]) for id, row in rows)


def _from_archive(own: Path, folder: Path) -> Loaded:
    listed = next((at / IDS for at in (own, folder) if (at / IDS).is_file()), None)
    if listed is None:
        raise absent(own, "ai2d", FILES)
    names = [line.strip().removesuffix(".png") for line in listed.read_text("utf-8-sig").splitlines()]
    names = [name for name in names if name.isdecimal()]
    if not names:
        raise DataError(
            "the list names no picture", where=str(listed), remedy="a line is a number: fetch it again"
        )
    pictures, lettered_ones = Pictures([own / "images"]), Pictures([own / "abc_images"])
    drawn = 0

    def rows() -> Iterator[tuple[str, Row, list[Picture]]]:
        nonlocal drawn
        for name in names:
            file = own / "questions" / f"{name}.png.json"
            if not file.is_file():
                continue  # the list names pictures that have no questions
            picture = pictures.find(f"{name}.png", str(file))
            for question, row in object_rows(file, "questions", "question file"):
                value = {
                    "id": text_of(row.value, "questionId", row.where),
                    "question": question,
                    "options": need(row.value, "answerTexts", row.where),
                    "answer": need(row.value, "correctAnswer", row.where),
                }
                shown: Picture = picture
                if row.value.get("abcLabel"):
                    shown = _with_letters(own, name, picture, lettered_ones)
                    drawn += isinstance(shown, Stored)
                yield value["id"], Row(value, row.where), [shown]

    loaded = _loaded(rows())
    pictures.check()
    lettered_ones.check()
    notes = (*loaded.notes, DRAWN.format(count=counted(drawn, "question"))) if drawn else loaded.notes
    return Loaded(loaded.task, loaded.samples, loaded.inputs, loaded.guesses, notes)


def _loaded(rows: Iterator[tuple[str, Row, list[Picture]]] | Any) -> Loaded:
    samples: list[Sample] = []
    labels: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    for id, row, images in rows:
        if id in seen:
            raise DataError(
                f"{id!r} stands twice, before in {seen[id]}",
                where=row.where,
                remedy="take the file as it was published",
            )
        seen[id] = row.where
        question = text_of(row.value, "question", row.where)
        options = strings_of(row.value, "options", row.where)
        truth = true_letter(row, options)
        samples.append(sample(id, f"{lettered(question, options)}\n{LETTER}", images, truth=truth))
        labels.append({"id": id, "options": options, "answer": row.value["answer"]})
    return Loaded(
        task="ai2d",
        samples=ordered(samples),
        inputs=labelled(labels),
        guesses=letters(max((len(label["options"]) for label in labels), default=0)),
        notes=whole_set(len(samples), PUBLISHED),
    )


def _with_letters(own: Path, name: str, picture: Path, ready: Pictures) -> Picture:
    """The diagram with letters for its texts: from ``abc_images`` where that folder is, or drawn."""
    if ready.there:
        return ready.find(f"{name}.png", str(own / "questions" / f"{name}.png.json"))
    file = own / "annotations" / f"{name}.png.json"
    boxes = [_box(row) for _, row in object_rows(file, "text", "annotation file")]
    size = picture.stat().st_size if picture.is_file() else 0
    return Stored(f"{name}_letters.png", lambda: draw_letters(picture, boxes), f"{size} bytes, {boxes}")


Box = tuple[int, int, int, int, str]


def _box(row: Row) -> Box:
    corners = need(row.value, "rectangle", row.where)
    letter = text_of(row.value, "replacementText", row.where)
    try:
        (left, top), (right, bottom) = corners
        return int(left), int(top), int(right), int(bottom), letter
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the rectangle is {corners!r}", where=row.where, remedy="it is [[left, top], [right, bottom]]"
        ) from error


def draw_letters(picture: Path, boxes: Sequence[Box]) -> bytes:
    """The picture as a PNG in which each box is white with a letter, as large as fits, in its middle.

    Raises:
        ImageError: the picture cannot be read.
    """
    image = open_image(picture)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom, letter in boxes:
        left, right = min(left, right), max(left, right)
        top, bottom = min(top, bottom), max(top, bottom)
        draw.rectangle((left, top, right, bottom), fill="white")
        font = _fitting(letter, right - left, bottom - top)
        draw.text(((left + right) / 2, (top + bottom) / 2), letter, fill="black", font=font, anchor="mm")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _fitting(letter: str, width: int, height: int) -> Any:
    low, high = 1, LARGEST
    while low < high:
        size = (low + high + 1) // 2
        left, top, right, bottom = ImageFont.load_default(size).getbbox(letter)
        fits = right - left <= width and bottom - top <= height
        low, high = (size, high) if fits else (low, size - 1)
    return ImageFont.load_default(low)


AI2D = Benchmark(name="ai2d", files=FILES, load=load, max_new_tokens=16)
