from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.recipes.schema import Stage
from pumice.train.grounding import grounding_loss, joint_variance
from pumice.train.losses import autocast, stage_losses

GROUNDING = {"weight": 2.0, "center_word": "a", "position_words": ["b", "c", "d", "is"]}


@pytest.fixture(scope="module")
def bench(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An instruct stage; read only."""
    return toy.bench(data, parts, tmp_path_factory.mktemp("losses"), toy.instruct())


@torch.no_grad()
def loss(bench: Any, rows: list[list[int]]) -> float:
    return float(stage_losses(bench.model, bench.data.batch(rows), bench.data, bench.context).text)


def test_packed_rows_are_their_samples_alone(bench: Any) -> None:
    """Pictures, text alone and padding in one batch: the sum is that of the samples by themselves."""
    alone = [loss(bench, [[i]]) for i in range(10)]
    assert max(alone) > 1.2 * min(alone), "samples this alike would hide a mix-up"
    assert loss(bench, [[0, 8, 5], [9], [1, 2]]) == pytest.approx(sum(alone[i] for i in (0, 8, 5, 9, 1, 2)))
    assert loss(bench, [[5, 0, 8]]) == pytest.approx(loss(bench, [[0, 8, 5]]))


def test_a_picture_decides_the_loss_of_its_own_sample_alone(bench: Any) -> None:
    """Row 8 has no picture; rows 0 and 1 do, and each other's must not reach them."""
    features = bench.context.pictures.features
    with_own = loss(bench, [[0, 8, 1]])
    bench.context.pictures.features = lambda model, paths: features(model, paths[::-1])
    try:
        assert loss(bench, [[0, 8, 1]]) != pytest.approx(with_own, rel=1e-4)
        assert loss(bench, [[8]]) == pytest.approx(loss(bench, [[8]]))
    finally:
        del bench.context.pictures.features


def test_grounding_is_nearness_to_words(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """A worked example: the squared distance to sums of embeddings over their variance."""
    bench = toy.bench(data, parts, tmp_path, toy.align(grounding=GROUNDING))
    batch = bench.data.batch([[0], [3]])
    table = bench.model.lm.get_input_embeddings().weight.detach()
    found = stage_losses(bench.model, batch, bench.data, bench.context, table_VD=table).grounding
    assert found is not None

    def word(text: str) -> torch.Tensor:
        (token,) = bench.data.tokenizer.encode(" " + text, add_special_tokens=False)
        return table[token]

    left, right, top, bottom = (word(text) for text in ("b", "c", "d", "is"))
    wanted = torch.empty(2, 2, 2, table.shape[1])
    for y in range(2):
        for x in range(2):
            across, down = (x + 0.5) / 2, (y + 0.5) / 2
            place = (1 - across) * left + across * right + (1 - down) * top + down * bottom
            wanted[:, y, x] = place
    wanted[0, 0, 0] += word("red") + word("square") + word("a")  # picture 0: top left
    wanted[1, 0, 1] += word("blue") + word("square") + word("a")  # picture 3: top right
    paths = [image.path for image in batch.images]
    assert [path.name for path in paths] == ["0.png", "3.png"]
    views = bench.data.views(batch)
    embeds = bench.model.project(bench.context.pictures.features(bench.model, views))
    by_hand = (embeds - wanted.flatten(1, 2)).square().mean() / wanted.var()
    torch.testing.assert_close(found, by_hand)


def test_the_joint_variance_is_that_of_all_parts(toy: Any) -> None:
    parts = [torch.randn(3, 5) * 7 + 100, torch.randn(1, 5), torch.zeros(0, 5)]
    torch.testing.assert_close(joint_variance(parts), torch.cat(parts).var())
    a, b = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    halves = [grounding_loss(a[i : i + 1], b[i : i + 1], joint_variance([b])) for i in range(2)]
    torch.testing.assert_close(sum(halves) / 2, grounding_loss(a, b))


def test_precision(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")

    def inside(name: str) -> torch.dtype:
        with autocast(Stage.model_validate(toy.align(precision=name)), cpu):
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert inside("fp32") == torch.float32
    assert inside("bf16") == torch.bfloat16
    for capable, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda answer=capable: answer)
        assert inside("auto") == wanted
