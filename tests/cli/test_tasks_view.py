"""cli/tasks_view.py: what the terminal says of figures."""

from __future__ import annotations

from typing import Any

import pytest

from pumice.cli.tasks_view import print_results
from pumice.evaluate import published
from pumice.evaluate.results import FORMAT, Results, TaskState

from ..evaluate.results_made import task_result


def printed(capsys: pytest.CaptureFixture[str], task: str, figure: str, **more: Any) -> str:
    result = task_result(task, figure, 50.0, 8, **more)
    state = TaskState(state="scored", result=result, problem="", remedy="")
    print_results(
        Results(format=FORMAT, model=result["model"], tasks={task: state}, pumice="0", date=""), [task]
    )
    return capsys.readouterr().out


def test_published_figures_stand_beside_the_same_questions_alone(capsys: pytest.CaptureFixture[str]) -> None:
    whole = printed(capsys, "pope", "f1", total=8_910)
    assert "85.9" in whole
    assert "Nothing published" not in whole
    few = printed(capsys, "pope", "f1", total=8)
    assert "85.9" not in few
    assert "Nothing published stands beside pope" in few
    assert "Nothing published" not in printed(capsys, "chartqa", "relaxed_accuracy"), "nothing could"


def test_what_is_true_of_several_tasks_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    results = [task_result(task, "accuracy", 50.0, 8, notes=["a part", task]) for task in ("gqa", "vqav2")]
    states = {one["task"]: TaskState(state="scored", result=one, problem="", remedy="") for one in results}
    print_results(
        Results(format=FORMAT, model=results[0]["model"], tasks=states, pumice="0", date=""), list(states)
    )
    shown = capsys.readouterr().out
    assert "gqa, vqav2: a part\n" in shown
    assert shown.count("a part") == 1


def test_an_interval_without_width_is_no_certainty(capsys: pytest.CaptureFixture[str]) -> None:
    result = task_result("mme", "perception", 300.0, 6)
    result["scores"]["interval"] = {"perception": [300.0, 300.0]}
    state = TaskState(state="scored", result=result, problem="", remedy="")
    print_results(
        Results(format=FORMAT, model=result["model"], tasks={"mme": state}, pumice="0", date=""), ["mme"]
    )
    assert "no spread" in capsys.readouterr().out


def test_notes_do_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in printed(capsys, "gqa", "accuracy", notes=["\x1b[31mof a file's name"])


def test_stars_at_published_figures_are_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = published.Published("LLaVA-1.5-7B", "pope", "f1", 85.9, "zoo", "of another split")
    monkeypatch.setattr(published, "PUBLISHED", (figure, *published.of_model("LLaVA-1.5-13B").values()))
    shown = printed(capsys, "pope", "f1", total=8_910)
    assert "85.9*" in shown
    assert "\n* pope: of another split.\n" in shown
    monkeypatch.undo()
    assert "*" not in printed(capsys, "pope", "f1", total=8_910)
