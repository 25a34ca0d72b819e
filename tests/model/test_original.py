"""Folders of the original LLaVA give the same model as the same weights in transformers' layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import SiglipVisionConfig, SiglipVisionModel

from pumice.errors import CheckpointError
from pumice.image.settings import VideoSettings
from pumice.model.build import build_model
from pumice.model.loading import load
from pumice.model.original_config import pinpoints
from pumice.model.save import save_model

ROWS = 290
"""Tokens of the tiny language model before ``<image>`` and ``<pad>`` are added."""


def assert_same(found: Any, expected: Any) -> None:
    own, other = found.state_dict(), expected.state_dict()
    assert own.keys() == other.keys()
    for key in own:
        assert torch.equal(own[key], other[key]), key


def refused(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(folder, **{"template": "tiny", **options})
    return str(caught.value)


@pytest.fixture(scope="module")
def plain_tokenizer(parts: Any) -> Any:
    return parts.make_tokenizer()


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
@pytest.mark.parametrize("inside", [False, True], ids=["named", "inside"])
def test_a_whole_model(
    original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path, pickled: bool, inside: bool
) -> None:
    folder = original.write_full(
        tmp_path / "m", tiny.model, plain_tokenizer, str(tiny.vision), pickled=pickled, inside=inside
    )
    if inside:  # the weights in the checkpoint win over those of the folder it names
        named = tmp_path / "vision"
        named.mkdir()
        for name in ("config.json", "preprocessor_config.json"):
            (named / name).write_bytes((tiny.vision / name).read_bytes())
        zeros = {k: torch.zeros_like(v) for k, v in load_file(tiny.vision / "model.safetensors").items()}
        save_file(zeros, named / "model.safetensors")
        original.write_json(folder / "config.json", original.config(tiny.model, ROWS, str(named)))
    model, tokenizer, processor = load(folder, template="tiny")
    assert_same(model, tiny.model)
    assert len(tokenizer) == len(tiny.tokenizer)
    assert model.config.image_token_id == tiny.model.config.image_token_id
    assert processor.mode == "pad"
    assert processor.image_size == 16
    assert (model.config.aspect, model.config.flavour, model.config.max_length) == ("pad", "original", 2048)
    assert model.lm.config.rope_parameters["rope_theta"] == 10000.0


def test_it_equals_the_same_weights_in_transformers_layout(
    original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path
) -> None:
    folder = original.write_full(tmp_path / "m", tiny.model, plain_tokenizer, str(tiny.vision), shards=1)
    save_model(*load(folder, template="tiny"), tmp_path / "hf", dtype="float32")
    assert_same(load(tmp_path / "hf").model, tiny.model)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["image_token_index"] == ROWS


@pytest.mark.parametrize("connector", ["linear", "mlp3x_gelu", "identity"])
@pytest.mark.parametrize("kind", ["full", "projector"])
def test_every_connector(
    original: Any, parts: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path, connector: str, kind: str
) -> None:
    vision = parts.make_vision(tmp_path / "v", width=32) if connector == "identity" else tiny.vision
    model = build_model(vision, tiny.language, connector=connector, seed=5, template="tiny")[0]
    if kind == "full":
        found = load(
            original.write_full(tmp_path / "m", model, plain_tokenizer, str(vision)), template="tiny"
        )
    else:
        folder = original.write_projector(tmp_path / "m", model, ROWS, str(vision))
        found = load(folder, template="tiny", base=tiny.language)
    assert found.model.config.connector == connector
    assert_same(found.model, model)


def test_the_tower_is_given_or_asked_for(
    original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path
) -> None:
    folder = original.write_full(tmp_path / "m", tiny.model, plain_tokenizer, "openai/some-clip")
    message = refused(folder)
    assert "'openai/some-clip'" in message
    assert "--vision" in message
    assert_same(load(folder, template="tiny", vision=tiny.vision).model, tiny.model)


def test_a_known_tower_inside_needs_nothing_else(original: Any) -> None:
    """The published 1.6 checkpoints: their tower's weights are inside, its configuration is known."""
    from pumice.model.stored import held
    from pumice.model.tower_source import tower_source

    inside = {"vision_model.embeddings.class_embedding": held(torch.zeros(1024))}
    piece, processor, lacking = tower_source(
        {"mm_vision_tower": "openai/clip-vit-large-patch14-336"}, inside, None, "here"
    )
    assert (piece.config.model_type, piece.config.image_size, piece.config.hidden_act) == (
        "clip_vision_model",
        336,
        "quick_gelu",
    )
    assert (processor.image_size, processor.mode, processor.resample, lacking) == (336, "crop", 3, 0)


