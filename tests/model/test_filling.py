from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from pumice.model import tower as tower_module
from pumice.model.attention import set_attention
from pumice.model.tower import VisionTower


@pytest.mark.parametrize("select", [-2, (-1, 0)])
def test_what_fills_a_tower_up_changes_nothing(
    select: int | tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=12,
        patch_size=4,
    )  # fmt: skip
    model = CLIPVisionModel(config).eval().bfloat16()
    set_attention(model, "auto")
    tower = VisionTower(model, select_layer=select)
    rows: list[int] = []
    layer = model.get_submodule("vision_model" if hasattr(model, "vision_model") else "").encoder.layers[0]
    layer.register_forward_hook(lambda module, given, out: rows.append(out.shape[1]))
    pixels_NCHW = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        found_NPV = tower(pixels_NCHW)
        monkeypatch.setattr(tower_module, "fills_up", lambda hidden: False)
        plain_NPV = tower(pixels_NCHW)
    assert rows == [16, 10]
    assert found_NPV.shape == plain_NPV.shape == (2, 9, tower.dim)
    torch.testing.assert_close(found_NPV.float(), plain_NPV.float(), atol=0.03, rtol=0.03)
    tower(pixels_NCHW)  # with gradients nothing is filled up
    assert rows[-1] == 10
