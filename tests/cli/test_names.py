"""Names that a newcomer types: of the hub, of hardware, of runs, of folders that are nearly right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.models import find_model, find_part, run_named
from pumice.cli.serve import named
from pumice.cost.hardware import get_hardware
from pumice.errors import CheckpointError, RunError, UsageError, suggest
from pumice.model.hub import find_checkpoint
from pumice.model.weights import open_weights
from pumice.train.record import check_folder, finished_stages


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("kind", "fits", "not_offered"),
    [("vision", "embedded:clip-tiny", "lm-tiny"), ("language", "embedded:lm-tiny", "clip-tiny")],
)
def test_a_name_of_the_hub_as_a_path_is_told_with_its_prefix(
    here: Path, kind: Any, fits: str, not_offered: str
) -> None:
    name = "openai/clip-vit-large-patch14-336"
    for written in (name, str(here / name)):  # as typed, and as a recipe's paths are read
        with pytest.raises(CheckpointError) as caught:
            find_part(written, kind, here / "runs")
        remedy = str(caught.value.remedy)
        assert f"write hub:{name}" in remedy
        assert fits in remedy
        assert not_offered not in remedy
        assert "did you mean" not in remedy


def test_a_path_in_a_folder_that_is_there_is_no_name_of_the_hub(here: Path) -> None:
    (here / "parts").mkdir()
    with pytest.raises(CheckpointError) as caught:
        find_part("parts/tower", "vision", here / "runs")
    assert "hub:" not in str(caught.value.remedy)


def test_a_name_of_the_hub_is_a_model_behind_its_prefix(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError) as caught:
        find_model("llava-hf/llava-1.5-7b-hf")
    assert "write hub:llava-hf/llava-1.5-7b-hf" in str(caught.value.remedy)
    (here / "config.json").write_text("{}")
    asked: list[str] = []
    monkeypatch.setattr("pumice.model.hub.fetch_checkpoint", lambda name: asked.append(name) or here)
    assert find_model("hub:llava-hf/llava-1.5-7b-hf") == here
    assert find_checkpoint("hub:llava-hf/llava-1.5-7b-hf") == here, "in the verbs that write, too"
    assert asked == ["llava-hf/llava-1.5-7b-hf"] * 2
    assert named(["hub:some/model"]) == {"model": here}, "clients ask for it by the last part"


def test_hardware_is_found_in_capitals_and_by_its_beginning() -> None:
    assert get_hardware("H100") is get_hardware("h100")
    with pytest.raises(UsageError) as caught:
        get_hardware("A100")
    assert "did you mean 'a100-40g' or 'a100-80g'?" in str(caught.value.remedy)


def test_what_begins_with_a_name_is_nearer_than_what_looks_like_it() -> None:
    assert suggest("a100", ["h100", "a100-40g"]).startswith("did you mean 'a100-40g'?")
    assert suggest("TINY", ["tiny", "tine"]).startswith("did you mean 'tiny'?")
    many = [f"stage-{number}" for number in range(5)]
    assert suggest("stage", many).startswith("did you mean 'stage-"), "of too many, the nearest alone"
    assert " or " not in suggest("stage", many)


def a_run(folder: Path, **record: Any) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({"name": folder.name, "stages": [], **record}))
    return folder


def test_a_run_is_found_by_its_name_alone(here: Path) -> None:
    a_run(Path("runs/one"))
    assert find_model("one") == Path("runs/one/model")
    assert find_model("runs/one") == Path("runs/one/model")
    assert run_named("two") is None
    with pytest.raises(CheckpointError) as caught:
        find_model("runs/onne/model")
    assert str(caught.value.remedy).startswith("did you mean runs/one? Or ")
    a_run(Path("runs/tiny"))
    assert find_model("tiny") != Path("runs/tiny/model"), "a shipped model's name stays that model's"
    Path("one").mkdir()
    assert run_named("one") is None, "a folder of that name is meant first"


def test_a_run_that_is_not_there_is_not_looked_for_on_the_hub(here: Path) -> None:
    for name in ("runs/nope", "./nope/model"):
        with pytest.raises(CheckpointError) as caught:
            find_checkpoint(name)
        assert "hf download" not in str(caught.value.remedy)


def test_a_folder_of_nearly_the_name_is_told(pumice: Any, here: Path) -> None:
    (here / "data" / "easy").mkdir(parents=True)
    for verb in ("train", "plan"):
        assert "did you mean data/easy? Or " in pumice(verb, "tiny", "--data", "data/esy").both


def test_a_run_of_another_recipe_is_told_before_its_keys(here: Path) -> None:
    run = a_run(Path("runs/intr"), recipe="tiny")
    (run / "recipe.yaml").write_text("name: tiny\nseed: 1\n")
    with pytest.raises(RunError, match=r"^this is a run of tiny, not of llava-1.5-7b\n"):
        check_folder(run, "name: llava-1.5-7b\nseed: 2\n", True)


def test_a_models_file_that_a_run_made_is_made_again_by_the_run(here: Path) -> None:
    run = a_run(Path("runs/one"), stages=[{"name": "align", "model": "stages/align/model"}])
    model = run / "stages" / "align" / "model"
    model.mkdir(parents=True)
    assert finished_stages(run) == {"align"}
    (model / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(CheckpointError, match="cut short") as caught:
        open_weights(model)
    assert f"delete {model}" in str(caught.value.remedy)
    assert "--resume" in str(caught.value.remedy)
    (model / "model.safetensors").unlink()
    model.rmdir()
    assert finished_stages(run) == set(), "a stage whose model was deleted is trained again"
