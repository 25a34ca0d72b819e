from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.errors import DataError, UsageError
from pumice.evaluate.compare import compare
from pumice.evaluate.results import BLIND, write_predictions
from pumice.evaluate.sides import Side, read_side
from pumice.evaluate.wording import ends_text

from .results_made import evaluation, gqa, prediction, task_result


def sides(*paths: Path, task: str | None = None):
    return [read_side(path, task) for path in paths]


def test_the_sentence_where_nothing_can_be_told(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [i % 2 == 0 for i in range(200)])
    b = gqa(tmp_path / "b", [i % 3 == 0 for i in range(199)] + [True])
    found = compare(sides(a, a))[0].tasks["gqa"]
    assert found.verdict("A", "B") == "Both have the same score on every one of 200 questions."
    c = gqa(tmp_path / "c", [i % 2 == 0 or i == 1 for i in range(200)])
    one = compare(sides(a, c))[0].tasks["gqa"]
    assert one.first.p == 1.0
    said = one.verdict("A", "B")
    assert said.startswith("No difference can be told from 200 questions; one of ")
    assert f"{one.first.paired.detectable:.1f} points" in said
    assert compare(sides(a, b))[0].tasks["gqa"].told


def test_few_questions_promise_nothing(tmp_path: Path) -> None:
    """Five that all differ are no proof; their resamples are all alike, and know nothing of that."""
    a, b = gqa(tmp_path / "a", [False] * 5), gqa(tmp_path / "b", [True] * 5)
    one = compare(sides(a, b))[0].tasks["gqa"]
    assert not one.told
    assert one.verdict("A", "B") == "No difference can be told from 5 questions; so few cannot tell any."
    assert one.as_json()["detectable"] is None
    assert one.first.paired.interval == pytest.approx((56.6, 100), abs=0.1)
    assert one.first.paired.interval_a == pytest.approx((0, 43.4), abs=0.1)
    other = compare(sides(b, a))[0].tasks["gqa"].first.paired
    assert other.interval == pytest.approx((-100, -56.6), abs=0.1)


def test_equal_answers_are_not_equal_models(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [i % 2 == 0 for i in range(50)])
    low, high = compare(sides(a, a))[0].tasks["gqa"].first.paired.interval
    assert (low, high) == pytest.approx((-7.1, 7.1), abs=0.1)


def test_only_one_right_and_mcnemar(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 60 + [False] * 40)
    b = gqa(tmp_path / "b", [True] * 50 + [False] * 10 + [True] * 30 + [False] * 10)
    one = compare(sides(a, b))[0].tasks["gqa"]
    assert (one.only_a, one.only_b, one.n) == (10, 30, 100)
    assert one.first.test == "McNemar, exact"
    assert one.first.p == pytest.approx(0.0022, abs=1e-4)  # twice the binomial tail of 10 in 40
    assert one.first.paired.difference == pytest.approx(20)
    assert one.verdict("A", "B").startswith("B is better than A by 20.00 points (95% ")
    assert compare(sides(b, a))[0].tasks["gqa"].verdict("A", "B").startswith("A is better than B by 20.00")


def test_scores_that_are_no_yes_or_no_go_through_the_exchange_test(tmp_path: Path) -> None:
    def side(name: str, scores: list[float]) -> Path:
        rows = [prediction(f"q{i}", score) for i, score in enumerate(scores)]
        result = task_result("vqav2", "accuracy", 0.0, 0)
        return evaluation(tmp_path / name, {"vqav2": (result, rows)})

    a = side("a", [0.3, 0.6, 1.0, 0.0] * 20)
    b = side("b", [0.6, 0.6, 1.0, 0.3] * 20)
    one = compare(sides(a, b))[0].tasks["vqav2"]
    assert one.first.test.startswith("exchange")
    assert one.first.p < 0.001
    assert (one.only_a, one.only_b) == (0, 40)


def test_other_questions_are_refused_and_common_ones_taken(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 10)
    b = gqa(tmp_path / "b", [True] * 7)
    with pytest.raises(UsageError, match=r"3 differ or are in one alone \(q7, q8, q9\)") as caught:
        compare(sides(a, b))
    assert caught.value.remedy is not None
    assert "--common compares the 7" in caught.value.remedy
    one = compare(sides(a, b), common=True)[0].tasks["gqa"]
    assert one.n == 7
    assert "3 questions that only one was asked are left out" in one.notes


