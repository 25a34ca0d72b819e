"""Every family of language models and towers: what our model computes is what transformers computes.

Legend: B rows, T tokens, D width of the language model.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    ViTConfig,
    ViTModel,
)

from pumice.errors import CheckpointError
from pumice.model.attention import visibility_mask, windowed
from pumice.model.build import build_model
from pumice.model.loading import load_model
from pumice.model.save import save_model

LM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
WINDOW = 5
LANGUAGES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LM)),
    "llama-tied": lambda: LlamaForCausalLM(LlamaConfig(**LM, tie_word_embeddings=True)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**LM, sliding_window=None)),
    "mistral-window": lambda: MistralForCausalLM(MistralConfig(**LM, sliding_window=WINDOW)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**LM, num_local_experts=2)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LM)),
    "qwen2-window": lambda: Qwen2ForCausalLM(
        Qwen2Config(**LM, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**LM, head_dim=8)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**LM, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(
            **LM,
            head_dim=8,
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            final_logit_softcapping=0.5,
            attn_logit_softcapping=0.5,
        )
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **LM,
            head_dim=8,
            sliding_window=WINDOW,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"] * 2,
        )
    ),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**LM)),
    "phi3-window": lambda: Phi3ForCausalLM(Phi3Config(**LM, sliding_window=WINDOW)),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**LM)),
}


def spread(model: Any) -> Any:
    """Weights far enough from zero that a wrong mask, scale or position shows."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.15)
    return model.eval()


def save_language(tiny: Any, folder: Path, model: Any) -> Path:
    spread(model).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny.language / name, folder)
    return folder


