"""All dimensions of the embedded model on the embedded world: figures, files, and going on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.models import load_generator
from pumice.errors import Interrupted, RunError, UsageError
from pumice.evaluate.dimensions import DIMENSIONS, Subject, Terms, chosen, measure_all
from pumice.evaluate.results import ModelRecord, read_predictions, read_result, read_results
from pumice.infer import Generator
from pumice.world.benchmarks import write_benchmarks
from pumice.world.embedded import resolve

NAMES = ["retrieval", "instructions", "reasoning", "domain", "fusion"]
MODEL = ModelRecord(kind="local", name="tiny", digest="abc")


class Counted:
    """A model that counts the questions it is asked."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.asked = generator, 0
        inner: Callable[..., list[str]] = generator.answer

        def answer(questions: Any, *more: Any) -> list[str]:
            self.asked += len(questions)
            return inner(questions, *more)

        generator.answer = answer  # type: ignore[method-assign]

    def __call__(self) -> Generator:
        return self.generator


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dimensions") / "data"
    write_benchmarks(folder, n=24, names=["retrieval", "instructions", "reasoning", "domain"])
    return folder


@pytest.fixture
def load() -> Counted:
    return Counted(load_generator(resolve("tiny")))


def subject(load: Callable[[], Generator], **more: Any) -> Subject:
    return Subject(MODEL, load, {"dtype": "float32"}, text_side=resolve("embedded:clip-tiny"), **more)


def test_all_are_measured_and_say_what_is_known_of_the_model(
    data: Path, tmp_path: Path, load: Counted
) -> None:
    own = subject(load)
    found = chosen("all", own, data)
    assert [one.name for one in found] == NAMES
    results = measure_all(found, own, data, tmp_path, Terms())
    figures = {}
    for name in NAMES:
        state = results["tasks"][name]
        assert state["state"] == "scored", state["problem"]
        result = read_result(tmp_path / name)
        assert state["result"] == result
        assert result["figure"] == next(iter(result["scores"]["metrics"]))
        figures[name] = result["scores"]["metrics"]
        for metric, (low, high) in result["scores"]["interval"].items():
            assert low <= figures[name][metric] <= high, (name, metric)
    assert read_results(tmp_path)["tasks"].keys() == set(NAMES)

    retrieval = figures["retrieval"]
    luck = read_result(tmp_path / "retrieval")["baselines"]["chance"]
    assert luck is not None
    for metric, value in luck["scores"]["metrics"].items():
        if metric.startswith("connector_standard") or metric.startswith("tower"):
            assert retrieval[metric] > 2 * value, metric
    assert retrieval["tower_t2i_top1"] > 80
    assert luck["scores"]["metrics"]["tower_t2i_top1"] == pytest.approx(100 / 24, abs=0.5)

    forms = read_result(tmp_path / "instructions")["scores"]["groups"]
    assert forms["word"]["obeyed"] == forms["yes-no"]["obeyed"] == 100, "what it was trained for"
    assert forms["letter"]["obeyed"] < 100, "what it has never seen"
    assert figures["reasoning"]["accuracy"] > 60
    assert "6 steps" in read_result(tmp_path / "reasoning")["scores"]["groups"]
    assert figures["domain"]["seen"] > 75
    fusion = figures["fusion"]
    for way in ("image-grey", "image-other", "connector-mean", "connector-noise", "sight-all"):
        assert fusion[f"drop_{way}"] > 25, way
    assert len(list(read_predictions(tmp_path / "domain"))) == 24 * 5


def test_what_was_measured_is_not_measured_again(data: Path, tmp_path: Path, load: Counted) -> None:
    own, dims = subject(load), [DIMENSIONS[name] for name in ("reasoning", "instructions")]
    first = measure_all(dims, own, data, tmp_path, Terms())
    asked = load.asked
    assert asked == 48
    again = measure_all(dims, own, data, tmp_path, Terms())
    assert load.asked == asked
    kept = first["tasks"]["reasoning"]["result"], again["tasks"]["reasoning"]["result"]
    assert kept[0] == kept[1]
    measure_all(dims[:1], own, data, tmp_path / "other", Terms(limit=6))
    assert load.asked - asked < 24


