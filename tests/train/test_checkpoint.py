from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pumice.errors import RunError
from pumice.train.checkpoint import UnreadableState, list_states, load_state, save_state
from pumice.train.optim import build_optimizer, trainable
from pumice.train.stage import accumulate

SAVE = {"digest": "plan", "seconds": 2.5, "keep": 1}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes beyond ``size`` bytes of a file fail, as on a disk that is full by then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def trained(toy: Any, parts: Any, data: Path, tmp_path: Path) -> tuple[Any, Any]:
    """What trains in a model after one step, with its optimiser."""
    bench = toy.bench(data, parts, tmp_path / "stage", toy.instruct())
    optimizer = build_optimizer(bench.model, bench.context.stage)
    accumulate(bench.model, bench.run, 0)
    optimizer.step()
    return trainable(bench.model), optimizer


def test_round_trip_into_a_new_model(
    toy: Any, parts: Any, data: Path, tmp_path: Path, trained: tuple[Any, Any]
) -> None:
    weights, optimizer = trained
    state = save_state(tmp_path / "state", weights, optimizer, step=1, **SAVE)
    other = toy.bench(data, parts, tmp_path / "other", toy.instruct())
    fresh = build_optimizer(other.model, other.context.stage)
    assert load_state(state, trainable(other.model), fresh, "plan") == 2.5
    theirs = trainable(other.model)
    assert weights.keys() == theirs.keys()
    for name, mine in weights.items():
        assert torch.equal(mine, theirs[name]), name
    old, new = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert old.keys() == new.keys()
    for key, values in old.items():
        for field, value in values.items():
            assert torch.equal(value, new[key][field])


def test_the_newest_are_kept_and_half_written_ones_are_none(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    folder = tmp_path / "state"
    (folder / ".step-000009.writing").mkdir(parents=True)
    (folder / "notes").mkdir()
    for step in (1, 2, 1000000):
        save_state(folder, *trained, step=step, digest="plan", seconds=0, keep=2)
    assert [state.step for state in list_states(folder)] == [2, 1000000]
    assert list_states(tmp_path / "absent") == []


def test_a_disk_that_fills_up_leaves_the_state_before(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    """For real: safetensors and torch each have an error of their own for it."""
    folder = tmp_path / "state"
    first = save_state(folder, *trained, step=1, **SAVE)
    with largest_file(1000), pytest.raises(RunError, match="step 2 cannot be saved") as caught:
        save_state(folder, *trained, step=2, **SAVE)
    assert "make room" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["step-000001"]
    load_state(first, *trained, "plan")


def test_a_state_of_another_plan_is_refused(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    weights, optimizer = trained
    state = save_state(tmp_path / "state", weights, optimizer, step=1, **SAVE)
    before = {name: value.clone() for name, value in weights.items()}
    with pytest.raises(RunError, match="another plan"):
        load_state(state, weights, optimizer, "other plan")
    assert all(torch.equal(value, weights[name]) for name, value in before.items())


def test_a_state_of_other_parts_is_refused(
    toy: Any, parts: Any, data: Path, tmp_path: Path, trained: tuple[Any, Any]
) -> None:
    state = save_state(tmp_path / "state", *trained, step=1, **SAVE)
    other = toy.bench(data, parts, tmp_path / "other", toy.align())
    with pytest.raises(RunError, match="not those that train"):
        load_state(state, trainable(other.model), build_optimizer(other.model, other.context.stage), "plan")


@pytest.mark.parametrize("file", ["*.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "gone", "bit"])
def test_a_damaged_state_is_named(tmp_path: Path, trained: tuple[Any, Any], file: str, damage: str) -> None:
    state = save_state(tmp_path / "state", *trained, step=1, **SAVE)
    (path,) = state.folder.glob(file)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = content[: len(content) // 2]
        # One bit of a weight, or of a digit; the file stays well formed.
        bit = b"1" if path.suffix == ".json" else bytes([content[len(middle)] ^ 1])
        at = content.index(b"2.5") if path.suffix == ".json" else len(middle)
        flipped = content[:at] + bit + content[at + 1 :]
        path.write_bytes({"cut": middle, "noise": b"noise" * 9, "empty": b"", "bit": flipped}[damage])
    before = {name: value.clone() for name, value in trained[0].items()}
    with pytest.raises(RunError, match="cannot be read") as caught:
        load_state(state, *trained, "plan")
    assert all(torch.equal(value, before[name]) for name, value in trained[0].items())
    assert str(state.folder) in str(caught.value)


def test_a_state_holds_no_pickle(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    state = save_state(tmp_path / "state", *trained, step=1, **SAVE)
    assert {path.suffix for path in state.folder.iterdir()} == {".safetensors", ".json"}


def test_a_tensor_of_zeros_is_noticed(tmp_path: Path, trained: tuple[Any, Any]) -> None:
    """A block that a disk lost: the file is as long and as well formed as before."""
    state = save_state(tmp_path / "state", *trained, step=1, **SAVE)
    (path,) = state.folder.glob("*.safetensors")
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name, value in tensors.items() if name.startswith("weights/") and value.any())
    tensors[name].zero_()
    save_file(tensors, path)
    with pytest.raises(UnreadableState, match="not what was written"):
        load_state(state, *trained, "plan")


def test_a_state_of_an_earlier_version_is_read_and_said_to_be_unchecked(
    tmp_path: Path, trained: tuple[Any, Any]
) -> None:
    state = save_state(tmp_path / "state", *trained, step=1, **SAVE)
    path = state.folder / "state.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({k: v for k, v in record.items() if k not in ("seals", "seal")}), "utf-8")
    said: list[str] = []
    assert load_state(state, *trained, "plan", notice=said.append) == 2.5
    assert len(said) == 1
    assert "earlier version" in said[0]


def test_damaged_states_of_steps_to_come_do_not_push_out_good_ones(
    tmp_path: Path, trained: tuple[Any, Any]
) -> None:
    """A run went back from step 9 to step 4: the state of step 9 is of no use any more."""
    folder = tmp_path / "state"
    for step in (4, 9, 6):
        save_state(folder, *trained, step=step, digest="plan", seconds=0, keep=2)
    assert [state.step for state in list_states(folder)] == [4, 6]
