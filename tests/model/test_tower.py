from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from pumice.errors import CheckpointError
from pumice.model.tower import VisionTower

SHAPE: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def clip() -> Any:
    torch.manual_seed(0)
    return CLIPVisionModel(CLIPVisionConfig(**SHAPE)).eval()


@pytest.mark.parametrize("layer", [-4, -3, -2, -1, 0, 1, 2, 3])
@pytest.mark.parametrize("feature", ["patch", "cls_patch"])
def test_clip_layers_are_those_of_transformers(clip: Any, layer: int, feature: str) -> None:
    pixels = torch.randn(2, 3, 16, 16)
    states = clip(pixels, output_hidden_states=True).hidden_states
    tower = VisionTower(clip, select_layer=layer, select_feature=feature)
    expected = states[layer][:, 1:] if feature == "patch" else states[layer]
    found = tower(pixels)
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, tower.length, tower.dim)


@pytest.mark.parametrize("feature", ["patch", "cls_patch"])
def test_siglip_has_no_class_token(feature: str) -> None:
    siglip = SiglipVisionModel(SiglipVisionConfig(**SHAPE, vision_use_head=False)).eval()
    pixels = torch.randn(2, 3, 16, 16)
    tower = VisionTower(siglip, select_layer=-2, select_feature=feature)
    torch.testing.assert_close(tower(pixels), siglip(pixels, output_hidden_states=True).hidden_states[-2])
    assert tower.length == 4


def test_later_layers_are_not_run(clip: Any) -> None:
    ran: list[int] = []
    core = getattr(clip, "vision_model", clip)
    hooks = [
        layer.register_forward_hook(lambda *_, n=number: ran.append(n))
        for number, layer in enumerate(core.encoder.layers)
    ]
    VisionTower(clip, select_layer=-2)(torch.randn(1, 3, 16, 16))
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]


@pytest.mark.parametrize("layer", [-5, 4])
def test_missing_layer_is_refused(clip: Any, layer: int) -> None:
    with pytest.raises(CheckpointError, match="4 hidden states"):
        VisionTower(clip, select_layer=layer)


def test_unknown_feature_lists_choices(clip: Any) -> None:
    with pytest.raises(CheckpointError, match="cls_patch"):
        VisionTower(clip, select_feature="patches")


def test_wrong_picture_size_names_both(clip: Any) -> None:
    with pytest.raises(CheckpointError, match="16x16 pixels, got 16x24"):
        VisionTower(clip)(torch.randn(1, 3, 16, 24))


def test_model_type_is_matched_exactly(clip: Any) -> None:
    class Renamed(torch.nn.Module):
        config = CLIPVisionConfig(**SHAPE)

    Renamed.config.model_type = "my_clip_vision_model"
    with pytest.raises(CheckpointError, match="did you mean 'clip_vision_model'"):
        VisionTower(Renamed())
