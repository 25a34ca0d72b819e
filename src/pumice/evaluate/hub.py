"""Benchmarks read from the Hugging Face hub by its own library, where their rows there are known.

``from_hub`` gives a task that reads no folder. What the library fetched it keeps, so a second run is quick
and needs no network. Pictures are read one by one, as of files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.data.parquet import need
from pumice.errors import DataError, UsageError
from pumice.evaluate.hub_rows import gqa, mme, pope, textvqa, vizwiz
from pumice.evaluate.samples import Benchmark, Loaded, Stored
from pumice.evaluate.tables import BATCH, Table, check_columns
from pumice.evaluate.tasks import ai2d, chartqa, docvqa, medical, mmmu, mmstar
from pumice.score.files import Row, read
from pumice.score.mmmu import DOMAIN

Choices = Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """Where a task's rows lie on the hub.

    Attributes:
        repository: ``ORG/NAME``.
        split: as the hub calls it.
        load: from the tables of the configurations, and the choices, to the questions.
        configs: one table each; "" is the only one there is.
    """

    repository: str
    split: str
    load: Callable[[Sequence[Table], Choices], Loaded]
    configs: tuple[str, ...] = ("",)

    @property
    def told(self) -> str:
        """For people."""
        config = self.configs[0] if len(self.configs) == 1 else f"{len(self.configs)} configurations"
        return f"{self.repository}{f' ({config})' if config else ''}, split {self.split}"


def _one(load: Callable[[Table], Loaded]) -> Callable[[Sequence[Table], Choices], Loaded]:
    """A loader of one table that has no choices."""
    return lambda tables, choices: load(tables[0])


def _subjects(tables: Sequence[Table], choices: Choices) -> Loaded:
    return mmmu.from_tables(tables)


def _medical(name: str) -> Callable[[Sequence[Table], Choices], Loaded]:
    return lambda tables, choices: medical.from_table(tables[0], medical.LAYOUTS[name])


_GQA = ("testdev_balanced_instructions", "testdev_balanced_images")
SOURCES: dict[str, Source] = {
    "gqa": Source("lmms-lab/GQA", "testdev", gqa, _GQA),
    "vizwiz": Source("lmms-lab/VizWiz-VQA", "val", vizwiz),
    "textvqa": Source("lmms-lab/textvqa", "validation", textvqa),
    "pope": Source("lmms-lab/POPE", "test", pope),
    "mme": Source("lmms-lab/MME", "test", mme),
    "mmmu": Source("MMMU/MMMU", "validation", _subjects, tuple(sorted(DOMAIN))),
    "mmstar": Source("Lin-Chen/MMStar", "val", _one(mmstar.from_table), ("val",)),
    "chartqa": Source("lmms-lab/ChartQA", "test", lambda tables, own: chartqa.from_table(tables[0], own)),
    "docvqa": Source("lmms-lab/DocVQA", "validation", _one(docvqa.from_table), ("DocVQA",)),
    "ai2d": Source("lmms-lab/ai2d", "test", _one(ai2d.from_table)),
    "vqa-rad": Source("flaviagiammarino/vqa-rad", "test", _medical("vqa-rad")),
    "pathvqa": Source("flaviagiammarino/path-vqa", "test", _medical("pathvqa")),
}

SLAKE = "BoKelvin/SLAKE"
"""Its rows name pictures that lie in an archive beside them: both files are the authors' own."""
NAMES = tuple(sorted([*SOURCES, "slake"]))


def from_hub(benchmark: Benchmark) -> Benchmark:
    """The task as it is read from the hub: its ``load`` looks at no folder.

    Raises:
        UsageError: the hub's rows of this task are not known; those that are, are named.
    """
    if benchmark.name not in NAMES:
        raise UsageError(
            f"{benchmark.name} is not read from the hub: its files there are not those of its authors",
            where="--data hub",
            remedy=f"put its files into a folder: {'; '.join(benchmark.files)}. The hub has these: "
            f"{', '.join(NAMES)}",
        )

    def load(folder: Path, choices: Choices) -> Loaded:
        return load_from_hub(benchmark.name, choices)

    told = SLAKE if benchmark.name == "slake" else SOURCES[benchmark.name].told
    return dataclasses.replace(benchmark, files=(f"hub: {told}",), load=load)


def place_of(name: str) -> str:
    """What a result says of where one of ``NAMES`` was read."""
    return f"hub:{SLAKE if name == 'slake' else SOURCES[name].repository}"


