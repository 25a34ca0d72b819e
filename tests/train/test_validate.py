from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.train.losses import stage_losses
from pumice.train.pictures import View
from pumice.train.validate import Validator

GROUNDING = {"weight": 1.0, "attributes": {"colour": ["blue", "red"], "amount": ["How", "many"]}}


@pytest.fixture
def bench(toy: Any, parts: Any, data: Path, tmp_path: Path) -> Any:
    return toy.bench(data, parts, tmp_path, toy.align(grounding=GROUNDING))


def test_the_loss_is_per_token_of_all_samples(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows go together and in whatever order."""
    data = bench.validator.data
    with torch.no_grad():
        table = bench.model.lm.get_input_embeddings().weight.detach()
        parts = [
            stage_losses(bench.model, data.batch([[i]]), data, bench.context, table_VD=table).text
            for i in range(4)
        ]
    count = sum(data.encode(sample).supervised for sample in data.samples)
    row = bench.validator(bench.model, 7)[0]
    assert row == {
        "kind": "validation",
        "stage": "align",
        "step": 7,
        "loss": pytest.approx(float(sum(parts)) / count, rel=1e-5),
        "supervised": count,
    }
    monkeypatch.setattr("pumice.train.validate.ROWS", 3)
    again = Validator(data, [3, 1, 0, 2], bench.context)(bench.model, 7)[0]
    assert again["loss"] == pytest.approx(row["loss"], rel=1e-5)


def test_measuring_leaves_no_trace(bench: Any) -> None:
    bench.model.lm.train()
    bench.model.tower.eval()
    modes = [module.training for module in bench.model.modules()]
    before = {name: tensor.clone() for name, tensor in bench.model.state_dict().items()}
    drawn = torch.get_rng_state()
    bench.validator(bench.model, 0)
    assert [module.training for module in bench.model.modules()] == modes
    assert all(torch.equal(before[name], tensor) for name, tensor in bench.model.state_dict().items())
    assert all(parameter.grad is None for parameter in bench.model.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("swapped", [False, True])
def test_nearest_words_are_counted(bench: Any, swapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are the words themselves score 1, those of the other colour 0; an attribute that no
    picture shows has no row."""
    tokenizer, model = bench.data.tokenizer, bench.model
    table = model.lm.get_input_embeddings().weight.detach()
    red, blue = (table[tokenizer.encode(f" {w}", add_special_tokens=False)[0]] for w in ("red", "blue"))

    def features(model: Any, views: list[View]) -> torch.Tensor:
        """Both colours stand in the name: pictures of odd numbers are blue."""
        odd = [int(view.picture.stem) % 2 == 1 for view in views]
        rows = [blue if blue_one != swapped else red for blue_one in odd]
        return torch.stack(rows)[:, None].expand(-1, 4, -1)

    monkeypatch.setattr(model, "lay_out", lambda features, layouts: list(features))
    monkeypatch.setattr(bench.context.pictures, "features", features)
    row = bench.validator(model, 3)[1]
    assert row == {
        "kind": "grounding",
        "stage": "align",
        "step": 3,
        "accuracy": {"colour": 0.0 if swapped else 1.0},
        "n": {"colour": 4},
    }
