"""Efficiency and scaling: figures by hand from the records of made runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.errors import RunError, UsageError
from pumice.evaluate.dimensions import DIMENSIONS, Subject, Terms, check_all, chosen
from pumice.evaluate.dimensions.dimension import Measured
from pumice.evaluate.dimensions.records import read_training
from pumice.evaluate.results import ModelRecord

Make = Callable[..., Path]
HALF = [True, False] * 20
MOST = [True, True, True, False] * 10


def subject(run: Path | None = None, *others: Path) -> Subject:
    def load() -> Any:
        raise AssertionError("no model is needed")

    return Subject(ModelRecord(kind="local", name="m", digest="d"), load, run=run, others=others)


def measured(name: str, own: Subject) -> Measured:
    return DIMENSIONS[name].measure(own, Path(), Path(), Terms(), lambda *_: None)


def test_a_record_is_read(make_run: Make) -> None:
    found = read_training(make_run("a", HALF, ranks=2))
    assert (found.parameters, found.tokens, found.supervised) == (1_000_000, 10_000, 1_000)
    assert found.flops == 20e12
    assert (found.devices, found.device, found.hours) == (2, "core", 1.0)


def test_gpus_are_counted_by_ranks(make_run: Make) -> None:
    found = read_training(make_run("a", HALF, ranks=4, machine="x86_64, 64 CPU cores, NVIDIA H100"))
    assert (found.devices, found.device, found.hours) == (4, "GPU", 2.0)


def test_efficiency_by_hand(make_run: Make) -> None:
    found = measured("efficiency", subject(make_run("a", MOST, way=[0.3, 0.6, 0.74, 0.75])))
    metrics = found.scores["metrics"]
    points = 75 - 25
    assert metrics["points_per_core_hour"] == pytest.approx(points / 1.0)
    assert metrics["points_per_million_supervised"] == pytest.approx(points / 0.001)
    assert metrics["points_per_pflop"] == pytest.approx(points / 0.02)
    low, high = found.scores["interval"]["points_per_core_hour"]
    assert low < points < high
    # 0.25 + 0.9 * 0.5 is met at the third of four measurements
    assert metrics["supervised_to_90"] == pytest.approx(500 + 50 * 8, abs=60)


def test_efficiency_takes_a_finished_and_measured_run(make_run: Make) -> None:
    with pytest.raises(UsageError, match="no record of its training"):
        measured("efficiency", subject())
    with pytest.raises(RunError, match="running, not finished"):
        measured("efficiency", subject(make_run("a", HALF, status="running")))
    with pytest.raises(UsageError, match="not measured"):
        measured("efficiency", subject(make_run("b", HALF, measured=False)))
    broken = make_run("c", HALF)
    (broken / "run.json").write_text('{"status": "finished"}', encoding="utf-8")
    with pytest.raises(RunError, match="does not tell"):
        measured("efficiency", subject(broken))


def test_scaling_by_hand(make_run: Make) -> None:
    small, large = make_run("small", HALF), make_run("large", MOST, parameters=4_000_000, tokens=40_000)
    found = measured("scaling", subject(large, small))
    metrics = found.scores["metrics"]
    assert metrics["per_doubling_of_parameters"] == pytest.approx(12.5)
    assert metrics["per_doubling_of_tokens"] == pytest.approx(12.5)
    assert "per_doubling_of_flops" not in metrics, "both took as many"
    groups = found.scores["groups"]
    assert groups["small"]["score"] == 50
    assert groups["large"]["score"] == 75
    # half of the pictures gained one answer of two: the interval is that of the paired difference
    gains = np.array([MOST[n] + MOST[n + 1] - HALF[n] - HALF[n + 1] for n in range(0, 40, 2)])
    low, high = found.scores["interval"]["per_doubling_of_parameters"]
    wide = 1.96 * 100 * gains.std() / 2 / 2 / np.sqrt(len(gains))
    assert high - low == pytest.approx(2 * wide, rel=0.2)


def test_scaling_refuses_what_cannot_be_compared(make_run: Make) -> None:
    one = make_run("one", HALF)
    with pytest.raises(UsageError, match="there is 1"):
        measured("scaling", subject(one, one))
    with pytest.raises(UsageError, match="not asked the same"):
        measured("scaling", subject(one, make_run("two", HALF, digest="other")))
    with pytest.raises(UsageError, match="all of one size"):
        measured("scaling", subject(one, make_run("three", MOST)))
    with pytest.raises(UsageError, match=r"no run\.json"):
        measured("scaling", subject(one, one.parent))


def test_all_takes_those_whose_runs_are_there(make_run: Make) -> None:
    one, two = make_run("one", HALF), make_run("two", HALF, parameters=2)
    assert [d.name for d in chosen("all", subject(one), None)] == ["efficiency"]
    assert [d.name for d in chosen("all", subject(one, two), None)] == ["efficiency", "scaling"]
    digest = DIMENSIONS["scaling"].digest
    before = digest(subject(one, two), Path())
    (two / "eval" / "scores.json").write_text("{}", encoding="utf-8")
    assert digest(subject(one, two), Path()) != before


def test_threads_that_were_used_count_and_not_all_cores(make_run: Make) -> None:
    run = make_run("a", MOST, machine="x86_64, 64 CPU cores", seconds=3600.0)
    assert "all 64 cores" in read_training(run).caution
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps({**record, "threads": 4}), encoding="utf-8")
    found = read_training(run)
    assert (found.devices, found.hours, found.caution) == (4, 4.0, "")
    sittings = [{"threads": 2, "ranks": 1}, {"threads": 4, "ranks": 2}]
    (run / "run.json").write_text(json.dumps({**record, "sessions": sittings}), encoding="utf-8")
    found = read_training(run)
    assert found.devices == 8
    assert "2, 8 cores" in found.caution


def test_a_short_training_is_no_rate(make_run: Make) -> None:
    short = measured("efficiency", subject(make_run("a", MOST, seconds=40.0)))
    assert any("took 40 s: too short" in note for note in short.notes)
    long = measured("efficiency", subject(make_run("b", MOST)))
    assert not any("too short" in note for note in long.notes)


def test_what_is_missing_is_told_before_anything_is_measured(make_run: Make) -> None:
    with pytest.raises(UsageError, match="no record of its training"):
        check_all([DIMENSIONS["efficiency"]], subject(), None)
    with pytest.raises(UsageError, match="not measured"):
        check_all([DIMENSIONS["efficiency"]], subject(make_run("a", HALF, measured=False)), None)
    with pytest.raises(UsageError, match="two runs"):
        check_all([DIMENSIONS["scaling"]], subject(make_run("b", HALF)), None)
    with pytest.raises(UsageError, match="files of reasoning lie is not said"):
        check_all([DIMENSIONS["reasoning"]], subject(), None)
