"""Adapters that PEFT itself wrote, added to weights as they are read: what PEFT merges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from pumice.errors import CheckpointError
from pumice.model.lora import merged
from pumice.model.weights import open_weights

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"layers\.1\.mlp\.down_proj": 3}},
    "dora": {"use_dora": True},
    "dora, rank-stabilised": {"use_dora": True, "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "gaussian": {"init_lora_weights": "gaussian"},
}


def write(folder: Path, base: Any, **options: Any) -> Any:
    """PEFT's model with random additions; saved by PEFT."""
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], **options)
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_merged_as_peft_merges(tiny: Any, tmp_path: Path, kind: str) -> None:
    base: Any = LlamaForCausalLM.from_pretrained(tiny.language)
    theirs = write(tmp_path / "a", base, **CONFIGS[kind]).merge_and_unload().state_dict()
    stored = open_weights(tiny.language)
    ours = merged(stored, tmp_path / "a")
    assert ours.keys() == stored.keys()
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor.read(), theirs[key], rtol=1e-6, atol=1e-6)
    changed = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(ours[changed].read(), stored[changed].read())


@pytest.mark.parametrize("lost", ["lora_B.weight", "lora_magnitude_vector"])
def test_a_lost_tensor_is_named(tiny: Any, tmp_path: Path, lost: str) -> None:
    base: Any = LlamaForCausalLM.from_pretrained(tiny.language)
    write(tmp_path / "a", base, use_dora=True)
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors[f"base_model.model.model.layers.1.mlp.down_proj.{lost}"]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"for model\.layers\.1\.mlp\.down_proj, but A, B, magnitude"):
        merged(open_weights(tiny.language), tmp_path / "a")


def test_lengths_of_another_layer_do_not_fit(tiny: Any, tmp_path: Path) -> None:
    base: Any = LlamaForCausalLM.from_pretrained(tiny.language)
    write(tmp_path / "a", base, use_dora=True)
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    key = "base_model.model.model.layers.1.mlp.down_proj.lora_magnitude_vector"
    tensors[key] = torch.ones(5)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"lengths \[5\]"):
        merged(open_weights(tiny.language), tmp_path / "a")
