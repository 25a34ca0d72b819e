"""evaluate/trial.py: tasks checked, asked, scored and written; one that fails takes no other with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pumice.errors import DataError, ImageError, Interrupted, PumiceError, RunError
from pumice.evaluate.answers import Said
from pumice.evaluate.filed import FileAnswerer
from pumice.evaluate.pictures import open_sight
from pumice.evaluate.results import (
    BLIND,
    Results,
    TaskState,
    read_predictions,
    read_result,
    read_results,
)
from pumice.evaluate.samples import Benchmark, Loaded, Sample
from pumice.evaluate.trial import Ruling, Trial
from pumice.evaluate.wish import Terms, Wish
from pumice.score import Inputs
from pumice.score.answers import Missing

from .small_task import LABELS, QUESTIONS, SMALL, Telling, load, truly, write_task


def trial(tmp_path: Path, answerer: Telling, terms: Terms | None = None, *wishes: Wish) -> Trial:
    own = wishes or (Wish(SMALL, write_task(tmp_path / "data"), {"short": "yes"}),)
    return Trial(own, answerer, tmp_path / "out", terms or Terms())


def run(one: Trial) -> Results:
    return one.carry_out(*one.prepare())


def test_figures_with_all_that_stands_beside_them(tmp_path: Path) -> None:
    def sees(sample: Sample) -> str:
        return "Yes, there is" if sample.truth == "yes" else "No"

    answerer = Telling(sees, digest="d" * 64)
    results = run(trial(tmp_path, answerer, Terms(blind=True)))
    assert read_results(tmp_path / "out") == results
    state = results["tasks"]["pope"]
    assert state["state"] == "scored"
    result = read_result(tmp_path / "out" / "pope")
    assert result == state["result"]
    assert result["figure"] == "f1"
    assert result["scores"]["metrics"]["f1"] == 100
    chance, blind = result["baselines"]["chance"], result["baselines"]["blind"]
    assert chance is not None
    assert blind is not None
    assert chance["scores"]["metrics"]["f1"] == pytest.approx(200 / 3)
    assert blind["scores"]["metrics"]["f1"] == 100, "this one answers without looking"
    assert result["asked"] == result["total"] == 8
    assert result["notes"] == ["a note"]
    assert result["model"] == {"kind": "local", "name": "telling", "digest": "d" * 64}
    assert result["settings"] == {"max_new_tokens": 4, "template": None}
    assert result["choices"] == {"short": "yes"}
    assert result["seconds"] is not None
    rows = list(read_predictions(tmp_path / "out" / "pope"))
    assert rows[0] == {
        "id": "q0",
        "question_id": 0,
        "prompt": "Is there anything red in the image? Answer yes or no.",
        "images": ["0.png"],
        "raw": "Yes, there is",
        "parsed": "yes",
        "score": 1.0,
        "truth": "yes",
        "group": "random",
        "groups": ["random"],
    }
    assert len(rows) == len(list(read_predictions(tmp_path / "out" / "pope" / BLIND))) == 8
    assert answerer.asked[0] == ("q7", False)
    assert {name for name, blind in answerer.asked if blind} == {f"q{n}" for n in range(8)}
    again = Telling(sees, digest="d" * 64)
    assert run(trial(tmp_path, again, Terms(blind=True)))["tasks"]["pope"]["state"] == "scored"
    assert not again.asked
    assert not again.readied, "no model is loaded for what is answered"


def test_a_task_whose_files_are_missing_takes_no_other_with_it(tmp_path: Path) -> None:
    lost = Wish(dataclasses.replace(SMALL, name="seed"), tmp_path / "nowhere")
    one = trial(tmp_path, Telling(truly), None, lost, Wish(SMALL, write_task(tmp_path / "data")))
    ready, failed = one.prepare()
    assert list(ready) == ["pope"]
    assert isinstance(failed["seed"], DataError)
    results = one.carry_out(ready, failed)
    assert results["tasks"]["seed"]["state"] == "failed"
    assert "no question file" in results["tasks"]["seed"]["problem"]
    assert results["tasks"]["pope"]["state"] == "scored"


def test_missing_pictures_are_told_before_anybody_is_asked(tmp_path: Path) -> None:
    data = write_task(tmp_path / "data")
    (data / "2.png").unlink()
    answerer = Telling(truly)
    _, failed = trial(tmp_path, answerer, None, Wish(SMALL, data)).prepare()
    assert "1 of 4 pictures are not there: 2.png" in failed["pope"].what
    assert not answerer.readied


def test_an_error_in_the_middle_keeps_the_answers_and_the_other_tasks(tmp_path: Path) -> None:
    def breaks(sample: Sample) -> str:
        if sample.id == "q2" and "lost" in str(sample.images[0]):
            raise DataError("the picture is damaged", where="x.png", remedy="fetch it")
        return sample.truth

    wishes = [
        Wish(dataclasses.replace(SMALL, name="mme"), write_task(tmp_path / "lost")),
        Wish(SMALL, write_task(tmp_path / "data")),
    ]
    results = run(trial(tmp_path, Telling(breaks), None, *wishes))
    assert results["tasks"]["mme"]["state"] == "unfinished"
    assert results["tasks"]["mme"]["problem"] == "the picture is damaged (x.png)"
    assert results["tasks"]["pope"]["state"] == "scored"
    mended = Telling(truly)
    assert run(trial(tmp_path, mended, None, *wishes))["tasks"]["mme"]["state"] == "scored"
    assert sorted(name for name, _ in mended.asked) == ["q0", "q1", "q2"]


def test_a_limit_is_told_and_never_mixed_with_the_whole(tmp_path: Path) -> None:
    answerer = Telling(truly)
    result = run(trial(tmp_path, answerer, Terms(limit=4)))["tasks"]["pope"]["result"]
    assert result is not None
    assert (result["asked"], result["total"], result["limit"]) == (4, 8, 4)
    assert result["scores"]["n"] == 4
    assert result["notes"][0].startswith("4 of 8 questions")
    _, failed = trial(tmp_path, Telling(truly)).prepare()
    assert "(another --limit)" in str(failed["pope"]) or "to other questions" in str(failed["pope"])


def test_results_of_another_model_are_refused_and_other_tasks_stay(tmp_path: Path) -> None:
    run(trial(tmp_path, Telling(truly, digest="a" * 64)))
    with pytest.raises(RunError, match="another model"):
        trial(tmp_path, Telling(truly, digest="b" * 64)).prepare()
    other = Wish(dataclasses.replace(SMALL, name="seed"), tmp_path / "data")
    results = run(trial(tmp_path, Telling(truly, digest="a" * 64), None, other))
    assert list(results["tasks"]) == ["pope", "seed"]


def judged(folder: Path) -> Benchmark:
    """LLaVA-Bench with the questions of the small task."""

    def loaded(place: Path, choices: Mapping[str, str]) -> Loaded:
        samples = load(place, choices).samples
        return Loaded("llava-bench", samples, lambda file: Inputs(reviews=(file,)))

    return Benchmark("llava-bench", (LABELS,), loaded, judge="llava-bench")


def test_judged_tasks_wait_for_their_judge(tmp_path: Path) -> None:
    wish = Wish(judged(tmp_path), write_task(tmp_path / "data"))
    answerer = Telling(truly)
    state = run(trial(tmp_path, answerer, None, wish))["tasks"]["llava-bench"]
    assert state["state"] == "answered"
    assert "--judge URL" in state["remedy"]
    rows = list(read_predictions(tmp_path / "out" / "llava-bench"))
    assert [row["score"] for row in rows] == [None] * 8

    def judge(benchmark: Benchmark, loaded: Loaded, answers: Path, folder: Path) -> Ruling:
        assert len(answers.read_text("utf-8").splitlines()) == 8
        path = folder / "reviews.jsonl"
        path.write_text(
            "".join(
                json.dumps({"question_id": n, "tuple": [8, 4], "category": "conv"}) + "\n" for n in range(8)
            ),
            encoding="utf-8",
        )
        return Ruling(loaded.inputs(path), {"model": "judge"})

    silent = Telling(truly)
    one = dataclasses.replace(trial(tmp_path, silent, None, wish), judge=judge)
    result = run(one)["tasks"]["llava-bench"]["result"]
    assert result is not None
    assert not silent.asked
    assert result["scores"]["metrics"]["overall"] == 50
    assert result["judge"] == {"model": "judge"}
    assert result["baselines"] == {"chance": None, "blind": None}
    assert [row["score"] for row in read_predictions(tmp_path / "out" / "llava-bench")] == [0.4] * 8


def test_questions_that_could_not_be_put_are_counted_and_many_of_them_are_no_score(tmp_path: Path) -> None:
    from pumice.evaluate.answers import Said

    class Shy(Telling):
        shy: frozenset[str] = frozenset()

        def answers(self, samples, max_new_tokens, *, blind):  # type: ignore[no-untyped-def]
            for place, said in super().answers(samples, max_new_tokens, blind=blind):
                yield place, Said("", "too long") if samples[place].id in self.shy else said

    wish = Wish(SMALL, write_task(tmp_path / "data", 10))
    few = Shy(truly)
    few.shy = frozenset({"q1", "q2"})
    result = run(trial(tmp_path, few, None, wish))["tasks"]["pope"]["result"]
    assert result is not None
    assert "2 questions could not be put and count as answered with nothing" in result["notes"]
    many = Shy(truly)
    many.shy = frozenset({"q1", "q2", "q3"})
    state = run(dataclasses.replace(trial(tmp_path, many, None, wish), out=tmp_path / "more"))["tasks"][
        "pope"
    ]
    assert state["state"] == "failed"
    assert "3 of 20 questions could not be put" in state["problem"]
    assert "too long" in state["problem"]


def test_damaged_result_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path)
    run(trial(tmp_path, Telling(truly)))
    place = tmp_path / "out" / "results.json"
    place.write_text(place.read_text("utf-8").replace('"format": 1', '"format": 9', 1), encoding="utf-8")
    with pytest.raises(PumiceError, match="format 9"):
        read_results(tmp_path / "out")
    lines = tmp_path / "out" / "pope" / "predictions.jsonl"
    lines.write_text(lines.read_text("utf-8") + '{"id": 1}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        list(read_predictions(tmp_path / "out" / "pope"))
    assert "line 9" in str(caught.value)


def test_what_only_a_server_scores_is_written_for_it(tmp_path: Path) -> None:
    questions = tmp_path / "data" / "llava.jsonl"

    def loaded(place: Path, choices: Mapping[str, str]) -> Loaded:
        samples = load(place, choices).samples
        rows = [{"question_id": sample.row["question_id"], "text": sample.text} for sample in samples]
        questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return Loaded("vqav2", samples, lambda file: Inputs(file, questions), scored=False)

    wish = Wish(Benchmark("vqav2", (), loaded), write_task(tmp_path / "data"))
    state = run(trial(tmp_path, Telling(truly), None, wish))["tasks"]["vqav2"]
    place = tmp_path / "out" / "vqav2" / "submission.json"
    assert state["state"] == "answered"
    assert state["remedy"] == f"upload {place} (8 answers)"
    answers = json.loads(place.read_text("utf-8"))
    assert {row["question_id"]: row["answer"] for row in answers}[0] == "yes"
    part = dataclasses.replace(trial(tmp_path, Telling(truly), Terms(limit=2), wish), out=tmp_path / "part")
    assert "leave out --limit" in run(part)["tasks"]["vqav2"]["remedy"]
    assert not (tmp_path / "part" / "vqav2" / "submission.json").exists()


def test_an_answer_that_has_no_utf8_is_scored_as_any_other(tmp_path: Path) -> None:
    results = run(trial(tmp_path, Telling(lambda sample: "yes \ud83d"), Terms(blind=True)))
    assert results["tasks"]["pope"]["state"] == "scored", results["tasks"]["pope"]["problem"]
    assert next(read_predictions(tmp_path / "out" / "pope"))["raw"] == "yes \ud83d"


def test_an_answer_may_be_anything(tmp_path: Path) -> None:
    said = [
        "Yes \ud83d",
        "no\u2028No",
        "",
        "\x1b[31mno\x00",
        '"}\n{"sample": "q1"',
        "\r\n",
        "no\x85",
        "</script>",
    ]
    answers = dict(zip((f"q{number}" for number in range(8)), said, strict=True))
    answerer = Telling(lambda sample: answers[sample.id], digest="d" * 64)
    assert run(trial(tmp_path, answerer))["tasks"]["pope"]["state"] == "scored"
    rows = read_predictions(tmp_path / "out" / "pope")
    assert {row["id"]: row["raw"] for row in rows} == answers
    again = Telling(truly, digest="d" * 64)
    assert run(trial(tmp_path, again))["tasks"]["pope"]["state"] == "scored"
    assert not again.asked


def spoil(picture: Path) -> None:
    """Cut a picture's file in two: its header says what it was."""
    content = picture.read_bytes()
    picture.write_bytes(content[: len(content) - 30])


