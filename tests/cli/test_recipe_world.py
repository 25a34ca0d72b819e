"""`pumice recipe` and `pumice world make`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.recipes import load_recipe, recipe_names, recipe_text


def test_every_shipped_recipe_is_listed(pumice: Any) -> None:
    result = pumice("recipe", "list")
    assert result.code == 0
    assert all(name in result.out for name in recipe_names())


def test_a_recipe_is_shown_as_written(pumice: Any) -> None:
    assert pumice("recipe", "show", "tiny").out == recipe_text("tiny")


def test_a_recipe_is_shown_as_it_would_run(pumice: Any, tmp_path: Path) -> None:
    result = pumice("recipe", "show", "tiny", "--set", "seed=7", "--small", "--data", tmp_path)
    assert result.code == 0, result.both
    (tmp_path / "shown.yaml").write_text(result.out, encoding="utf-8")
    shown = load_recipe(tmp_path / "shown.yaml")
    assert shown == load_recipe("tiny", ["seed=7"], small=True, variables={"data": tmp_path})


def test_an_unknown_key_names_the_nearest(pumice: Any) -> None:
    result = pumice("recipe", "show", "tiny", "--set", "model.conector=linear")
    assert result.code == 1
    assert "'connector'" in result.err


def test_fields_of_a_block(pumice: Any) -> None:
    result = pumice("recipe", "fields", "evaluation")
    assert result.code == 0
    assert "evaluation.limit" in result.out
    assert "stages" not in result.out
    wrong = pumice("recipe", "fields", "evaluatoin")
    assert wrong.code == 2
    assert "perhaps 'evaluation'" in wrong.err
    assert pumice("recipe", "fields", "zzzz").err.endswith(
        "to do: pumice recipe fields, without KEY, lists all\n"
    )


def test_a_field_is_found_by_its_last_part_and_explained_in_whole_lines(pumice: Any) -> None:
    result = pumice("recipe", "fields", "lr")
    assert result.code == 0, result.both
    heads = [line.split()[0] for line in result.out.splitlines() if not line.startswith(" ")]
    assert heads == [
        "stages.NAME.lr",
        *(f"stages.NAME.lr.{part}" for part in ("connector", "language", "vision")),
    ]
    long = pumice("recipe", "fields", "aspect").out.splitlines()
    assert len(long) > 2
    assert all(line.startswith("    ") for line in long[1:]), "a meaning of several lines stays under its key"


def test_a_world_is_made_and_what_is_in_it_said(pumice: Any, world: Path) -> None:
    questions = (world / "test_questions.jsonl").read_text("utf-8").splitlines()
    again = pumice(
        "world", "make", world, "--n", "18", "--validation", "2", "--test", "4", "--level", "easy",
        "--workers", "1",
    )  # fmt: skip
    assert again.code == 0, again.both
    assert "12 train, 2 validation, 4 test pictures" in again.out
    assert f"{len(questions):,} rows" in again.out
    assert f"pumice train tiny --data {world}" in again.out
    assert json.loads((world / "world.json").read_text("utf-8"))["seed"] == 0


def test_a_world_is_not_made_over_something_else(pumice: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    result = pumice("world", "make", tmp_path, "--n", "20")
    assert result.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_level(pumice: Any, tmp_path: Path) -> None:
    result = pumice("world", "make", tmp_path / "w", "--level", "hard")
    assert result.code == 2
    assert "easy" in result.err


def test_pretraining_passes_what_was_asked_for(
    pumice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.world import pretrain

    calls: list[dict[str, Any]] = []

    def fake(out: Path, *, report: Any, **options: Any) -> dict[str, dict[str, float]]:
        report("pretraining", 5, 5, {"loss": 0.25})
        calls.append({"out": out, **options})
        if len(calls) > 1:
            raise KeyboardInterrupt
        return {"lm-tiny": {"color": 0.9}}

    monkeypatch.setattr(pretrain, "pretrain", fake)
    words = ["world", "pretrain", tmp_path, "--part", "lm-tiny", "--workers", "3", "--documents", "7"]
    result = pumice(*words)
    assert result.code == 0, result.both
    want = {"parts": ("lm-tiny",), "workers": 3, "documents": 7, "pictures": 60000}
    assert calls == [{"out": tmp_path, **want}]
    assert "pretraining: 5 of 5  loss 0.25" in result.out
    assert f"--set model.language={tmp_path / 'lm-tiny'}" in result.out
    assert "model.vision" not in result.out
    stopped = pumice(*words)
    assert stopped.code == 130
    assert "run the same command again" in stopped.err
