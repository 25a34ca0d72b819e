"""The plan of a run: which samples each step sees, decided before the first one and kept in a file.

A plan is a pure function of its arguments, so resuming is exact, the samples of a step can be named
and the cost is known. Each epoch is a permutation drawn from (seed, epoch); it is cut into windows of a
few steps' worth of tokens, and only within a window are samples packed and rows shuffled, so that
packing cannot sort an epoch by length. Every sample stands exactly once in every full epoch.

A step has a number of rows (the quicker way: rows are full, samples as many as fit) or a number of
samples (as published recipes count their batches: the step's samples are packed into as few rows as they
fit in, and the rows differ in number from step to step).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.collate import MULTIPLE
from pumice.data.pack import check_fit, pack
from pumice.data.shuffle import PLAN, shuffled
from pumice.errors import DataError, RunError, UsageError
from pumice.files import write_text
from pumice.types import IntArray

VERSION = 2
MIN_WINDOW_ROWS = 64
"""Fewer rows than this pack badly: the last row of a window is as a rule half empty."""

Step = tuple[tuple[int, ...], ...]
"""Rows of one step, each the indices of its samples in packing order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What every step of a stage sees.

    ``epochs``, ``tokens``, ``supervised`` and ``slots`` are per step: the epoch it belongs to (from 0),
    its tokens, how many of them carry a loss, and the token places its rows take when all are padded to
    the longest (rounded up to a multiple of 8; parts of a step that is accumulated may take fewer).
    ``digest`` stands for all inputs of ``build_plan``. A step without rows, of a plan with holes
    (``data.holes``), changes no weight.
    """

    steps: tuple[Step, ...]
    epochs: tuple[int, ...]
    tokens: tuple[int, ...]
    supervised: tuple[int, ...]
    slots: tuple[int, ...]
    seed: int
    rows_per_step: int | None
    row_length: int | None
    digest: str
    samples_per_step: int | None = None

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def fill(self) -> float:
        """Tokens over token places, 0 to 1: what padding does not waste."""
        return sum(self.tokens) / sum(self.slots)

    def samples(self, step: int) -> tuple[int, ...]:
        """Every sample of a step, in the order in which its batch holds them."""
        return tuple(index for row in self.steps[step] for index in row)

    def save(self, path: Path) -> None:
        """Write the plan as JSON, one step a line; the file appears whole or not at all."""
        head = {"format": "pumice plan", "version": VERSION, **asdict(self)}
        head["steps"] = []
        lines = ",\n".join(json.dumps(step, separators=(",", ":")) for step in self.steps)
        text = json.dumps(head)[:-1].replace('"steps": []', f'"steps": [\n{lines}\n]', 1) + "}\n"
        write_text(path, text)

    @classmethod
    def load(cls, path: Path, *, expect: str | None = None) -> Plan:
        """Read a plan that ``save`` wrote.

        Args:
            path: the file.
            expect: the digest of the plan that the present data and settings give.

        Raises:
            RunError: the file cannot be read, or it was made from other data or settings.
        """
        try:
            plan = _from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise RunError(
                f"the plan cannot be read ({type(error).__name__}: {error})",
                where=str(path),
                remedy="start the run again in a new folder",
            ) from error
        if expect is not None and plan.digest != expect:
            raise RunError(
                "the plan was made from other data or settings than this run sees",
                where=str(path),
                remedy="restore the data and the recipe, or start a run in a new folder",
            )
        return plan


def build_plan(
    lengths: Sequence[int] | IntArray,
    supervised: Sequence[int] | IntArray,
    *,
    seed: int,
    rows_per_step: int | None = None,
    samples_per_step: int | None = None,
    row_length: int | None,
    epochs: int | None = None,
    steps: int | None = None,
    most: int | None = None,
    window: int = 8,
    fingerprint: str = "",
    name: Callable[[int], str] | None = None,
) -> Plan:
    """Decide the samples of every step.

    Args:
        lengths: tokens of each sample.
        supervised: how many of them carry a loss.
        seed: of the shuffle.
        rows_per_step: rows of a step over all ranks and accumulation steps; an epoch's last step may have
            fewer. Give this or ``samples_per_step``.
        samples_per_step: samples of a step; an epoch's last step may have fewer. Needs ``row_length``.
        row_length: tokens of a packed row; None gives every sample its own row, and samples of like
            length share a step.
        epochs: how often every sample is seen; give this or ``steps``.
        steps: how many steps, over as many epochs as that takes.
        most: so many steps are kept of a plan that has more; None keeps all.
        window: how many steps' worth of data is packed together.
        fingerprint: stands for the data's content in the digest (``Mixture.fingerprint``).
        name: tells a sample's place in its file from its index, for errors.

    Raises:
        DataError: no samples, none supervised, or one that fits no row.
        UsageError: numbers that make no plan.
    """
    tokens, learnt = np.asarray(lengths, np.int64), np.asarray(supervised, np.int64)
    _check_arguments(tokens, learnt, epochs, steps, window)
    _check_batch(rows_per_step, samples_per_step, row_length)
    check_fit(tokens, int(tokens.max()) if row_length is None else row_length, name=name)
    chosen: list[Step] = []
    of_epoch: list[int] = []
    epoch = 0
    if most is not None and most < 1:
        raise UsageError(f"{most} steps are no plan", remedy="keep one step or more")
    while epoch < epochs if epochs is not None else len(chosen) < (steps or 0):
        if most is not None and len(chosen) >= most:
            break
        order = shuffled(len(tokens), (seed, PLAN, epoch, 0))
        key = (seed, PLAN, epoch)
        if samples_per_step is not None:
            assert row_length is not None
            made = _counted(tokens, order, key, samples_per_step, row_length)
        elif row_length is None:
            assert rows_per_step is not None
            made = _unpacked(tokens, order, key, rows_per_step, window)
        else:
            assert rows_per_step is not None
            made = _packed(tokens, order, key, rows_per_step, window, row_length)
        chosen += made
        of_epoch += [epoch] * len(made)
        epoch += 1
    for end in (steps, most):
        if end is not None:
            del chosen[end:], of_epoch[end:]
    members = [np.fromiter((i for row in step for i in row), np.int64) for step in chosen]
    settings = {
        "version": VERSION,
        "seed": seed,
        "rows_per_step": rows_per_step,
        "row_length": row_length,
        "epochs": epochs,
        "steps": steps,
        "window": window,
        "fingerprint": fingerprint,
    }
    if samples_per_step is not None:
        settings["samples_per_step"] = samples_per_step
    if most is not None:
        settings["most"] = most
    return Plan(
        steps=tuple(chosen),
        epochs=tuple(of_epoch),
        tokens=tuple(int(tokens[indices].sum()) for indices in members),
        supervised=tuple(int(learnt[indices].sum()) for indices in members),
        slots=tuple(slots_of(step, tokens) for step in chosen),
        seed=seed,
        rows_per_step=rows_per_step,
        row_length=row_length,
        digest=_digest(settings, tokens, learnt),
        samples_per_step=samples_per_step,
    )


def _packed(
    tokens: IntArray, order: IntArray, key: tuple[int, ...], rows_per_step: int, window: int, row_length: int
) -> list[Step]:
    """Steps of one epoch, samples packed window by window."""
    capacity = max(window * rows_per_step, MIN_WINDOW_ROWS) * row_length
    windows = (np.cumsum(tokens[order]) - 1) // capacity
    cuts = np.flatnonzero(np.diff(windows)) + 1
    rows: list[tuple[int, ...]] = []
    for number, part in enumerate(np.split(order, cuts), start=1):
        packed = pack(tokens[part], row_length)
        rows += [tuple(part[packed[i]].tolist()) for i in shuffled(len(packed), (*key, number)).tolist()]
    return [tuple(rows[start : start + rows_per_step]) for start in range(0, len(rows), rows_per_step)]


def _counted(
    tokens: IntArray, order: IntArray, key: tuple[int, ...], samples_per_step: int, row_length: int
) -> list[Step]:
    """Steps of so many samples each, in the epoch's order, each step packed into few rows."""
    steps: list[Step] = []
    for number, start in enumerate(range(0, len(order), samples_per_step), start=1):
        part = order[start : start + samples_per_step]
        packed = pack(tokens[part], row_length)
        shuffle = shuffled(len(packed), (*key, number)).tolist()
        steps.append(tuple(tuple(part[packed[i]].tolist()) for i in shuffle))
    return steps


