"""The mixture from its sources: each read by its own module, all rows shuffled, one LLaVA file written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pumice.data.forms import FORMS
from pumice.data.index import Progress
from pumice.data.lines import lines_file, to_line
from pumice.data.llava_mix import (
    aokvqa,
    gqa,
    instruct,
    ocrvqa,
    okvqa,
    refcoco,
    sharegpt,
    textcaps,
    vg,
    vqav2,
)
from pumice.data.llava_mix.base import Context, CountTokens, MixSource
from pumice.data.shuffle import BUILD, shuffled
from pumice.errors import DataError, UsageError, suggest

SOURCES: tuple[MixSource, ...] = tuple(
    module.SOURCE for module in (instruct, sharegpt, vqav2, gqa, okvqa, ocrvqa, aokvqa, textcaps, refcoco, vg)
)
"""All ten, in the order of the published table."""
PUBLISHED = sum(source.published for source in SOURCES)


@dataclass(frozen=True, slots=True)
class Built:
    """What came of one source: its rows, how many the published mixture has, what was left out and why."""

    name: str
    rows: int
    published: int
    left_out: dict[str, int]


def build_mix(
    folder: Path,
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] = (),
    count_tokens: CountTokens | None = None,
    progress: Progress | None = None,
) -> list[Built]:
    """Write LLaVA-1.5's instruction mixture.

    Args:
        folder: a folder for each source, by its name, with its official files.
        out: the file, ``.json`` (one list, as the published one) or ``.jsonl``.
        seed: decides order and every draw; the same files and seed give the same bytes.
        only: names of the sources that are wanted; all ten if empty.
        count_tokens: tells how long a conversation of ShareGPT is; needed where that is built.
        progress: called with sources done, then with rows written.

    Returns:
        What came of each source, in their order.

    Raises:
        DataError: files are missing (all of them are named), or one is not as it should be.
        UsageError: an unknown source, a file's ending, or ShareGPT without ``count_tokens``.
    """
    wanted = _wanted(only)
    if out.suffix not in (".json", ".jsonl"):
        raise UsageError("the mixture is JSON", where=str(out), remedy="OUT ends in .json or .jsonl")
    _check_files(folder, wanted)
    if count_tokens is None and sharegpt.SOURCE in wanted:
        raise UsageError(
            "sharegpt is cut by tokens, and there is no tokenizer",
            where="--tokenizer",
            remedy="add --tokenizer DIR, the folder of the language model",
        )
    built: list[Built] = []
    with _scratch(out) as file:
        places: list[tuple[int, int]] = []
        for done, source in enumerate(wanted):
            if progress is not None:
                progress("sources", done, len(wanted))
            context = Context(folder / source.name, (seed, BUILD, SOURCES.index(source)), count_tokens)
            before = len(places)
            places += _write(file, source, context)
            built.append(Built(source.name, len(places) - before, source.published, dict(context.left_out)))
        if progress is not None:
            progress("sources", len(wanted), len(wanted))
        if not places:
            raise DataError("no source has a row", where=str(folder), remedy="check the files")
        _put_together(file, places, out, seed, progress)
    return built


def _write(file: BinaryIO, source: MixSource, context: Context) -> Iterator[tuple[int, int]]:
    """Append a source's rows, each checked; first byte and number of bytes of each."""
    start = file.tell()
    for number, row in enumerate(source.build(context)):
        FORMS["llava"].parse(row, number, f"{context.folder}, conversation {number} (id {row['id']!r})", None)
        line = to_line(row).encode()
        file.write(line)
        yield start, len(line)
        start += len(line)


def _put_together(
    file: BinaryIO, places: list[tuple[int, int]], out: Path, seed: int, progress: Progress | None
) -> None:
    total = len(places)
    order = shuffled(total, (seed, BUILD, len(SOURCES)))
    with lines_file(out, llava=out.suffix == ".json") as add:
        for done, number in enumerate(order.tolist(), start=1):
            start, length = places[number]
            file.seek(start)
            add(file.read(length).decode())
            if progress is not None and (done % 1000 == 0 or done == total):
                progress("rows", done, total)


def _wanted(only: Sequence[str]) -> list[MixSource]:
    names = {source.name: source for source in SOURCES}
    for name in only:
        if name not in names:
            raise UsageError(f"there is no source {name!r}", where="--only", remedy=suggest(name, names))
    return [source for source in SOURCES if not only or source.name in only]


def _check_files(folder: Path, wanted: Sequence[MixSource]) -> None:
    paths = [folder / source.name / file for source in wanted for file in source.files]
    missing = [path for path in paths if not path.exists()]
    if missing:
        listed = "\n".join(f"  {path.relative_to(folder)}" for path in missing)
        raise DataError(
            f"{len(missing)} of {len(paths)} files of the sources are missing:\n{listed}",
            where=str(folder),
            remedy="put the official files there, or name the sources you have with --only",
        )


@contextmanager
def _scratch(out: Path) -> Iterator[BinaryIO]:
    """A file beside ``out`` that goes when the block ends."""
    path = out.with_name(f".{out.name}.{os.getpid()}.rows")
    try:
        with path.open("w+b") as file:
            yield file
    finally:
        path.unlink(missing_ok=True)
