"""What a folder says of its model, and whether that fits, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pumice.cli import serve
from pumice.errors import UsageError
from pumice.infer.engine import room
from pumice.serve.facts import read_facts


def test_a_folder_of_pickles_is_counted_and_refused_where_it_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava", "torch_dtype": "float16"}')
    state = {"model.layers.0.mlp.up_proj.weight": torch.zeros(1000, 1000, dtype=torch.float16)}
    torch.save(state, tmp_path / "pytorch_model.bin")
    facts = read_facts("old", tmp_path)
    assert (facts.parameters, facts.dtype) == (1_000_000, "F16")
    monkeypatch.setattr(room, "free_bytes", lambda device: 2_000_000)
    for weights, bits in (("fp32", "32"), ("bf16", "16")):
        with pytest.raises(UsageError, match=rf"at {bits} bits, and .* are free"):
            serve._backend(facts, None, weights, 1, None, 1, 0, 1)  # type: ignore[arg-type]