def load_from_hub(name: str, choices: Choices) -> Loaded:
    """The questions of one of ``NAMES``.

    Raises:
        DataError: they cannot be fetched, or are not in the layout that is known.
        MissingExtraError: datasets is not installed.
    """
    if name == "slake":
        loaded = _slake()
        told = SLAKE
    else:
        source = SOURCES[name]
        tables = [HubTable.fetched(source, config) for config in source.configs]
        loaded = source.load(tables, choices)
        told = source.told
    return dataclasses.replace(loaded, notes=(*loaded.notes, f"read from the hub: {told}"))


class HubTable:
    """A table of the hub's library. Nothing of it is decoded."""

    def __init__(self, table: Any, place: str) -> None:
        """Take a ``datasets.Dataset``; ``place`` is what errors name."""
        self._table = table
        self.place = place
        self.columns: Sequence[str] = tuple(table.column_names)
        self._lock = threading.Lock()

    @classmethod
    def fetched(cls, source: Source, config: str) -> HubTable:
        """The table of a configuration, out of the library's store or the network."""
        datasets = need("datasets", "datasets")
        place = f"hub:{source.repository}{f'/{config}' if config else ''}@{source.split}"
        with _fetching(place, datasets.exceptions.DatasetsError):
            table = datasets.load_dataset(source.repository, config or None, split=source.split)
        return cls(table, place)

    def rows(self, columns: Sequence[str]) -> Iterator[Row]:
        check_columns(self, columns)
        number = 0
        for batch in self._table.select_columns(list(columns)).with_format("arrow").iter(batch_size=BATCH):
            for value in batch.to_pylist():
                yield Row(value, self.where(number))
                number += 1

    def filled(self, column: str) -> Sequence[bool] | None:
        check_columns(self, [column])
        found: list[bool] = []
        for batch in self._table.select_columns([column]).with_format("arrow").iter(batch_size=BATCH):
            found += batch.column(0).is_valid().to_pylist()
        return found

    def cell(self, row: int, column: str) -> Any:
        with self._lock:
            part = self._table.select_columns([column]).with_format("arrow")[row : row + 1]
            return part.column(0)[0].as_py()

    def mark(self, row: int, column: str) -> str:
        return ""  # the library's own name of the rows depends on the machine

    def where(self, row: int) -> str:
        return f"{self.place}, row {row + 1}"


@contextlib.contextmanager
def _fetching(place: str, *more: type[Exception]) -> Iterator[None]:
    """What the libraries raise for a name, a split, a right or a network that is not there, as ours."""
    import httpx2
    from huggingface_hub import constants

    raised: tuple[type[Exception], ...] = (OSError, ValueError, httpx2.HTTPError, *more)
    try:
        yield
    except raised as error:
        first = str(error).strip().partition("\n")[0]
        if constants.HF_HUB_OFFLINE:
            raise DataError(
                f"the rows are not in the library's store, and HF_HUB_OFFLINE is set ({first})",
                where=place,
                remedy="unset HF_HUB_OFFLINE, or put the benchmark's files into a folder: --data DIR",
            ) from error
        raise DataError(
            f"the rows cannot be fetched ({first})",
            where=place,
            remedy="check the network, or put the benchmark's files into a folder: --data DIR",
        ) from error


def _slake() -> Loaded:
    from huggingface_hub import hf_hub_download

    place = f"hub:{SLAKE}"
    with _fetching(place):
        questions, pictures = (
            Path(hf_hub_download(SLAKE, name, repo_type="dataset")) for name in ("test.json", "imgs.zip")
        )
    return slake_of(questions, pictures)


def slake_of(questions: Path, pictures: Path) -> Loaded:
    """SLAKE's test questions, with their pictures in the archive as it was published.

    Raises:
        DataError: a file is wrong, or the archive lacks a picture.
    """
    lock = threading.Lock()
    try:
        with zipfile.ZipFile(pictures) as archive:
            members = {_inner(one.filename): one for one in archive.infolist() if not one.is_dir()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"the archive cannot be read ({error})", where=str(pictures), remedy="fetch it again"
        ) from error

    def find(name: str, where: str) -> Stored:
        if name not in members:
            raise DataError(
                f"the archive {pictures.name} has no picture {name}", where=where, remedy="fetch it again"
            )

        def read_member() -> bytes:
            with lock, zipfile.ZipFile(pictures) as archive:
                return archive.read(members[name])

        return Stored(name, read_member, f"crc {members[name].CRC:08x}")

    return medical.from_rows(read(questions, "question file"), medical.LAYOUTS["slake"], find)


def _inner(name: str) -> str:
    """``imgs/xmlab1/source.jpg`` -> ``xmlab1/source.jpg``: as the questions name it."""
    return "/".join(name.split("/")[-2:])


__all__ = ["NAMES", "SOURCES", "HubTable", "from_hub", "load_from_hub", "place_of", "slake_of"]