def test_a_task_that_differs_takes_no_other_with_it(tmp_path: Path) -> None:
    def side(name: str, n: int) -> Side:
        same = [prediction(f"q{i}", 1.0) for i in range(4)]
        other = [prediction(f"p{i}", 1.0) for i in range(n)]
        tasks = {
            "gqa": (task_result("gqa", "accuracy", 100.0, 4), same),
            "seed": (task_result("seed", "accuracy", 100.0, n), other),
        }
        return read_side(evaluation(tmp_path / name, tasks))

    both = side("a", 3), side("b", 2)
    with pytest.raises(UsageError, match="questions of seed are not the same"):
        compare(both)
    (found,) = compare(both, each=True)
    assert list(found.tasks) == ["gqa"]
    assert found.tests == 1
    assert "1 differ" in found.refused["seed"]


def test_another_truth_is_another_question(tmp_path: Path) -> None:
    a, b = gqa(tmp_path / "a", [True] * 5), gqa(tmp_path / "b", [True] * 5, truth="no")
    with pytest.raises(UsageError, match="5 differ"):
        compare(sides(a, b), common=True)


def test_another_prompt_is_said(tmp_path: Path) -> None:
    a, b = gqa(tmp_path / "a", [True] * 5), gqa(tmp_path / "b", [True] * 5, prompt="Say it")
    notes = compare(sides(a, b))[0].tasks["gqa"].notes
    assert notes == ("5 questions were put in other words to the one than to the other",)


def test_questions_without_a_score_are_left_out_and_counted(tmp_path: Path) -> None:
    def side(name: str, *scores: float | None) -> Path:
        rows = [prediction(str(i), score) for i, score in enumerate(scores)]
        return evaluation(tmp_path / name, {"gqa": (task_result("gqa", "accuracy", 50.0, 2), rows)})

    one = compare(sides(side("a", 1.0, None, 0.0, None), side("b", 1.0, None, 0.0, 1.0)))[0].tasks["gqa"]
    assert one.n == 2
    assert one.notes == (
        "1 questions have a score on one side alone and are left out",
        "1 rows have no score of their own on either side",
    )


def test_p_values_are_corrected_over_all_tasks_of_all_sides(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 60 + [False] * 40)
    b = gqa(tmp_path / "b", [True] * 50 + [False] * 10 + [True] * 30 + [False] * 10)
    two = compare(sides(a, b, b))
    p = two[0].tasks["gqa"].first.p
    assert two[0].tests == 2
    assert [one.tasks["gqa"].p_holm for one in two] == pytest.approx([2 * p, 2 * p])


def test_pope_is_compared_by_f1_and_mme_by_pictures(tmp_path: Path) -> None:
    def pope(scores: list[float]):
        return [
            prediction(
                f"{category}{i}", ok, group=category, truth="yes" if i % 2 else "no",
                parsed=("yes" if i % 2 else "no") if ok else ("no" if i % 2 else "yes"),
            )
            for category in ("random", "popular") for i, ok in enumerate(scores)
        ]  # fmt: skip

    def mme(scores: list[float]):
        return [
            prediction(f"count/{i}", ok, group="count", images=[f"{i // 2}.png"])
            for i, ok in enumerate(scores)
        ]

    def side(name: str, scores: list[float]) -> Path:
        return evaluation(
            tmp_path / name,
            {
                "pope": (task_result("pope", "f1", 0, 0), pope(scores)),
                "mme": (task_result("mme", "perception", 0, 0), mme(scores)),
            },
        )

    found = compare(sides(side("a", [1.0, 0.0] * 20), side("b", [1.0, 1.0] * 20)))[0]
    pope_found, mme_found = found.tasks["pope"], found.tasks["mme"]
    assert (pope_found.figure, pope_found.first.paired.a, pope_found.first.paired.b) == ("f1", 0.0, 100.0)
    assert set(pope_found.groups) == {"random", "popular"}
    assert set(pope_found.figures) == {"f1", "accuracy", "precision", "recall", "yes_ratio"}
    assert (mme_found.first.n, mme_found.first.unit) == (20, "pictures")
    # half of the answers right, no picture whole: 50 points of 200
    assert (mme_found.first.paired.a, mme_found.first.paired.b) == (50.0, 200.0)
    assert mme_found.n == 40


def test_samples_that_are_all_alike_claim_no_certainty(tmp_path: Path) -> None:
    """All right against all wrong: F1 is the same in every sample, which says nothing of how sure it is."""

    def side(name: str, right: bool) -> Path:
        rows = [
            prediction(str(i), float(right), group="random", truth="yes", parsed="yes" if right else "no")
            for i in range(20)
        ]
        result = task_result("pope", "f1", 100.0 * right, 20)
        result["scores"]["interval"] = {"f1": [90.0, 100.0] if right else [0.0, 15.0]}
        return evaluation(tmp_path / name, {"pope": (result, rows)})

    one = compare(sides(side("a", False), side("b", True)))[0].tasks["pope"]
    pair = one.first.paired
    assert (pair.interval_a, pair.interval_b) == ((0.0, 15.0), (90.0, 100.0)), "those of the scorer"
    assert "better" in one.verdict("A", "B")
    assert "95%" not in one.verdict("A", "B")
    assert ends_text(pair.interval, " to ") == "no spread"