class TestMarks:
    """``<im_start>`` and ``<im_end>`` around every picture."""

    @pytest.fixture
    def marked(self, original: Any, parts: Any, tiny: Any, tmp_path: Path) -> Path:
        tokenizer = parts.make_tokenizer()
        tokenizer.add_tokens(["<im_start>", "<im_end>"], special_tokens=True)
        folder: Path = original.write_full(
            tmp_path / "m", tiny.model, tokenizer, str(tiny.vision), mm_use_im_start_end=True
        )
        return folder

    @torch.no_grad()
    def test_stand_around_the_features(self, marked: Path, tiny: Any) -> None:
        model, tokenizer, _ = load(marked, template="tiny")
        ids = tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>", "<image>"])
        assert ids == [290, 291, 292]
        assert model.config.image_marks == (290, 291)
        assert model.config.image_seq_length == 6
        pixels = torch.randn(2, 3, 16, 16)
        embeds = model.project(model.encode_tower(pixels))
        table = model.lm.get_input_embeddings().weight
        assert torch.equal(embeds[:, 0], table[290].expand(2, -1))
        assert torch.equal(embeds[:, -1], table[291].expand(2, -1))
        assert torch.equal(embeds[:, 1:-1], tiny.model.project(tiny.model.encode_tower(pixels)))

    @torch.no_grad()
    def test_transformers_writes_and_reads_them(self, marked: Path, tmp_path: Path) -> None:
        from PIL import Image
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        model, tokenizer, processor = load(marked, template="tiny")
        save_model(model, tokenizer, processor, tmp_path / "hf", dtype="float32")
        assert load(tmp_path / "hf").model.config == model.config
        content = [{"type": "image"}, {"type": "text", "text": "\nWhat ?"}]
        chat = AutoProcessor.from_pretrained(tmp_path / "hf")
        prompt = chat.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        picture = Image.new("RGB", (20, 16), "teal")
        given = chat(images=picture, text=prompt, return_tensors="pt", add_special_tokens=False)
        ids = given["input_ids"][0].tolist()
        start = ids.index(290)
        assert ids[start : start + 6] == [290, 292, 292, 292, 292, 291]
        theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "hf")(**given).logits[0]
        ours_ids = torch.tensor([[*ids[:start], *[292] * 6, *ids[start + 6 :]]])
        embeds = model.embed(
            ours_ids, model.project(model.encode_tower(given["pixel_values"])), [(0, start, 6)]
        )
        length = len(ids)
        mask = torch.ones(1, length, length, dtype=torch.bool).tril()
        ours = model.logits(model.hidden(embeds, torch.arange(length)[None], mask))[0]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)

    def test_gradients_reach_them(self, marked: Path) -> None:
        model = load(marked, template="tiny").model
        model.project(model.encode_tower(torch.randn(1, 3, 16, 16))).sum().backward()
        gradient = model.lm.get_input_embeddings().weight.grad
        assert gradient.abs().sum(dim=1).nonzero().flatten().tolist() == [290, 291]

    @pytest.mark.parametrize("rows", [2, ROWS + 3])
    def test_a_projector_brings_their_rows(self, original: Any, tiny: Any, tmp_path: Path, rows: int) -> None:
        trained = torch.randn(rows, 32)
        folder = original.write_projector(
            tmp_path / "m",
            tiny.model,
            ROWS,
            str(tiny.vision),
            mm_use_im_start_end=True,
            extra={"model.embed_tokens.weight": trained},
        )
        model, tokenizer, _ = load(folder, template="tiny", base=tiny.language)
        ids = tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>"])
        assert torch.equal(model.lm.get_input_embeddings().weight[ids], trained[-2:])


