from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from rich.console import Console

from pumice.errors import CheckpointError, DataError, Interrupted, RunError, UsageError
from pumice.evaluate import (
    MEAN_GREY,
    Prompt,
    QuestionSet,
    Variant,
    evaluate,
    model_digest,
    pope_table,
    read_questions,
    read_scores,
    scores_table,
    standard_variants,
)

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Seer:
    """Answers by the one colour it sees; counts what it is asked and may be stopped after some."""

    def __init__(self, name: str = "seer", stop_after: int | None = None) -> None:
        self.name = name
        self.asked: list[str] = []
        self.stop_after = stop_after

    def predict(self, prompts: Sequence[Prompt]) -> list[str]:
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        self.asked += [prompt.text for prompt in prompts]
        return [self.answer(prompt) for prompt in prompts]

    def answer(self, prompt: Prompt) -> str:
        (image,) = prompt.images
        opened = image if isinstance(image, PIL.Image.Image) else PIL.Image.open(image)
        pixel = opened.convert("RGB").getpixel((0, 0))
        seen = next((name for name, value in COLOURS.items() if value == pixel), "grey")
        if "Is there" in prompt.text:
            return "Yes." if seen in prompt.text else "No."
        return seen


@pytest.fixture
def questions(tmp_path: Path) -> QuestionSet:
    rows: list[dict[str, Any]] = []
    for place, (name, value) in enumerate(COLOURS.items()):
        PIL.Image.new("RGB", (6, 6), value).save(tmp_path / f"{name}.png")
        row = {"question_id": place, "image": f"{name}.png", "text": "What colour?", "type": "colour"}
        rows.append(row | {"answer": name, "present": [name, "grey"]})
        for k, other in enumerate(COLOURS):
            row = {"question_id": f"p{place}{k}", "image": f"{name}.png", "text": f"Is there {other}?"}
            answer = "yes" if other == name else "no"
            rows.append(
                row | {"type": "existence", "answer": answer, "setting": ("random", "popular")[k % 2]}
            )
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_questions(file)


