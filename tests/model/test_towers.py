"""Several towers at once, and one tower at several scales."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    CLIPImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    LlavaForConditionalGeneration,
    SiglipVisionConfig,
    SiglipVisionModel,
)

import pumice
from pumice.errors import CheckpointError
from pumice.model.build import build_model
from pumice.model.save import save_model
from pumice.model.tower import VisionTower

SHAPE: dict[str, Any] = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 8,
}


def processor_of(folder: Path, side: int, **fields: Any) -> None:
    size = {"height": side, "width": side}
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size, **fields).save_pretrained(folder)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower of other width, size, grid and normalisation than the tiny CLIP."""
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(6)
    SiglipVisionModel(SiglipVisionConfig(**SHAPE, image_size=24, vision_use_head=False)).save_pretrained(
        folder
    )
    processor_of(folder, 24, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(7)
    fields = {key: value for key, value in SHAPE.items() if key != "intermediate_size"}
    Dinov2Model(Dinov2Config(**fields, image_size=16, mlp_ratio=2)).save_pretrained(folder)
    processor_of(folder, 16)
    return folder


@pytest.fixture(scope="module")
def joined(tiny: Any, siglip: Path, dino: Path) -> Any:
    return build_model([tiny.vision, siglip, dino], tiny.language, template="tiny")


class TestJoined:
    @torch.no_grad()
    def test_features_stand_side_by_side(self, tiny: Any, joined: Any) -> None:
        """The first tower's grid; each tower sees the picture in its own size and normalisation."""
        model, _, processor = joined
        assert (model.tower.image_size, processor.image_size) == (24, 24)
        assert (model.tower.dim, model.tower.length) == (24 + 40 + 40, 4)
        assert model.config.towers == ("clip_vision_model", "siglip_vision_model", "dinov2")
        pixels = torch.randn(2, 3, 24, 24)
        found = model.encode_tower(pixels)
        small = F.interpolate(pixels, size=16, mode="bicubic", antialias=True, align_corners=False)
        clip, siglip, dino = model.tower.members
        assert torch.equal(found[..., :24], clip(small))
        mean, std = torch.tensor(processor.mean)[:, None, None], torch.tensor(processor.std)[:, None, None]
        own = siglip((pixels * std + mean - 0.5) / 0.5)
        assert own.shape == (2, 9, 40)
        grid = own.transpose(1, 2).reshape(2, 40, 3, 3)
        expected = F.interpolate(grid, size=2, mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[..., 24:64], expected.flatten(2).transpose(1, 2))
        torch.testing.assert_close(found[..., 64:], dino(small))

    def test_a_picture_is_normalised_for_each(self, joined: Any) -> None:
        """A uniform picture: what each tower gets is what its own processor would make of it."""
        from PIL import Image

        model, _, processor = joined
        seen: list[torch.Tensor] = []
        hooks = [
            member.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
            for member in model.tower.members
        ]
        model.encode_tower(torch.from_numpy(processor(Image.new("RGB", (30, 30), (10, 120, 250))))[None])
        for hook in hooks:
            hook.remove()
        raw = torch.tensor([10, 120, 250]) / 255
        for pixels, normal in zip(seen, model.tower.normals, strict=True):
            expected = (raw - torch.tensor(normal.mean)) / torch.tensor(normal.std)
            torch.testing.assert_close(
                pixels, expected[None, :, None, None].expand_as(pixels), rtol=1e-4, atol=1e-5
            )

    @torch.no_grad()
    def test_saved_and_loaded(self, joined: Any, tmp_path: Path) -> None:
        model, _, processor = joined
        save_model(*joined, tmp_path / "m", dtype="float32")
        again = pumice.load(tmp_path / "m")
        assert again.model.config == model.config
        assert again.processor == processor
        own, other = again.model.state_dict(), model.state_dict()
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own)
        pixels = torch.randn(1, 3, 24, 24)
        assert torch.equal(again.model.encode_tower(pixels), model.encode_tower(pixels))
        with pytest.raises(KeyError, match="pumice_towers"):
            LlavaForConditionalGeneration.from_pretrained(tmp_path / "m")
        card = (tmp_path / "m" / "README.md").read_text()
        assert "3 vision towers at once" in card
        assert "pumice.load" in card

    def test_keys_of_a_tower_that_is_not_named(self, joined: Any, tmp_path: Path) -> None:
        save_model(*joined, tmp_path / "m", dtype="float32")
        record = json.loads((tmp_path / "m" / "pumice.json").read_text())
        (tmp_path / "m" / "pumice.json").write_text(json.dumps({**record, "joined": None}))
        with pytest.raises(CheckpointError, match=r"vision_towers\.1\."):
            pumice.load(tmp_path / "m")

    def test_every_tower_trains(self, joined: Any) -> None:
        model = joined[0]
        model.encode_tower(torch.randn(1, 3, 24, 24)).sum().backward()
        for member in model.tower.members:
            layer = member.model.get_submodule(member.family.layers)[0]
            assert all(parameter.grad is not None for parameter in layer.parameters())
        model.zero_grad()

    def test_class_tokens_have_no_place(self, tiny: Any, dino: Path) -> None:
        with pytest.raises(CheckpointError, match="class token has no place"):
            build_model([tiny.vision, dino], tiny.language, select_feature="cls_patch")

    def test_scales_belong_to_one_tower(self, tiny: Any, dino: Path) -> None:
        with pytest.raises(CheckpointError, match="one at several scales"):
            build_model([tiny.vision, dino], tiny.language, scales=[16, 32])

    def test_one_tower_in_a_list_is_one_tower(self, tiny: Any) -> None:
        assert isinstance(build_model([tiny.vision], tiny.language)[0].tower, VisionTower)


