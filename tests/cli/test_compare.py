from __future__ import annotations

import json
from pathlib import Path

from ..evaluate.results_made import gqa
from .conftest import run_pumice


def test_two_evaluations_side_by_side(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 60 + [False] * 40)
    b = gqa(tmp_path / "b", [True] * 90 + [False] * 10)
    result = run_pumice("eval", "compare", str(a), str(b))
    assert result.code == 0, result.both
    assert "gqa: B is better than A by 30.00 points" in result.both
    assert "McNemar, exact" in result.both


def test_json_and_several_sides(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 60 + [False] * 40)
    result = run_pumice("eval", "compare", str(a), str(a), str(a), "--json")
    found = json.loads(result.out)["comparisons"]
    assert len(found) == 2
    assert found[0]["tests"] == 2
    task = found[0]["tasks"]["gqa"]
    assert (task["difference"], task["p"], task["only_a"], task["told"]) == (0.0, 1.0, 0, False)
    assert "same score on every one" in task["verdict"]


def test_other_questions_and_one_side(tmp_path: Path) -> None:
    a, b = gqa(tmp_path / "a", [True] * 4), gqa(tmp_path / "b", [True] * 3)
    result = run_pumice("eval", "compare", str(a), str(b))
    assert result.code == 2
    assert "--common" in result.both
    assert run_pumice("eval", "compare", str(a), str(b), "--common").code == 0
    assert run_pumice("eval", "compare", str(a)).code == 2


def test_eval_of_a_model_is_still_its_own_verb() -> None:
    assert "MODEL" in run_pumice("eval", "--help").both
    assert "A B [C ...]" in run_pumice("eval", "compare", "--help").both
    assert "eval compare" in run_pumice("--help").both


def test_pages_of_one_and_of_two_evaluations(tmp_path: Path) -> None:
    a, b = gqa(tmp_path / "a", [True] * 6), gqa(tmp_path / "b", [True] * 6)
    result = run_pumice("report", a)
    assert result.code == 0, result.both
    assert f"wrote {a / 'index.html'}" in result.out
    both = tmp_path / "both.html"
    assert run_pumice("report", a, b, "--out", both).code == 0
    assert both.is_file()
    for words, said in (
        ([a, b], "--out"),
        ([a, "--out", tmp_path / "none" / "page.html"], "no such folder"),
        ([a, tmp_path, "--out", both], "no evaluation of tasks"),
        ([tmp_path, a, "--out", both], "neither a run nor an evaluation"),
        ([tmp_path / "A", a, "--out", both], "no such run and no such evaluation"),
    ):
        result = run_pumice("report", *words)
        assert result.code == 2
        assert said in result.err


def test_tables_for_papers(tmp_path: Path) -> None:
    a = gqa(tmp_path / "a", [True] * 60 + [False] * 40)
    b = gqa(tmp_path / "b", [True] * 90 + [False] * 10)
    result = run_pumice("eval", "compare", a, b, "--format", "latex")
    assert result.code == 0, result.both
    assert "$+30.00$" in result.out
    result = run_pumice("report", a, b, "--format", "csv")
    assert result.out.splitlines()[0].startswith("model,task,figure,group,value,low,high,n")
    assert len(result.out.splitlines()) == 3
    assert not (a / "index.html").exists()
    target = tmp_path / "table.md"
    assert run_pumice("report", a, "--format", "markdown", "--out", target).code == 0
    assert "| GQA | accuracy | 60.00 |" in target.read_text()
    for words, said in (
        (["eval", "compare", a, b, "--format", "latx"], "latex"),
        (["eval", "compare", a, b, "--format", "csv", "--json"], "leave one out"),
        (["report", tmp_path, "--format", "csv"], "neither a run nor an evaluation"),
    ):
        result = run_pumice(*words)
        assert result.code == 2
        assert said in result.both
