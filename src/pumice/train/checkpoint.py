"""Resumable states: everything a killed run needs to end as if it had not been killed.

A state is a folder ``state/step-000120`` with ``state.json`` and safetensors files: the trainable weights
(``weights/NAME``) and the optimiser's tensors (``optimizer/NAME/KEY``). One rank writes a plain file; of
several, each writes what it holds (``torch.distributed.checkpoint``). Any number of ranks reads either. It is
written beside, synced and renamed: a state that exists is whole. ``state.json`` holds a seal of each file
(``seals``), which is compared before anything is read: what a disk lost later is noticed. ``saving.Saver``
writes states beside the steps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from pumice.errors import RunError
from pumice.lineage.record import write_lineage
from pumice.train.adamw import counts_on, rows_like
from pumice.train.parallel import ALONE, Ranks
from pumice.train.seals import broken, seal_file, seal_record, spare_threads

Weights = Mapping[str, nn.Parameter]
"""What trains, by the names it has in a state."""

_NAME = re.compile(r"step-(\d{6,})")
_FILE = "state.safetensors"
_FAILED = (OSError, SafetensorError, RuntimeError, CheckpointException)
_UNREADABLE = (*_FAILED, EOFError, ValueError, KeyError, TypeError, AttributeError)
"""What damaged files raise, each library in its own way."""


@dataclass(frozen=True, slots=True)
class State:
    """A state on disk: its folder and how many steps were done."""

    folder: Path
    step: int


class UnreadableState(RunError):
    """A state whose files are damaged; the one before it may be whole."""


def list_states(folder: Path) -> list[State]:
    """The states in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    states = [State(path, int(match.group(1))) for match, path in found if match]
    return sorted(states, key=lambda state: state.step)


def _tensors(weights: Weights, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything of a state under its name on disk; of sharded weights, this rank's part of it."""
    tensors = {f"weights/{name}": parameter.detach() for name, parameter in weights.items()}
    for name, parameter in weights.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    return tensors


def copied_tensors(weights: Weights, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything of a state of one rank, copied to the CPU: later steps do not change it."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in _tensors(weights, optimizer).items()
    }


def write_state(
    folder: Path,
    tensors: dict[str, Tensor],
    *,
    step: int,
    digest: str,
    seconds: float,
    keep: int,
    lineage: Mapping[str, Any] | None = None,
) -> State:
    """Write the state of a single rank; of older ones, ``keep - 1`` stay.

    Args:
        folder: holds the states of a stage.
        tensors: from ``copied_tensors``.
        step: how many steps are done.
        digest: the plan's.
        seconds: trained so far.
        keep: how many states stay, this one included.
        lineage: where the weights come from (``lineage.record``); None writes no record.

    Raises:
        RunError: it cannot be written (a full disk, say); older states are untouched.
    """
    with _writing(folder, step) as partial:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file(tensors, partial / _FILE)
        # One thread: nobody waits for this, and the steps want the other cores.
        seals = {_FILE: seal_file(partial / _FILE)}
        state = publish_state(partial, step, digest, seconds, seals, lineage)
    _drop_others(folder, step, keep)
    return state


def save_state(
    folder: Path,
    weights: Weights,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    digest: str,
    seconds: float,
    keep: int,
    ranks: Ranks = ALONE,
    lineage: Mapping[str, Any] | None = None,
) -> State:
    """Write the state after ``step`` steps and return when it is there. All ranks call it together.

    Raises:
        RunError: as ``write_state``.
    """
    if ranks.alone:
        tensors = copied_tensors(weights, optimizer)
        return write_state(
            folder, tensors, step=step, digest=digest, seconds=seconds, keep=keep, lineage=lineage
        )
    with _writing(folder, step, lead=ranks.lead) as partial:
        if ranks.lead:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        ranks.wait()
        save(
            _tensors(weights, optimizer),
            storage_writer=HuggingFaceStorageWriter(str(partial), save_distributed=True),
        )
        threads = spare_threads(ranks.per_node)
        own = sorted(partial.glob(f"shard-{ranks.rank + 1:05d}-*.safetensors"))
        seals = ranks.gather({path.name: seal_file(path, threads) for path in own})
        if ranks.lead:
            publish_state(partial, step, digest, seconds, seals, lineage)
        ranks.wait()
    if ranks.lead:
        _drop_others(folder, step, keep)
    return State(folder / _name(step), step)


def _name(step: int) -> str:
    return f"step-{step:06d}"


@contextmanager
def _writing(folder: Path, step: int, *, lead: bool = True) -> Iterator[Path]:
    """The folder that a state is written into; what fails there is told as one error, and removed."""
    partial = folder / f".{_name(step)}.writing"
    try:
        yield partial
    except _FAILED as error:
        if lead:
            shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"the state after step {step} cannot be saved ({_reason(error)})",
            where=str(folder),
            remedy="make room or choose another disk, then resume: the last good state is kept",
        ) from error