class Seeing(Telling):
    """Looks at pictures, as those who answer with a model do."""

    def answers(self, samples, max_new_tokens, *, blind):  # type: ignore[no-untyped-def]
        for place, said in super().answers(samples, max_new_tokens, blind=blind):
            try:
                open_sight(samples[place].images[0])
            except ImageError as error:
                said = Said("", bad=error)
            yield place, said


def test_a_picture_that_cannot_be_decoded_stops_its_task_or_is_left_out_and_counted(tmp_path: Path) -> None:
    data = write_task(tmp_path / "data", 6)
    whole = (data / "1.png").read_bytes()
    spoil(data / "1.png")
    wish = Wish(SMALL, data)
    state = run(trial(tmp_path, Seeing(truly), None, wish))["tasks"]["pope"]
    assert state["state"] == "unfinished"
    assert "question q3" in state["problem"]
    assert "1.png" in state["problem"]
    assert "--allow-bad N" in state["remedy"]
    few = run(trial(tmp_path, Seeing(truly), Terms(allow_bad=1), wish))["tasks"]["pope"]
    assert few["state"] == "unfinished"
    assert "2 questions are bad, 1 may be" in few["problem"]
    result = run(trial(tmp_path, Seeing(truly), Terms(allow_bad=2, blind=True), wish))["tasks"]["pope"][
        "result"
    ]
    assert result is not None
    assert (result["scores"]["n"], result["asked"], result["total"], result["left_out"]) == (10, 10, 12, 2)
    assert "2 of 12 questions were left out" in result["notes"][0]
    assert result["scores"]["metrics"]["f1"] == 100
    blind = result["baselines"]["blind"]
    assert blind is not None
    assert blind["scores"]["n"] == 10
    out = tmp_path / "out" / "pope"
    assert [json.loads(row)["sample"] for row in (out / "refused.jsonl").read_text("utf-8").splitlines()] == [
        "q3",
        "q2",
    ]
    rows = {row["id"]: row for row in read_predictions(out)}
    assert "left_out" in rows["q2"]
    assert rows["q2"]["score"] is None
    silent = Seeing(truly)
    assert run(trial(tmp_path, silent, Terms(allow_bad=2), wish))["tasks"]["pope"]["state"] == "scored"
    assert not silent.asked, "what is as bad as before is not put again"
    assert not silent.readied
    (data / "1.png").write_bytes(whole)
    mended = Seeing(truly)
    _, failed = trial(tmp_path, mended, Terms(allow_bad=2), wish).prepare()
    assert "to other questions" in str(failed["pope"]), "another picture of that name: its size differs"


