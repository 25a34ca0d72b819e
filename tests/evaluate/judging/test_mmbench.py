"""Matching answers of MMBench with options where no rule can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.endpoint.client import Endpoint
from pumice.errors import DataError, UsageError
from pumice.evaluate.judging import Judged, Terms, judge_file
from pumice.evaluate.judging.mmbench import parse_letter
from pumice.evaluate.judging.task import material_of
from pumice.score import Inputs, score

from ..stand_in import Body, StandIn
from .conftest import lines

OPTIONS = ["a red car", "a blue car"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four questions whose answer is B."""
    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit\n"
    rows = [f"{n}\tWhich car {n}?\t\ta red car\ta blue car\t\t\tB\tc\t\ts\tl\t\tdev\n" for n in range(4)]
    (tmp_path / "table.tsv").write_text(head + "".join(rows))
    return tmp_path


def said(folder: Path, texts: list[str], **more: Any) -> None:
    lines(folder / "answers.jsonl", [{"question_id": n, "text": text} | more for n, text in enumerate(texts)])


def run(folder: Path, server: StandIn, **terms: Any) -> Judged:
    return judge_file(
        "mmbench",
        material_of("mmbench", folder / "table.tsv"),
        folder / "answers.jsonl",
        Endpoint(server.url, "judge-1"),
        folder / "matched.jsonl",
        Terms(**terms),
        cache=folder / "cache.jsonl",
    )


def accuracy(folder: Path, file: str) -> tuple[float, int]:
    result = score("mmbench", Inputs(answers=folder / file, questions=folder / "table.tsv"))
    return result.metrics["accuracy"], result.counts["unparsed"]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "matched.jsonl").read_text().splitlines()]


def test_only_what_no_rule_reads_is_asked(folder: Path) -> None:
    said(folder, ["B", "the azure one", "", "no car at all"])

    def judge(body: Body) -> str:
        return "B" if "azure" in body["messages"][0]["content"] else "Z"

    with StandIn(judge) as server:
        judged = run(folder, server)
    assert accuracy(folder, "answers.jsonl") == (25, 3)
    assert accuracy(folder, "matched.jsonl") == (50, 2)
    assert len(server.bodies) == 2
    prompt = server.bodies[0]["messages"][0]["content"]
    assert "A. a red car\nB. a blue car" in prompt
    assert rows(folder)[1] == {
        "question_id": 1,
        "text": "B",
        "said": "the azure one",
        "matched_by": "judge-1-exact",
    }
    assert rows(folder)[3] == {"question_id": 3, "text": "no car at all"}
    assert (judged.record["judgements"], judged.record["none"], judged.record["unparsed"]) == (2, 1, 0)
    assert judged.record["notes"] == [
        "not comparable with published figures: the rules are this program's own"
    ]


def test_a_reply_that_is_no_letter_leaves_the_answer(folder: Path) -> None:
    said(folder, ["B", "B", "B", "the azure one"])
    with StandIn(lambda body: "It is B or A") as server:
        judged = run(folder, server, attempts=2)
    assert [body["seed"] for body in server.bodies] == [0, 1]
    assert judged.record["unparsed"] == 1
    assert rows(folder)[3]["text"] == "the azure one"


def test_letters_are_those_that_the_model_saw(folder: Path) -> None:
    """In the second round the options have changed places: its A is the table's B."""
    turned = {"options": OPTIONS[::-1], "option_char": ["B", "A"]}
    first = [{"question_id": n, "text": "B", "round_id": 0} for n in range(4)]
    second = [{"question_id": n, "prediction": "the azure one", "round_id": 1} | turned for n in range(4)]
    lines(folder / "answers.jsonl", [*first, *second])
    with StandIn(lambda body: "A") as server:
        run(folder, server)
    assert "A. a blue car\nB. a red car" in server.bodies[0]["messages"][0]["content"]
    assert accuracy(folder, "matched.jsonl") == (100, 0)
    assert rows(folder)[-1]["prediction"] == "A"


def test_what_cannot_be_matched(folder: Path) -> None:
    said(folder, ["B", "B"])
    with StandIn(lambda body: "A") as server:
        with pytest.raises(DataError, match="2 of 4 questions have no answer"):
            run(folder, server)
        with pytest.raises(UsageError, match="one option"):
            run(folder, server, runs=2)


@pytest.mark.parametrize(("text", "letter"), [("b", "B"), ("(A).", "A"), ("Z", "Z"), ("C", None), ("", None)])
def test_letters(text: str, letter: str | None) -> None:
    assert parse_letter(text, "AB") == letter
