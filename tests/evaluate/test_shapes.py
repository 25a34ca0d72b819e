"""Figures made again of questions are those of the scorers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pumice.evaluate.shapes import SHAPES, Answered, Shape, shapes_of
from pumice.score import TASKS, Inputs, Item, Result, score


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def answered(item: Item, picture: str = "") -> Answered:
    return Answered(item.id, item.parsed, item.score, item.groups, picture)


def agree(result: Result, rows: list[Answered]) -> None:
    for name, shape in shapes_of(result.task).items():
        assert shape.of(rows) == pytest.approx(result.metrics[name]), name
    for group, figures in result.groups.items():
        own = next(iter(shapes_of(result.task).values())).only(group).of(rows)
        if own is not None:
            assert own == pytest.approx(next(iter(figures.metrics.values()))), group


def test_pope(tmp_path: Path) -> None:
    draw, answers, questions = random.Random(0), [], []
    for category in ("random", "popular", "adversarial"):
        labels = []
        for number in range(40):
            text = f"Is {number} there?"
            labels.append(
                {"question_id": number, "text": text, "label": draw.choice(["yes", "no"]), "image": "a.jpg"}
            )
            questions.append({"question_id": f"{category}{number}", "text": text, "category": category})
            answers.append(
                {"question_id": f"{category}{number}", "text": draw.choice(["Yes", "No"]), "prompt": text}
            )
        lines(tmp_path / f"coco_pope_{category}.json", labels)
    result = score(
        "pope",
        Inputs(lines(tmp_path / "a.jsonl", answers), lines(tmp_path / "q.jsonl", questions), tmp_path),
    )
    agree(result, [answered(item) for item in result.items])


def test_mme(tmp_path: Path) -> None:
    draw, answers = random.Random(1), []
    for category in ("existence", "OCR", "code_reasoning"):
        folder = tmp_path / "mme" / category
        folder.mkdir(parents=True)
        for number in range(12):
            (folder / f"{number}.txt").write_text("Is it? \tYes\nWas it? \tNo\n")
            for prompt in ("Is it?", "Was it?"):
                said = {"question_id": f"{category}/{number}.jpg", "prompt": prompt}
                answers.append({**said, "text": draw.choice(["Yes", "No"])})
    result = score("mme", Inputs(lines(tmp_path / "a.jsonl", answers), labels=tmp_path / "mme"))
    agree(result, [answered(item, item.id.split(":")[0]) for item in result.items])


def test_llava_bench_of_three_runs_in_which_one_review_is_missing(tmp_path: Path) -> None:
    draw, files = random.Random(2), []
    for run in range(3):
        rows = [
            {
                "question_id": number,
                "category": "llava_bench_conv" if number % 2 else "llava_bench_detail",
                "tuple": [-1, -1] if (run, number) == (1, 4) else [draw.randint(6, 9), draw.randint(2, 9)],
            }
            for number in range(20)
        ]
        files.append(lines(tmp_path / f"{run}.jsonl", rows))
    result = score("llava-bench", Inputs(reviews=tuple(files)))
    rows = [answered(item) for item in result.items]
    assert sum(row.parsed.count("-") for row in rows) == 1
    # a mean over runs of ratios; the unread review has no part in either sum
    assert shapes_of("llava-bench")["overall"].of(rows) == pytest.approx(result.metrics["overall"])
    assert result.items[0].score == pytest.approx(
        sum(float(pair.split()[1]) for pair in rows[0].parsed.split("; ")) / 30
    )


def test_scienceqa_and_medical_keep_what_their_figures_are_of() -> None:
    rows = [
        Answered("1", "A", 1.0, ("open",), "a.png"),
        Answered("2", "B", 0.0, ("closed",)),
        Answered("3", "B", 0.5, ("open",), "a.png"),
    ]
    assert shapes_of("scienceqa")["accuracy"].of(rows) == pytest.approx(50)
    assert shapes_of("scienceqa")["accuracy_img"].of(rows) == pytest.approx(75)
    assert shapes_of("slake")["open_recall"].of(rows) == pytest.approx(75)
    assert shapes_of("slake")["closed_accuracy"].of(rows) == 0
    assert shapes_of("seed")["accuracy_video"].of(rows) is None


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_first_figure(task: str) -> None:
    assert isinstance(next(iter(shapes_of(task).values())), Shape)
    assert set(SHAPES) <= set(TASKS)
