"""`pumice quantize`: what it writes and says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def test_the_shipped_model_in_four_bits(pumice: Any, tmp_path: Path) -> None:
    result = pumice("quantize", "tiny", tmp_path / "out")
    assert result.code == 0, result.both
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["form"] == "int4"
    found = re.search(r"over (\d+) tokens .* divergence ([\d.]+) .* same in ([\d.]+)%", result.out)
    assert found is not None, result.out
    assert int(found[1]) > 50
    assert float(found[2]) < 0.05
    assert float(found[3]) > 90
    again = pumice("quantize", "tiny", tmp_path / "out")
    assert again.code == 2
    assert "--overwrite" in again.err
    quick = pumice(
        "quantize", "tiny", tmp_path / "out", "--weights", "int8", "--reference", "none", "--overwrite"
    )
    assert quick.code == 0, quick.both
    assert "KL" not in quick.out
    other = pumice("quantize", tmp_path / "out", tmp_path / "more", "--weights", "int4")
    assert other.code == 1
    assert "int8 already" in other.err
