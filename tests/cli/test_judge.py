"""`pumice judge`, then `pumice score` of what it wrote."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from ..evaluate.stand_in import StandIn, fails
from .conftest import Pumice


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two questions of LLaVA-Bench, without LLaVA's rules, and answers to them; the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    asked = [{"question_id": n, "image": "a.jpg", "category": "conv", "text": f"Q{n}?"} for n in range(2)]
    lines(tmp_path / "questions.jsonl", asked)
    lines(tmp_path / "context.jsonl", [{"image": "a.jpg", "caption": "A dog."}])
    lines(tmp_path / "answers_gpt4.jsonl", [{"question_id": n, "text": "r"} for n in range(2)])
    lines(tmp_path / "answers.jsonl", [{"question_id": n, "text": "o"} for n in range(2)])
    return tmp_path


def judge(pumice: Pumice, server: StandIn, *words: str, model: str = "judge-1") -> Any:
    return pumice(
        "judge", "llava-bench", "--answers", "answers.jsonl", "--questions", "questions.jsonl",
        "--endpoint", server.url, "--model", model, "--out", "out/reviews.jsonl", *words,
    )  # fmt: skip


def test_judged_then_scored(pumice: Pumice, bench: Path) -> None:
    with StandIn(lambda body: "8 6\nSo.", models=("judge-1", "judge-2")) as server:
        result = judge(pumice, server, "--runs", "2", "--both-orders", "--second-model", "judge-2")
        assert result.code == 0, result.both
        assert "4 judgements" in result.out
        assert "standing first is worth 2.00 points" in result.out
        assert "agreement over 2 questions" in result.out
        assert "not comparable" in result.err
        again = judge(pumice, server, "--runs", "2", "--both-orders", "--second-model", "judge-2")
        assert "0 requests, 8 replies were there" in again.out
    record = json.loads(Path("out/reviews.judge.json").read_text())
    assert record["second"]["model"] == "judge-2"
    (command,) = [line.strip() for line in result.out.splitlines() if line.strip().startswith("pumice score")]
    scored = pumice(*shlex.split(command)[1:], "--json")
    assert scored.code == 0, scored.both
    assert json.loads(scored.out)["overall"] == 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--temperature", "warm"), "no temperature"),
        (("--temperature", "7"), "temperature is 7"),
        (("--option", "top_p"), "no option of a judge"),
        (("--option", "seed=3"), "each attempt has its own"),
        (("--option", "top_p=1", "--option", "top_p=1"), "stands twice"),
        (("--option", "temperature=1"), "say --temperature"),
        (("--missing", "wrong"), "no choice"),
        (("--second-endpoint", "http://localhost:1"), "no name"),
        (("--prompt", "questions.jsonl"), "no file of prompt"),
        (("--second-model", "judge-1"), "second judge is the first"),
        (("--out", "answers.jsonl"), "would replace the answers"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_asked(
    pumice: Pumice, bench: Path, words: tuple[str, ...], said: str
) -> None:
    with StandIn(lambda body: "8 6") as server:
        result = judge(pumice, server, *words)
    assert result.code == 2
    assert said in result.err
    assert server.paths == []


def test_options_go_into_every_request_the_record_and_the_name_of_a_reply(
    pumice: Pumice, bench: Path
) -> None:
    with StandIn(lambda body: "8 6\nSo.", models=("judge-1",)) as server:
        words = ("--option", "reasoning_effort=low", "--option", 'ban={"a": [1]}')
        assert judge(pumice, server, *words).code == 0
        asked = [body for body in server.bodies if "messages" in body]
        assert [(body["reasoning_effort"], body["ban"]) for body in asked] == [("low", {"a": [1]})] * 2
        assert "0 requests, 2 replies were there" in judge(pumice, server, *words).out
        assert "2 requests, 0 replies were there" in judge(pumice, server, *words[:2]).out
    record = json.loads(Path("out/reviews.judge.json").read_text())
    assert record["options"] == {"reasoning_effort": "low"}
    assert "the settings are not the script's" in record["notes"][0]


def test_an_unknown_judge_is_told_before_anything_is_judged(pumice: Pumice, bench: Path) -> None:
    with StandIn([fails(404, "no such model")], models=("judge-1",)) as server:
        result = judge(pumice, server, model="judge-l")
    assert result.code == 1
    assert "did you mean 'judge-1'?" in result.err
    assert not (bench / "out").exists()


def test_a_warning_of_a_key_in_the_open(pumice: Pumice, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    module = importlib.import_module("pumice.endpoint.address")
    monkeypatch.setattr(module, "_is_local", lambda host: False)
    with StandIn(lambda body: "8 6") as server:
        result = judge(pumice, server)
    assert result.code == 0, result.both
    assert "plain http" in result.err
    assert "sk-secret" not in result.both


def test_a_second_judge_elsewhere_gets_a_key_of_its_own_alone(
    pumice: Pumice, bench: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    monkeypatch.setenv("OTHER_KEY", "sk-second")
    elsewhere = StandIn(lambda body: "8 6", models=("judge-2",))
    with StandIn(lambda body: "8 6", models=("judge-1", "judge-2")) as server, elsewhere:
        words = ("--second-model", "judge-2", "--second-endpoint", elsewhere.url)
        assert judge(pumice, server, *words, "--cache", "a").code == 0
        assert set(server.keys) == {"Bearer sk-first"}
        assert set(elsewhere.keys) == {None}
        assert judge(pumice, server, *words, "--second-key-variable", "OTHER_KEY", "--cache", "b").code == 0
        assert set(elsewhere.keys) == {None, "Bearer sk-second"}
        assert judge(pumice, server, "--second-model", "judge-2", "--cache", "c").code == 0
        assert set(server.keys) == {"Bearer sk-first"}, "one server, one key"
