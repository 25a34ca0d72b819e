"""Pictures of a page whose task was read from the hub."""

from __future__ import annotations

import datasets
import pytest

from pumice.report.album import Album

from ..evaluate.results_made import task_result
from ..evaluate.tasks.official import png


def test_pictures_of_the_hub_are_asked_of_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        row = {
            "index": 7, "question": "Which?", "image": {"bytes": png(1), "path": None}, "answer": "A",
            "category": "math", "l2_category": "geometry",
        }  # fmt: skip
        return datasets.Dataset.from_list([row]).cast_column("image", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    result = task_result("mmstar", "accuracy", 50.0, 1)
    result["data"] = "hub:Lin-Chen/MMStar"
    uri = Album(result, 10_000).uri("7")
    assert uri is not None
    assert uri.startswith("data:image/jpeg;base64,")
    assert Album(result, 10_000).uri("8") is None


def test_a_hub_that_cannot_be_reached_leaves_pictures_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: object, **named: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    result = task_result("mmstar", "accuracy", 50.0, 1)
    result["data"] = "hub:Lin-Chen/MMStar"
    assert Album(result, 10_000).uri("7") is None
