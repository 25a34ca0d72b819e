"""MMMU's validation split: a table a subject, several pictures a question, letters and open answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded, Sample, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import absent, labelled, letters, sample, unique, whole_set
from pumice.evaluate.tasks.prompts import LETTER, lettered, short
from pumice.score.choice import ALPHABET
from pumice.score.files import Row, text_of
from pumice.score.mmmu import DOMAIN, options_of, subject_of, truths_of, type_of

FILES = (
    "SUBJECT/validation-00000-of-00001.parquet (hub: MMMU/MMMU, all 30 subjects)",
    "data/validation-00000-of-00001.parquet (hub: lmms-lab/MMMU; instead of the subjects)",
)
COLUMNS = ("id", "question", "options", "answer", "question_type")
PICTURES = 7
"""The most pictures that a question has: columns ``image_1`` to ``image_7``."""
PUBLISHED = (900,)
NOTES = (
    "pictures stand before the text and their marks <image N> stay in it, as lmms-eval asks LLaVA without "
    "interleaving",
)

_MARK = re.compile(r"<image (\d+)>")
_PART = re.compile(r"-(\d+)-of-(\d+)$")


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of the parquet files.

    Raises:
        DataError: files or rows are missing or wrong.
        MissingExtraError: pyarrow is not installed.
    """
    files = sorted(folder.rglob("validation*.parquet")) if folder.is_dir() else []
    if not files:
        raise absent(folder, "mmmu", FILES)
    groups: dict[Path, list[Path]] = {}
    for file in files:
        groups.setdefault(file.parent, []).append(file)
    return from_tables([ParquetTable(whole_parts(parts)) for parts in groups.values()])


def from_tables(tables: Sequence[Table]) -> Loaded:
    """The questions of tables in the hub's layout: one of all subjects, or one a subject."""
    samples: list[Sample] = []
    rows: list[Row] = []
    for table in tables:
        pictures = {name: table.filled(name) for name in table.columns if name.startswith("image_")}
        for number, row in enumerate(table.rows(COLUMNS)):
            rows.append(row)
            samples.append(_sample(table, number, row, pictures))
    unique(rows)
    subjects = {subject_of(own.id) for own in samples} & set(DOMAIN)
    notes = [*NOTES, *whole_set(len(samples), PUBLISHED)]
    if len(subjects) < len(DOMAIN):
        notes.append(f"{len(subjects)} of the {len(DOMAIN)} subjects")
    keys = ("id", "question_type", "options", "answer")
    return Loaded(
        task="mmmu",
        samples=ordered(samples),
        inputs=labelled({key: row.value[key] for key in keys} for row in rows),
        guesses=letters(max(len(options_of(row) or ()) for row in rows)),
        notes=tuple(notes),
    )


def _sample(table: Table, number: int, row: Row, pictures: Mapping[str, Sequence[bool] | None]) -> Sample:
    id, question = text_of(row.value, "id", row.where), text_of(row.value, "question", row.where)
    truths = truths_of(row)
    if type_of(row) == "open":
        asked, end = question, short("")
    else:
        options = options_of(row) or []
        if not set(truths) <= set(ALPHABET):
            raise DataError(
                f"the answer is {row.value['answer']!r}, no letter",
                where=row.where,
                remedy="take the file as it was published; test files have no answers",
            )
        asked, end = lettered(question, options), f"\n{LETTER}"
    marks = sorted({int(mark) for mark in _MARK.findall(asked)})
    for mark in marks:
        filled = pictures.get(f"image_{mark}", ())
        if filled is not None and not any(filled[number : number + 1]):
            raise DataError(
                f"the question shows <image {mark}> and has no picture image_{mark}",
                where=row.where,
                remedy="take the file as it was published",
            )
    images = [stored(table, number, f"image_{mark}", f"{id}_{mark}") for mark in marks]
    return sample(id, f"{asked}\n{end}", images, truth=truths[0], group=subject_of(id))


def whole_parts(files: Sequence[Path]) -> Sequence[Path]:
    """The parts of one table, all of them.

    Raises:
        DataError: ``-00000-of-00002`` is there and its fellow is not.
    """
    parts = [(file, found) for file in files if (found := _PART.search(file.stem))]
    if parts:
        file, found = parts[0]
        have, whole = {int(part[1]) for _, part in parts}, int(found[2])
        if lacking := sorted(set(range(whole)) - have):
            name = f"{file.stem[: found.start()]}-{lacking[0]:05}-of-{whole:05}.parquet"
            raise DataError(
                f"{len(lacking)} of the table's {whole} files are missing; the first is {name}",
                where=str(file.parent),
                remedy="fetch all of them",
            )
    return files


MMMU = Benchmark(name="mmmu", files=FILES, load=load, max_new_tokens=16)
