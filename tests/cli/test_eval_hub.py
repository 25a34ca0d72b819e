"""`pumice eval --data hub`: rows of the hub, from a stand-in of its library."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest

from ..evaluate.tasks.official import png
from .conftest import run_pumice


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, *, split: str) -> datasets.Dataset:
        assert (name, config, split) == ("Lin-Chen/MMStar", "val", "val")
        table = datasets.Dataset.from_list(
            [
                {
                    "index": index, "question": "Which?", "image": {"bytes": png(index), "path": None},
                    "answer": answer, "category": "math", "l2_category": "geometry",
                }
                for index, answer in enumerate("ABBA")
            ]
        )  # fmt: skip
        return table.cast_column("image", datasets.Image())

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("place", ["hub", "hub:"])
def test_tasks_are_read_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(f'{{"question_id": {id}, "text": "B"}}\n' for id in range(4)))
    command = [
        "eval",
        "said",
        "--tasks",
        "mmstar",
        "--data",
        place,
        "--answers",
        str(answers),
        "--out",
        "out",
    ]
    done = run_pumice(*command)
    assert done.code == 0, done.both
    result = json.loads((tmp_path / "out" / "mmstar" / "result.json").read_text())
    assert result["scores"]["metrics"]["accuracy"] == 50
    assert result["data"] == "hub:Lin-Chen/MMStar"
    assert "read from the hub: Lin-Chen/MMStar (val), split val" in result["notes"]
    assert (tmp_path / "out" / "mmstar" / "labels.jsonl").is_file()


def test_what_hub_means_must_be_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    done = run_pumice("eval", "tiny", "--tasks", "mmstar", "--data", "hub")
    assert done.code != 0
    assert "say hub: for the hub" in " ".join(done.both.split())


def test_tasks_that_the_hub_has_otherwise_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_pumice("eval", "tiny", "--tasks", "mm-vet", "--data", "hub")
    assert done.code != 0
    assert "mm-vet is not read from the hub" in " ".join(done.both.split())


def test_the_list_says_what_can_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = " ".join(run_pumice("eval", "--list", "--data", "hub").both.split())
    assert "hub: MMMU/MMMU (30 configurations), split validation" in text
