"""What one sees while a run trains."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import torch
from rich.console import Console

from pumice.cli.stopping import Stopping
from pumice.cli.watch import RunWatch
from pumice.forecast.machine import device_peak
from pumice.recipes.schema import Stage
from pumice.train.checkpoint import UnreadableState

STAGE = Stage.model_validate(
    {
        "name": "instruct",
        "kind": "instruct",
        "sources": ["a"],
        "lr": {"connector": 1e-3, "language": 1e-4},
        "steps": 2,
        "rows_per_step": 1,
    }
)
SUMMARY: dict[str, Any] = {
    "steps": 2, "tokens": 900, "fill": 0.5, "cut": 0, "trainable": {}, "frozen": {}, "sources": [],
    "entries": {}, "validation": [], "half": True, "ranks": 4,
    "features": {"keep": "none", "dtype": "fp32"},
    "notes": ["offload all changes nothing"],
}  # fmt: skip


def row(step: int, **more: Any) -> dict[str, Any]:
    sizes = {"tokens": 4000, "supervised": 1000, "flops": 3e12, "memory": 12_340_000_000}
    return {
        "step": step,
        "steps": 2,
        "loss": 2.0,
        "lr": {"connector": 1e-3},
        "seconds": 2.0 * step,
        **sizes,
        **more,
    }


def watched(peak: Any) -> tuple[RunWatch, io.StringIO]:
    said = io.StringIO()
    return RunWatch(Stopping(), Console(file=said, width=200, force_terminal=False), peak), said


def test_a_line_has_rates_share_of_the_peak_memory_and_what_is_left() -> None:
    asked: list[bool] = []

    def peak(half: bool) -> float:
        asked.append(half)
        return 1e12

    watch, said = watched(peak)
    watch.on_stage(STAGE, SUMMARY)
    watch.on_step(row(1))
    watch.on_step(row(2))
    watch.close()
    last = said.getvalue().splitlines()[-1]
    # 3e12 FLOP in 2 seconds on 4 ranks of 1e12 each.
    assert "500 supervised tok/s  2.0k tok/s  38% of peak" in last
    assert "12.3 GB" in last
    assert "ETA 0:00" in last
    assert asked == [True]


def test_without_a_peak_no_share_is_guessed() -> None:
    for peak in (None, lambda half: None):
        watch, said = watched(peak)
        watch.on_stage(STAGE, SUMMARY)
        watch.on_step(row(1))
        watch.on_step(row(2))
        watch.close()
        assert "of peak" not in said.getvalue()


def test_what_trains_of_a_part_is_told_with_its_share() -> None:
    watch, said = watched(None)
    counts = {"trainable": {"vision": 50_400_000}, "frozen": {"vision": 253_000_000, "language": 7}}
    watch.on_stage(STAGE, {**SUMMARY, **counts, "entries": {"vision.last-4": 50_400_000, "connector": 9}})
    watch.close()
    lines = [line for line in said.getvalue().splitlines() if "parameters" in line]
    assert lines == ["  vision.last-4: 50.4M of 303.4M parameters"]


def test_a_few_questions_are_told_with_their_number() -> None:
    watch, said = watched(None)
    watch.on_validation({"kind": "evaluation", "step": 4, "value": 0.25, "n": 8})
    assert "step 4  25.0% of 8 questions" in said.getvalue()


def test_the_peak_of_this_machine_is_measured_and_draws_nothing() -> None:
    state = torch.get_rng_state()
    assert device_peak(torch.device("cpu"), half=False, seconds=0.05) > 1e8
    assert torch.equal(torch.get_rng_state(), state)


def test_features_are_told_where_they_are_not_where_they_usually_are() -> None:
    kept = {
        "keep": "disk",
        "dtype": "fp8",
        "views": 1200,
        "bytes": 4_600_000_000,
        "made": 200,
        "error": 0.026,
    }
    for features, told in (
        (kept, "features of 1,200 pictures: 4.6 GB on disk in fp8, 2.60% off; 200 made now, 1,000 found"),
        ({**kept, "keep": "memory", "dtype": "bf16", "error": 0.0}, "4.6 GB in memory in bf16; 200 made now"),
        ({**kept, "keep": "memory", "dtype": "fp32"}, None),
    ):
        watch, said = watched(None)
        watch.on_stage(STAGE, {**SUMMARY, "features": features})
        watch.on_notice("a file is damaged")
        watch.close()
        assert told in said.getvalue() if told else "features of" not in said.getvalue()
        assert "Note: a file is damaged" in said.getvalue()


def test_a_line_stays_one_however_narrow_the_file() -> None:
    """Who searches a log finds a step with all its figures."""
    said = io.StringIO()
    watch = RunWatch(Stopping(), Console(file=said, width=30, force_terminal=False), lambda half: 1e12)
    counts = {"trainable": {"connector": 1, "language": 2}, "frozen": {"vision": 3}, "ranks": 2}
    watch.on_stage(STAGE, {**SUMMARY, **counts})
    rates = {"connector": 1e-3, "language": 2e-4}
    watch.on_step(row(1, lr=rates))
    watch.on_step(row(2, lr=rates))
    watch.on_validation({"kind": "evaluation", "step": 4, "value": 0.25, "n": 8})
    watch.close()
    lines = said.getvalue().splitlines()
    (table,) = (line for line in lines if line.startswith("instruct"))
    assert "connector 1, language 2" in table
    assert "vision 3" in table
    assert "  2 ranks train together" in lines
    (last,) = (line for line in lines if "step 2/2" in line)
    assert "lr connector 1.0e-03, language 2.0e-04  12.3 GB  ETA 0:00" in last


def test_a_resume_is_told_with_its_time_and_what_is_done_again() -> None:
    watch, said = watched(None)
    watch.on_skipped(STAGE, {"steps": 7, "model": "stages/align/model"})
    watch.on_stage(STAGE, SUMMARY)
    saved = datetime.now().replace(hour=10, minute=33)
    told = {"stage": "instruct", "step": 16, "steps": 37, "saved": saved.timestamp(), "undone": 0}
    watch.on_resume(told)
    watch.on_resume({**told, "undone": 1, "saved": datetime(2024, 5, 6, 7, 8).timestamp()})
    watch.close()
    text = said.getvalue()
    assert "stage instruct was finished before: 7 steps, stages/align/model\n" in text
    assert "  goes on from step 16 of 37 of stage instruct, saved 10:33\n" in text
    assert "saved 2024-05-06 07:08; 1 step after it is done again\n" in text


def test_a_damaged_state_does_not_take_the_bar_away() -> None:
    said = io.StringIO()
    watch = RunWatch(Stopping(), Console(file=said, width=120, force_terminal=True), None)
    watch.on_stage(STAGE, SUMMARY)
    watch.on_damaged(UnreadableState("it is damaged", where="there"), 8)
    watch.on_step(row(2))
    watch.close()
    assert "trying the one before it, after step 8" in said.getvalue()
    assert "2/2" in said.getvalue()
