"""`pumice quantize`: what it writes and says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pumice.cli.models import load_generator
from pumice.model.quantized.language import form_of

from .official_pope import write_pope


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


def test_a_quantised_folder_is_asked_in_its_own_codes_and_told_apart(pumice: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    pumice("quantize", "tiny", folder, "--weights", "int8", "--reference", "none")
    assert form_of(load_generator(folder).model.lm) == "int8"
    assert form_of(load_generator(folder, weights="fp32").model.lm) is None
    write_pope(tmp_path / "data" / "pope")
    words = ["eval", folder, "--tasks", "pope", "--data", tmp_path / "data", "--out", tmp_path / "evals"]
    result = pumice(*words, "--max-new-tokens", "2")
    assert result.code == 0, result.both
    record = json.loads((tmp_path / "evals" / "pope" / "answers.meta.json").read_text())
    assert record["settings"]["weights"] == "int8"
    other = pumice(*words, "--max-new-tokens", "2", "--weights", "bf16")
    assert other.code == 1
    assert "weights is 'int8'" in other.err
    refused = pumice(*words, "--weights", "int4")
    assert refused.code == 1
    assert "int8 already" in refused.err
    chatted = pumice("chat", "tiny", "What is it?", "--weights", "int4", "--json", "--max-new-tokens", "3")
    assert chatted.code == 0, chatted.both
    assert json.loads(chatted.out)["answer"]


def test_a_server_s_weights_are_its_own(pumice: Any, tmp_path: Path) -> None:
    write_pope(tmp_path / "pope")
    result = pumice(
        "eval", "http://127.0.0.1:9/v1", "--tasks", "pope", "--data", tmp_path, "--weights", "int4"
    )
    assert result.code == 2
    assert "--weights does nothing for a server" in result.err
