"""Tensors in files: read as safetensors itself reads them; broken files are named."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pumice.errors import CheckpointError
from pumice.model.stored import open_pickled, open_safetensors

TENSORS = {
    "a.weight": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "b": torch.randn(5).bfloat16(),
    "half": torch.randn(2, 2).half(),
    "one": torch.tensor(3.5),
    "none": torch.zeros(0, 4),
    "ids": torch.arange(6)[None],
    "mask": torch.tensor([True, False]),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def refused(file: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        {key: tensor.read() for key, tensor in open_safetensors(file).items()}
    message = str(caught.value)
    assert str(file) in message
    return message


def rewrite(file: Path, change: Any) -> None:
    """Change the header of a safetensors file, the tensors stay."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def test_tensors_are_those_of_the_library(file: Path) -> None:
    found, expected = open_safetensors(file), load_file(file)
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        assert (tensor.shape, tensor.dtype) == (expected[key].shape, expected[key].dtype)
        assert tensor.nbytes == expected[key].nbytes
        assert torch.equal(tensor.read(), expected[key])
        assert torch.equal(tensor[...], expected[key])


def test_every_read_is_a_tensor_of_its_own(file: Path) -> None:
    stored = open_safetensors(file)["a.weight"]
    first = stored.read()
    first.zero_()
    assert torch.equal(stored.read(), TENSORS["a.weight"])
    file.unlink()
    assert float(first.sum()) == 0, "a tensor that was read does not need its file"


def test_changes_wait_for_the_reading(file: Path) -> None:
    stored = open_safetensors(file)["a.weight"].then(lambda tensor: tensor[:2] * 2, torch.Size([2, 4]))
    assert stored.shape == (2, 4)
    assert torch.equal(stored.read(), TENSORS["a.weight"][:2] * 2)


class TestBroken:
    def test_missing(self, tmp_path: Path) -> None:
        assert "cannot be read" in refused(tmp_path / "model.safetensors")

    @pytest.mark.parametrize("size", [0, 3, 8, 40])
    def test_cut_in_the_header_names_both_lengths(self, file: Path, size: int) -> None:
        length = struct.unpack("<Q", file.read_bytes()[:8])[0]
        file.write_bytes(file.read_bytes()[:size])
        message = refused(file)
        assert "cut short" in message
        assert f"the file has {size} bytes" in message
        if size >= 8:
            assert f"its header is {length:,} bytes long" in message

    def test_cut_in_the_tensors_names_a_key(self, file: Path) -> None:
        file.write_bytes(file.read_bytes()[:-3])
        message = refused(file)
        assert "cut short" in message
        assert "ends at byte" in message

    def test_another_kind_of_file(self, file: Path) -> None:
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
        assert "cannot be read" in refused(file)

    def test_no_json(self, file: Path) -> None:
        file.write_bytes(struct.pack("<Q", 8) + b"{notjson")
        assert "cannot be read" in refused(file)

    def test_a_shape_that_does_not_fit_its_bytes(self, file: Path) -> None:
        rewrite(file, lambda header: header["a.weight"].update(shape=[3, 5]))
        assert "a.weight of shape [3, 5] does not fit its 48 bytes" in refused(file)

    def test_an_unknown_type(self, file: Path) -> None:
        rewrite(file, lambda header: header["b"].update(dtype="F8_E4M3"))
        assert "b has type F8_E4M3" in refused(file)

    def test_an_entry_without_its_place(self, file: Path) -> None:
        rewrite(file, lambda header: header["b"].pop("data_offsets"))
        assert "does not describe b" in refused(file)


def test_pickled_tensors(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save(TENSORS, file)
    found = open_pickled(file)
    assert {key: tensor.shape for key, tensor in found.items()} == {k: v.shape for k, v in TENSORS.items()}
    for key, tensor in found.items():
        value = tensor.read()
        assert torch.equal(value, TENSORS[key])
        value.zero_()
        assert torch.equal(tensor.read(), TENSORS[key])


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, {"a": {"b": torch.zeros(1)}}])
def test_pickles_of_other_things(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="other things than tensors"):
        open_pickled(tmp_path / "x.bin")


def test_cut_pickle(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes((tmp_path / "x.bin").read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_pickled(tmp_path / "x.bin")
