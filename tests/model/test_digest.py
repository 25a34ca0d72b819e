from __future__ import annotations

import copy
from pathlib import Path

import torch

from pumice.model.build import build_model
from pumice.model.digest import tower_digest

from . import parts


def test_a_digest_stands_for_weights_and_settings(tmp_path: Path) -> None:
    vision = parts.make_vision(tmp_path / "vision")
    language = parts.make_language(tmp_path / "language")
    model = build_model(vision, language, template="tiny")[0]
    again = build_model(vision, language, template="tiny", seed=9)[0]
    one = tower_digest(model.tower)
    assert one == tower_digest(again.tower), "connector and seed are not the tower's"
    found = {one}
    for change in ("weight", "layer", "feature", "type", "activation"):
        tower = copy.deepcopy(model.tower)
        if change == "weight":
            with torch.no_grad():
                next(tower.parameters()).view(-1)[0] += 1e-6
        elif change == "layer":
            tower.depths = (0,)
        elif change == "feature":
            tower._select_feature = "cls_patch"
        elif change == "type":
            tower.to(torch.bfloat16)
        else:
            tower.config.hidden_act = "gelu"
        found.add(tower_digest(tower))
    assert len(found) == 6
