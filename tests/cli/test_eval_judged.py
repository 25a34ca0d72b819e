"""`pumice eval --tasks` of the tasks that a judge reads."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.evaluate.results import read_results

from ..evaluate.stand_in import StandIn, fails
from .conftest import Pumice

MODELS = ("m", "judge-1", "judge-2")


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two questions of LLaVA-Bench and two of MM-Vet, without official prompts."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    bench, vet = tmp_path / "data" / "llava-bench", tmp_path / "data" / "mm-vet"
    for folder in (bench, vet):
        (folder / "images").mkdir(parents=True)
        PIL.Image.new("RGB", (8, 8), "red").save(folder / "images" / "a.png")
    kinds = ("conv", "detail")
    lines(
        bench / "questions.jsonl",
        [{"question_id": n, "image": "a.png", "category": kinds[n], "text": f"Q{n}?"} for n in range(2)],
    )
    lines(bench / "context.jsonl", [{"image": "a.png", "caption": "Red."}])
    lines(bench / "answers_gpt4.jsonl", [{"question_id": n, "text": "It is red."} for n in range(2)])
    questions = {
        f"v1_{n}": {"imagename": "a.png", "question": f"V{n}?", "answer": "red", "capability": ["rec"]}
        for n in range(2)
    }
    (vet / "mm-vet.json").write_text(json.dumps(questions))
    return tmp_path / "data"


def says(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    if body["model"] == "m":
        return "Red."
    first = body["model"] == "judge-1"
    if "<<<TRUTH" in content:
        return "1.0" if first or "V0" in content else "0.5"
    return "8 6" if first else "8 7"


def test_two_judges_in_two_runs_and_both_orders(pumice: Pumice, data: Path, tmp_path: Path) -> None:
    with StandIn(says, models=MODELS) as server:
        words = [
            "eval", "m", "--endpoint", server.url, "--tasks", "llava-bench,mm-vet", "--data", data,
            "--out", tmp_path / "out", "--judge", server.url, "--judge-model", "judge-1",
            "--judge-runs", "2", "--both-orders", "--second-judge", f"judge-2@{server.url}",
            "--judge-option", "temperature=0.5", "--judge-option", "top_p=0.9",
        ]  # fmt: skip
        result = pumice(*words)
        assert result.code == 0, result.both
        # answers; then for each judge two runs, of both orders where there is one
        assert len(server.bodies) == 4 + 2 * (2 * 2 * 2 + 2 * 2)
        again = pumice(*words)
        assert again.code == 0, again.both
        assert len(server.bodies) == 28, "nothing is asked twice"
        judged = [body for body in server.bodies if body["model"] != "m"]
        assert {(body["temperature"], body["top_p"]) for body in judged} == {(0.5, 0.9)}
        assert not any("top_p" in body for body in server.bodies if body["model"] == "m")
        wrong = pumice(*words, "--judge-option", "model=x")
        assert "named by the command" in wrong.err
    tasks = read_results(tmp_path / "out")["tasks"]
    bench, vet = tasks["llava-bench"]["result"], tasks["mm-vet"]["result"]
    assert bench is not None
    assert vet is not None
    assert bench["scores"]["metrics"]["overall"] == 100
    assert bench["scores"]["groups"]["run 2"]["n"] == 2
    assert bench["judge"] is not None
    assert bench["judge"]["position_bias"]["points"] == 2
    assert bench["judge"]["second"]["model"] == "judge-2"
    assert bench["judge"]["agreement"]["shift"] == 0.5
    assert vet["scores"]["metrics"]["total"] == 100
    assert vet["judge"] is not None
    assert vet["judge"]["agreement"]["difference"] == 0.25
    assert (tmp_path / "out" / "mm-vet" / "second-grades.json").is_file()


@pytest.fixture
def and_docvqa(data: Path) -> Path:
    """With a task that no judge reads: one question of DocVQA, which is answered right."""
    folder = data / "docvqa"
    (folder / "documents").mkdir(parents=True)
    PIL.Image.new("RGB", (8, 8), "red").save(folder / "documents" / "a.png")
    row = {"questionId": 1, "question": "Which?", "image": "a.png", "answers": ["red."]}
    (folder / "val_v1.0_withQT.json").write_text(json.dumps({"data": [row]}))
    return data


def test_a_judge_that_is_not_there_stops_no_other_task(
    pumice: Pumice, and_docvqa: Path, tmp_path: Path
) -> None:
    with StandIn([]) as gone:
        address = gone.url
    out = tmp_path / "out"
    with StandIn(says, models=MODELS) as server:
        words = [
            "eval", "m", "--endpoint", server.url, "--tasks", "mm-vet,docvqa", "--data", and_docvqa,
            "--out", out,
        ]  # fmt: skip
        result = pumice(*words, "--judge", address, "--judge-model", "judge-1")
        assert result.code == 1
        assert "start the server" in result.err, "told before anything is asked"
        tasks = read_results(out)["tasks"]
        assert tasks["docvqa"]["state"] == "scored"
        assert tasks["mm-vet"]["state"] == "answered"
        assert "not judged: the server did not answer" in tasks["mm-vet"]["problem"]
        assert (out / "index.html").is_file()
        (line,) = [line for line in result.out.splitlines() if "then go on" in line]
        command = shlex.split(line[line.index("pumice eval") :])
        asked = len(server.bodies)
        command[command.index(address)] = server.url  # the judge is up again
        again = pumice(*command[1:])
        assert again.code == 0, again.both
        assert len(server.bodies) == asked + 2, "the judge alone is asked"


def test_a_judge_that_refuses_the_key_is_no_end_either(
    pumice: Pumice, and_docvqa: Path, tmp_path: Path
) -> None:
    refusing = StandIn([fails(401, "who are you")], models=fails(401, "who are you"))
    with StandIn(says, models=MODELS) as server, refusing:
        result = pumice(
            "eval", "m", "--endpoint", server.url, "--tasks", "mm-vet,docvqa", "--data", and_docvqa,
            "--out", tmp_path / "out", "--judge", refusing.url, "--judge-model", "judge-1",
        )  # fmt: skip
    assert result.code == 1
    assert "OPENAI_API_KEY is not set" in result.err
    assert "--judge-key-variable VARIABLE" in result.err
    assert read_results(tmp_path / "out")["tasks"]["docvqa"]["state"] == "scored"


def test_a_judge_that_talks_nonsense_is_quoted(pumice: Pumice, and_docvqa: Path, tmp_path: Path) -> None:
    def nonsense(body: dict[str, Any]) -> str:
        return "Red." if body["model"] == "m" else "Both are\nlovely."

    with StandIn(nonsense, models=MODELS) as server:
        result = pumice(
            "eval", "m", "--endpoint", server.url, "--tasks", "llava-bench,mm-vet,docvqa",
            "--data", and_docvqa, "--out", tmp_path / "out",
            "--judge", server.url, "--judge-model", "judge-1",
        )  # fmt: skip
    assert result.code == 1
    tasks = read_results(tmp_path / "out")["tasks"]
    assert [tasks[name]["state"] for name in ("llava-bench", "mm-vet", "docvqa")] == [
        "answered", "answered", "scored",
    ]  # fmt: skip
    for name, question in (("llava-bench", "0"), ("mm-vet", "v1_0")):
        problem = tasks[name]["problem"]
        assert "no reply of the judge judge-1 (127.0.0.1:" in problem
        assert f'to question {question} it said "Both are lovely."' in problem


def test_the_terminal_says_who_judged_and_what_that_is_worth(
    pumice: Pumice, data: Path, tmp_path: Path
) -> None:
    def half(body: dict[str, Any]) -> str:
        return "Well..." if "V1?" in str(body) and body["model"] != "m" else says(body)

    with StandIn(half, models=MODELS) as server:
        result = pumice(
            "eval", "m", "--endpoint", server.url, "--tasks", "mm-vet", "--data", data,
            "--out", tmp_path / "out", "--judge", server.url, "--judge-model", "judge-1",
        )  # fmt: skip
    assert result.code == 0, result.both
    (line,) = [line for line in result.out.splitlines() if line.startswith("mm-vet: judged by judge-1 (")]
    assert "not comparable with published figures: the rules are this program's own" in line
    assert 'to question v1_1 the judge said "Well..."' in line
    scored = read_results(tmp_path / "out")["tasks"]["mm-vet"]["result"]
    assert scored is not None
    assert scored["scores"]["metrics"]["total"] == 100, "what cannot be read takes no part"
    assert scored["scores"]["counts"]["unparsed"] == 1


def test_a_missing_judge_says_who_judged_for_the_published_figures(pumice: Pumice, data: Path) -> None:
    words = ("eval", "tiny", "--tasks", "llava-bench,mm-vet", "--data", data)
    nameless = pumice(*words, "--judge", "http://localhost:1")
    assert nameless.code == 2
    assert "--judge-model gpt-4-0314" in nameless.err
    assert "gpt-4-0613 (mm-vet)" in nameless.err
    nowhere = pumice(*words, "--judge-model", "judge-1")
    assert nowhere.code == 2
    assert "--judge https://" in nowhere.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--both-orders",), "only llava-bench has two answers"),
        (("--second-judge", "judge-1"), "is the first one"),
        (("--second-judge-key-variable", "KEY"), "there is no second judge"),
    ],
)
def test_judges_that_cannot_be(pumice: Pumice, data: Path, words: tuple[str, ...], said: str) -> None:
    judge = ("--judge", "http://localhost:1", "--judge-model", "judge-1")
    result = pumice("eval", "tiny", "--tasks", "mm-vet", "--data", data, *judge, *words)
    assert result.code == 2, result.both
    assert said in result.err


def test_the_key_of_one_judge_is_not_sent_to_the_other(
    pumice: Pumice, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIRST", "sk-first")
    monkeypatch.setenv("SECOND", "sk-second")
    elsewhere = StandIn(says, models=("judge-2",))
    with StandIn(says, models=MODELS) as server, elsewhere:
        words = [
            "eval", "m", "--endpoint", server.url, "--key-variable", "FIRST", "--tasks", "mm-vet",
            "--data", data, "--judge", server.url, "--judge-model", "judge-1",
            "--judge-key-variable", "FIRST",
        ]  # fmt: skip
        second = ["--second-judge", f"judge-2@{elsewhere.url}"]
        assert pumice(*words, *second, "--out", tmp_path / "a").code == 0
        assert set(server.keys) == {"Bearer sk-first"}
        assert set(elsewhere.keys) == {None}
        elsewhere.keys.clear()
        own = ["--second-judge-key-variable", "SECOND"]
        assert pumice(*words, *second, *own, "--out", tmp_path / "b").code == 0
        assert set(elsewhere.keys) == {"Bearer sk-second"}
        same = ["--second-judge", f"judge-2@{server.url}/v1"]
        assert pumice(*words, *same, "--out", tmp_path / "c").code == 0
        assert set(server.keys) == {"Bearer sk-first"}


def test_a_key_that_goes_to_the_model_and_to_its_judge_is_told(
    pumice: Pumice, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    elsewhere = StandIn(says, models=("judge-1",))
    with StandIn(says, models=MODELS) as server, elsewhere:
        words = [
            "eval", "m", "--endpoint", server.url, "--tasks", "mm-vet", "--data", data,
            "--judge", elsewhere.url, "--judge-model", "judge-1", "--out", tmp_path / "out",
        ]  # fmt: skip
        assert "the key in OPENAI_API_KEY goes to 127.0.0.1" in pumice(*words).err
        assert "goes to" not in pumice(*words, "--key-variable", "").err
