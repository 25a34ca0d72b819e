"""Loading holds each weight once. The benchmark does the same on a larger model."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "load_memory.py"


@pytest.mark.slow
def test_the_peak_is_the_weights(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("load_memory", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    benchmark: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    stored = benchmark.make_checkpoint(tmp_path, layers=4, width=1024, shard_bytes=3 * 10**8)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    found = benchmark.measure(tmp_path, "bfloat16")
    assert found["weights"] == pytest.approx(stored, rel=0.01)
    assert found["peak"] - found["before"] <= benchmark.LIMIT * found["weights"]
