"""A card out of a run's records: nothing is invented, every blank is told, and it can be checked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pumice.errors import DataError, PumiceError, RunError
from pumice.licences import front_matter
from pumice.report.card import answers_template, check_card, gather, make_card, read_answers

from ...evaluate.results_made import evaluation, task_result

RECIPE = """\
name: toy
model: {vision: "hub:org/tower", language: "hub:org/words", template: v1}
data: {talk: {file: "hub:org/talk"}}
licences: {purpose: private, unknown: warn}
stages:
  - {name: instruct, kind: instruct, sources: [talk], lr: {connector: 1e-3, language: 1e-3}, steps: 3,
     rows_per_step: 1}
"""
ANSWERS: dict[str, Any] = {
    "license": "LicenseRef-Llama-2",
    "language": ["en", "de"],
    "summary": "A toy --> of <b>three</b> steps.",
    "intended_use": "To test.\n\n## And more",
    "out_of_scope": "All else.",
    "limits": "Many.",
    "risks": "Few.",
    "contact": "us",
    "data": {"talk": "made up"},
    "parts": {"language": "Apache-2.0"},
    "unknown_licences": "They are ours.",
    "no_evaluation": "Too small.",
    "power_watts": 300,
    "grid": 400,
}


def count(licence: str, rows: int) -> dict[str, Any]:
    return {"licence": licence, "said": licence, "rows": rows, "samples": rows, "attributed": 1, "first": []}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    (folder / "stages" / "instruct").mkdir(parents=True)
    (folder / "recipe.yaml").write_text(RECIPE)
    sizes = {"trainable": {"connector": 10, "language": 90}, "frozen": {"vision": 50}}
    info = {
        "name": "toy", "recipe": "toy", "command": "pumice train /home/me/toy.yaml", "seed": 1,
        "pumice": "0.1.0", "torch": "2", "transformers": "5", "python": "3",
        "machine": "x86_64, 4 CPU cores, 2 x NVIDIA", "ranks": 2, "status": "finished", "sessions": [],
        "stages": [{"name": "instruct", "kind": "instruct", "steps": 3, "seconds": 7200.0, **sizes}],
        "parts": {
            "vision": {"name": "hub:org/tower", "folder": "t", "sha256": {"a": "ab" * 32},
                       "licence": "mit", "licence_from": "README.md"},
            "language": {"name": "/home/me/words", "folder": "words", "sha256": {}},
        },
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    row = {
        "stage": "instruct", "source": "talk", "rows": 9, "used": 8, "samples": 16, "images": 4, "tokens": 99,
        "supervised_tokens": 33, "share": 1.0, "refused": 1, "sha256": "cd" * 32,
        "licences": [count("CC-BY-4.0", 5), count("unknown", 3)],
    }  # fmt: skip
    (folder / "mixture.json").write_text(json.dumps([row]))
    return folder


def answers(path: Path, **changes: Any) -> Any:
    path.write_text(yaml.safe_dump({**ANSWERS, **changes}))
    return read_answers(path)


def test_every_blank_is_told_and_the_template_has_a_place_for_each(run: Path, tmp_path: Path) -> None:
    facts = gather(run)
    path = tmp_path / "card.yaml"
    path.write_text(answers_template(facts))
    asked = yaml.safe_load(path.read_text())
    assert asked.keys() == ANSWERS.keys()
    assert (asked["data"], asked["parts"]) == ({"talk": None}, {"language": None})
    card = make_card(facts, read_answers(path))
    told = "\n".join(f"{blank.what} {blank.how}" for blank in card.blanks)
    for key in ANSWERS:
        assert key in told, key
    assert make_card(facts, answers(path)).blanks == ()
    for key in ("limits", "power_watts", "grid", "unknown_licences", "no_evaluation"):
        (blank,) = make_card(facts, answers(path, **{key: None})).blanks
        assert key in blank.how
    (slip,) = make_card(facts, answers(path, license="cc-bi-4.0")).blanks
    assert "did you mean 'CC-BY-4.0'?" in slip.how


def test_it_says_what_the_records_say(run: Path, tmp_path: Path) -> None:
    text = make_card(gather(run), answers(tmp_path / "a.yaml")).text
    front = front_matter(text)
    assert (front["license"], front["language"], front["datasets"]) == ("llama2", ["en", "de"], ["org/talk"])
    assert (front["base_model"], front["pipeline_tag"]) == (["org/tower"], "image-text-to-text")
    assert "model-index" not in front
    assert "| instruct | talk | 8 of 9 | 16 | 4 | 33 | 100.0% | 1 | `cdcdcdcdcdcdcdcd` |" in text
    assert "| vision | hub:org/tower | MIT (README.md) |" in text
    assert "| language | words | Apache-2.0 (a person's word) |" in text
    assert "policy, which all rows passed: purpose: private; rows without a known licence: warn." in text
    assert "3 rows of talk. They are ours." in text
    # Two GPUs for two hours at 300 W; and that it is no measurement.
    assert (
        "1.2 kWh. An estimate, not a measurement: 4 hours of a GPU at 300 W, which a person stated." in text
    )
    assert "480 g of CO2-equivalent, estimated" in text
    assert "The run has no record of erased rows." in text
    assert "/home/me" not in text
    assert "A toy --\\> of \\<b\\>three\\</b\\> steps." in text
    assert "\\#\\# And more" in text


def test_counters_are_believed_before_a_person(run: Path, tmp_path: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    info["stages"][0]["energy"] = {"joules": 7.2e6, "counters": ["package-0", "dram"]}
    (run / "run.json").write_text(json.dumps(info))
    card = make_card(gather(run), answers(tmp_path / "a.yaml", power_watts=None))
    assert card.blanks == ()
    assert "2 kWh. Measured by counters of the machine (package-0, dram)" in card.text
    assert "power_watts" not in answers_template(gather(run))


def test_evaluations_stand_with_intervals_chance_and_blind(run: Path, tmp_path: Path) -> None:
    scores = {
        "metrics": {"f1": 50.0}, "interval": {"f1": [45.0, 55.0]}, "n": 9, "groups": {}, "counts": {},
        "notes": [],
    }  # fmt: skip
    chance = {"how": 'always "yes"', "scores": scores, "uniform": None}
    made = task_result("pope", "f1", 80.0, 9, total=10, baselines={"chance": chance, "blind": chance})
    folder = evaluation(tmp_path / "evals", {"pope": (made, [])})
    card = make_card(gather(run, [folder]), answers(tmp_path / "a.yaml", no_evaluation=None))
    assert card.blanks == ()
    assert '| 80.00 (78.00 to 82.00) | 9 of 10 | 50.00 (45.00 to 55.00): always "yes" |' in card.text
    (index,) = front_matter(card.text)["model-index"]
    assert index["results"][0]["metrics"] == [{"type": "f1", "value": 80.0}]
    other = evaluation(tmp_path / "other", {"pope": (made, [])})
    record = json.loads((other / "results.json").read_text())
    record["model"]["digest"] = "1"
    (other / "results.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="different models"):
        gather(run, [folder, other])


def test_erased_rows_and_quarantine_are_told(run: Path, tmp_path: Path) -> None:
    rows = json.loads((run / "mixture.json").read_text())
    rows[0]["erased"] = 4
    (run / "mixture.json").write_text(json.dumps(rows))
    place = run / "stages" / "instruct" / "model"
    place.mkdir()
    (place / "QUARANTINED.json").write_text(json.dumps({"reasons": [{"reason": "it saw 2 erased rows"}]}))
    text = make_card(gather(run), answers(tmp_path / "a.yaml")).text
    assert "4 rows had been erased from these files before the run read them." in text
    assert "**Quarantined** (stages/instruct/model): it saw 2 erased rows." in text


def test_a_card_is_checked_against_the_records(run: Path, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    text = make_card(gather(run), answers(tmp_path / "a.yaml")).text
    card.write_text(text.replace("## Limits", "## A section of a person's\n\nHello.\n\n## Limits"))
    assert check_card(card, run) == []
    card.write_text(text.replace("8 of 9", "9 of 9").replace("license: llama2", "license: mit"))
    first, second = check_card(card, run)
    assert first.startswith("the YAML block")
    assert "-license: mit" in first
    assert second.startswith("Data")
    assert "+| instruct | talk | 8 of 9" in second
    card.write_text(text.replace("## Limits", "## Borders"))
    assert check_card(card, run) == ["Limits: the section is missing"]
    card.write_text(text)
    rows = json.loads((run / "mixture.json").read_text())
    (run / "mixture.json").write_text(json.dumps([rows[0] | {"used": 7}]))
    assert len(check_card(card, run)) == 1
    card.write_text("# A card\n")
    with pytest.raises(DataError, match="no card that pumice card wrote"):
        check_card(card, run)


@pytest.mark.parametrize(
    "text", ["licence: MIT\n", "language: en\n", "grid: -1\n", "limits: [a\n", "data: [a]\n"]
)
def test_a_slip_in_the_answers_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(PumiceError) as error:
        read_answers(path)
    assert str(path) in str(error.value.where)
