"""`pumice recipes`: the list, one recipe, and the keys; changes as they are typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.recipes import load_recipe, recipe_names, recipe_text


def test_every_shipped_recipe_is_listed(pumice: Any) -> None:
    for words in (["recipes"], ["recipes", "list"]):
        result = pumice(*words)
        assert result.code == 0
        assert all(name in result.out for name in recipe_names())
        assert "8 A100" in result.out


def test_a_recipe_is_shown_as_written(pumice: Any) -> None:
    assert pumice("recipes", "show", "tiny").out == recipe_text("tiny")


def test_a_recipe_is_shown_as_it_would_run(pumice: Any, tmp_path: Path) -> None:
    result = pumice("recipes", "show", "tiny", "--set", "seed=7", "--small", "--data", tmp_path)
    assert result.code == 0, result.both
    (tmp_path / "shown.yaml").write_text(result.out, encoding="utf-8")
    shown = load_recipe(tmp_path / "shown.yaml")
    assert shown == load_recipe("tiny", ["seed=7"], small=True, variables={"data": tmp_path})


def test_an_unknown_key_names_the_nearest(pumice: Any) -> None:
    result = pumice("recipes", "show", "tiny", "--set", "model.conector=linear")
    assert result.code == 1
    assert "'connector'" in result.err


def test_fields_of_a_block(pumice: Any) -> None:
    result = pumice("recipes", "fields", "evaluation")
    assert result.code == 0
    assert "evaluation.limit" in result.out
    assert "stages" not in result.out
    wrong = pumice("recipes", "fields", "evaluatoin")
    assert wrong.code == 2
    assert "perhaps 'evaluation'" in wrong.err
    assert pumice("recipes", "fields", "zzzz").err.endswith(
        "to do: pumice recipes fields, without KEY, lists all\n"
    )


def test_a_field_is_found_by_its_last_part_and_explained_in_whole_lines(pumice: Any) -> None:
    result = pumice("recipes", "fields", "lr")
    assert result.code == 0, result.both
    heads = [line.split()[0] for line in result.out.splitlines() if not line.startswith(" ")]
    assert heads == [
        "stages.NAME.lr",
        *(f"stages.NAME.lr.{part}" for part in ("connector", "language", "vision")),
    ]
    long = pumice("recipes", "fields", "model.image.aspect").out.splitlines()
    assert len(long) > 2
    assert all(line.startswith("    ") for line in long[1:]), "a meaning of several lines stays under its key"


def test_the_first_name_of_the_verb_still_works(pumice: Any) -> None:
    assert pumice("recipe", "show", "tiny").out == recipe_text("tiny")


def test_changes_stand_behind_the_name_or_behind_set(pumice: Any, tmp_path: Path) -> None:
    result = pumice("recipes", "show", "tiny", "seed=7", "stages.align.keep=2", "--set", "seed=8")
    assert result.code == 0, result.both
    (tmp_path / "shown.yaml").write_text(result.out, encoding="utf-8")
    shown = load_recipe(tmp_path / "shown.yaml", variables={"data": tmp_path})
    assert (shown.seed, shown.stages[0].keep) == (8, 2), "--set comes last"


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["stages.align.stepps=3"], "stages.align.stepps=3"),
        (["--set", "stages.align.stepps=3"], "--set stages.align.stepps=3"),
    ],
)
def test_errors_of_changes_name_what_was_typed(pumice: Any, words: list[str], where: str) -> None:
    result = pumice("recipes", "show", "tiny", *words)
    assert result.code == 1
    assert f"where: {where}" in result.err


@pytest.mark.parametrize("verb", [["recipes", "show"], ["train"]])
def test_a_word_that_is_no_change_is_explained(pumice: Any, verb: list[str]) -> None:
    result = pumice(*verb, "tiny", "data/easy")
    assert result.code == 2
    assert "'data/easy' is no change to the recipe" in result.err
    assert "--data" in result.err


def test_spaces_in_a_change_are_explained(pumice: Any) -> None:
    for words in (["seed", "=", "1"], ["seed=", "1"], ["seed", "=1"]):
        result = pumice("recipes", "show", "tiny", *words)
        assert result.code == 2
        assert "without spaces around =" in result.err


def test_all_of_a_recipe_with_a_base_is_shown(pumice: Any) -> None:
    assert "base: llava-1.5-7b" in pumice("recipes", "show", "llava-1.5-13b").out
    full = pumice("recipes", "show", "llava-1.5-13b", "--full").out
    assert "base:" not in full
    assert "language: hub:lmsys/vicuna-13b-v1.5" in full
    assert "hours: 20.0" in full


def test_a_small_mode_says_nothing_of_the_full_size(pumice: Any, tmp_path: Path) -> None:
    result = pumice("recipes", "show", "llava-1.5-7b", "--small")
    assert result.code == 0, result.both
    assert "${world}/align.json" in result.out, "no world is made to show a recipe"
    for claim in ("VQAv2", "3.5 hours", "A100"):
        assert claim not in result.out
    refused = pumice("recipes", "show", "llava-1.5-7b", "--small", "--data", tmp_path)
    assert refused.code == 1
    assert "--data FOLDER would do nothing" in refused.err