def test_a_measurement_that_was_stopped_goes_on(data: Path, tmp_path: Path, load: Counted) -> None:
    own, dims = subject(load), [DIMENSIONS["fusion"]]
    terms = Terms(rows=4, limit=8)

    def stop(what: str, done: int, total: int) -> None:
        if what == "fusion, connector-mean" and done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="kept"):
        measure_all(dims, own, data, tmp_path / "stopped", terms, stop)
    assert read_results(tmp_path / "stopped")["tasks"]["fusion"]["state"] == "unfinished"
    before = load.asked
    measure_all(dims, own, data, tmp_path / "stopped", terms)
    assert load.asked > before
    asked = load.asked
    measure_all(dims, own, data, tmp_path / "whole", terms)
    assert load.asked == 2 * asked, "no question was put twice"
    stopped, whole = (read_result(tmp_path / name / "fusion") for name in ("stopped", "whole"))
    assert stopped["scores"] == whole["scores"]


def test_one_that_fails_leaves_the_others(data: Path, tmp_path: Path, load: Counted) -> None:
    broken = tmp_path / "data"
    (broken / "domain").mkdir(parents=True)
    (broken / "domain" / "questions.jsonl").write_text("{", encoding="utf-8")
    (broken / "reasoning").symlink_to(data / "reasoning")
    results = measure_all(
        [DIMENSIONS["domain"], DIMENSIONS["retrieval"], DIMENSIONS["reasoning"]],
        subject(load), broken, tmp_path / "out", Terms(limit=6),
    )  # fmt: skip
    states = {name: state["state"] for name, state in results["tasks"].items()}
    assert states == {"domain": "failed", "retrieval": "failed", "reasoning": "scored"}
    assert "questions.jsonl" in results["tasks"]["domain"]["problem"]
    assert "captions.json" in results["tasks"]["retrieval"]["remedy"]


def test_results_of_another_model_are_refused_and_tasks_stay(
    data: Path, tmp_path: Path, load: Counted
) -> None:
    own, dims = subject(load), [DIMENSIONS["reasoning"]]
    measure_all(dims, own, data, tmp_path, Terms(limit=6))
    content = json.loads((tmp_path / "results.json").read_text("utf-8"))
    content["tasks"]["pope"] = {"state": "failed", "result": None, "problem": "x", "remedy": ""}
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    assert "pope" not in measure_all(dims, own, data, tmp_path, Terms(limit=6))["tasks"], "its folder is gone"
    (tmp_path / "results.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "pope").mkdir()
    assert "pope" in measure_all(dims, own, data, tmp_path, Terms(limit=6))["tasks"]
    other = Subject(ModelRecord(kind="local", name="other", digest="def"), load, {"dtype": "float32"})
    with pytest.raises(RunError, match="another model, tiny"):
        measure_all(dims, other, data, tmp_path, Terms(limit=6))


def test_instructions_look_at_the_answers_of_tasks(data: Path, tmp_path: Path, load: Counted) -> None:
    (tmp_path / "pope").mkdir()
    row = {
        "id": "1", "question_id": 1, "images": ["a.jpg"], "parsed": "yes", "score": 1.0, "truth": "yes",
        "group": "", "prompt": "Is it?\nAnswer the question using a single word or phrase.",
    }  # fmt: skip
    rows = [{**row, "raw": "yes"}, {**row, "raw": "Yes, there is one in the middle."}]
    (tmp_path / "pope" / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    results = measure_all([DIMENSIONS["instructions"]], subject(load), data, tmp_path, Terms(limit=6))
    result = results["tasks"]["instructions"]["result"]
    assert result is not None
    assert result["scores"]["groups"]["pope: word"]["obeyed"] == 50


def test_names(data: Path, load: Counted) -> None:
    own = subject(load)
    assert [one.name for one in chosen("fusion, domain", own, None)] == ["fusion", "domain"]
    with pytest.raises(UsageError, match="'fussion'") as caught:
        chosen("fussion", own, data)
    assert "fusion" in str(caught.value)
    with pytest.raises(UsageError, match="no dimension"):
        chosen("all", own, data / "nothing")