class TestAdapter:
    @pytest.fixture
    def adapter(self, original: Any, tiny: Any, tmp_path: Path) -> Path:
        folder: Path = original.write_adapter(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        return folder

    def expected(self, folder: Path, tiny: Any, scale: float) -> dict[str, torch.Tensor]:
        matrices = torch.load(folder / "adapter_model.bin", weights_only=True)
        tensors = {key: value.clone() for key, value in tiny.model.lm.state_dict().items()}
        for key in list(tensors):
            lead = f"base_model.model.{key.removesuffix('.weight')}"
            if f"{lead}.lora_A.weight" in matrices:
                up, down = matrices[f"{lead}.lora_B.weight"], matrices[f"{lead}.lora_A.weight"]
                tensors[key] += scale * up @ down
        return tensors

    @pytest.mark.parametrize("base", ["plain", "original", "transformers"])
    def test_merged_by_hand(
        self, original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path, adapter: Path, base: str
    ) -> None:
        folder = tiny.language
        if base == "original":
            folder = original.write_full(tmp_path / "base", tiny.model, plain_tokenizer, "none")
        elif base == "transformers":
            save_model(tiny.model, tiny.tokenizer, tiny.processor, tmp_path / "base", dtype="float32")
            folder = tmp_path / "base"
        model = load(adapter, template="tiny", base=folder).model
        wanted = self.expected(adapter, tiny, scale=2.0)
        for key, value in model.lm.state_dict().items():
            torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-6)
        changed = "model.layers.0.self_attn.q_proj.weight"
        assert not torch.equal(model.lm.state_dict()[changed], tiny.model.lm.state_dict()[changed])
        assert all(
            torch.equal(value, tiny.model.connector.state_dict()[key])
            for key, value in model.connector.state_dict().items()
        )

    @pytest.mark.parametrize(
        ("adapter_fields", "scale"),
        [
            ({"use_rslora": True}, 4.0),
            ({"alpha_pattern": {"q_proj": 2, r"layers\.\d\.mlp.down_proj": 2}}, 0.5),
        ],
    )
    def test_scales(
        self, original: Any, tiny: Any, tmp_path: Path, adapter_fields: dict[str, Any], scale: float
    ) -> None:
        folder = original.write_adapter(
            tmp_path / "s", tiny.model, ROWS, str(tiny.vision), adapter=adapter_fields
        )
        model = load(folder, template="tiny", base=tiny.language).model
        wanted = self.expected(folder, tiny, scale)
        for key, value in model.lm.state_dict().items():
            torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-6)

    def test_peft_merges_alike(self, tiny: Any, adapter: Path) -> None:
        import peft
        from transformers import LlamaForCausalLM

        base = LlamaForCausalLM.from_pretrained(tiny.language)
        theirs = peft.PeftModel.from_pretrained(base, adapter).merge_and_unload().state_dict()
        model = load(adapter, template="tiny", base=tiny.language).model
        for key, value in theirs.items():
            torch.testing.assert_close(
                model.lm.state_dict()[key][: value.shape[0]], value, rtol=1e-6, atol=1e-6
            )

    def test_a_base_is_asked_for(self, adapter: Path) -> None:
        message = refused(adapter)
        assert "LoRA adapter and no language model" in message
        assert "--base" in message
        assert "lmsys/vicuna-7b-v1.5" in message

    def test_another_base_is_refused(self, parts: Any, adapter: Path, tmp_path: Path) -> None:
        other = parts.make_language(tmp_path / "other", width=64)
        message = refused(adapter, base=other)
        assert "[4, 32] and [32, 4]" in message or "[4, 64] and [32, 4]" in message
        assert "[64, 64]" in message or "[64, 32]" in message
        assert "_proj.weight" in message

    def test_fewer_layers_are_refused(self, parts: Any, adapter: Path, tmp_path: Path) -> None:
        other = parts.make_language(tmp_path / "other", num_hidden_layers=1)
        assert "changes model.layers.1.mlp.down_proj" in refused(adapter, base=other)

    @pytest.mark.parametrize(
        "fields",
        [
            {"bias": "all"},
            {"peft_type": "IA3"},
            {"modules_to_save": ["lm_head"]},
            {"init_lora_weights": "pissa_niter_4"},
        ],
    )
    def test_other_adapters_are_refused(
        self, original: Any, tiny: Any, tmp_path: Path, fields: dict[str, Any]
    ) -> None:
        folder = original.write_adapter(tmp_path / "x", tiny.model, ROWS, str(tiny.vision), adapter=fields)
        message = refused(folder, base=tiny.language)
        assert next(iter(fields)) in message
        assert "PEFT" in message

    def test_no_projector(self, adapter: Path, tiny: Any) -> None:
        (adapter / "non_lora_trainables.bin").unlink()
        assert "non_lora_trainables.bin is missing" in refused(adapter, base=tiny.language)


