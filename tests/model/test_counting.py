"""Numbers of weights by their files alone, and what they take once loaded."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pumice.errors import CheckpointError
from pumice.infer.engine.room import weight_bytes
from pumice.infer.weights import load_to_answer, loaded_size
from pumice.model.counting import numbers_of
from pumice.model.save import save_model
from pumice.world.embedded import resolve


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


@pytest.fixture(scope="module")
def tensors(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    folder = tmp_path_factory.mktemp("plain")
    save_model(tiny.model, tiny.tokenizer, tiny.processor, folder, dtype="bfloat16")
    return dict(load_file(folder / "model.safetensors"))


def told(folder: Path) -> dict[str, tuple[int, str]]:
    return {one.key: (one.count, one.dtype) for one in numbers_of(folder)}


def pickled(tensors: dict[str, torch.Tensor], folder: Path) -> Iterator[None]:
    (folder / "config.json").write_text('{"torch_dtype": "bfloat16"}')
    torch.save(tensors, folder / "pytorch_model.bin")
    yield
    half = len(tensors) // 2
    parts = dict(list(tensors.items())[:half]), dict(list(tensors.items())[half:])
    (folder / "pytorch_model.bin").unlink()
    for number, part in enumerate(parts):
        torch.save(part, folder / f"part-{number}.bin")
    index = {key: f"part-{number}.bin" for number, part in enumerate(parts) for key in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    yield


def test_pickles_are_counted_by_name_and_type_and_none_is_run(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {key: (value.numel(), "BF16") for key, value in tensors.items()}
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    for _ in pickled(tensors, tmp_path):
        assert told(tmp_path) == wanted


def test_two_names_of_one_storage_count_once(tmp_path: Path) -> None:
    shared = torch.zeros(6, 4, dtype=torch.float16)
    (tmp_path / "config.json").write_text("{}")
    torch.save(
        {"a.weight": shared, "b.weight": shared, "c": torch.nn.Parameter(torch.zeros(3))},
        tmp_path / "pytorch_model.bin",
    )
    assert told(tmp_path) == {"a.weight": (24, "F16"), "c": (3, "F32")}


def test_a_file_that_runs_something_runs_nothing(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.zeros(3), "b": Trap()}, tmp_path / "pytorch_model.bin")
    assert told(tmp_path) == {"a": (3, "F32")}
    assert "unpickled" not in capsys.readouterr().out


def test_files_of_old_torch_are_counted_by_their_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"torch_dtype": "float16"}')
    old = {"_use_new_zipfile_serialization": False}
    torch.save({"a": torch.zeros(50_000, dtype=torch.float16)}, tmp_path / "pytorch_model.bin", **old)  # type: ignore[arg-type]
    (one,) = numbers_of(tmp_path)
    assert one.count == pytest.approx(50_000, rel=0.02)


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(CheckpointError, match="cannot be counted"):
        numbers_of(tmp_path)


@pytest.mark.parametrize("weights", ["fp32", "fp16", "bf16", "int8", "int4"])
def test_what_weights_take_is_what_the_loaded_model_has(weights: Any, tmp_path: Path) -> None:
    folder = resolve("tiny", "model")
    count, bytes_ = loaded_size(folder, weights)
    made = load_to_answer(folder, weights)
    assert bytes_ == pytest.approx(weight_bytes(made.model), rel=0.06)
    if weights in ("int8", "int4"):  # the same of its codes on disk
        save_model(*made, tmp_path)
        again, small = loaded_size(tmp_path, weights)
        assert again == pytest.approx(count, rel=0.15)  # a head of its own lies there
        assert small == pytest.approx(bytes_, rel=0.06)
