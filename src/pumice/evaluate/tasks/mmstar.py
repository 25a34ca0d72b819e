"""MMStar: one parquet file; the options stand in the question."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pumice.evaluate.samples import Benchmark, Loaded, Sample, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import absent, labelled, letters, sample, unique, whole_set
from pumice.evaluate.tasks.prompts import LETTER
from pumice.score.answers import row_id
from pumice.score.files import text_of

FILES = ("mmstar.parquet (hub: Lin-Chen/MMStar)",)
COLUMNS = ("index", "question", "answer", "category", "l2_category")
INSTRUCTION = LETTER.removesuffix(".")
"""lmms-eval asks this benchmark without the full stop."""
PUBLISHED = (1500,)


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of ``mmstar.parquet``.

    Raises:
        DataError: the file or a row of it is missing or wrong.
        MissingExtraError: pyarrow is not installed.
    """
    file = folder / "mmstar.parquet"
    if not file.is_file():
        raise absent(folder, "mmstar", FILES)
    return from_table(ParquetTable([file]))


def from_table(table: Table) -> Loaded:
    """The questions of a table in the hub's layout."""
    samples: list[Sample] = []
    rows = list(table.rows(COLUMNS))
    unique(rows)
    for number, row in enumerate(rows):
        id = row_id(row)
        text = f"{text_of(row.value, 'question', row.where).strip()}\n{INSTRUCTION}"
        truth = text_of(row.value, "answer", row.where).strip()
        group = text_of(row.value, "category", row.where)
        samples.append(sample(id, text, [stored(table, number, "image", id)], truth=truth, group=group))
    return Loaded(
        task="mmstar",
        samples=ordered(samples),
        inputs=labelled(row.value for row in rows),
        guesses=letters(4),
        notes=whole_set(len(samples), PUBLISHED),
    )


# The scorer reads 15 characters at most, so longer answers change nothing.
MMSTAR = Benchmark(name="mmstar", files=FILES, load=load, max_new_tokens=16)
