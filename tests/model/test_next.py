"""LLaVA-NeXT: the layout that transformers loads, and what of it we carry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pumice.errors import CheckpointError
from pumice.model.build import Tiles, build_model
from pumice.model.loading import load
from pumice.model.save import save_model

PINPOINTS = ((16, 32), (32, 16), (32, 32), (48, 16))


@pytest.fixture(scope="module")
def made(tiny: Any) -> Any:
    """A model that cuts pictures into tiles of 16 pixels."""
    return build_model(
        tiny.vision, tiny.language, template="tiny", tiles=Tiles(PINPOINTS, multi_image="same"), seed=3
    )


@pytest.fixture
def saved(made: Any, tmp_path: Path) -> Path:
    save_model(*made, tmp_path / "next", dtype="float32")
    return tmp_path / "next"


def test_the_newline_is_drawn_as_the_original_draws_it(tiny: Any, made: Any) -> None:
    again = build_model(tiny.vision, tiny.language, tiles=Tiles(PINPOINTS), seed=3)[0]
    assert torch.equal(again.image_newline, made[0].image_newline)
    drawn = torch.cat(
        [
            build_model(tiny.vision, tiny.language, tiles=Tiles(PINPOINTS), seed=n)[0].image_newline
            for n in range(8)
        ]
    )
    assert abs(float(drawn.detach().std()) * 32**0.5 - 1) < 0.15
    assert made[0].config.newline
    assert not build_model(tiny.vision, tiny.language)[0].config.newline


def test_comes_back(made: Any, saved: Path) -> None:
    model, _, processor = load(saved)
    assert model.config == made[0].config
    assert processor == made[2].with_mode("squash")
    own, other = model.state_dict(), made[0].state_dict()
    assert own.keys() == other.keys()
    assert "image_newline" in own
    assert all(torch.equal(own[key], other[key]) for key in own)


def test_grids_are_height_and_width_on_disk(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert config["model_type"] == "llava_next"
    assert config["image_grid_pinpoints"] == [[32, 16], [16, 32], [32, 32], [16, 48]]
    assert config["image_seq_length"] == 4


@pytest.mark.parametrize("size", [(20, 30), (48, 15), (16, 16), (40, 33)])
@torch.no_grad()
def test_transformers_gives_the_same_logits(made: Any, saved: Path, size: tuple[int, int]) -> None:
    """Tiles and their order are transformers' own here; tower, connector, newline and LM are compared."""
    reference, info = LlavaNextForConditionalGeneration.from_pretrained(
        saved, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(saved)
    content = [{"type": "image"}, {"type": "text", "text": "\nWhat colour ?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )
    given = processor(images=picture, text=prompt, return_tensors="pt", add_special_tokens=False)
    theirs = reference(**given).logits

    model = load(saved).model
    features = model.project(model.encode_tower(given["pixel_values"][0]))
    tokens, _ = reference.model.pack_image_features(
        [features], given["image_sizes"], "default", image_newline=model.image_newline
    )
    ids = given["input_ids"]
    embeds = model.lm.get_input_embeddings()(ids)
    is_image = ids == model.config.image_token_id
    assert int(is_image.sum()) == tokens[0].shape[0]
    embeds = embeds.masked_scatter(is_image[..., None], tokens[0])
    length = ids.shape[1]
    mask = torch.ones(1, length, length, dtype=torch.bool).tril()
    ours = model.logits(model.hidden(embeds, torch.arange(length)[None], mask))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


class TestKeyLayouts:
    @pytest.fixture
    def plain(self, saved: Path) -> Path:
        """As from the hub: nothing of ours beside it."""
        (saved / "pumice.json").unlink()
        return saved

    def same(self, folder: Path, made: Any, **options: Any) -> None:
        model = load(folder, **options).model
        assert model.config == made[0].config
        own, other = model.state_dict(), made[0].state_dict()
        assert all(torch.equal(own[key], other[key]) for key in other)

    def test_hub(self, plain: Path, made: Any) -> None:
        assert "image_newline" in load_file(plain / "model.safetensors")
        self.same(plain, made)

    def test_nested_under_model(self, plain: Path, made: Any) -> None:
        def rule(key: str) -> str:
            key = key.replace("language_model.lm_head", "lm_head")
            key = key.replace("language_model.model", "language_model")
            return key if key.startswith("lm_head") else f"model.{key}"

        tensors = load_file(plain / "model.safetensors")
        save_file({rule(key): value for key, value in tensors.items()}, plain / "model.safetensors")
        self.same(plain, made)

    def test_saved_by_transformers(self, plain: Path, made: Any, tmp_path: Path) -> None:
        again = tmp_path / "again"
        LlavaNextForConditionalGeneration.from_pretrained(plain).save_pretrained(again)
        AutoProcessor.from_pretrained(plain).save_pretrained(again)
        self.same(again, made)

    def test_without_the_newline(self, plain: Path) -> None:
        tensors = load_file(plain / "model.safetensors")
        del tensors["image_newline"]
        save_file(tensors, plain / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"1 missing \(image_newline\)"):
            load(plain)

    def test_a_newline_of_another_width(self, plain: Path) -> None:
        tensors = load_file(plain / "model.safetensors")
        tensors["image_newline"] = torch.zeros(16)
        save_file(tensors, plain / "model.safetensors")
        with pytest.raises(CheckpointError, match=r"image_newline has shape \[16\].*\[32\]"):
            load(plain)


@pytest.mark.parametrize(
    ("tiles", "says"),
    [
        (Tiles(PINPOINTS, aspect="anyres_max_4"), "anyres_max_4"),
        (Tiles(PINPOINTS, merge_type="spatial"), "spatial"),
    ],
)
def test_what_transformers_lacks_is_refused_there(tiny: Any, tmp_path: Path, tiles: Tiles, says: str) -> None:
    made = build_model(tiny.vision, tiny.language, template="tiny", tiles=tiles)
    save_model(*made, tmp_path / "m", dtype="float32")
    assert load(tmp_path / "m").model.config == made[0].config
    with pytest.raises(KeyError, match="pumice_tiles"):
        LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "m")
    assert says in (tmp_path / "m" / "README.md").read_text()


def test_the_originals_layout_of_tiles_is_named_in_the_card(tiny: Any, tmp_path: Path) -> None:
    made = build_model(
        tiny.vision, tiny.language, template="tiny", tiles=Tiles(PINPOINTS, flavour="original")
    )
    save_model(*made, tmp_path / "m", dtype="float32")
    assert load(tmp_path / "m").model.config.flavour == "original"
    LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "m")
    assert "as the original LLaVA-NeXT does" in (tmp_path / "m" / "README.md").read_text()


def test_parts_of_it_start_another(tiny: Any, saved: Path) -> None:
    model, _, processor = build_model(saved, saved, template="tiny")
    assert not model.config.tiled
    assert processor == tiny.processor
    for part in ("tower", "lm"):
        own, other = getattr(model, part).state_dict(), getattr(tiny.model, part).state_dict()
        assert all(torch.equal(own[key], other[key]) for key in other)
