"""Additions inside a language model of every family, in and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pumice.errors import CheckpointError, RunError
from pumice.model import build_model
from pumice.model.attach import Attached, is_addition, linear_layers, new_config, target_names
from pumice.model.nf4 import Quantization, rounded
from pumice.recipes.schema import Lora

from .test_families import LANGUAGES, save_language, spread

FAMILIES = (
    "llama-tied", "mistral-window", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3",
)  # fmt: skip
KINDS = {
    "lora": Lora(rank=3, alpha=5),
    "dora": Lora(rank=3, alpha=5, dora=True),
    "qlora": Lora(rank=3, alpha=5, quantize="nf4"),
}


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest, tiny: Any, tmp_path: Path) -> Any:
    """A whole model with biases and norms away from their first values."""
    lm = spread(LANGUAGES[request.param]())
    with torch.no_grad():
        for name, parameter in lm.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
    return build_model(tiny.vision, save_language(tiny, tmp_path / "lm", lm), template="tiny")[0]


def scores(model: Any) -> torch.Tensor:
    """Through our own way into the language model: embeddings, mask, body, head."""
    ids = torch.tensor([[3, 14, 15, 92, 65, 35, 8, 97, 93]])
    length = ids.shape[1]
    mask = torch.ones(1, length, length, dtype=torch.bool).tril()
    with torch.no_grad():
        found: torch.Tensor = model.logits(
            model.hidden(model.embed(ids, None, []), torch.arange(length)[None], mask)
        )
    return found


@pytest.mark.parametrize("kind", list(KINDS))
def test_in_and_merged(model: Any, kind: str) -> None:
    lora, lm = KINDS[kind], model.lm
    before = {name: tensor.clone() for name, tensor in lm.state_dict().items()}
    plain = scores(model)
    how = Quantization(double=True, dtype="float32") if lora.quantize else None
    attached = Attached(lm, new_config(lm, lora, "lora"), how)
    if how is None:  # B begins at zero, and DoRA's lengths at those of the rows
        torch.testing.assert_close(scores(model), plain, rtol=1e-5, atol=1e-5)
    assert {name.rpartition(".lora_")[0] for name, _ in lm.named_parameters() if is_addition(name)} == set(
        attached.layers
    )
    generator = torch.Generator().manual_seed(1)
    drawn = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in attached.tensors().items()
    }
    attached.set(drawn, "drawn")
    active = scores(model)
    assert float((active - plain).abs().max()) > 0.05
    attached.merge()
    torch.testing.assert_close(scores(model), active, rtol=2e-5, atol=2e-5)
    after = lm.state_dict()
    assert after.keys() == before.keys()
    layers = {f"{name}.weight" for name in linear_layers(lm)}
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) is (name not in layers), name
    if lm.config.tie_word_embeddings:
        assert lm.get_output_embeddings().weight is lm.get_input_embeddings().weight


def test_the_sum_is_with_the_rounded_weights(model: Any) -> None:
    """Additions of zero: what QLoRA leaves is the base as it was in 4 bits."""
    lora, how = KINDS["qlora"], Quantization(double=True, dtype="bfloat16")
    wanted = {name: rounded(layer.weight, how) for name, layer in linear_layers(model.lm).items()}
    biases = {name: layer.bias for name, layer in linear_layers(model.lm).items()}
    Attached(model.lm, new_config(model.lm, lora, "lora"), how).merge()
    for name, layer in linear_layers(model.lm).items():
        assert torch.equal(layer.weight, wanted[name])
        assert layer.bias is biases[name]


def test_names_of_layers(tiny: Any) -> None:
    lm = tiny.model.lm
    own = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert target_names(lm, (), "here") == own
    assert target_names(lm, ("v_proj", "q_proj"), "here") == ["q_proj", "v_proj"]
    for wrong in ("lm_head", "embed_tokens"):
        with pytest.raises(RunError, match=f"no linear layer '{wrong}'"):
            target_names(lm, (wrong,), "here")


def test_a_model_without_linear_layers() -> None:
    class Bare(nn.Module):
        def get_output_embeddings(self) -> None:
            return None

    with pytest.raises(RunError, match="Bare has no linear layers"):
        target_names(Bare(), (), "here")


def test_tensors_that_do_not_fit(tiny: Any) -> None:
    model = build_model(tiny.vision, tiny.language, template="tiny")[0]
    attached = Attached(model.lm, new_config(model.lm, KINDS["lora"], "lora"), None)
    tensors = attached.tensors()
    first = next(iter(tensors))
    for wrong in ({**tensors, "more": tensors[first]}, {**tensors, first: torch.zeros(2, 2)}):
        with pytest.raises(CheckpointError, match="do not fit this language model"):
            attached.set(wrong, "here")
