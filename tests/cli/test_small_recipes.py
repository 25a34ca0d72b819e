"""Every published recipe in small: from its name alone to a page, then asked by plain transformers.

The parts are tiny and random, the pictures drawn here; everything else is what the recipe says. Five ways
through the code are tried in every run of the tests, the rest in `make test-all`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pumice.recipes import load_recipe, recipe_names

from .published_data import part_changes, stand_in

QUICK = ("llava-1.5-7b", "llava-siglip2-qwen3", "scienceqa", "llava-next-video", "llava-next-dpo")
PUBLISHED = [name for name in recipe_names() if not name.startswith("tiny")]
OWN_LAYOUT = {"llava-1.0-13b": "linear", "scienceqa": "linear"}
"""What transformers has no place for, and the word that the checkpoint's card says it with."""

QUESTION, TOKENS = "What is in the picture?", 12

ASK = """
import json, sys
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

folder, picture, question, tokens = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
processor = AutoProcessor.from_pretrained(folder)
content = [{"type": "image"}, {"type": "text", "text": "\\n" + question}]
prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
image = Image.open(picture)
inputs = processor(images=image, text=prompt, return_tensors="pt", add_special_tokens=False)
answer = model.generate(**inputs, max_new_tokens=int(tokens), do_sample=False)
text = processor.decode(answer[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
assert not any(name.startswith("pumice") for name in sys.modules)
print(json.dumps([type(model).__name__, text]))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all runs, so that parts and pictures are made once."""
    return tmp_path_factory.mktemp("runs")


def ask_transformers(folder: Path, picture: Path) -> tuple[str, str]:
    """The class that transformers loads the folder as, and its greedy answer."""
    words = [sys.executable, "-c", ASK, str(folder), str(picture), QUESTION, str(TOKENS)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    name, text = json.loads(done.stdout.splitlines()[-1])
    return name, text


def ask_pumice(folder: Path, picture: Path) -> str:
    from pumice.cli.models import load_generator

    return str(load_generator(folder).answer([(QUESTION, [picture])], TOKENS)[0])


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PUBLISHED]
)
def test_a_recipe_runs_the_whole_way_in_small(pumice: Any, runs: Path, name: str) -> None:
    result = pumice("train", name, "--small", "--runs", runs)
    assert result.code == 0, result.both
    recipe, folder = load_recipe(name, small=True), runs / f"{name}-small" / "model"
    for stage in recipe.stages:
        assert (folder.parent / "stages" / stage.name / "model" / "config.json").is_file()
    page = (folder.parent / "report.html").read_text("utf-8")
    assert name in page
    for claim in ("A100", "hours", "VQAv2"):
        assert claim not in page, "a small run makes no claim of the full size"
    picture = next(iter(sorted((runs / ".cache" / "world-small" / "images").iterdir())))
    ours = ask_pumice(folder, picture)
    assert ours
    if name in OWN_LAYOUT:
        assert OWN_LAYOUT[name] in (folder / "README.md").read_text("utf-8")
        return
    kind, theirs = ask_transformers(folder, picture)
    assert kind.startswith("Llava")
    assert theirs.strip() == ours.strip()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "llava-1.5-task" else pytest.mark.slow) for n in PUBLISHED]
)
def test_full_settings_read_the_publishers_folders(
    pumice: Any, runs: Path, tmp_path: Path, name: str
) -> None:
    """Nothing but the parts is small: rows of the small world lie where the publishers' files would."""
    stand_in(tmp_path / "data", name, runs / ".cache" / "world-small")
    words = [*part_changes(name), "--data", tmp_path / "data", "--runs", runs]
    result = pumice("train", name, *words)
    assert result.code == 0, result.both
    recipe = load_recipe(name, variables={"data": tmp_path / "data"})
    record = json.loads((runs / name / "run.json").read_text("utf-8"))
    assert record["status"] == "finished"
    assert [stage["name"] for stage in record["stages"]] == [stage.name for stage in recipe.stages]
    plan = (runs / name / "stages" / recipe.stages[-1].name / "plan.json").read_text("utf-8")
    assert str(recipe.stages[-1].row_length) in plan


def test_parts_and_pictures_are_made_once(pumice: Any, runs: Path) -> None:
    words = ["train", "llava-1.5-7b", "--small", "--runs", runs, "--no-eval"]
    first = pumice(*words, "--name", "first")
    assert first.code == 0, first.both
    made = {path: path.stat().st_mtime_ns for path in (runs / ".cache").rglob("*") if path.is_file()}
    again = pumice(*words, "--name", "again", "seed=9")
    assert again.code == 0, again.both
    left = {path: path.stat().st_mtime_ns for path in made if path.exists()}
    parts = {path: when for path, when in made.items() if "samples" not in path.parts}
    assert all(left.get(path) == when for path, when in parts.items() if "parts" in path.parts)
    assert all(left.get(path) == when for path, when in parts.items() if "world-small" in path.parts)


def test_an_interrupted_small_run_goes_on_by_its_own_command(pumice: Any, runs: Path) -> None:
    """The command in the record is what starts the run, changes included."""
    words = ["train", "llava-1.5-7b", "seed=11", "--small", "--runs", runs, "--no-eval", "--name", "told"]
    assert pumice(*words).code == 0
    record = json.loads((runs / "told" / "run.json").read_text("utf-8"))
    assert (
        record["command"] == f"pumice train llava-1.5-7b seed=11 --name told --runs {runs} --small --no-eval"
    )
    again = pumice(*record["command"].split()[1:], "--resume")
    assert again.code == 0, again.both


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.vision=random:llama", "it is one for model.language"),
        ("model.vision=random:clop", "did you mean 'clip'?"),
        ('model.language="random:"', "names no model"),
        ("model.language=hub:vicuna", "is no repository of the hub"),
        ("model.language=hub:some/where", "could not be fetched from the hub"),
        ("model.language=embedded:lm-tony", "did you mean"),
        ("model.language=nowhere/lm", "there is no folder"),
        ("model.more_vision=[random:dino]", "there is no random part 'dino' for model.vision"),
    ],
)
def test_a_part_that_cannot_be_had_is_named(pumice: Any, runs: Path, change: str, said: str) -> None:
    result = pumice("train", "llava-1.5-7b", change, "--small", "--runs", runs, "--name", "wrong")
    assert result.code == 1
    assert said in result.err, result.err
    assert not (runs / "wrong").exists()


def test_missing_data_is_told_before_parts_are_fetched(pumice: Any, runs: Path, tmp_path: Path) -> None:
    result = pumice("train", "llava-1.5-7b", "--data", tmp_path, "--runs", runs, "--name", "none")
    assert result.code == 1
    assert "there is no such data file" in result.err
    assert "blip_laion_cc_sbu_558k.json (data.align.file)" in result.err
    assert "hub" not in result.err


def test_further_towers_may_be_random_too(pumice: Any, runs: Path) -> None:
    words = ["model.more_vision=[random:siglip]", "--small", "--runs", runs, "--name", "two", "--no-eval"]
    result = pumice("train", "llava-1.5-7b", *words)
    assert result.code == 0, result.both
    record = json.loads((runs / "two" / "run.json").read_text("utf-8"))
    assert record["parts"]["vision-2"]["name"] == "random:siglip"
