"""Resumable states: everything a killed run needs to end as if it had not been killed.

A state is a folder ``state/step-000120`` with the trainable weights (safetensors), the optimiser's
tensors (read with ``weights_only=True``) and ``state.json``. It is written beside, synced and renamed,
so a state that exists is whole.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pumice.errors import RunError
from pumice.model import VisionLanguageModel
from pumice.train.optim import PARTS, part_parameters

_NAME = re.compile(r"step-(\d{6,})")
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What damaged files raise, each library in its own way."""


@dataclass(frozen=True, slots=True)
class State:
    """A state on disk: its folder and how many steps were done."""

    folder: Path
    step: int


def list_states(folder: Path) -> list[State]:
    """The states in a folder, oldest first."""
    if not folder.is_dir():
        return []
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    states = [State(path, int(match.group(1))) for match, path in found if match]
    return sorted(states, key=lambda state: state.step)


def _trainable(model: VisionLanguageModel) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": parameter
        for part in PARTS
        for name, parameter in part_parameters(model, part)
        if parameter.requires_grad
    }


def save_state(
    folder: Path,
    model: VisionLanguageModel,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    digest: str,
    seconds: float,
    keep: int,
) -> State:
    """Write the state after ``step`` steps; of older ones, ``keep - 1`` stay.

    Raises:
        RunError: it cannot be written (a full disk, say); older states are untouched.
    """
    target = folder / f"step-{step:06d}"
    partial = folder / f".{target.name}.writing"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        weights = {name: value.detach().cpu().contiguous() for name, value in _trainable(model).items()}
        save_file(weights, partial / "weights.safetensors")
        torch.save(optimizer.state_dict(), partial / "optimizer.pt")
        record = {"step": step, "plan": digest, "seconds": seconds}
        (partial / "state.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
        for path in partial.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    except (OSError, SafetensorError, RuntimeError) as error:
        # A full disk is an OSError to Python, but safetensors and torch.save have errors of their own.
        shutil.rmtree(partial, ignore_errors=True)
        raise RunError(
            f"the state after step {step} cannot be saved ({getattr(error, 'strerror', None) or error})",
            where=str(folder),
            remedy="make room or choose another disk, then resume: the last good state is kept",
        ) from error
    for old in list_states(folder)[:-keep]:
        shutil.rmtree(old.folder)
    return State(target, step)


def load_state(
    state: State, model: VisionLanguageModel, optimizer: torch.optim.Optimizer, digest: str
) -> float:
    """Put a state into a model and its optimiser; returns the seconds trained so far.

    Raises:
        RunError: it was saved under another plan, or its weights do not fit.
    """
    try:
        record = json.loads((state.folder / "state.json").read_text(encoding="utf-8"))
        weights = load_file(state.folder / "weights.safetensors")
        tensors = torch.load(state.folder / "optimizer.pt", weights_only=True)
        digest_then, seconds = record["plan"], float(record["seconds"])
    except _UNREADABLE as error:
        raise RunError(
            f"the saved state cannot be read ({type(error).__name__}: {error})",
            where=str(state.folder),
            remedy="delete this folder to resume from the state before it",
        ) from error
    if digest_then != digest:
        raise RunError(
            "the state was saved under another plan (other data, settings or seed)",
            where=str(state.folder),
            remedy="restore the data and the recipe, or start a run in a new folder",
        )
    own = _trainable(model)
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise RunError(
            "the saved weights are not those that train now",
            where=str(state.folder),
            remedy="resume with the recipe the run was started with; a state of an earlier version of Pumice "
            "may hold other weights, and then only a new run helps",
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
    optimizer.load_state_dict(tensors)
    return seconds
