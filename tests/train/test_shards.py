from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pumice.recipes.features import FeatureType
from pumice.train.codec import pack
from pumice.train.shards import DamagedShard, Entry, open_shard, shard_name, write_shard

KINDS: tuple[FeatureType, ...] = ("fp32", "bf16", "fp8")
SHAPE = (4, 8)


def entries(kind: FeatureType, count: int = 3) -> list[Entry]:
    found = []
    for number in range(count):
        features = torch.randn(number + 1, *SHAPE, generator=torch.Generator().manual_seed(number))
        found.append(Entry(bytes([number]) * 16, pack(features, kind), (float(number), 10.0)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_come_back(tmp_path: Path, kind: FeatureType) -> None:
    path, written = tmp_path / "a.safetensors", entries(kind)
    assert write_shard(path, written) == path.stat().st_size
    shard = open_shard(path, kind, SHAPE)
    handle = os.open(path, os.O_RDONLY)
    for entry in written:
        found = shard.read(shard.places[entry.key], handle)
        assert torch.equal(found.numbers.view(torch.uint8), entry.packed.numbers.view(torch.uint8))
        if entry.packed.scales is not None:
            assert found.scales is not None
            assert torch.equal(found.scales, entry.packed.scales)
        assert tuple(shard.deviations[shard.places[entry.key]]) == entry.deviation
    os.close(handle)
    assert load_file(path)["features"].shape == (6, *SHAPE), "other programs can read it"
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_anywhere_is_damaged(tmp_path: Path, kind: FeatureType) -> None:
    path = tmp_path / "a.safetensors"
    write_shard(path, entries(kind))
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedShard):
            open_shard(path, kind, SHAPE)
    path.write_bytes(whole + b"x")
    with pytest.raises(DamagedShard):
        open_shard(path, kind, SHAPE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bit_that_flips_anywhere_is_noticed(tmp_path: Path, kind: FeatureType) -> None:
    path, written = tmp_path / "a.safetensors", entries(kind)
    write_shard(path, written)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    noticed = 0
    for place in range(8 + length, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(DamagedShard):  # noqa: PT012
            shard = open_shard(path, kind, SHAPE)
            with path.open("rb") as file:
                for entry in written:
                    shard.read(shard.places[entry.key], file.fileno())
        noticed += 1
    assert noticed > 100


def test_a_head_that_lies_is_damage_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_shard(path, entries("fp32"))
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    head = json.loads(whole[8 : 8 + length])
    lies = [
        {**head, "features": {**head["features"], "shape": [6, 5, 8]}},
        {**head, "features": {**head["features"], "dtype": "F16"}},
        {**head, "tiles": {**head["tiles"], "data_offsets": [0, 8]}},
        {key: value for key, value in head.items() if key != "keys"},
        {**head, "__metadata__": {"version": "0"}},
        {**head, "__metadata__": {**head["__metadata__"], "index": "0"}},
        {**head, "features": 3},
        [1, 2],
    ]
    for lie in lies:
        text = json.dumps(lie).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
        with pytest.raises(DamagedShard):
            open_shard(path, "fp32", SHAPE)
    for kind in ("bf16", "fp8"):
        path.write_bytes(whole)
        with pytest.raises(DamagedShard):
            open_shard(path, kind, SHAPE)


def test_names_follow_from_what_is_inside() -> None:
    keys = [entry.key for entry in entries("fp32")]
    assert shard_name(keys) == shard_name(list(keys))
    assert shard_name(keys) != shard_name(keys[::-1])
