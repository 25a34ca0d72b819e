from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.data import Plan, build_plan
from pumice.data.shuffle import shuffled
from pumice.errors import DataError, RunError, UsageError

LENGTHS = st.lists(st.integers(1, 64), min_size=1, max_size=150)


def plan(lengths: Any = None, **changes: Any) -> Plan:
    lengths = np.random.default_rng(0).integers(5, 65, 1000) if lengths is None else np.asarray(lengths)
    supervised = changes.pop("supervised", (lengths + 1) // 2)
    settings = {"seed": 0, "rows_per_step": 4, "row_length": 64, **changes}
    if "steps" not in settings:
        settings.setdefault("epochs", 1)
    return build_plan(lengths, supervised, **settings)


@given(LENGTHS, st.integers(0, 5), st.integers(1, 3), st.integers(1, 5), st.sampled_from([64, 80, None]))
def test_every_sample_once_an_epoch_and_rows_kept(
    lengths: list[int], seed: int, epochs: int, rows_per_step: int, row_length: int | None
) -> None:
    made = plan(lengths, seed=seed, epochs=epochs, rows_per_step=rows_per_step, row_length=row_length)
    for epoch in range(epochs):
        steps = [step for step, of in zip(made.steps, made.epochs, strict=True) if of == epoch]
        seen = Counter(index for step in steps for row in step for index in row)
        assert seen == Counter(range(len(lengths)))
        assert all(len(step) == rows_per_step for step in steps[:-1])
        assert 1 <= len(steps[-1]) <= rows_per_step
    for step, tokens, supervised, slots in zip(
        made.steps, made.tokens, made.supervised, made.slots, strict=True
    ):
        sums = [sum(lengths[index] for index in row) for row in step]
        assert sum(sums) == tokens
        assert supervised == sum((lengths[index] + 1) // 2 for row in step for index in row)
        if row_length is None:
            assert all(len(row) == 1 for row in step)
        else:
            assert max(sums) <= row_length
        assert slots == len(step) * (-(-max(sums) // 8) * 8)  # what collate makes of it
    assert 0 < made.fill <= 1


@given(LENGTHS, st.integers(0, 2**40), st.sampled_from([64, None]))
def test_a_pure_function_of_its_arguments(lengths: list[int], seed: int, row_length: int | None) -> None:
    assert plan(lengths, seed=seed, row_length=row_length) == plan(lengths, seed=seed, row_length=row_length)


@pytest.mark.parametrize("row_length", [64, None])
def test_seeds_and_epochs_differ(row_length: int | None) -> None:
    first, second = plan(epochs=2, row_length=row_length), plan(epochs=2, seed=1, row_length=row_length)
    assert first.steps != second.steps
    cut = first.epochs.index(1)
    assert first.steps[:cut] != first.steps[cut:]


def test_the_shuffle_is_fixed_for_ever() -> None:
    """A golden value: a plan must not change with NumPy or Python."""
    assert shuffled(8, (3, 1, 4)).tolist() == GOLDEN
    assert sorted(shuffled(1000, (0,)).tolist()) == list(range(1000))
    with pytest.raises(UsageError, match="negative"):
        shuffled(3, (-1, 0))


GOLDEN = [2, 5, 3, 4, 7, 6, 0, 1]


def test_steps_may_wrap_over_epochs_and_a_longer_run_begins_alike() -> None:
    one = plan()
    many = plan(steps=2 * len(one) + 3)
    assert len(many) == 2 * len(one) + 3
    assert many.steps[: len(one)] == one.steps
    assert sorted(set(many.epochs)) == [0, 1, 2]
    assert plan(steps=5).steps == one.steps[:5]


def test_a_trial_is_the_beginning_of_the_whole_and_never_longer() -> None:
    whole = plan(epochs=2)
    trial = plan(epochs=2, most=3)
    assert trial.steps == whole.steps[:3]
    assert trial.epochs == whole.epochs[:3]
    assert trial.digest != whole.digest
    assert plan(epochs=1, most=10_000).steps == plan(epochs=1).steps, "no epoch is added to fill it"
    assert plan(steps=2, most=5).steps == plan(steps=2).steps
    with pytest.raises(UsageError):
        plan(most=0)


def test_order_stays_random_within_an_epoch() -> None:
    """Packing must not sort an epoch: neither lengths nor indices may drift from its start to its end."""
    lengths = np.random.default_rng(1).integers(5, 65, 4000)
    for row_length in (64, None):
        made = plan(lengths, row_length=row_length)
        order = np.array([index for step in range(len(made)) for index in made.samples(step)])
        time = np.arange(len(order))
        assert abs(np.corrcoef(time, lengths[order])[0, 1]) < 0.06
        assert abs(np.corrcoef(time, order)[0, 1]) < 0.06


def test_packing_fills_rows_and_like_lengths_share_unpacked_steps() -> None:
    lengths = np.random.default_rng(1).integers(5, 100, 4000)
    assert plan(lengths, row_length=256).fill > 0.97
    mixed = sum(max(part) for part in lengths.reshape(-1, 4)) * 4
    assert lengths.sum() / mixed + 0.1 < plan(lengths, row_length=None).fill


def test_a_step_of_so_many_samples_is_packed_and_whole() -> None:
    lengths = [1 + (7 * i) % 60 for i in range(103)]
    made = build_plan(lengths, [1] * 103, seed=3, samples_per_step=10, row_length=64, epochs=2)
    assert len(made) == 22
    assert [len(made.samples(step)) for step in range(11)] == [10] * 10 + [3]
    for epoch in (0, 1):
        seen = [i for step in range(11) for i in made.samples(11 * epoch + step)]
        assert sorted(seen) == list(range(103))
    assert all(sum(lengths[i] for i in row) <= 64 for step in made.steps for row in step)
    fewest = [-(-sum(lengths[i] for i in made.samples(step)) // 64) for step in range(len(made))]
    assert sum(len(step) for step in made.steps) <= sum(fewest) + len(made)
    assert made.samples(0) != made.samples(11), "another epoch is another order"


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({}, "rows or of samples"),
        ({"rows_per_step": 1, "samples_per_step": 1}, "rows or of samples"),
        ({"samples_per_step": 1, "row_length": None}, "rows need a length"),
        ({"samples_per_step": 0}, "samples_per_step is 0"),
    ],
)
def test_a_step_is_counted_in_one_way(batch: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_plan([3, 4], [1, 1], seed=0, **{"row_length": 8, "epochs": 1, **batch})


@pytest.mark.parametrize("row_length", [64, None])
def test_saved_plans_load_as_they_were(tmp_path: Path, row_length: int | None) -> None:
    path = tmp_path / "plan.json"
    made = plan(epochs=2, row_length=row_length)
    made.save(path)
    assert Plan.load(path) == made
    assert Plan.load(path, expect=made.digest).samples(3) == made.samples(3)
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]
    lines = path.read_text().splitlines()
    assert json.loads(lines[1].rstrip(",")) == [list(row) for row in made.steps[0]]


def test_other_data_or_settings_are_refused_on_loading(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    lengths = [5, 6, 7, 8] * 20
    plan(lengths, fingerprint="a").save(path)
    Plan.load(path, expect=plan(lengths, fingerprint="a").digest)
    others = [
        plan([5, 6, 7, 9] * 20, fingerprint="a"),
        plan(lengths, fingerprint="b"),
        plan(lengths, fingerprint="a", seed=1),
        plan(lengths, fingerprint="a", epochs=2),
        plan(lengths, fingerprint="a", rows_per_step=2),
        plan(lengths, fingerprint="a", row_length=65),
        plan(lengths, fingerprint="a", window=2),
        plan(lengths, fingerprint="a", supervised=np.ones(80, np.int64)),
    ]
    assert len({other.digest for other in others}) == len(others)
    for other in others:
        with pytest.raises(RunError, match="other data or settings") as caught:
            Plan.load(path, expect=other.digest)
        assert caught.value.where == str(path)


def test_damaged_plans_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    made = plan()
    made.save(path)
    whole = path.read_text()
    data = json.loads(whole)
    for text in (
        "",
        "[]",
        whole[:-100],
        whole.replace('"version": 2', '"version": 1'),
        json.dumps({**data, "tokens": data["tokens"][1:]}),
        json.dumps({**data, "steps": [[["0"]]] * len(made)}),
        json.dumps({key: value for key, value in data.items() if key != "digest"}),
    ):
        path.write_text(text)
        with pytest.raises(RunError, match="cannot be read"):
            Plan.load(path)
    with pytest.raises(RunError, match="cannot be read"):
        Plan.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"lengths": []}, DataError, "no samples"),
        ({"lengths": [5], "supervised": np.array([0])}, DataError, "no token of any sample"),
        ({"lengths": [5, 65]}, DataError, "sample 1 has 65 tokens"),
        ({"lengths": [5], "supervised": np.array([1, 2])}, UsageError, "do not match"),
        ({"epochs": 1, "steps": 1}, UsageError, "epochs or steps"),
        ({"epochs": None}, UsageError, "epochs or steps"),
        ({"epochs": 0}, UsageError, "epochs is 0"),
        ({"rows_per_step": 0}, UsageError, "rows_per_step is 0"),
        ({"window": 0}, UsageError, "window is 0"),
        ({"seed": -1}, UsageError, "negative"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plan(**{"lengths": [5, 6], **changes})
