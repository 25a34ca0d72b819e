"""Seals of files: of all their bytes, whatever computes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pumice.train import seals
from pumice.train.seals import broken, seal_file, seal_record, spare_threads


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250, 300])
def test_threads_and_pieces_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(seals, "BLOCK", 100)
    content = bytes(i * 7 % 256 for i in range(size))
    path = tmp_path / "file"
    path.write_bytes(content)
    digests = [hashlib.sha256(content[at : at + 100]).digest() for at in range(0, size, 100)]
    wanted = hashlib.sha256(b"".join(digests)).hexdigest()
    assert seal_file(path) == seal_file(path, threads=3) == wanted
    monkeypatch.setattr(seals, "_PIECE", 7)
    assert seal_file(path) == wanted


def test_a_bit_of_any_block_breaks_a_seal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seals, "BLOCK", 100)
    content = bytes(250)
    (tmp_path / "good").write_bytes(content)
    found = {"good": seal_file(tmp_path / "good")}
    for at in (0, 99, 100, 249):
        (tmp_path / f"bad-{at}").write_bytes(content[:at] + b"\1" + content[at + 1 :])
        found[f"bad-{at}"] = found["good"]
    assert broken(tmp_path, found, sorted(found), 2) == ["bad-0", "bad-100", "bad-249", "bad-99"]


def test_a_record_is_sealed_but_for_its_seal() -> None:
    record = {"step": 3, "seconds": 0.1}
    sealed = {**record, "seal": seal_record(record)}
    assert seal_record(sealed) == sealed["seal"]
    assert seal_record({**sealed, "step": 4}) != sealed["seal"]


def test_processes_of_a_machine_share_its_cores() -> None:
    assert 1 <= spare_threads(10_000) <= spare_threads(1) <= seals.MOST_THREADS
