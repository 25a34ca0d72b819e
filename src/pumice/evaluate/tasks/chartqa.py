"""ChartQA's test set: questions that people wrote and generated ones, about charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pumice.evaluate.samples import Benchmark, Choice, Loaded, Picture, Sample, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import Pictures, absent, labelled, sample, whole_set
from pumice.evaluate.tasks.mmmu import whole_parts
from pumice.evaluate.tasks.prompts import SHORT
from pumice.score import Inputs
from pumice.score.documents import chart_kind, chart_label, chart_rows
from pumice.score.files import text_of

FILES = (
    "test/test_human.json (ChartQA, github.com/vis-nlp/ChartQA, folder 'ChartQA Dataset')",
    "test/test_augmented.json (the same)",
    "test/png (the same: the pictures)",
    "data/test-00000-of-00001.parquet (hub: lmms-lab/ChartQA; instead of all these)",
)
COLUMNS = ("type", "question", "answer")
INSTRUCTIONS = {"word": "Answer the question with a single word.", "phrase": SHORT}
PUBLISHED = (2500,)


def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
    """The questions of the authors' two files, or of the hub's parquet.

    Raises:
        DataError: files, rows or pictures are missing or wrong.
        MissingExtraError: the files are parquet and pyarrow is not installed.
    """
    own = next((at for at in (folder, folder / "test") if any(at.glob("test_*.json"))), None)
    if own is None:
        tables = sorted(folder.rglob("test-*.parquet")) if folder.is_dir() else []
        if not tables:
            raise absent(folder, "chartqa", FILES)
        return from_table(ParquetTable(whole_parts(tables)), choices)
    if not all((own / name).is_file() for name in ("test_human.json", "test_augmented.json")):
        raise absent(own, "chartqa", FILES)
    pictures = Pictures([own / "png"])
    samples: list[Sample] = []
    for id, (row, kind) in chart_rows(own).items():
        picture = pictures.find(text_of(row.value, "imgname", row.where), row.where)
        question = text_of(row.value, "query", row.where)
        samples.append(_sample(id, question, picture, chart_label(row), kind, choices))
    pictures.check()
    return _loaded(samples, lambda answers: Inputs(answers=answers, labels=own))


def from_table(table: Table, choices: Mapping[str, str]) -> Loaded:
    """The questions of a table in the layout of lmms-lab/ChartQA."""
    samples: list[Sample] = []
    labels = []
    for number, row in enumerate(table.rows(COLUMNS)):
        id, kind = str(number), chart_kind(row, Path())
        picture = stored(table, number, "image", id)
        question = text_of(row.value, "question", row.where)
        samples.append(_sample(id, question, picture, chart_label(row), kind, choices))
        labels.append({"id": id, **row.value})
    return _loaded(samples, labelled(labels))


def _sample(
    id: str, question: str, picture: Picture, truth: str, kind: str, choices: Mapping[str, str]
) -> Sample:
    instruction = INSTRUCTIONS[choices.get("prompt", "word")]
    return sample(id, f"{question}\n{instruction}", [picture], truth=truth, group=kind)


def _loaded(samples: Sequence[Sample], inputs: Callable[[Path], Inputs]) -> Loaded:
    return Loaded("chartqa", ordered(samples), inputs, notes=whole_set(len(samples), PUBLISHED))


CHARTQA = Benchmark(
    name="chartqa",
    files=FILES,
    load=load,
    max_new_tokens=16,
    choices=(
        Choice(
            "prompt",
            tuple(INSTRUCTIONS),
            'the last line asks for "a single word", as lmms-eval does, or "a single word or phrase", as it '
            "did at first",
        ),
    ),
)