def test_scores_and_predictions_of_all_variants(questions: QuestionSet, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    told: list[tuple[str, int, int]] = []
    scores = evaluate(questions, standard_variants(Seer()), out, lambda *a: told.append(a), batch_size=5)
    assert read_scores(out / "scores.json") == scores
    assert list(scores["variants"]) == ["tuned", "blind", "wrong-image"]
    assert (scores["questions"], scores["pictures"]) == (12, 3)
    assert scores["variants"]["tuned"]["overall"]["value"] == 1.0
    assert scores["variants"]["blind"]["by_type"]["colour"]["value"] == 0.0
    assert scores["variants"]["wrong-image"]["by_type"]["colour"]["value"] == 0.0
    # blind says no nine times, six of them rightly
    assert scores["variants"]["blind"]["by_type"]["existence"]["value"] == pytest.approx(6 / 9)
    pope = scores["variants"]["tuned"]["pope"]
    assert set(pope) == {"random", "popular", "overall"}
    assert (pope["overall"]["f1"], pope["overall"]["n"]) == (1.0, 9)
    assert scores["variants"]["blind"]["pope"]["overall"]["f1"] == 0.0
    colour = scores["floors"]["colour"]
    assert (colour["guess"], colour["mode"], colour["n_present"]) == (0.5, 0.5, 3)
    assert scores["floors"]["existence"]["present"] is None
    assert scores["floors"]["existence"]["floor"] == pytest.approx(6 / 9)
    assert scores["floor_overall"] == pytest.approx((0.5 * 3 + 6) / 12)
    pair = scores["paired"]["tuned vs blind"]
    assert (pair["only_a"], pair["only_b"], pair["difference"]) == (6, 0, 0.5)
    assert told[:4] == [("tuned", 0, 12), ("tuned", 5, 12), ("tuned", 10, 12), ("tuned", 12, 12)]
    rows = [json.loads(line) for line in (out / "predictions-blind.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in rows] == [question.id for question in questions.questions]
    assert rows[0] == questions.questions[0].fields() | {
        "variant": "blind",
        "raw": "grey",
        "parsed": "grey",
        "correct": False,
    }
    assert not list(out.glob("*.partial"))


@pytest.mark.parametrize("said", ["", "red", "Yes, there is."])
def test_popes_rule_for_yes_counts_in_popes_table_alone(
    questions: QuestionSet, tmp_path: Path, said: str
) -> None:
    class Mute(Seer):
        def answer(self, prompt: Prompt) -> str:
            return said if "Is there" in prompt.text else super().answer(prompt)

    scores = evaluate(questions, [Variant("tuned", Mute())], tmp_path / "eval")["variants"]["tuned"]
    assert scores["by_type"]["existence"]["value"] == 0.0
    assert scores["overall"]["value"] == pytest.approx(3 / 12), "the colours"
    assert scores["pope"]["overall"]["yes_ratio"] == 1.0
    assert scores["pope"]["overall"]["recall"] == 1.0
    rows = [json.loads(line) for line in (tmp_path / "eval" / "predictions-tuned.jsonl").open()]
    assert not any(row["correct"] for row in rows if row["type"] == "existence")


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(questions: QuestionSet, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    evaluate(questions, [Variant("tuned", Seer())], whole, batch_size=4)
    out = tmp_path / "eval"
    first = Seer(stop_after=8)
    with pytest.raises(Interrupted, match="kept"):
        evaluate(questions, [Variant("tuned", first)], out, batch_size=4)
    file = out / "predictions-tuned.jsonl"
    # a power cut in the middle of a row
    with file.open("a") as stream:
        stream.write('{"question_id": "p2')
    second = Seer()
    evaluate(questions, [Variant("tuned", second)], out, batch_size=4)
    assert first.asked + second.asked == [question.text for question in questions.questions]
    for name in ("predictions-tuned.jsonl", "scores.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    third = Seer()
    evaluate(questions, [Variant("tuned", third)], out)
    assert third.asked == []


def test_answers_of_another_model_or_to_other_questions_are_refused(
    questions: QuestionSet, tmp_path: Path
) -> None:
    out = tmp_path / "eval"
    evaluate(questions, [Variant("tuned", Seer(), model="weights-1")], out)
    before = (out / "predictions-tuned.jsonl").read_bytes()
    untouched = Seer()
    with pytest.raises(RunError, match="another model"):
        evaluate(questions, [Variant("tuned", untouched, model="weights-2")], out)
    other = QuestionSet(questions.questions, questions.image_root, "another digest")
    with pytest.raises(RunError, match="other questions"):
        evaluate(other, [Variant("tuned", untouched, model="weights-1")], out)
    with pytest.raises(RunError, match="treated otherwise"):
        evaluate(questions, [Variant("tuned", untouched, "removed", model="weights-1")], out)
    (out / "predictions-tuned.meta.json").unlink()
    with pytest.raises(RunError, match="without a record"):
        evaluate(questions, [Variant("tuned", untouched, model="weights-1")], out)
    assert untouched.asked == []
    assert (out / "predictions-tuned.jsonl").read_bytes() == before


def test_a_refused_measurement_leaves_nothing_that_binds_the_next(
    questions: QuestionSet, tmp_path: Path
) -> None:
    ours = Variant("tuned", Seer(), model="ours")
    evaluate(questions, [ours], tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    theirs = [Variant(name, Seer(), model="theirs") for name in ("blind", "tuned")]
    with pytest.raises(RunError, match="another model"):
        evaluate(questions, theirs, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    # A record whose measurement never answered anything binds nobody either.
    (tmp_path / "predictions-blind.meta.json").write_text('{"model": "theirs"}')
    evaluate(questions, [ours, Variant("blind", Seer(), "removed", model="ours")], tmp_path)


def test_answers_made_with_other_settings_are_refused(questions: QuestionSet, tmp_path: Path) -> None:
    settings = {"max_new_tokens": 64, "template": None, "dtype": "float32"}
    variant = Variant("tuned", Seer(), settings=settings)
    evaluate(questions, [variant], tmp_path)
    again = Seer()
    evaluate(questions, [Variant("tuned", again, settings=settings)], tmp_path)
    for change in ({"max_new_tokens": 8}, {"template": "v1"}, {"dtype": "bfloat16"}):
        with pytest.raises(RunError, match=f"another {next(iter(change))}"):
            evaluate(questions, [Variant("tuned", again, settings=settings | change)], tmp_path)
    with pytest.raises(RunError, match="another max_new_tokens"):
        evaluate(questions, [Variant("tuned", again)], tmp_path)
    old = tmp_path / "old"
    evaluate(questions, [Variant("tuned", Seer())], old)
    with pytest.raises(RunError, match="another max_new_tokens"):
        evaluate(questions, [Variant("tuned", again, settings=settings)], old)
    assert again.asked == []


def test_a_damaged_prediction_file_is_named(questions: QuestionSet, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    evaluate(questions, [Variant("tuned", Seer())], out)
    file = out / "predictions-tuned.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    for damage in (["{}\n", *lines[1:]], [lines[1], lines[0]], [*lines, lines[0]], ["[\n"]):
        file.write_text("".join(damage))
        with pytest.raises(DataError, match="cannot be used"):
            evaluate(questions, [Variant("tuned", Seer())], out)


def test_a_predictor_that_loses_answers_is_refused(questions: QuestionSet, tmp_path: Path) -> None:
    class Short(Seer):
        def predict(self, prompts: Sequence[Prompt]) -> list[str]:
            return super().predict(prompts)[1:]

    with pytest.raises(RunError, match="11 answers to 12 prompts"):
        evaluate(questions, [Variant("tuned", Short())], tmp_path / "eval")


def test_names_of_variants(questions: QuestionSet, tmp_path: Path) -> None:
    for names, words in (([], "nothing"), (["a/b"], "cannot name"), (["a", "a"], "two variants")):
        with pytest.raises(UsageError, match=words):
            evaluate(questions, [Variant(name, Seer()) for name in names], tmp_path / "eval")
    assert not (tmp_path / "eval").exists()


def test_any_text_can_be_an_answer(questions: QuestionSet, tmp_path: Path) -> None:
    class Strange(Seer):
        def answer(self, prompt: Prompt) -> str:
            return 'line\u2028\x85\n"\ud800\x00'

    out = tmp_path / "eval"
    first = evaluate(questions, [Variant("tuned", Strange())], out)
    assert evaluate(questions, [Variant("tuned", Seer("seer"))], out) == first, "read back row by row"


def test_blind_pictures_reach_the_predictor(questions: QuestionSet) -> None:
    _, removed, *_ = standard_variants(Seer(), Seer("before"))
    prompts = removed.prompts(questions, 0)
    assert all(image.getpixel((0, 0)) == MEAN_GREY for p in prompts for image in p.images)  # type: ignore[union-attr]


def test_tables_fit_a_terminal_of_100_columns(questions: QuestionSet, tmp_path: Path) -> None:
    scores = evaluate(questions, standard_variants(Seer(), Seer("before")), tmp_path / "eval")
    scores["variants"]["tuned"]["by_type"]["relation (left, right, above)"] = scores["variants"]["tuned"][
        "overall"
    ]
    for variant in scores["variants"].values():
        variant["by_type"]["relation (left, right, above)"] = variant["overall"]
    scores["floors"]["relation (left, right, above)"] = scores["floors"]["colour"]
    console = Console(width=100, file=io.StringIO(), force_terminal=False)
    console.print(scores_table(scores))
    console.print(pope_table(scores))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for word in (
        "tuned",
        "aligned",
        "blind",
        "wrong image",
        "floor",
        "colour",
        "100.0",
        "random",
        "F1",
        "all",
    ):
        assert word in text
    assert text.count("…") == 1, "only the overlong type is shortened"


def test_a_model_is_named_by_its_bytes(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no safetensors"):
        model_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"w")
    (tmp_path / "config.json").write_bytes(b"{}")
    first = model_digest(tmp_path)
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert model_digest(tmp_path) == first
    (tmp_path / "model.safetensors").write_bytes(b"v")
    assert model_digest(tmp_path) != first