def publish_state(
    partial: Path,
    step: int,
    digest: str,
    seconds: float,
    seals: Mapping[str, str],
    lineage: Mapping[str, Any] | None,
) -> State:
    """Give a folder whose tensors are written its records and its name."""
    files = sorted(path.name for path in partial.glob("*.safetensors"))
    assert files == sorted(seals), "each file is sealed by the rank that wrote it"
    record = {"step": step, "plan": digest, "seconds": seconds, "files": files, "seals": dict(seals)}
    record["seal"] = seal_record(record)
    (partial / "state.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    if lineage is not None:
        write_lineage(partial, {**lineage, "kind": "state", "step": step}, weights=False)
    for path in partial.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    target = partial.with_name(_name(step))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return State(target, step)


def _drop_others(folder: Path, step: int, keep: int) -> None:
    """Keep the state of a step and the ``keep - 1`` before it.

    Later ones are of steps that were undone: they were damaged, and must not stand in the place of good ones.
    """
    states = list_states(folder)
    kept = [state for state in states if state.step <= step][-keep:]
    for state in states:
        if state not in kept:
            shutil.rmtree(state.folder)


def load_state(
    state: State,
    weights: Weights,
    optimizer: torch.optim.Optimizer,
    digest: str,
    ranks: Ranks = ALONE,
    notice: Callable[[str], None] = lambda text: None,
) -> float:
    """Put a state into weights and their optimiser; returns the seconds trained so far.

    They may be sharded over another number of ranks than the one that was saved. All ranks call it together.

    Args:
        state: which one.
        weights: what trains.
        optimizer: its optimiser.
        digest: the plan's.
        ranks: this process among all.
        notice: told where a state has no seals, because an earlier version of Pumice wrote it.

    Raises:
        UnreadableState: its files are damaged.
        RunError: it was saved under another plan, or its weights do not fit.
    """
    record = _checked_record(state, ranks, notice)
    try:
        digest_then, seconds = record["plan"], float(record["seconds"])
        reader = HuggingFaceStorageReader(str(state.folder))
        stored = dict(reader.read_metadata().state_dict_metadata)
    except _UNREADABLE as error:
        raise _unreadable(state, error) from error
    if digest_then != digest:
        raise RunError(
            "the state was saved under another plan (other data, settings or seed)",
            where=str(state.folder),
            remedy="restore the data and the recipe, or start a run in a new folder",
        )
    shapes = {name: _stored_shape(stored.get(f"weights/{name}")) for name in weights}
    others = {key for key in stored if key.startswith("weights/")} - {f"weights/{name}" for name in weights}
    if others or any(shapes[name] != tuple(weights[name].shape) for name in weights):
        raise RunError(
            "the saved weights are not those that train now",
            where=str(state.folder),
            remedy="resume with the recipe the run was started with; a state of an earlier version of Pumice "
            "may hold other weights, and then only a new run helps",
        )
    # New tensors, and only when all were read do they go in: a damaged file changes nothing.
    tensors: dict[str, Any] = {f"weights/{name}": torch.empty_like(value) for name, value in weights.items()}
    for name, parameter in weights.items():
        tensors |= _placeholders(name, parameter, stored, on_host=getattr(optimizer, "on_host", False))
    try:
        with _quiet():
            load(tensors, storage_reader=reader, no_dist=ranks.alone)
    except _UNREADABLE as error:
        raise _unreadable(state, error) from error
    with torch.no_grad():
        for name, parameter in weights.items():
            parameter.copy_(tensors[f"weights/{name}"])
            lead = f"optimizer/{name}/"
            kept = {key.removeprefix(lead): value for key, value in tensors.items() if key.startswith(lead)}
            if kept:
                optimizer.state[parameter] = kept
    return seconds


def _checked_record(state: State, ranks: Ranks, notice: Callable[[str], None]) -> dict[str, Any]:
    """The record of a state whose files are there, and are what was written; each rank looks at its share.

    Raises:
        UnreadableState: on all ranks alike.
    """
    try:
        record: dict[str, Any] = json.loads((state.folder / "state.json").read_text(encoding="utf-8"))
        names = sorted(record["files"])
        for name in names:
            (state.folder / name).stat()  # one that is missing would only seem to hold less
        seals = record.get("seals")
        if seals is not None and (record["seal"] != seal_record(record) or sorted(seals) != names):
            raise ValueError("state.json is not what was written")
    except _UNREADABLE as error:
        raise _unreadable(state, error) from error
    if seals is None:
        notice(
            f"the state after step {state.step:,} is of an earlier version of Pumice and holds no seals: "
            "that its files are whole cannot be checked"
        )
        return record
    own = names[ranks.rank :: ranks.world]
    try:
        wrong = dict.fromkeys(broken(state.folder, seals, own, spare_threads(ranks.per_node)), "changed")
    except OSError as error:
        wrong = {own[0]: _reason(error)}
    if found := ranks.gather(wrong):
        raise _unreadable(state, ValueError(f"{', '.join(sorted(found))}: not what was written"))
    return record


def _placeholders(
    name: str, parameter: Tensor, stored: dict[str, Any], *, on_host: bool
) -> dict[str, Tensor]:
    """Where the optimiser's tensors of a parameter go: cut over ranks as it is, with as many rows."""
    found: dict[str, Tensor] = {}
    lead = f"optimizer/{name}/"
    for key, facts in stored.items():
        if not key.startswith(lead) or not isinstance(facts, TensorStorageMetadata):
            continue
        dtype = facts.properties.dtype
        if facts.size:
            found[key] = rows_like(parameter, facts.size, dtype, on_host=on_host)
        else:  # the number of steps: whole on every rank, and where the optimiser counts it
            host = on_host or f"{lead}exp_avg_root" in stored
            found[key] = torch.zeros((), dtype=dtype, device=counts_on(parameter, on_host=host))
    return found


def _stored_shape(facts: Any) -> tuple[int, ...] | None:
    return tuple(facts.size) if isinstance(facts, TensorStorageMetadata) else None


def _unreadable(state: State, error: BaseException) -> UnreadableState:
    return UnreadableState(
        f"the state after step {state.step:,} is damaged or cannot be read ({_reason(error)})",
        where=str(state.folder),
        remedy="restore the folder from a copy",
    )


def _reason(error: BaseException) -> str:
    """What happened, in one line: of a failure of several ranks, that of the first."""
    if isinstance(error, CheckpointException) and error.failures:
        first = next(iter(error.failures.values()))
        error = first[0]
    said = str(getattr(error, "strerror", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """torch warns where it works in a single process, which is what was asked for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
