"""The licence policy of a recipe through the verbs that obey it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from pumice.data.index import open_table
from pumice.data.tombstones import add_tombstones
from pumice.recipes.text import read_yaml


def test_plan_says_no_to_rows_that_training_would_refuse(
    pumice: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    words = ["plan", recipe, "licences.purpose=commercial", "--data", world, "--runs", tmp_path]
    words += ["--hardware", "a100-80g"]  # nothing is measured
    result = pumice(*words)
    assert result.code == 1
    assert "there are rows that may not be trained on (purpose: commercial)" in result.err
    assert "no known licence" in result.err
    result = pumice(*words, "licences.unknown=warn", "data.align.licence=MIT")
    assert result.code == 0, result.both
    assert "have no known licence" in result.both
    assert "licences  MIT" in result.out


def test_a_slip_in_a_recipe_is_told_what_was_meant(pumice: Any, recipe: Path, world: Path) -> None:
    result = pumice("plan", recipe, "--data", world, "licences.allow=[cc-bi-4.0]")
    assert result.code != 0
    assert "did you mean 'CC-BY-4.0'?" in result.err
    result = pumice("plan", recipe, "--data", world, "data.align.license=MIT")
    assert "data.NAME.licence" in result.err


def test_copies_for_others_are_refused(pumice: Any, trained: Any, tmp_path: Path) -> None:
    for verb in ("export", "quantize"):
        result = pumice(verb, trained.folder, tmp_path / verb, "--purpose", "commercial")
        assert result.code == 1
        assert "may not be part of a model that is shared" in result.err
        assert not (tmp_path / verb).exists()


def test_the_notice_of_a_file_a_recipe_and_a_run(
    pumice: Any, trained: Any, recipe: Path, world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "NOTICE.md"
    cache = ["--cache", tmp_path / "cache"]
    result = pumice("data", "attribution", world / "short.json", "--out", out, "--strict", *cache)
    assert result.code == 1, result.both
    assert "not known: " in result.out
    assert out.read_text("utf-8").startswith("# Attribution\n")
    of_recipe = pumice("data", "attribution", recipe, "--data", world, "--json", *cache)
    of_run = pumice("data", "attribution", trained.folder, "--json", *cache)
    assert (of_recipe.code, of_run.code) == (0, 0), of_run.both
    first, second = json.loads(of_recipe.out), json.loads(of_run.out)
    assert (first["of"], second["of"]) == ("the recipe short", "the run short")
    assert first["credits"] == second["credits"]
    assert {credit["dataset"] for credit in first["credits"]} == {"align", "instruct"}


def test_the_notice_of_a_run_says_which_rows_were_erased_since(
    pumice: Any, trained: Any, tmp_path: Path
) -> None:
    run, data = tmp_path / "runs/short", tmp_path / "data"
    shutil.copytree(trained.folder, run, ignore=shutil.ignore_patterns("stages", "model"))
    recipe = read_yaml((run / "recipe.yaml").read_text("utf-8"), "recipe", lines=False).value
    source = recipe["data"]["align"]
    shutil.copytree(Path(source["file"]).parent, data)
    text = (run / "recipe.yaml").read_text("utf-8")
    (run / "recipe.yaml").write_text(text.replace(str(Path(source["file"]).parent), str(data)), "utf-8")
    table = open_table(data / "align.json", data, "align")
    add_tombstones(data / "align.json", [table.columns.digest[0].tobytes()], erasure="e")
    result = pumice("data", "attribution", run, "--json", "--cache", tmp_path / "cache")
    assert result.code == 0, result.both
    told = [line for line in json.loads(result.out)["changes"] if "erased since" in line]
    assert len(told) == 1
    assert told[0].startswith("align.json: 1 row was erased since the run read it")


def test_a_card_with_blanks_fails_and_one_without_is_written_and_checked(
    pumice: Any, trained: Any, tmp_path: Path
) -> None:
    answers, card = tmp_path / "card.yaml", tmp_path / "README.md"
    words = ["card", trained.folder, "--answers", answers]
    result = pumice(*words, "--template")
    assert result.code == 0, result.both
    assert pumice(*words, "--template").code == 2  # what a person filled in is not overwritten
    result = pumice(*words, "--out", card, "--grid", "400")
    assert result.code == 1
    assert "blanks, and is not written" in result.err
    assert "say intended_use in the answers" in result.err
    assert "--power-watts" in result.err
    assert "--grid" not in result.err
    assert not card.exists()
    filled = answers.read_text("utf-8").replace("language: []", "language: [en]")
    filled = re.sub(r"^(  \w+|\w+):$", r"\1: MIT", filled, flags=re.M)
    for block in ("data", "parts"):
        filled = filled.replace(f"{block}: MIT", f"{block}:")
    answers.write_text(filled.replace("power_watts: MIT", "power_watts:").replace("grid: MIT", "grid:"))
    result = pumice(*words, "--out", card, "--grid", "400", "--power-watts", "65")
    assert result.code == 0, result.both
    assert "24 questions about" in card.read_text("utf-8")
    assert pumice("card", trained.folder, "--check", card).code == 0
    card.write_text(card.read_text("utf-8").replace("seed 3", "seed 4"))
    result = pumice("card", trained.folder, "--check", card)
    assert result.code == 1
    assert "Training (- the card, + the records)" in result.err
