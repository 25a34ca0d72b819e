"""DocVQA's validation split: questions on scanned pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pumice.evaluate.samples import Benchmark, Loaded, Picture, Sample, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import Pictures, absent, labelled, sample, unique, whole_set
from pumice.evaluate.tasks.mmmu import whole_parts
from pumice.evaluate.tasks.prompts import short
from pumice.score import Inputs
from pumice.score.answers import row_id
from pumice.score.files import Row, rows_or_under, strings_of, text_of

NAME = "val_v1.0_withQT.json"
FILES = (
    f"{NAME} (DocVQA, rrc.cvc.uab.es, task 1)",
    "documents (the same: the pictures; or spdocvqa_images)",
    "DocVQA/validation-*.parquet (hub: lmms-lab/DocVQA; instead of both)",
)
COLUMNS = (
    "questionId", "question", "question_types", "answers", "ucsf_document_id", "ucsf_document_page_no",
)  # fmt: skip
PUBLISHED = (5349,)


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of the authors' file, or of the hub's parquet files.

    Raises:
        DataError: files, rows or pictures are missing or wrong.
        MissingExtraError: the files are parquet and pyarrow is not installed.
    """
    places = (folder, folder / "val", folder / "spdocvqa_qas")
    file = next((at / NAME for at in places if (at / NAME).is_file()), None)
    if file is None:
        tables = sorted(folder.rglob("validation-*.parquet")) if folder.is_dir() else []
        if not tables:
            raise absent(folder, "docvqa", FILES)
        return from_table(ParquetTable(whole_parts(tables)))
    # Rows name documents/NAME; the newer archive has the same pictures in a folder of another name.
    pictures = Pictures(
        [at / name for at in (file.parent, folder) for name in ("documents", "spdocvqa_images")]
    )
    rows = rows_or_under(file, "data", "annotation file")
    unique(rows)

    def picture(number: int, row: Row) -> Picture:
        return pictures.find(Path(text_of(row.value, "image", row.where)).name, row.where)

    loaded = _loaded(rows, picture, lambda answers: Inputs(answers=answers, labels=file))
    pictures.check()
    return loaded


def from_table(table: Table) -> Loaded:
    """The questions of a table in the layout of lmms-lab/DocVQA."""
    rows = list(table.rows(COLUMNS))
    unique(rows)
    first: dict[str, int] = {}

    def picture(number: int, row: Row) -> Picture:
        # Questions on one page have one picture, which each row holds again.
        page = f"{row.value['ucsf_document_id']}_{row.value['ucsf_document_page_no']}"
        return stored(table, first.setdefault(page, number), "image", page)

    return _loaded(rows, picture, labelled(row.value for row in rows))


def _loaded(
    rows: Sequence[Row], picture: Callable[[int, Row], Picture], inputs: Callable[[Path], Inputs]
) -> Loaded:
    samples: list[Sample] = []
    for number, row in enumerate(rows):
        text = short(text_of(row.value, "question", row.where))
        truth = strings_of(row.value, "answers", row.where)[0]
        kinds = row.value.get("question_types") or ()
        group = str(kinds[0]) if kinds else ""
        samples.append(sample(row_id(row), text, [picture(number, row)], truth=truth, group=group))
    return Loaded("docvqa", ordered(samples), inputs, notes=whole_set(len(samples), PUBLISHED))


DOCVQA = Benchmark(name="docvqa", files=FILES, load=load, max_new_tokens=128)