def _unpacked(
    tokens: IntArray, order: IntArray, key: tuple[int, ...], rows_per_step: int, window: int
) -> list[Step]:
    """Steps of one epoch, one sample a row, samples of like length together; a partial step comes last."""
    whole = len(order) // rows_per_step * rows_per_step
    steps: list[Step] = []
    for number, start in enumerate(range(0, whole, window * rows_per_step), start=1):
        part = order[start : min(start + window * rows_per_step, whole)]
        part = part[np.argsort(tokens[part], kind="stable")]
        groups = part.reshape(-1, rows_per_step)
        for group in groups[shuffled(len(groups), (*key, number))].tolist():
            steps.append(tuple((index,) for index in group))
    if whole < len(order):
        steps.append(tuple((index,) for index in order[whole:].tolist()))
    return steps


def slots_of(step: Step, tokens: IntArray) -> int:
    """Token places of a step's rows as ``collate`` pads them: to the longest one, rounded up."""
    longest = max((sum(int(tokens[index]) for index in row) for row in step), default=0)
    return len(step) * (-(-longest // MULTIPLE) * MULTIPLE)


def _digest(settings: dict[str, Any], tokens: IntArray, learnt: IntArray) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in (tokens, learnt):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def _check_arguments(
    tokens: IntArray, learnt: IntArray, epochs: int | None, steps: int | None, window: int
) -> None:
    if tokens.shape != learnt.shape or tokens.ndim != 1:
        raise UsageError(f"{tokens.shape} lengths and {learnt.shape} supervised counts do not match")
    if not tokens.size:
        raise DataError("there are no samples to plan", remedy="check the data files")
    if not learnt.any():
        raise DataError("no token of any sample is supervised", remedy="check the template and the data")
    if (epochs is None) == (steps is None):
        raise UsageError("a plan needs epochs or steps, and not both", remedy="give one of the two")
    _check_positive({"epochs": epochs, "steps": steps, "window": window})


def _check_batch(rows_per_step: int | None, samples_per_step: int | None, row_length: int | None) -> None:
    if (rows_per_step is None) == (samples_per_step is None):
        raise UsageError(
            "a step is a number of rows or of samples, and not both",
            remedy="give rows_per_step or samples_per_step",
        )
    if samples_per_step is not None and row_length is None:
        raise UsageError("samples_per_step packs rows, and rows need a length", remedy="give row_length")
    _check_positive({"rows_per_step": rows_per_step, "samples_per_step": samples_per_step})


def _check_positive(numbers: dict[str, int | None]) -> None:
    for label, value in numbers.items():
        if value is not None and value < 1:
            raise UsageError(f"{label} is {value}", remedy="give at least 1")


def _from_json(data: Any) -> Plan:
    if not isinstance(data, dict) or data.get("format") != "pumice plan" or data.get("version") != VERSION:
        raise ValueError(f"not a plan of version {VERSION}")
    steps = tuple(tuple(tuple(_integers(row)) for row in step) for step in data["steps"])
    per_step = {label: tuple(_integers(data[label])) for label in ("epochs", "tokens", "supervised", "slots")}
    for label, values in per_step.items():
        if len(values) != len(steps):
            raise ValueError(f"{len(values)} {label} for {len(steps)} steps")
    sizes = {label: data[label] for label in ("rows_per_step", "samples_per_step", "row_length")}
    given = {label: next(_integers([value])) for label, value in sizes.items() if value is not None}
    (seed,) = _integers([data["seed"]])
    return Plan(
        steps,
        **per_step,
        seed=seed,
        rows_per_step=given.get("rows_per_step"),
        samples_per_step=given.get("samples_per_step"),
        row_length=given.get("row_length"),
        digest=str(data["digest"]),
    )


def _integers(values: Any) -> Iterator[int]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is no whole number")
        yield value