def test_a_picture_that_broke_before_the_grey_one_was_asked_is_left_out_there_alone(tmp_path: Path) -> None:
    class Breaking(Telling):
        def answers(self, samples, max_new_tokens, *, blind):  # type: ignore[no-untyped-def]
            for place, said in super().answers(samples, max_new_tokens, blind=blind):
                broke = blind and samples[place].id == "q2"
                yield place, Said("", bad=ImageError("it broke")) if broke else said

    result = run(trial(tmp_path, Breaking(truly), Terms(allow_bad=1, blind=True)))["tasks"]["pope"]["result"]
    assert result is not None
    blind = result["baselines"]["blind"]
    assert blind is not None
    assert (result["scores"]["n"], blind["scores"]["n"]) == (8, 7)


def test_seconds_are_those_of_all_sittings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("pumice.evaluate.asking.time.monotonic", lambda: now[0])

    def slow(sample: Sample) -> str:
        now[0] += 2.0
        if now[0] == 8.0:
            raise KeyboardInterrupt
        return sample.truth

    with pytest.raises(Interrupted):
        run(trial(tmp_path, Telling(slow)))
    now[0] = 1000.0
    result = run(trial(tmp_path, Telling(slow)))["tasks"]["pope"]["result"]
    assert result is not None
    assert result["seconds"] == 16.0, "three before, five after, each two seconds"


