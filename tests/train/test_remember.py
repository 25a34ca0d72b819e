"""Compact forms come back exactly, within a budget, and no result depends on it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.recipes.schema import Grounding
from pumice.train import dataset
from pumice.train import run as runs
from pumice.train.grounding import Cells, lay_out
from pumice.train.remember import (
    ENTRY_BYTES,
    Budget,
    Remembered,
    pack_cells,
    pack_encoded,
    unpack_cells,
    unpack_encoded,
)
from pumice.types import IGNORE_INDEX, Encoded, ImageSpan, Region

IMAGE = 99


def same(one: Encoded, two: Encoded) -> bool:
    names = ("input_ids", "labels", "position_ids", "branch_ids")
    pairs = [(getattr(one, name), getattr(two, name)) for name in names]
    return one.image_spans == two.image_spans and all(
        a.dtype == b.dtype == np.int64 and np.array_equal(a, b) for a, b in pairs
    )


@st.composite
def rendered(draw: st.DrawFn) -> Encoded:
    """A trunk with pictures anywhere, and branches whose positions go on from its end."""
    pieces = draw(st.lists(st.tuples(st.booleans(), st.integers(1, 5)), min_size=1, max_size=6))
    ids: list[int] = []
    spans: list[ImageSpan] = []
    for picture, length in pieces:
        if picture:
            spans.append(ImageSpan(len(spans), len(ids), length))
            ids += [IMAGE] * length
        else:
            ids += draw(st.lists(st.integers(0, 2**31 - 1), min_size=length, max_size=length))
    trunk = len(ids)
    branches, positions = [0] * trunk, list(range(trunk))
    for number, length in enumerate(draw(st.lists(st.integers(1, 4), max_size=3)), start=1):
        ids += draw(st.lists(st.integers(0, 200), min_size=length, max_size=length))
        branches += [number] * length
        positions += range(trunk, trunk + length)
    learnt = np.array(draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))))
    for span in spans:
        learnt[span.start : span.start + span.length] = False
    tokens = np.array(ids, np.int64)
    labels = np.where(learnt, tokens, IGNORE_INDEX)
    order = draw(st.permutations(spans))
    return Encoded(tokens, labels, np.array(positions), np.array(branches), tuple(order))


@given(rendered())
def test_a_rendering_comes_back_exactly(encoded: Encoded) -> None:
    assert same(unpack_encoded(pack_encoded(encoded)), encoded)


def test_a_rendering_comes_back_writable_and_of_its_own() -> None:
    tokens = np.arange(4)
    packed = pack_encoded(Encoded(tokens, tokens, tokens, np.zeros(4, np.int64), ()))
    unpack_encoded(packed).input_ids[0] = 7
    assert unpack_encoded(packed).input_ids.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", ["label", "picture"])
def test_what_the_compact_form_cannot_hold_is_refused(wrong: str) -> None:
    ids, labels = np.array([5, IMAGE, IMAGE, 6]), np.array([IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, 6])
    (labels if wrong == "label" else ids)[3 if wrong == "label" else 2] = 8
    spans = (ImageSpan(0, 1, 2),)
    with pytest.raises(AssertionError, match="label" if wrong == "label" else "several tokens"):
        pack_encoded(Encoded(ids, labels, np.arange(4), np.zeros(4, np.int64), spans))


def test_a_long_conversation_takes_a_fraction() -> None:
    """As in LLaVA's mixture: 576 tokens of a picture, five questions and answers of 64 tokens."""
    ids = np.append(np.full(576, IMAGE), np.arange(320))
    labels = np.where(np.arange(896) // 32 % 2 == 1, ids, IGNORE_INDEX)
    labels[:576] = IGNORE_INDEX
    spans = (ImageSpan(0, 0, 576),)
    encoded = Encoded(ids, labels, np.arange(896), np.zeros(896, np.int64), spans)
    arrays = (encoded.input_ids, encoded.labels, encoded.position_ids, encoded.branch_ids)
    assert len(pack_encoded(encoded)) < sum(array.nbytes for array in arrays) / 15


@pytest.mark.parametrize("center_word", [None, "object"])
def test_cells_come_back_exactly(center_word: str | None) -> None:
    regions = [
        Region((0.0, 0.0, 0.5, 0.5), "abc"),
        Region((0.1, 0.1, 0.3, 0.3), "d"),
        Region((0.6, 0.2, 0.9, 1), "ef"),
    ]
    for chosen in (regions, regions[:1], []):
        cells = lay_out(chosen, 6, lambda text: [ord(c) for c in text if c != " "], center_word and "o")
        back = unpack_cells(pack_cells(cells))
        for mine, theirs in zip(back, cells, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)
    assert len(pack_cells(cells)) == 12 + cells.places.nbytes, "a picture without boxes has no words"


# The budget.


def numbers(budget: Budget) -> Remembered[int, int]:
    return Remembered(budget, lambda value: bytes([value]) * 100, lambda packed: packed[0])


SIZE = sys.getsizeof(bytes(100)) + ENTRY_BYTES


def test_what_fits_is_made_once_and_what_does_not_again() -> None:
    budget, made = Budget(3 * SIZE + SIZE // 2), []
    kept = numbers(budget)

    def make(value: int) -> int:
        made.append(value)
        return value

    for _ in range(3):
        assert [kept.get(key, lambda key=key: make(key)) for key in range(5)] == list(range(5))  # type: ignore[misc]
    assert made == [0, 1, 2, 3, 4, 3, 4, 3, 4]
    assert budget.used == 3 * SIZE <= budget.total


def test_what_one_store_forgets_another_may_use() -> None:
    budget = Budget(2 * SIZE)
    first, second = numbers(budget), numbers(budget)
    for key in range(2):
        first.get(key, lambda: 1)
    assert second.get(0, lambda: 2) == 2
    assert second.get(0, lambda: 3) == 3, "there was no room for it"
    first.forget()
    assert budget.used == 0
    assert second.get(0, lambda: 4) == 4
    assert second.get(0, lambda: 5) == 4
    assert budget.used == SIZE
    assert first.get(0, lambda: 6) == 6, "what is forgotten is made again"


# A stage's samples, and a run.


@pytest.mark.parametrize("room", [0, 5, 10**6])
def test_samples_and_cells_are_the_same_with_and_without_room(
    toy: Any, parts: Any, data: Path, tmp_path: Path, room: int
) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.align(grounding={"weight": 1.0, "center_word": "a"}))
    grounding = bench.context.stage.grounding
    assert isinstance(grounding, Grounding)
    old, budget = bench.data, Budget(room * 400)
    fresh = dataset.StageData(
        old.samples,
        old.tokenizer,
        old.template,
        pictures=old.pictures,
        image_token_id=old.image_token_id,
        stage=old.stage,
        budget=budget,
    )
    for _ in range(2):
        for sample in old.samples:
            assert same(fresh.encode(sample), old.encode(sample))
            mine: Cells = fresh.picture_cells(sample, sample.images[0], grounding)
            theirs = old.picture_cells(sample, sample.images[0], grounding)
            assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert budget.used <= budget.total
    assert (budget.used > 0) == (room > 0)
    fresh.forget()
    assert budget.used == 0


SAMPLES = 8 + 10 + 4 + 4
"""Eight captions and ten conversations, and four of each held out."""


@pytest.fixture
def rendered_samples(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of every rendering."""
    seen: list[Any] = []
    render = dataset.render

    def counted(messages: Any, *given: Any, **options: Any) -> Encoded:
        seen.append(messages)
        return render(messages, *given, **options)

    monkeypatch.setattr(dataset, "render", counted)
    return seen


def test_a_run_on_small_data_renders_each_sample_once(
    toy: Any, parts: Any, data: Path, tmp_path: Path, rendered_samples: list[Any]
) -> None:
    toy.run(toy.make_recipe(data, toy.align(steps=8), toy.instruct(steps=8)), tmp_path / "run", parts)
    assert len(rendered_samples) == SAMPLES


def test_a_run_that_remembers_nothing_ends_with_the_same_weights(
    toy: Any,
    parts: Any,
    data: Path,
    whole: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rendered_samples: list[Any],
) -> None:
    monkeypatch.setattr(runs, "RENDERED_BYTES", 0)
    model = toy.run(toy.make_recipe(data), tmp_path / "run", parts)
    assert len(rendered_samples) > 2 * SAMPLES
    assert toy.weights(model) == toy.weights(whole.model)
    for stage in ("align", "instruct"):
        assert toy.metrics(tmp_path / "run", stage) == toy.metrics(whole.folder, stage)
