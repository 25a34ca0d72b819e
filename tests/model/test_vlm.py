from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pumice.errors import CheckpointError, DataError
from pumice.model import vlm as vlm_module
from pumice.model.vlm import predecessors
from pumice.types import IGNORE_INDEX

P = 4  # features per picture of the tiny tower


class Row:
    """One row under construction: ids, labels, positions, segments, branches and image spans."""

    def __init__(self, image_id: int) -> None:
        self.image_id = image_id
        self.ids: list[int] = []
        self.labels: list[int] = []
        self.positions: list[int] = []
        self.segments: list[int] = []
        self.branches: list[int] = []
        self.images: list[tuple[int, int]] = []

    def add(self, tokens: list[int], segment: int, branch: int = 0, *, start: int, lit: int = 0) -> int:
        """Add tokens from position ``start``; the last ``lit`` are supervised. The next position."""
        for offset, token in enumerate(tokens):
            self.ids.append(token)
            self.labels.append(token if offset >= len(tokens) - lit else IGNORE_INDEX)
            self.positions.append(start + offset)
            self.segments.append(segment)
            self.branches.append(branch)
        return start + len(tokens)

    def image(self, segment: int, start: int) -> int:
        self.images.append((len(self.ids), P))
        return self.add([self.image_id] * P, segment, start=start)

    def pad(self, length: int) -> None:
        self.add([0] * (length - len(self.ids)), 0, start=0)


def loss(model: Any, rows: list[Row], pixels: Tensor | None, **more: Any) -> tuple[Tensor, int]:
    length = max(len(row.ids) for row in rows)
    for row in rows:
        row.pad(length)
    columns = [
        [getattr(row, name) for row in rows]
        for name in ("ids", "labels", "positions", "segments", "branches")
    ]
    tensors = [torch.tensor(column) for column in columns]
    images = [(number, start, size) for number, row in enumerate(rows) for start, size in row.images]
    result: tuple[Tensor, int] = model.loss(*tensors, images, pixels_NCHW=pixels, **more)
    return result