def filed(tmp_path: Path, missing: Missing, **texts: str) -> FileAnswerer:
    path = tmp_path / "theirs.jsonl"
    asked = (tmp_path / "data" / QUESTIONS).read_text("utf-8").splitlines()
    prompts = [json.loads(line)["text"] for line in asked]
    rows = [
        {"question_id": int(name[1:]), "prompt": prompts[int(name[1:])], "text": text}
        for name, text in texts.items()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return FileAnswerer(path, "somebody", missing)


def test_a_mended_file_of_answers_is_taken_in_place_of_the_one_before(tmp_path: Path) -> None:
    wish = Wish(SMALL, write_task(tmp_path / "data", 2))
    right = {"q0": "yes", "q1": "no", "q2": "yes", "q3": "no"}

    def go(missing: Missing = "error", **texts: str) -> tuple[TaskState, str]:
        one = Trial([wish], filed(tmp_path, missing, **texts), tmp_path / "out", Terms(missing=missing))
        ready, failed = one.prepare()
        return one.carry_out(ready, failed)["tasks"]["pope"], ready["pope"].own.changes()

    state, _ = go(q0="yes")
    assert state["state"] == "unfinished"
    assert "--missing skip" in state["remedy"]
    state, told = go(**{**right, "q1": "yes", "q3": "yes"})
    assert state["result"] is not None
    assert state["result"]["scores"]["metrics"]["accuracy"] == 50
    state, told = go(**right)
    assert told == "another file of answers than before: 2 differ"
    assert state["result"] is not None
    assert state["result"]["scores"]["metrics"]["accuracy"] == 100
    assert len((tmp_path / "out" / "pope" / "answers.jsonl").read_text("utf-8").splitlines()) == 4
    assert go(**right)[1] == "", "the same file again is nothing new"
    assert go(q0="no")[1] == "", "of a file that was not taken nothing is told"


@pytest.mark.parametrize(("missing", "n", "accuracy"), [("skip", 3, 100), ("wrong", 4, 75)])
def test_questions_that_a_file_lacks_are_left_out_or_wrong(
    tmp_path: Path, missing: Missing, n: int, accuracy: float
) -> None:
    wish = Wish(SMALL, write_task(tmp_path / "data", 2))
    for _ in range(2):
        answerer = filed(tmp_path, missing, q0="yes", q1="no", q2="yes")
        one = Trial([wish], answerer, tmp_path / "out", Terms(missing=missing))
        result = run(one)["tasks"]["pope"]["result"]
        assert result is not None
        assert (result["scores"]["n"], result["scores"]["metrics"]["accuracy"]) == (n, accuracy)
        assert result["left_out"] == 1
        assert "1 of 4 questions have no answer in the file" in result["notes"][0]


def test_a_task_of_many_refusals_is_put_again_and_removed_with_its_folder(tmp_path: Path) -> None:
    class Refusing(Telling):
        def answers(self, samples, max_new_tokens, *, blind):  # type: ignore[no-untyped-def]
            for place, said in super().answers(samples, max_new_tokens, blind=blind):
                yield place, Said("", "refused") if samples[place].id in ("q1", "q2") else said

    assert run(trial(tmp_path, Refusing(truly)))["tasks"]["pope"]["state"] == "failed"
    mended = Telling(truly)
    assert run(trial(tmp_path, mended))["tasks"]["pope"]["state"] == "scored"
    assert sorted(name for name, _ in mended.asked) == ["q1", "q2"], "what was answered is not asked again"
    assert len((tmp_path / "out" / "pope" / "answers.jsonl").read_text("utf-8").splitlines()) == 8
    shutil.rmtree(tmp_path / "out" / "pope")
    other = Wish(dataclasses.replace(SMALL, name="seed"), tmp_path / "data")
    assert list(run(trial(tmp_path, Telling(truly), None, other))["tasks"]) == ["seed"]
