"""Asking: the samples of a task go to whoever answers, and each answer to the disk as it comes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pumice.errors import DataError, Interrupted, PumiceError, RunError
from pumice.evaluate.answers import AnswersFile, Said
from pumice.evaluate.pictures import picture_name
from pumice.evaluate.results import FORMAT, AnswersRecord, ModelRecord
from pumice.evaluate.samples import Sample, Stored

Progress = Callable[[str, int, int], None]
"""Called as (what, answered, questions): once before the first question, then after every answer."""


class Answerer(Protocol):
    """Whoever answers: a model of ours, a server, a file.

    Attributes:
        model: who it is, for the record.
        settings: what else decides an answer, besides the longest one; JSON values by name.
    """

    @property
    def model(self) -> ModelRecord: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    def ready(self) -> None:
        """Called once before the first question: load what is heavy, make sure that the server is there."""

    def answers(
        self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
    ) -> Iterator[tuple[int, Said]]:
        """Answers as they come, each with the place of its sample; ``blind`` replaces pictures by grey."""

    def remarks(self, asked: int) -> Sequence[str]:
        """What a reader of the figures of so many questions must know of who answered."""


def ask(
    name: str,
    file: AnswersFile,
    answerer: Answerer,
    progress: Progress | None = None,
    *,
    blind: bool = False,
    allow_bad: int | None = 0,
) -> None:
    """Ask what has no answer yet; the file is complete when this returns.

    Args:
        name: what it is called in progress and errors.
        file: the answers that are there; it grows by a row with each answer.
        answerer: who is asked.
        progress: told how far it is.
        blind: whether pictures are replaced by grey.
        allow_bad: so many questions may be left out, for their pictures cannot be decoded (or a file lacks
            them); None for any number.

    Raises:
        DataError: more are bad; the first is named.
        RunError: the answerer left questions without an answer, or another process answers them.
        Interrupted: Ctrl-C; the answers so far are kept.
        PumiceError: whatever the answerer raises; the answers so far are kept.
    """
    total = len(file.samples)
    if not file.complete:
        try:
            _ask(name, file, answerer, progress, blind=blind, allow_bad=allow_bad)
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"{name} was stopped after {len(file.rows):,} of {total:,} questions; their answers are kept",
                where=str(file.path),
                remedy="run the same command again to go on",
            ) from error
    if not file.complete:
        raise RunError(
            f"{len(file.left):,} of {total:,} questions were not answered",
            where=f"{name}, {answerer.model['name']}",
            remedy="run the same command again to go on",
        )
    file.finish()


def _ask(
    name: str,
    file: AnswersFile,
    answerer: Answerer,
    progress: Progress | None,
    *,
    blind: bool,
    allow_bad: int | None,
) -> None:
    total = len(file.samples)
    with file.writing() as add:
        left = file.left
        if progress:
            progress(name, total - len(left), total)
        if not left:
            return
        limit = int(file.record["settings"].get("max_new_tokens", 0))
        before = time.monotonic()
        for place, said in answerer.answers(left, limit, blind=blind):
            now = time.monotonic()
            if said.bad is not None:
                file.leave_out(left[place], said.bad.line)
                bad = len(file.left_out)
                if allow_bad is not None and bad > allow_bad:
                    del file.left_out[left[place].id]
                    raise _too_many(left[place], said.bad, bad, allow_bad) from said.bad
            else:
                add(left[place], said, now - before)
                before = now
            if progress:
                progress(name, len(file.rows) + len(file.left_out), total)


def _too_many(sample: Sample, error: PumiceError, bad: int, allowed: int) -> DataError:
    """The error for one bad question more than may be left out."""
    where = ", ".join(part for part in (sample.where, f"question {sample.id}") if part)
    what = error.what if not allowed else f"{bad:,} questions are bad, {allowed:,} may be: {error.what}"
    return DataError(
        what,
        where=where + (f": {error.where}" if error.where else ""),
        remedy="mend it or fetch it again, and run the same command again: what was answered is kept; or "
        "leave such questions out, up to N of each task: --allow-bad N",
    )


def record_of(
    task: str,
    samples: Sequence[Sample],
    folder: Path,
    answerer: Answerer,
    *,
    max_new_tokens: int,
    choices: Mapping[str, str],
    limit: int | None,
    blind: bool = False,
) -> AnswersRecord:
    """What a file of answers belongs to.

    Args:
        task: its name.
        samples: what is asked.
        folder: the task's files.
        answerer: who is asked.
        max_new_tokens: the longest answer.
        choices: the task's options.
        limit: what ``--limit`` said.
        blind: whether pictures are replaced by grey.
    """
    longest = {} if answerer.model["kind"] == "file" else {"max_new_tokens": max_new_tokens}
    return AnswersRecord(
        format=FORMAT,
        task=task,
        model=answerer.model,
        settings={**longest, **answerer.settings},
        choices=dict(choices),
        pictures="grey" if blind else "own",
        limit=limit,
        questions=questions_digest(samples, folder),
        n=len(samples),
    )


def questions_digest(samples: Sequence[Sample], folder: Path) -> str:
    """SHA-256 of what is asked: ids, prompts, rows, and the pictures by name and size of their files.

    Of pictures inside other files their marks (``Stored``) stand for sizes.

    The folder's own place has no say, so that data may be moved between two sittings.
    """
    digest = hashlib.sha256()
    sizes: dict[Path, int] = {}
    for sample in samples:
        pictures: list[list[Any]] = []
        for image in sample.images:
            if not isinstance(image, Stored) and image not in sizes:
                sizes[image] = image.stat().st_size
            known = (image.mark or 0) if isinstance(image, Stored) else sizes[image]
            pictures.append([picture_name(image, folder), known])
        row = [sample.id, sample.text, pictures, sample.row]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def some_of(samples: Sequence[Sample], limit: int | None, seed: int = 0) -> tuple[Sample, ...]:
    """A drawn part of the samples, at least ``limit`` of them, in their order.

    Questions about one picture stay together, and so do those of one ``question_id`` (the rotations of a
    question, say): MME's points and MMBench's circular rule need all of them. Of two limits, the larger
    one's questions hold the smaller one's.

    Args:
        samples: all of them.
        limit: how many; None for all.
        seed: decides which.
    """
    if limit is None or limit >= len(samples):
        return tuple(samples)
    units = _units(samples)
    kept: set[int] = set()
    for number in np.random.default_rng(seed).permutation(len(units)):
        if len(kept) >= limit:
            break
        kept.update(units[number])
    return tuple(sample for place, sample in enumerate(samples) if place in kept)


def _units(samples: Sequence[Sample]) -> list[list[int]]:
    """Places of samples that must not be parted: they share a picture or a question's id."""
    parent = list(range(len(samples)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[Any, int] = {}
    for place, sample in enumerate(samples):
        keys = [("picture", image.name if isinstance(image, Stored) else image) for image in sample.images]
        for key in (*keys, ("id", str(sample.row.get("question_id", sample.id)))):
            parent[root(place)] = root(first.setdefault(key, place))
    units: dict[int, list[int]] = {}
    for place in range(len(samples)):
        units.setdefault(root(place), []).append(place)
    return list(units.values())