class TestProjector:
    def test_a_base_is_asked_for(self, original: Any, tiny: Any, tmp_path: Path) -> None:
        folder = original.write_projector(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        assert "a projector and no language model" in refused(folder)

    def test_a_base_of_another_width_names_both_shapes(
        self, original: Any, parts: Any, tiny: Any, tmp_path: Path
    ) -> None:
        folder = original.write_projector(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        message = refused(folder, base=parts.make_language(tmp_path / "lm", width=64))
        assert "0.bias has shape [32], but config.json asks for [64]" in message

    def test_a_pickle_with_code_is_not_run(self, original: Any, tiny: Any, tmp_path: Path) -> None:
        folder = original.write_projector(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        proof = tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> Any:
                return (Path.touch, (proof,))

        torch.save({"model.mm_projector.0.weight": Evil()}, folder / "mm_projector.bin")
        assert "cannot be read" in refused(folder, base=tiny.language)
        (folder / "mm_projector.bin").write_bytes(pickle.dumps(Evil()))
        assert "cannot be read" in refused(folder, base=tiny.language)
        assert not proof.exists()

    def test_files_of_old_torch_are_read(self, original: Any, tiny: Any, tmp_path: Path) -> None:
        """Before torch 1.6 a saved file was no zip, and cannot be mapped."""
        folder = original.write_projector(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        torch.save(
            original.projector_tensors(tiny.model),
            folder / "mm_projector.bin",
            _use_new_zipfile_serialization=False,
        )
        assert_same(load(folder, template="tiny", base=tiny.language).model, tiny.model)

    def test_other_tensors_are_refused(self, original: Any, tiny: Any, tmp_path: Path) -> None:
        folder = original.write_projector(
            tmp_path / "m", tiny.model, ROWS, str(tiny.vision), extra={"strange": torch.zeros(1)}
        )
        assert "strange" in refused(folder, base=tiny.language)


def test_scales_of_the_original(original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path) -> None:
    model, _, _ = build_model(tiny.vision, tiny.language, scales=[16, 32, 48], template="tiny")
    folder = original.write_full(
        tmp_path / "m", model, plain_tokenizer, str(tiny.vision), s2=True, s2_scales="16,32,48"
    )
    found, _, processor = load(folder, template="tiny")
    assert found.config.scales == (16, 32, 48)
    assert processor.image_size == 48
    assert_same(found, model)


@pytest.mark.parametrize(
    ("keys", "video"),
    [
        ({}, None),
        (
            {"mm_spatial_pool_stride": 4, "mm_spatial_pool_mode": "max", "mm_newline_position": "grid"},
            VideoSettings(aspect="crop", stride=4, pooling="max", newline="grid"),
        ),
        (
            {"mm_resampler_type": "spatial_pool", "mm_newline_position": "no_token"},
            VideoSettings(aspect="crop", newline="none", before_connector=True),
        ),
    ],
)
def test_videos_are_carried_there_and_back(
    original: Any,
    tiny: Any,
    plain_tokenizer: Any,
    tmp_path: Path,
    keys: dict[str, Any],
    video: VideoSettings | None,
) -> None:
    folder = original.write_full(
        tmp_path / "m",
        tiny.model,
        plain_tokenizer,
        str(tiny.vision),
        inside=True,
        extra={"model.image_newline": torch.randn(32)},
        image_aspect_ratio="anyres",
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
        mm_patch_merge_type="spatial_unpad",
        **keys,
    )
    found = load(folder, template="tiny")
    assert found.model.config.video == video
    save_model(*found, tmp_path / "hf", dtype="float32")
    assert load(tmp_path / "hf").model.config == found.model.config


def test_tiles_are_carried(original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path) -> None:
    newline = torch.randn(32)
    folder = original.write_full(
        tmp_path / "m",
        tiny.model,
        plain_tokenizer,
        str(tiny.vision),
        inside=True,
        extra={"model.image_newline": newline},
        image_aspect_ratio="anyres",
        image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
        mm_patch_merge_type="spatial_unpad",
    )
    model, _, processor = load(folder, template="tiny")
    own = model.config
    assert own.tiled
    assert (own.aspect, own.merge_type, own.flavour) == ("anyres", "spatial_unpad", "original")
    assert own.pinpoints == ((16, 32), (32, 16), (32, 32))
    assert processor.mode == "squash"
    assert torch.equal(model.image_newline, newline)
    original.write_json(
        folder / "config.json",
        {**json.loads((folder / "config.json").read_text()), "mm_patch_merge_type": "flat"},
    )
    assert "1 unexpected (image_newline)" in refused(folder)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([[336, 672], [672, 336]], ((336, 672), (672, 336))),
        ("[[336, 672], [672, 336]]", ((336, 672), (672, 336))),
        ("[(336, 672), (672, 336)]", ((336, 672), (672, 336))),
        ("(1x1),...,(2x3)", ((384, 384), (384, 768), (384, 1152), (768, 384), (768, 768), (768, 1152))),
    ],
)
def test_pinpoints_in_every_form(value: Any, expected: Any) -> None:
    fields = {"mm_vision_tower": "google/siglip-so400m-patch14-384"}
    assert pinpoints(value, fields, "here") == expected


def test_pinpoints_that_cannot_be_read() -> None:
    with pytest.raises(CheckpointError, match="image_grid_pinpoints"):
        pinpoints("many", {}, "here")


@torch.no_grad()
def test_siglip_without_its_last_layer(
    original: Any, parts: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path
) -> None:
    """The original drops SigLIP's last layer and its head, and reads the new last layer."""
    torch.manual_seed(4)
    shape = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
    whole = SiglipVisionModel(SiglipVisionConfig(**shape, image_size=16, patch_size=8)).eval()
    whole.save_pretrained(tmp_path / "siglip")
    (tmp_path / "siglip" / "preprocessor_config.json").write_bytes(
        (tiny.vision / "preprocessor_config.json").read_bytes()
    )
    tower = {
        f"model.vision_tower.vision_tower.vision_model.{key}": value.clone()
        for key, value in whole.state_dict().items()
        if not key.startswith(("encoder.layers.2.", "head."))
    }
    folder = original.write_full(
        tmp_path / "m", tiny.model, plain_tokenizer, str(tmp_path / "siglip"), extra=tower
    )
    model = load(folder, template="tiny").model
    pixels = torch.randn(1, 3, 16, 16)
    expected = whole(pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(model.encode_tower(pixels), expected)
    assert model.config.select_layer == -1


class TestRefused:
    @pytest.fixture
    def folder(self, original: Any, tiny: Any, plain_tokenizer: Any, tmp_path: Path) -> Path:
        made: Path = original.write_full(
            tmp_path / "m", tiny.model, plain_tokenizer, str(tiny.vision), shards=1
        )
        return made

    def edit(self, folder: Path, **changes: Any) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    def test_unknown_template_names_all(self, folder: Path) -> None:
        assert "tiny" in refused(folder, template=None)

    def test_mpt(self, folder: Path) -> None:
        self.edit(folder, model_type="llava_mpt", architectures=["LlavaMptForCausalLM"])
        assert "MPT" in refused(folder)

    def test_unknown_architecture(self, folder: Path) -> None:
        self.edit(folder, architectures=["LlavaOtherForCausalLM"])
        assert "LlavaOtherForCausalLM" in refused(folder)

    def test_vocabulary_of_another_size(self, folder: Path) -> None:
        self.edit(folder, vocab_size=256)
        assert "the tokenizer knows 290 tokens, but the language model has 256" in refused(folder)
        self.edit(folder, vocab_size=300)
        message = refused(folder)
        assert "[290, 32]" in message
        assert "[300, 32]" in message

    def test_a_shard_is_missing(self, folder: Path) -> None:
        name = "model-00001-of-00001.safetensors"
        (folder / name).unlink()
        assert name in refused(folder)

    def test_resampled_features(self, folder: Path) -> None:
        self.edit(folder, mm_resampler_type="perceiver")
        assert "mm_resampler_type 'perceiver'" in refused(folder)

    def test_a_base_that_is_not_needed(self, folder: Path, tiny: Any) -> None:
        assert "leave base out" in refused(folder, base=tiny.language)

    def test_no_weights(self, folder: Path) -> None:
        for path in folder.glob("model*"):
            path.unlink()
        assert "no weights" in refused(folder)

    def test_unknown_aspect(self, folder: Path) -> None:
        self.edit(folder, image_aspect_ratio="crop_split")
        assert "crop_split" in refused(folder)

    def test_tiles_without_grids(self, folder: Path) -> None:
        self.edit(folder, image_aspect_ratio="anyres")
        assert "image_grid_pinpoints" in refused(folder)
