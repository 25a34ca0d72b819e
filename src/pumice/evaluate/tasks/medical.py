"""VQA-RAD, SLAKE and PathVQA: in LLaVA-Med's layout, in the data sets' own, or as the hub has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import DataError
from pumice.evaluate.samples import Benchmark, Loaded, Picture, Sample, ordered
from pumice.evaluate.tables import ParquetTable, Table, stored
from pumice.evaluate.tasks.found import Pictures, absent, labelled, sample, unique, whole_set
from pumice.evaluate.tasks.mmmu import whole_parts
from pumice.evaluate.tasks.plain import read_plain
from pumice.score.answers import counted
from pumice.score.files import Row, need, read, text_of
from pumice.score.medical import form_of, truth_of

MARK = "<image>"
TURNS = ("conversations", "conversatons")
"""LLaVA-Med's key for a question and its answer; one of its files writes it without an i."""
TOKENS = 1024
COLUMNS = ("question", "answer")
NOTES = ("greedy; LLaVA-Med's script samples at temperature 0.7",)


@dataclass(frozen=True)
class Layout:
    """Where one of the three keeps what.

    Attributes:
        name: the task.
        files: question files of the test split, the first that is there is taken.
        folders: where pictures may lie.
        picture: a row's key for its picture.
        ending: what the picture's name lacks.
        test: whether a row is of the test split.
        published: numbers of questions.
        meant: for people, what must lie there.
    """

    name: str
    files: tuple[str, ...]
    folders: tuple[str, ...]
    picture: str
    published: tuple[int, ...]
    meant: tuple[str, ...]
    ending: str = ""
    test: Callable[[Row], bool] = lambda row: True


def _of_test(row: Row) -> bool:
    """VQA-RAD's own file holds both splits; the phrase type tells them apart."""
    if "phrase_type" not in row.value:
        return True
    return text_of(row.value, "phrase_type", row.where).startswith("test")


_MED = (
    "test.json (LLaVA-Med: rows of id, image, conversations, answer_type)",
    "images (the same: the pictures)",
)

LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            name="vqa-rad",
            files=("test.json", "testset.json", "VQA_RAD Dataset Public.json"),
            folders=("images", "VQA_RAD Image Folder", "."),
            picture="image_name",
            published=(451,),
            meant=(
                *_MED,
                "VQA_RAD Dataset Public.json (VQA-RAD, osf.io/89kps; instead of LLaVA-Med's)",
                "VQA_RAD Image Folder (the same: the pictures)",
                "data/test-*.parquet (hub: flaviagiammarino/vqa-rad; instead of all these)",
            ),
            test=_of_test,
        ),
        Layout(
            name="slake",
            files=("test.json",),
            folders=("imgs", "images", "."),
            picture="img_name",
            published=(1061,),
            meant=(
                "test.json (SLAKE, www.med-vqa.com/slake, hub: BoKelvin/SLAKE; or LLaVA-Med's)",
                "imgs (the same: xmlabN/source.jpg; or images)",
            ),
        ),
        Layout(
            name="pathvqa",
            files=("test.json", "qas/test/test_qa.pkl", "qas/test_qa.pkl", "test_qa.pkl"),
            folders=("images", "images/test", "."),
            picture="image",
            published=(6719, 6761),
            meant=(
                *_MED,
                "qas/test/test_qa.pkl (PathVQA, github.com/UCSD-AI4H/PathVQA; instead of LLaVA-Med's)",
                "images/test (the same: the pictures)",
                "data/test-*.parquet (hub: flaviagiammarino/path-vqa; instead of all these)",
            ),
            ending=".jpg",
        ),
    )
}


def loader(layout: Layout) -> Callable[[Path, Mapping[str, str]], Loaded]:
    """What reads the files of one of the three.

    It raises DataError where files, rows or pictures are missing or wrong.
    """

    def load(folder: Path, choices: Mapping[str, str]) -> Loaded:
        file = next((folder / name for name in layout.files if (folder / name).is_file()), None)
        if file is None:
            tables = sorted(folder.rglob("test-*.parquet")) if folder.is_dir() else []
            if not tables:
                raise absent(folder, layout.name, layout.meant)
            return from_table(ParquetTable(whole_parts(tables)), layout)
        pictures = Pictures([folder / name for name in layout.folders])
        loaded = from_rows(_read(file), layout, pictures.find)
        pictures.check()
        return loaded

    return load


def from_rows(rows: Iterable[Row], layout: Layout, find: Callable[[str, str], Picture]) -> Loaded:
    """The questions of rows in LLaVA-Med's layout or the data set's own.

    Args:
        rows: of the test split, or of all.
        layout: which data set.
        find: a picture by its name; the second argument is what errors name.

    Raises:
        DataError: a row is wrong, or none is of the test split.
    """
    named = unique([row for row in rows if layout.test(row)], numbered=True)
    kept = [(id, row, _shown(row, layout, find)) for id, row in named.items() if _english(row)]
    return _loaded(layout, kept, foreign=len(named) - len(kept))


def from_table(table: Table, layout: Layout) -> Loaded:
    """The questions of a table with question, answer and image, numbered from 0."""
    rows = ((str(number), row, stored(table, number, "image", str(number)))
            for number, row in enumerate(table.rows(COLUMNS)))  # fmt: skip
    return _loaded(layout, rows)


def _loaded(layout: Layout, rows: Any, foreign: int = 0) -> Loaded:
    samples: list[Sample] = []
    labels: list[dict[str, Any]] = []
    for id, row, picture in rows:
        truth = truth_of(row)
        form = form_of(row, truth)
        samples.append(sample(id, _question(row), [picture], truth=truth, group=form))
        labels.append({"id": id, "answer": truth, "answer_type": form.upper()})
    if not samples:
        raise DataError(
            f"none of the rows is a question of {layout.name}'s test split",
            where=layout.files[0],
            remedy=f"the files are: {'; '.join(layout.meant)}",
        )
    notes = (*NOTES, *whole_set(len(samples), layout.published))
    if foreign:
        notes = (*notes, f"{counted(foreign, 'question')} in another language than English left out")
    said = Counter(one.truth.strip().lower() for one in samples)
    guesses = tuple(sorted(("yes", "no"), key=lambda guess: -said[guess]))
    return Loaded(layout.name, ordered(samples), labelled(labels), guesses, notes)


def _read(file: Path) -> Sequence[Row] | Iterator[Row]:
    return list(read_plain(file)) if file.suffix == ".pkl" else read(file, "question file")


def _english(row: Row) -> bool:
    return str(row.value.get("q_lang", "en")) == "en"


def _question(row: Row) -> str:
    """The question alone, as LLaVA-Med asks it: the mark of the picture goes, and blanks around it."""
    for key in TURNS:
        turns = row.value.get(key)
        if isinstance(turns, list) and turns and isinstance(turns[0], dict):
            return text_of(turns[0], "value", row.where).replace(MARK, "").strip()
    return text_of(row.value, "question", row.where).strip()


def _shown(row: Row, layout: Layout, find: Callable[[str, str], Picture]) -> Picture:
    key = "image" if any(turns in row.value for turns in TURNS) else layout.picture
    name = str(need(row.value, key, row.where))
    if not Path(name).suffix:
        name += layout.ending
    return find(name, row.where)


VQA_RAD, SLAKE, PATHVQA = (
    Benchmark(layout.name, layout.meant, loader(layout), max_new_tokens=TOKENS) for layout in LAYOUTS.values()
)
