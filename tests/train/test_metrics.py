from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from pumice.train.metrics import MetricsFile, return_memory


def lines(path: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_row_is_on_disk_when_write_returns(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "new" / "metrics.jsonl", 0)
    file.write({"step": 1, "name": "größer\u2028"})
    assert lines(file.path) == [{"step": 1, "name": "größer\u2028"}]
    file.close()


def test_rows_of_undone_steps_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": n}) + "\n" for n in range(5)) + '{"step": 1, "lo', "utf-8")
    file = MetricsFile(path, 3)
    file.write({"step": 4, "new": 1})
    file.close()
    assert lines(path) == [{"step": 0}, {"step": 1}, {"step": 2}, {"step": 3}, {"step": 4, "new": 1}]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_torn_line_that_is_whole_json_is_dropped_too(tmp_path: Path) -> None:
    """``{"step": 1}`` without its newline: the next row would be glued to it."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}', "utf-8")
    file = MetricsFile(path, 5)
    file.write({"step": 2})
    file.close()
    assert lines(path) == [{"step": 0}, {"step": 2}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no malloc_trim")
def test_freed_memory_goes_back_to_the_system() -> None:
    """Chunks that a C library keeps for itself, freed in between others that live."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    held = [torch.zeros(16_000) for _ in range(4000)]  # 64 KB each: below what is mapped by itself
    del held[::2]
    before = resident()
    return_memory()
    assert before - resident() > 60e6