def test_a_figure_that_is_not_the_written_one_is_said(tmp_path: Path) -> None:
    rows = [prediction(str(i), 1.0) for i in range(4)]
    a = evaluation(tmp_path / "a", {"gqa": (task_result("gqa", "accuracy", 75.0, 4), rows)})
    assert "100.00 by its questions, 75.00 in its result" in compare(sides(a, a))[0].tasks["gqa"].notes[0]


def test_other_settings_are_said(tmp_path: Path) -> None:
    def side(name: str, ocr: str) -> Path:
        result = task_result("textvqa", "accuracy", 100.0, 1, choices={"ocr": ocr})
        return evaluation(tmp_path / name, {"textvqa": (result, [prediction("1", 1.0)])})

    notes = compare(sides(side("a", "yes"), side("b", "no")))[0].tasks["textvqa"].notes
    assert notes == ("asked with ocr yes on the one side, no on the other",)


def test_a_judge_that_ran_more_often_on_the_one_side(tmp_path: Path) -> None:
    def side(name: str, parsed: str) -> Path:
        rows = [prediction(str(i), 0.5, parsed=parsed, truth="") for i in range(6)]
        return evaluation(
            tmp_path / name, {"llava-bench": (task_result("llava-bench", "overall", 0, 0), rows)}
        )

    one = compare(sides(side("a", "8 4; 10 8"), side("b", "10 5; 10 5; 10 5")))[0].tasks["llava-bench"]
    assert one.first.paired.a == pytest.approx(65)
    assert one.first.paired.b == pytest.approx(50)


def test_what_a_side_can_be(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True, False])
    blind = a / "gqa" / BLIND
    blind.mkdir()
    write_predictions(blind, [prediction("q0", 0.0), prediction("q1", 0.0)])
    for one, other in ((a, a / "gqa"), (a / "gqa" / "predictions.jsonl", a), (blind, a / "gqa")):
        assert compare(sides(one, other))[0].tasks["gqa"].n == 2
    assert read_side(blind).model == "small, without sight"
    details = tmp_path / "details.jsonl"
    details.write_text('{"question_id": "q0", "parsed": "x", "score": 1.0, "groups": []}\n')
    assert list(read_side(details, "gqa").tasks) == ["gqa"]


def test_own_questions_are_compared_by_their_measured_variant(tmp_path: Path) -> None:
    for name, correct in (("a", True), ("b", False)):
        folder = tmp_path / name / "eval"
        folder.mkdir(parents=True)
        (folder / "scores.json").write_text(json.dumps({"variants": {"tuned": {}, "blind": {}}}))
        row = {"question_id": 7, "type": "color", "text": "?", "answer": "red", "image": "a.png", "raw": ""}
        (folder / "predictions-tuned.jsonl").write_text(json.dumps({**row, "correct": correct}) + "\n")
    one = compare(sides(tmp_path / "a", tmp_path / "b"))[0].tasks["questions"]
    assert (one.only_a, one.only_b) == (1, 0)
    # a run that was asked tasks at its end, too
    for name in ("a", "b"):
        gqa(tmp_path / name / "eval", [True, False])
    assert set(compare(sides(tmp_path / "a", tmp_path / "b"))[0].tasks) == {"gqa", "questions"}


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", "not JSON"), ("[]", "no object"), ('{"question_id": 1, "score": "x"}', "no scored answer")],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, error: str) -> None:
    path = tmp_path / "details.jsonl"
    path.write_text('{"question_id": 0, "score": 1}\n' + text + "\n")
    with pytest.raises(DataError, match=error) as caught:
        read_side(path)
    assert "line 2" in str(caught.value.where)


@pytest.mark.parametrize("text", ["{", "[]", '{"variants": {}}'])
def test_damaged_scores_of_own_questions_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(DataError, match="name no variant") as caught:
        read_side(tmp_path)
    assert "scores.json" in str(caught.value)


def test_sides_that_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_side(tmp_path / "none")
    with pytest.raises(UsageError, match="no results"):
        read_side(tmp_path)
    a = gqa(tmp_path / "a", [True])
    other = evaluation(
        tmp_path / "b", {"ai2d": (task_result("ai2d", "accuracy", 100, 1), [prediction("q0", 1.0)])}
    )
    with pytest.raises(UsageError, match="no task is in both: gqa in the one, ai2d in the other"):
        compare(sides(a, other))
    with pytest.raises(UsageError, match="not a task of both"):
        compare(sides(a, a), task="pope")


def test_an_empty_file_of_details_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.touch()
    with pytest.raises(DataError, match="holds no scored answers: it is empty") as caught:
        read_side(path, "gqa")
    assert caught.value.where == str(path)