@pytest.fixture(params=LANGUAGES)
def built(tiny: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Our model of one family; ``theirs`` is transformers', attending in the way that knows all options."""
    folder = save_language(tiny, tmp_path / "lm", LANGUAGES[request.param]())
    model, tokenizer, processor = build_model(tiny.vision, folder, template="tiny")
    theirs = copy.deepcopy(model.lm)
    theirs.set_attn_implementation("eager")
    return model, theirs, tokenizer, processor


def rows(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Embeddings of one row: text, a picture, text; longer than any window here."""
    size, image_id = model.config.image_seq_length, model.config.image_token_id
    ids = torch.tensor([[0, 5, *[image_id] * size, 7, 8, 9, 6, 11, 12, 13]])
    embeds: torch.Tensor = model.embed(ids, model.project(model.encode_tower(pixels)), [(0, 2, size)])
    return embeds


@torch.no_grad()
def test_a_row_with_a_picture(built: Any) -> None:
    model, theirs, _, _ = built
    embeds = rows(model, torch.randn(1, 3, 16, 16))
    length = embeds.shape[1]
    assert length > 2 * WINDOW
    mask = torch.ones(1, length, length, dtype=torch.bool).tril()
    ours = model.logits(model.hidden(embeds, torch.arange(length)[None], mask))
    expected = theirs(inputs_embeds=embeds).logits
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert float(expected.std()) > 0.01


@torch.no_grad()
def test_packed_rows_are_as_if_alone(built: Any) -> None:
    model, theirs, _, _ = built
    alone = [rows(model, torch.randn(1, 3, 16, 16)) for _ in range(2)]
    alone[1] = alone[1][:, 3:]
    lengths = [part.shape[1] for part in alone]
    embeds = torch.cat(alone, dim=1)
    segments = torch.tensor([[1] * lengths[0] + [2] * lengths[1]])
    positions = torch.tensor([[*range(lengths[0]), *range(lengths[1])]])
    mask = visibility_mask(segments, torch.zeros_like(segments))
    ours = model.logits(model.hidden(embeds, positions, mask))
    expected = torch.cat([theirs(inputs_embeds=part).logits for part in alone], dim=1)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_saved_and_loaded_by_transformers(built: Any, tmp_path: Path) -> None:
    model, theirs, tokenizer, processor = built
    save_model(model, tokenizer, processor, tmp_path / "out", dtype="float32")
    loaded = load_model(tmp_path / "out").model
    own, again = model.state_dict(), loaded.state_dict()
    assert own.keys() == again.keys()
    assert all(torch.equal(own[key], again[key]) for key in own)
    reference, info = LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True, attn_implementation="eager"
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    size, image_id = model.config.image_seq_length, model.config.image_token_id
    ids = torch.tensor([[0, 5, *[image_id] * size, 7, 8, 9, 6, 11, 12, 13]])
    pixels = torch.randn(1, 3, 16, 16)
    expected = reference(input_ids=ids, pixel_values=pixels).logits
    found = theirs(inputs_embeds=rows(model, pixels)).logits
    cap = getattr(model.lm.config, "final_logit_softcapping", None)
    assert (tmp_path / "out" / "README.md").exists() == (cap is not None)
    if cap is not None:  # transformers' LLaVA leaves the cap out; the folder's README says so
        assert "final_logit_softcapping" in (tmp_path / "out" / "README.md").read_text()
        assert float((found - expected).abs().max()) > 1e-3
        expected = torch.tanh(expected / cap) * cap
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_windows_count_what_is_seen() -> None:
    """By hand: two samples in a row, the second with two branches; a window of two."""
    segments = torch.tensor([[1, 1, 1, 2, 2, 2, 2]])
    branches = torch.tensor([[0, 0, 0, 0, 0, 1, 2]])
    seen = windowed(visibility_mask(segments, branches), 2)[0]
    assert [row.nonzero().flatten().tolist() for row in seen] == [
        [0],
        [0, 1],
        [1, 2],
        [3],
        [3, 4],
        [4, 5],
        [4, 6],
    ]


def test_capped_attention_is_never_left_out(tiny: Any, tmp_path: Path) -> None:
    folder = save_language(tiny, tmp_path / "lm", LANGUAGES["gemma2"]())
    with pytest.raises(CheckpointError, match="caps its attention scores"):
        build_model(tiny.vision, folder, attention="sdpa")


def test_gradients_are_the_same_with_checkpointing(tiny: Any, tmp_path: Path) -> None:
    model = build_model(tiny.vision, save_language(tiny, tmp_path / "lm", LANGUAGES["gemma3"]()))[0]
    pixels = torch.randn(1, 3, 16, 16)

    def gradients() -> dict[str, torch.Tensor]:
        model.train()
        model.zero_grad()
        embeds = rows(model, pixels)
        length = embeds.shape[1]
        mask = torch.ones(1, length, length, dtype=torch.bool).tril()
        model.logits(model.hidden(embeds, torch.arange(length)[None], mask)).square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    calls: list[Any] = []
    layer = model.tower.model.get_submodule("encoder.layers")[0]
    layer.layer_norm1.register_forward_hook(lambda *_: calls.append(0))
    model.set_gradient_checkpointing(tower=True, language=True)
    again = gradients()
    assert len(calls) == 2, "the layer ran again in the backward pass"
    model.set_gradient_checkpointing(tower=False, language=False)
    gradients()
    assert len(calls) == 3
    assert plain.keys() == again.keys()
    for name in plain:
        torch.testing.assert_close(plain[name], again[name])


TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
TOWERS: dict[str, Callable[[], Any]] = {
    "clip": lambda: CLIPVisionModel(CLIPVisionConfig(**TOWER)),
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(**TOWER)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**TOWER, mlp_ratio=2)),
    "dinov2-swiglu": lambda: Dinov2Model(Dinov2Config(**TOWER, use_swiglu_ffn=True)),
    "dinov2-registers": lambda: Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**TOWER, mlp_ratio=2)),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**TOWER, num_register_tokens=4)),
    "vit": lambda: ViTModel(ViTConfig(**TOWER)),
}
LEADING = {"siglip": 0, "dinov2-registers": 5, "dinov3": 5}
"""Tokens before the patches, where it is not one."""


def save_tower(folder: Path, model: Any, side: int = 16) -> Path:
    spread(model).save_pretrained(folder)
    size = {"height": side, "width": side}
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("feature", ["patch", "cls_patch"])
@torch.no_grad()
def test_towers_give_the_hidden_states_of_transformers(
    tiny: Any, tmp_path: Path, name: str, feature: str
) -> None:
    theirs = TOWERS[name]()
    folder = save_tower(tmp_path / "tower", theirs)
    pixels = torch.randn(2, 3, 16, 16)
    states = theirs(pixels, output_hidden_states=True).hidden_states
    leading = LEADING.get(name, 1)
    for layer in (-4, -2, -1, 1):
        model = build_model(folder, tiny.language, select_layer=layer, select_feature=feature)[0]
        expected = states[layer][:, leading:] if feature == "patch" else states[layer]
        found = model.encode_tower(pixels)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        assert found.shape == (2, model.config.image_seq_length, model.tower.dim)


@pytest.mark.parametrize("name", TOWERS)
@torch.no_grad()
def test_a_model_of_any_tower_is_saved(tiny: Any, tmp_path: Path, name: str) -> None:
    folder = save_tower(tmp_path / "tower", TOWERS[name]())
    model, tokenizer, processor = build_model(folder, tiny.language)
    out = tmp_path / "out"
    save_model(model, tokenizer, processor, out, dtype="float32")
    loaded = load_model(out).model
    assert loaded.config == model.config
    pixels = torch.randn(1, 3, 16, 16)
    embeds = model.project(model.encode_tower(pixels))
    torch.testing.assert_close(loaded.project(loaded.encode_tower(pixels)), embeds)
    if LEADING.get(name, 1) > 1:
        with pytest.raises(KeyError, match="pumice_registers"):
            LlavaForConditionalGeneration.from_pretrained(out)
        assert "register tokens" in (out / "README.md").read_text()
        return
    reference, info = LlavaForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs = reference.get_image_features(pixel_values=pixels).pooler_output
    torch.testing.assert_close(torch.stack(list(theirs)), embeds, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["dinov2", "dinov2-registers", "dinov3"])
@torch.no_grad()
def test_towers_whose_positions_stretch_take_the_processors_size(
    tiny: Any, tmp_path: Path, name: str
) -> None:
    theirs = TOWERS[name]()
    folder = save_tower(tmp_path / "tower", theirs, side=32)
    model, tokenizer, processor = build_model(folder, tiny.language)
    assert (model.tower.image_size, model.config.image_seq_length) == (32, 16)
    pixels = torch.randn(1, 3, 32, 32)
    states = theirs(pixels, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.encode_tower(pixels), states[-2][:, LEADING.get(name, 1) :])
    save_model(model, tokenizer, processor, tmp_path / "out", dtype="float32")
    assert load_model(tmp_path / "out").model.config == model.config


def test_a_processor_of_another_size_is_refused(tiny: Any, tmp_path: Path) -> None:
    folder = save_tower(tmp_path / "tower", TOWERS["siglip"](), side=32)
    with pytest.raises(CheckpointError, match=r"pictures of 32 pixels.*for 16"):
        build_model(folder, tiny.language)


def test_siglip2_of_one_resolution_is_siglip(tiny: Any, tmp_path: Path) -> None:
    """Its hub checkpoints say ``siglip``, text half and all; NaFlex ones are refused by name."""
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(text_config={**text, "vocab_size": 64}, vision_config=TOWER)
    folder = save_tower(tmp_path / "siglip", SiglipModel(config))
    assert build_model(folder, tiny.language)[0].tower.config.model_type == "siglip_vision_model"
    vision = {key: value for key, value in TOWER.items() if key != "image_size"}
    flexible = Siglip2Config(
        text_config={**text, "vocab_size": 64}, vision_config={**vision, "num_patches": 4}
    )
    folder = save_tower(tmp_path / "siglip2", Siglip2Model(flexible))
    with pytest.raises(CheckpointError, match="NaFlex"):
        build_model(folder, tiny.language)