def gradients(model: Any, total: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(
            left[name], right[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.fixture(params=["auto", "sdpa", "eager"])
def model(tiny: Any, request: pytest.FixtureRequest) -> Any:
    from pumice.model.attention import set_attention

    set_attention(tiny.model.lm, request.param)
    yield tiny.model
    set_attention(tiny.model.lm, "auto")
    tiny.model.zero_grad()


def sample(row: Row, segment: int, seed: int) -> None:
    """BOS, a picture, a question, an answer of three tokens."""
    at = row.add([0, 40 + seed], segment, start=0)
    at = row.image(segment, at)
    row.add([50, 51, 60 + seed, 70 + seed, 1], segment, start=at, lit=3)


def test_packed_equals_unpacked(model: Any) -> None:
    pixels = torch.randn(3, 3, 16, 16)
    image_id = model.config.image_token_id
    packed, short = Row(image_id), Row(image_id)
    sample(packed, 1, 0)
    sample(packed, 2, 1)
    sample(short, 1, 2)
    total, count = loss(model, [packed, short], pixels)
    assert count == 9
    together = gradients(model, total)
    parts = []
    for seed in range(3):
        alone = Row(image_id)
        sample(alone, 1, seed)
        parts.append(loss(model, [alone], pixels[seed : seed + 1])[0])
    torch.testing.assert_close(total, sum(parts), rtol=1e-5, atol=1e-5)
    assert_same(together, gradients(model, sum(parts)))


def test_branches_equal_separate_samples(model: Any) -> None:
    """The first token of the second branch is supervised: it is predicted from the trunk's end."""
    pixels = torch.randn(1, 3, 16, 16)
    image_id = model.config.image_token_id
    branches = [([50, 51, 60, 61, 1], 3), ([70, 71, 1], 3), ([52, 62, 1], 2)]
    row = Row(image_id)
    at = row.image(1, row.add([0, 41], 1, start=0))
    for number, (tokens, lit) in enumerate(branches, start=1):
        row.add(tokens, 1, number, start=at, lit=lit)
    total, count = loss(model, [row], pixels)
    assert count == 8
    together = gradients(model, total)
    parts = []
    for tokens, lit in branches:
        alone = Row(image_id)
        at = alone.image(1, alone.add([0, 41], 1, start=0))
        alone.add(tokens, 1, start=at, lit=lit)
        parts.append(loss(model, [alone], pixels)[0])
    torch.testing.assert_close(total, sum(parts), rtol=1e-5, atol=1e-5)
    assert_same(together, gradients(model, sum(parts)))


def test_groups_are_summed_each(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece and in chunks; their sum is the loss, and so are the gradients."""
    pixels = torch.randn(2, 3, 16, 16)
    rows = [Row(model.config.image_token_id) for _ in range(2)]
    for seed, row in enumerate(rows):
        sample(row, 1, seed)
    whole, _ = loss(model, rows, pixels)
    wanted = gradients(model, whole)
    shape = (2, len(rows[0].ids))
    of_BT = torch.full(shape, -7)
    for number, row in enumerate(rows):
        of_BT[number, [place for place, label in enumerate(row.labels) if label >= 0]] = 2 - 2 * number
    alone = [float(loss(model, [row], pixels[n : n + 1])[0]) for n, row in enumerate(rows)]
    for chunk in (vlm_module.LOGIT_CHUNK, 2 * model.lm.config.vocab_size):
        monkeypatch.setattr(vlm_module, "LOGIT_CHUNK", chunk)
        sums, count = loss(model, rows, pixels, groups=vlm_module.Groups(of_BT, 3))
        assert count == 6
        assert sums.tolist() == pytest.approx([alone[1], 0.0, alone[0]], rel=1e-5)
        assert_same(gradients(model, sums.sum()), wanted)


def test_loss_equals_transformers(tiny: Any) -> None:
    """Text only: our sum over the count is the mean that transformers computes."""
    model = tiny.model
    row = Row(model.config.image_token_id)
    row.add([0, 5, 6, 7, 8, 9], 1, start=0, lit=4)
    total, count = loss(model, [row], None)
    ids, labels = torch.tensor([row.ids]), torch.tensor([row.labels])
    theirs = model.lm(input_ids=ids, labels=labels).loss
    torch.testing.assert_close(total / count, theirs, rtol=1e-5, atol=1e-6)


def test_chunked_loss_is_the_same(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model
    row = Row(model.config.image_token_id)
    row.add(list(range(2, 30)), 1, start=0, lit=25)
    whole = loss(model, [row], None)[0]
    expected = gradients(model, whole)
    monkeypatch.setattr(vlm_module, "LOGIT_CHUNK", 4 * model.lm.config.vocab_size)
    chunked = loss(model, [row], None)[0]
    torch.testing.assert_close(chunked, whole)
    assert_same(gradients(model, chunked), expected)
    model.zero_grad()


def test_no_supervised_token_gives_zero_with_a_graph(tiny: Any) -> None:
    row = Row(tiny.model.config.image_token_id)
    row.add([0, 5, 6], 1, start=0)
    total, count = loss(tiny.model, [row], None)
    assert (total.item(), count) == (0.0, 0)
    total.backward()
    tiny.model.zero_grad()


def test_features_and_embeddings_stand_for_pixels(tiny: Any) -> None:
    model = tiny.model
    row = Row(model.config.image_token_id)
    sample(row, 1, 0)
    pixels = torch.randn(1, 3, 16, 16)
    total = loss(model, [row], pixels)[0]
    features = model.encode_tower(pixels)
    tensors = [
        torch.tensor([getattr(row, n)]) for n in ("ids", "labels", "positions", "segments", "branches")
    ]
    images = [(0, start, size) for start, size in row.images]
    assert torch.equal(model.loss(*tensors, images, features_NPV=features)[0], total)
    assert torch.equal(model.loss(*tensors, images, image_embeds_NPD=model.project(features))[0], total)


def test_frozen_tower_has_no_graph(tiny: Any) -> None:
    tower = tiny.model.tower
    pixels = torch.randn(1, 3, 16, 16)
    assert tiny.model.encode_tower(pixels).requires_grad
    tower.requires_grad_(False)
    try:
        features = tiny.model.encode_tower(pixels)
        assert not features.requires_grad
        assert tiny.model.project(features).requires_grad
    finally:
        tower.requires_grad_(True)


def test_predecessors_by_hand() -> None:
    #              trunk    branch 1  branch 2  next sample  padding
    segments = torch.tensor([[1, 1, 1, 1, 1, 1, 2, 2, 2, 0]])
    branches = torch.tensor([[0, 0, 1, 1, 2, 2, 0, 0, 1, 0]])
    columns = torch.tensor([1, 2, 3, 4, 5, 7, 8])
    found = predecessors(torch.zeros_like(columns), columns, segments, branches)
    assert found.tolist() == [0, 1, 2, 1, 4, 6, 7]


@pytest.mark.parametrize("column", [0, 6, 9])
def test_first_token_cannot_be_supervised(column: int) -> None:
    segments = torch.tensor([[1, 1, 1, 1, 1, 1, 2, 2, 2, 0]] * 2)
    branches = torch.zeros_like(segments)
    with pytest.raises(DataError) as caught:
        predecessors(torch.tensor([1]), torch.tensor([column]), segments, branches)
    assert f"row 1 of the batch, token {column}" in str(caught.value)


class TestCounts:
    """Each mismatch names both numbers and the row."""

    def ids(self, tiny: Any, *counts: int) -> Tensor:
        image_id = tiny.model.config.image_token_id
        return torch.tensor([[0, *[image_id] * count, *[7] * (10 - count)] for count in counts])

    def embed(self, tiny: Any, ids: Tensor, n: int, images: list[tuple[int, int, int]], size: int = P) -> str:
        embeds = torch.zeros(n, size, 32)
        with pytest.raises((DataError, CheckpointError)) as caught:
            tiny.model.embed(ids, embeds, images)
        return str(caught.value)

    def test_too_few_tokens(self, tiny: Any) -> None:
        message = self.embed(tiny, self.ids(tiny, 4, 3), 2, [(0, 1, 4), (1, 1, 4)])
        assert "3 image tokens" in message
        assert "4 tokens" in message
        assert "row 1" in message

    def test_too_many_tokens(self, tiny: Any) -> None:
        assert "5 image tokens" in self.embed(tiny, self.ids(tiny, 5), 1, [(0, 1, 4)])

    def test_span_elsewhere(self, tiny: Any) -> None:
        assert "token 1" in self.embed(tiny, self.ids(tiny, 4), 1, [(0, 2, 4)])

    def test_spans_overlap(self, tiny: Any) -> None:
        assert "overlap" in self.embed(tiny, self.ids(tiny, 4), 2, [(0, 1, 4), (0, 1, 4)])

    def test_span_outside(self, tiny: Any) -> None:
        assert "row 0" in self.embed(tiny, self.ids(tiny, 4), 1, [(0, 9, 4)])

    def test_wrong_length(self, tiny: Any) -> None:
        message = self.embed(tiny, self.ids(tiny, 4), 1, [(0, 1, 4)], size=5)
        assert "4 tokens" in message
        assert "gives 5 for the picture" in message

    def test_wrong_number_of_images(self, tiny: Any) -> None:
        message = self.embed(tiny, self.ids(tiny, 4), 2, [(0, 1, 4)])
        assert "1 image spans" in message
        assert "2 images" in message

    def test_image_token_without_pictures(self, tiny: Any) -> None:
        with pytest.raises(DataError, match="4 image tokens"):
            tiny.model.embed(self.ids(tiny, 4), None, [])


def test_embed_puts_features_in_order(tiny: Any) -> None:
    model = tiny.model
    image_id = model.config.image_token_id
    ids = torch.tensor([[0, *[image_id] * 4, 5, *[image_id] * 4], [*[image_id] * 4, 1, 2, 3, 4, 5, 6]])
    embeds = torch.randn(3, P, 32)
    out = model.embed(ids, embeds, [(1, 0, 4), (0, 1, 4), (0, 6, 4)])
    assert torch.equal(out[1, :4], embeds[0])
    assert torch.equal(out[0, 1:5], embeds[1])
    assert torch.equal(out[0, 6:], embeds[2])
    assert torch.equal(out[0, 5], model.lm.get_input_embeddings().weight[5])


def test_bfloat16_autocast_stays_near(model: Any) -> None:
    row = Row(model.config.image_token_id)
    sample(row, 1, 0)
    sample(row, 2, 1)
    pixels = torch.randn(2, 3, 16, 16)
    exact = loss(model, [row], pixels)[0].item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = loss(model, [row], pixels)[0]
    assert total.dtype == torch.float32
    assert abs(total.item() - exact) < 0.02 * abs(exact)
    total.backward()


def test_cross_entropy_of_one_token_by_hand(tiny: Any) -> None:
    model = tiny.model
    row = Row(model.config.image_token_id)
    row.add([0, 5, 6], 1, start=0, lit=1)
    total, _ = loss(model, [row], None)
    logits = model.lm(input_ids=torch.tensor([[0, 5]])).logits[0, -1]
    torch.testing.assert_close(total, -F.log_softmax(logits, dim=0)[6], rtol=1e-5, atol=1e-5)
