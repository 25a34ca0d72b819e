"""A tower whose products the kernel computes: the same features, and the same weights on disk."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pumice.model.quantized import tower as module
from pumice.model.quantized.kernel import find_kernel, paths_here
from pumice.model.quantized.tower import TiledLinear, tile_tower
from pumice.model.tower import VisionTower


@pytest.mark.skipif(find_kernel() is None, reason="there is no compiler")
@pytest.mark.skipif(paths_here()[0] != "avx512bf16", reason="the CPU has no products in bfloat16")
def test_a_tiled_tower_is_the_same_tower(parts: Any, tmp_path: Any) -> None:
    from transformers import CLIPVisionModel

    core: Any = CLIPVisionModel.from_pretrained(parts.make_vision(tmp_path / "vision"), dtype=torch.bfloat16)
    tower = VisionTower(core).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    side = tower.image_size
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = tower(pixels).float()
        linears = sum(type(one) is nn.Linear for one in tower.modules())
        assert tile_tower(tower) == linears > 0
        found = tower(pixels).float()
    assert (found - wanted).norm() < 0.02 * wanted.norm()
    after = tower.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert tile_tower(tower) == 0
    assert any(isinstance(one, TiledLinear) for one in tower.modules())


def test_a_tower_in_float32_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_kernel", lambda: pytest.fail("nothing here is for the kernel"))
    layer = nn.Sequential(nn.Linear(32, 32))
    assert tile_tower(layer) == 0
    assert type(layer[0]) is nn.Linear
