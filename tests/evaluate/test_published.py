from __future__ import annotations

from typing import Any

import pytest

from pumice.evaluate.published import MODELS, PUBLISHED, SOURCES, SPLITS, comparable, of_model, of_task
from pumice.score import TASKS
from pumice.score.published import CASES

from .results_made import task_result

TWELVE = tuple(TASKS)[:12]


def test_every_figure_is_of_a_task_has_a_known_source_and_says_its_questions() -> None:
    for figure in PUBLISHED:
        assert figure.task in TASKS
        assert figure.source in SOURCES
        assert figure.split
    assert set(SPLITS) == {(figure.task, figure.metric) for figure in PUBLISHED}
    assert set(SOURCES) == {figure.source for figure in PUBLISHED}


def test_no_figure_is_there_twice() -> None:
    keys = [(figure.model, figure.task, figure.metric) for figure in PUBLISHED]
    assert len(keys) == len(set(keys))


def test_figures_are_on_the_scale_of_the_scorers() -> None:
    for figure in PUBLISHED:
        most = {"perception": 2000, "cognition": 800}.get(figure.metric, 100)
        assert 0 < figure.value <= most, figure


@pytest.mark.parametrize("model", [name for name in MODELS if not name.startswith("LLaVA-1.0")])
def test_1_5_and_next_were_measured_on_all_twelve(model: str) -> None:
    assert {task for task, _ in of_model(model)} >= set(TWELVE)


def test_models_of_another_schooling_carry_a_caution() -> None:
    assert of_model("LLaVA-1.0-13B")["scienceqa", "accuracy"].caution
    assert not of_model("LLaVA-1.5-13B")["scienceqa", "accuracy_img"].caution


def test_figures_that_published_answers_give_again_are_the_same_ones() -> None:
    sqa = next(case for case in CASES if case.title == "ScienceQA, LLaVA-1.5")
    assert str(of_model("LLaVA-1.5-13B")["scienceqa", "accuracy_img"].value) in {
        figure.published for figure in sqa.figures
    }


def test_finding_by_task_and_figure() -> None:
    assert {figure.metric for figure in of_task("seed")} == {"accuracy", "accuracy_image"}
    assert [f.model for f in of_task("seed", "accuracy")] == ["LLaVA-1.5-7B", "LLaVA-1.5-13B"]
    assert of_task("chartqa") == ()
    with pytest.raises(KeyError):
        of_model("LLaVA-2")


def test_they_are_a_yardstick_for_the_same_test_alone() -> None:
    def of(total: int, judge: dict[str, Any] | None = None) -> bool:
        return comparable(task_result("mm-vet", "total", 36.0, 10, total=total, judge=judge))

    assert of(218)
    assert of(217, {"comparable": True})
    assert not of(20)
    assert not of(218, {"comparable": False})
    assert comparable(task_result("chartqa", "relaxed_accuracy", 1.0, 5)), "nothing is published of it"


def test_pictures_alone_are_no_seed_bench() -> None:
    images = task_result("seed", "accuracy", 60.0, 14_233)
    assert not comparable(images, "accuracy")
    assert comparable(images, "accuracy_image")
    assert comparable(task_result("seed", "accuracy", 60.0, 19_242), "accuracy")