def by_the_original(tower: Any, pixels: torch.Tensor, scales: list[int]) -> torch.Tensor:
    """S2 step by step: enlarge, cut like a chessboard, read, lay together, shrink by area, join."""
    maps = []
    for scale in scales:
        image = F.interpolate(pixels, size=scale, mode="bicubic")
        count = scale // scales[0]
        tiles = [
            image[:, :, i * scales[0] : (i + 1) * scales[0], j * scales[0] : (j + 1) * scales[0]]
            for i in range(count)
            for j in range(count)
        ]
        grids = [tower(tile).transpose(1, 2).reshape(len(pixels), -1, 2, 2) for tile in tiles]
        lines = [torch.cat(grids[i * count : (i + 1) * count], dim=3) for i in range(count)]
        maps.append(F.interpolate(torch.cat(lines, dim=2), size=2, mode="area"))
    return torch.cat(maps, dim=1).flatten(2).transpose(1, 2)


class TestScales:
    @torch.no_grad()
    def test_features_are_the_originals(self, tiny: Any) -> None:
        model, _, processor = build_model(tiny.vision, tiny.language, scales=[16, 32, 48], template="tiny")
        assert (model.tower.image_size, model.tower.length, model.tower.dim) == (48, 4, 72)
        assert processor == replace(tiny.processor, image_size=48, shortest_edge=48)
        pixels = torch.randn(2, 3, 48, 48)
        expected = by_the_original(model.tower.inner, pixels, [16, 32, 48])
        torch.testing.assert_close(model.encode_tower(pixels), expected)

    def test_saved_and_loaded(self, tiny: Any, tmp_path: Path) -> None:
        made = build_model(tiny.vision, tiny.language, scales=[16, 32], template="tiny")
        save_model(*made, tmp_path / "m", dtype="float32")
        again = pumice.load(tmp_path / "m")
        assert again.model.config == made[0].config
        assert again.processor == made[2]
        own, other = again.model.state_dict(), made[0].state_dict()
        assert all(torch.equal(own[key], other[key]) for key in other)
        with pytest.raises(KeyError, match="pumice_scales"):
            LlavaForConditionalGeneration.from_pretrained(tmp_path / "m")

    @pytest.mark.parametrize(
        ("scales", "says"),
        [
            ([16], "two or more"),
            ([32, 16], "growing"),
            ([24, 48], "smallest scale"),
            ([16, 40], "no multiple"),
        ],
    )
    def test_scales_that_do_not_fit(self, tiny: Any, scales: list[int], says: str) -> None:
        with pytest.raises(CheckpointError, match=f"{says}|made for 16"):
            build_model(tiny.vision, tiny.language, scales=scales)


def test_no_tower(tiny: Any) -> None:
    with pytest.raises(CheckpointError, match="one vision tower"):
        build_model([], tiny.language)
