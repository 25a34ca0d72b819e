"""evaluate/own.py: benchmarks of one's own, from a YAML file and from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import DataError, UsageError
from pumice.evaluate import Benchmark, Loaded, Sample, Scorer, measure
from pumice.evaluate.compare import compare
from pumice.evaluate.own import SIDES, is_own, read_own
from pumice.evaluate.results import read_result
from pumice.evaluate.sides import read_side
from pumice.evaluate.wish import Terms
from pumice.report import write_evaluation_page
from pumice.report.evaluated import read_evaluation
from pumice.report.papers import figures_sheet
from pumice.score import Inputs, Item
from pumice.score.answers import read_answers
from pumice.score.result import means
from pumice.score.rules import RULES

from .small_task import Telling, truly

COLORS = ("red", "blue", "green")
CSV = "question,image,answer,kind\n" + "".join(
    f"What color is {i}?,{i}.png,{color},{'warm' if color == 'red' else 'cold'}\n"
    for i, color in enumerate(COLORS)
)


def make(
    folder: Path, text: str = "questions: q.csv\nscorer: exact\n", rows: Any = CSV, name: str = "q.csv"
) -> Path:
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for i, color in enumerate(COLORS):
        PIL.Image.new("RGB", (24, 16), color).save(folder / "photos" / f"{i}.png")
    (folder / name).write_text(rows if isinstance(rows, str) else json.dumps(rows))
    file = folder / "parts.yaml"
    file.write_text(text + "images: photos\n")
    return file


def run(file: Path, out: Path, rule: Any = truly, **terms: Any) -> tuple[Any, Telling]:
    benchmark, folder = read_own(file)
    answerer = Telling(rule)
    results = measure([benchmark], answerer, out, folder=folder, terms=Terms(**terms))
    return results["tasks"][benchmark.name], answerer


def test_asked_scored_resumed_compared_and_shown(tmp_path: Path) -> None:
    file = make(tmp_path, "questions: q.csv\nscorer: exact\ncolumns: {group: kind}\n")
    state, answerer = run(file, tmp_path / "a", blind=True)
    assert len(answerer.asked) == 6
    result = read_result(tmp_path / "a" / "parts")
    assert result == state["result"]
    assert (result["title"], result["rule"], result["figure"]) == ("parts", "exact", "accuracy")
    assert result["scores"]["metrics"] == {"accuracy": 100}
    assert result["scores"]["groups"]["cold"]["n"] == 2
    chance = result["baselines"]["chance"]
    assert chance is not None
    assert chance["scores"]["metrics"]["accuracy"] == pytest.approx(100 / 3)
    _, again = run(file, tmp_path / "a", blind=True)
    assert again.asked == []
    run(file, tmp_path / "b", lambda sample: "red")
    (found,) = compare([read_side(tmp_path / "a"), read_side(tmp_path / "b")])
    assert found.tasks["parts"].first.paired.difference == pytest.approx(-200 / 3)
    page = write_evaluation_page(tmp_path / "a").read_text()
    assert page.count("data:image/jpeg") == 3


def test_groups_may_be_called_as_figures_are(tmp_path: Path) -> None:
    rows = CSV.replace("warm", "accuracy").replace("cold", "recall")
    run(make(tmp_path, "questions: q.csv\nscorer: exact\ncolumns: {group: kind}\n", rows), tmp_path / "a")
    sheet = figures_sheet([read_evaluation(tmp_path / "a")])
    assert [row[:3] for row in sheet.rows] == [["parts", "accuracy", "100.00"]]
    page = write_evaluation_page(tmp_path / "a").read_text()
    assert page.count(">accuracy<") > page.count(">recall<") > 0, "as a figure and as a group"


def test_an_empty_cell_of_numbers_is_no_answer(tmp_path: Path) -> None:
    rows = '[{"question": "q", "image": "0.png", "answer": NaN}]'
    benchmark, folder = read_own(make(tmp_path, "questions: q.json\nscorer: exact\n", rows, "q.json"))
    with pytest.raises(DataError, match="no true answer"):
        benchmark.load(folder, {})


ROWS = [
    {"question": "q", "image": "0.png", "answer": "no"},
    {"question": "r", "image": "1.png", "answer": True},
]
PICK = [
    {"question": "q", "image": "0.png", "answer": a, "options": ["cat", "dog"]} for a in ("A", "dog", "B")
]


@pytest.mark.parametrize(
    ("scorer", "rows", "said", "figures"),
    [
        ("yes-no", ROWS, "Yes", {"f1": 200 / 3, "accuracy": 50, "yes_ratio": 100}),
        ("choice", PICK, "B. dog", {"accuracy": 200 / 3}),
        ("vqa", [{"question": "q", "image": "0.png", "answer": ["a cat"] * 3 + ["dog"] * 7}], "cat",
         {"accuracy": 90}),
        ("anls", [{"question": "q", "image": "0.png", "answer": "abcd"}], "abxy", {"anls": 50}),
        ("relaxed", [{"question": "q", "image": "0.png", "answer": 100}], "104", {"relaxed_accuracy": 100}),
        ("recall", [{"question": "q", "image": "0.png", "answer": "left lung"}], "the left", {"recall": 50}),
        ("exact", [{"question": "q", "image": "", "answer": ["A cat.", "kitten"]}], " a  CAT",
         {"accuracy": 100}),
    ],
)  # fmt: skip
def test_every_scorer(
    tmp_path: Path, scorer: str, rows: list[Any], said: str, figures: dict[str, float]
) -> None:
    columns = "columns: {options: options}\n" if scorer == "choice" else ""
    file = make(tmp_path, f"questions: q.json\nscorer: {scorer}\n{columns}", rows, "q.json")
    state, _ = run(file, tmp_path / "out", lambda sample: said)
    found = state["result"]["scores"]["metrics"]
    assert {name: found[name] for name in figures} == pytest.approx(figures)
    side = read_side(tmp_path / "out")
    (compared,) = compare([side, side])
    assert compared.tasks["parts"].figure == RULES[scorer].figure
    assert compared.tasks["parts"].first.paired.a == pytest.approx(next(iter(figures.values())))


def test_prompts(tmp_path: Path) -> None:
    table = "q,image,answer,A,B,hint\nWhich?,0.png,B,cat,dog,look\n"
    text = "questions: q.csv\nscorer: choice\ncolumns: {question: q, options: [A, B]}\n"
    text += 'prompt: "{hint}: {question}\\n{options}"\n'
    benchmark, folder = read_own(make(tmp_path, text, table))
    (sample,) = benchmark.load(folder, {}).samples
    assert sample.text == "look: Which?\nA. cat\nB. dog"
    assert sample.images == (folder / "photos" / "0.png",)


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ("question: q.csv\nscorer: exact\n", CSV, ["no key 'question'", "line 1", "questions"]),
        ("questions: q.csv\nscorer: exakt\n", CSV, ["'exakt'", "line 2", "exact"]),
        ("scorer: exact\n", CSV, ["'questions' is missing"]),
        ("questions: q.csv\nscorer: exact\ncolumns: {pic: a}\n", CSV, ["'pic'", "line 3"]),
        ("questions: q.csv\nscorer: exact\nmax_new_tokens: x\n", CSV, ["max_new_tokens", "line 3"]),
        ("questions: q.csv\nscorer: exact\ncolumns: {answer: anser}\n", CSV,
         ["'anser'", "q.csv, line 2", "answer"]),
        ("questions: q.csv\nscorer: exact\nprompt: '{question} {knd}'\n", CSV, ["'knd'", "line 2", "'kind'"]),
        ("questions: q.csv\nscorer: exact\nprompt: say\n", CSV, ["{question}"]),
        ("questions: q.csv\nscorer: choice\n", CSV, ["needs the options"]),
        ("questions: q.csv\nscorer: yes-no\n", CSV, ["'red'", "q.csv, line 2", "yes or no"]),
        ("questions: q.csv\nscorer: vqa\n", CSV, ["1 true answers", "q.csv, line 2"]),
        ("questions: q.csv\nscorer: exact\n", CSV.replace("1.png", "9.png"), ["missing", "q.csv, line 3"]),
        ("questions: q.csv\nscorer: exact\n", CSV.replace("1.png", "../1.png"), ["leaves", "q.csv, line 3"]),
        ("name: pope\nquestions: q.csv\nscorer: exact\n", CSV, ["'pope'"]),
        ("name: results.json\nquestions: q.csv\nscorer: exact\n", CSV, ["'results.json'", "results"]),
        (f"name: {'a' * 65}\nquestions: q.csv\nscorer: exact\n", CSV, ["folder's name", "64"]),
        ("questions: photos\nscorer: exact\n", CSV, ["is a folder"]),
        ("questions: q.csv\nscorer: exact\nprompt: ''\n", CSV, ["no {question}"]),
        ("questions: q.csv\nscorer: exact\nprompt: '{question} {options}'\n", CSV,
         ["'options'", "Choices: answer, image, kind, question"]),
        ("name: ../x\nquestions: q.csv\nscorer: exact\n", CSV, ["folder's name"]),
        ("questions: q.cvs\nscorer: exact\n", CSV, ["no question file", "q.csv"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, text: str, rows: str, said: list[str]) -> None:
    file = make(tmp_path, text, rows)

    def read() -> None:
        benchmark, folder = read_own(file)
        benchmark.load(folder, {})

    with pytest.raises(DataError) as error:
        read()
    for words in said:
        assert words in str(error.value)


def test_two_scorers_of_one_name_are_not_compared(tmp_path: Path) -> None:
    for name, scorer in (("a", "exact"), ("b", "anls")):
        run(make(tmp_path, f"questions: q.csv\nscorer: {scorer}\n"), tmp_path / name)
    with pytest.raises(UsageError, match="scored by"):
        compare([read_side(tmp_path / "a"), read_side(tmp_path / "b")])


def test_a_scorer_in_python(tmp_path: Path) -> None:
    sample = Sample("1", "How many?", (), {"question_id": "1"}, "4")

    def score(inputs: Inputs) -> Any:
        said = read_answers(inputs.said)
        return means("count", [Item("1", said["1"].text, int(said["1"].text) / 4)], metric="closeness")

    loaded = Loaded("count", (sample,), Inputs, scorer=Scorer("Counting", score))
    benchmark = Benchmark("count", (), lambda folder, choices: loaded)
    for name, said in (("a", "3"), ("b", "1")):
        results = measure([benchmark], Telling(lambda _, said=said: said), tmp_path / name)
        assert results["tasks"]["count"]["state"] == "scored"
    (found,) = compare([read_side(tmp_path / "a"), read_side(tmp_path / "b")])
    assert found.tasks["count"].first.paired.difference == pytest.approx(-50)


def test_names() -> None:
    from pumice.evaluate.dimensions import DIMENSIONS

    assert set(SIDES) == set(DIMENSIONS)
    assert is_own("mine.yaml")
    assert is_own("folder/of-mine")
    assert not is_own("pope")


def test_asked_during_training(tmp_path: Path) -> None:
    from pumice.cli.measure_tasks import open_tasks
    from pumice.recipes.evaluation import Evaluation

    plan = Evaluation(tasks=(str(make(tmp_path / "a,b")),), every=5, every_limit=2)
    (task,) = open_tasks(plan, seed=0)
    assert task.wish.benchmark.name == "parts"
    assert len(task.few) == 2
    for picture in (tmp_path / "a,b" / "photos").iterdir():
        picture.write_bytes(picture.read_bytes()[:50])
    with pytest.raises(DataError, match="png"):
        open_tasks(plan, seed=0)
    assert open_tasks(plan.model_copy(update={"every": None}), seed=0), "asked at the end alone: told there"
