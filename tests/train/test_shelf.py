"""Features of one tower on disk, as several runs see them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from pumice.train import shelf
from pumice.train.codec import deviation, pack
from pumice.train.shards import Entry, open_shard
from pumice.train.shelf import Shelf
from pumice.train.storeroom import Storeroom

KEYS = [hashlib.blake2b(bytes([number]), digest_size=16).digest() for number in range(20)]


def entry(number: int) -> Entry:
    features_MPV = torch.full((1, 4, 8), float(number))
    packed = pack(features_MPV, "fp32")
    return Entry(KEYS[number], packed, deviation(features_MPV, packed))


def opened(root: Path, budget: int, notices: list[str]) -> Shelf:
    found = Shelf(Storeroom(root, budget), "space", {}, "fp32", (4, 8), notices.append)
    found.want(KEYS)
    return found


def fill(own: Shelf) -> None:
    for number in range(len(KEYS)):
        own.put(entry(number))
    own.flush()


def holds_all(own: Shelf) -> bool:
    found = [own.read(key) for key in KEYS]
    return all(
        packed is not None and torch.equal(packed.numbers, entry(number).packed.numbers)
        for number, packed in enumerate(found)
    )


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SHARD_BYTES", 1000)


def test_two_runs_that_make_the_same_need_the_room_of_one(tmp_path: Path) -> None:
    notices: list[str] = []
    first, second = (opened(tmp_path, 6500, notices) for _ in range(2))
    fill(first)
    before = sorted((path, path.stat().st_ino) for path in tmp_path.glob("space/*.safetensors"))
    assert 6500 / 2 < first.room.used() <= 6500
    fill(second)
    assert notices == []
    assert not second.full
    assert holds_all(second)
    assert sorted((path, path.stat().st_ino) for path in tmp_path.glob("space/*.safetensors")) == before
    first.close()
    other = Storeroom(tmp_path, 6500)
    assert other.write(3000, lambda: tmp_path / "x") is None, "the second run uses them still"
    second.close()


def test_only_what_others_lack_is_written(tmp_path: Path) -> None:
    notices: list[str] = []
    first, second = (opened(tmp_path, 10**6, notices) for _ in range(2))
    for number in range(0, 20, 2):
        first.put(entry(number))
    first.flush()
    fill(second)
    assert holds_all(second)
    files = [open_shard(path, "fp32", (4, 8)) for path in tmp_path.glob("space/*.safetensors")]
    assert sorted(key for file in files for key in file.places) == sorted(KEYS), "each is there once"


def test_what_was_taken_away_and_written_anew_is_found(tmp_path: Path) -> None:
    first, second = (opened(tmp_path, 10**6, []) for _ in range(2))
    fill(first)
    second.look()
    assert KEYS[0] in second
    for path in tmp_path.glob("space/*.safetensors"):
        path.unlink()
    assert second.read(KEYS[0]) is None
    third = opened(tmp_path, 10**6, [])
    fill(third)
    second.look()
    assert second.read(KEYS[0]) is not None
