"""Frozen weights in bfloat16 while a stage trains: the same result to the last bit, and exact on disk."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from pumice.errors import Interrupted, RunError
from pumice.model import VisionLanguageModel, build_model
from pumice.recipes.load import dump_recipe, load_recipe
from pumice.train import lean, run
from pumice.train.adapters import attach
from pumice.train.lean import FROZEN, Lean, lean_layers, lean_sizes
from pumice.train.optim import freeze
from pumice.train.run import Parts

from .conftest import Launch

BF16 = {"precision": "bf16"}
SOME = ["connector", "language.layers.1.attention"]
BEST = {"source": "instruct_val", "every": 2, "keep_best": True}


def stages(toy: Any) -> dict[str, list[dict[str, Any]]]:
    """Recipes in which something is frozen that computes in bfloat16."""
    low = {"rank": 4, "dropout": 0.1}
    return {
        "align": [toy.align(**BF16), toy.instruct(**BF16)],
        "some": [toy.instruct(**BF16, trainable=SOME)],
        "checkpointing": [toy.align(**BF16, activation_checkpointing=True)],
        "lora": [toy.instruct(**BF16, lora=low, validation=BEST)],
        "dora": [toy.instruct(**BF16, lora={**low, "dora": True})],
        "head": [toy.instruct(**BF16, trainable=["language.head"], lr={"language": 0.01})],
        "prefer": [toy.prefer(**BF16, trainable=["connector"], lr={"connector": 0.003})],
    }


@pytest.fixture
def rounded(toy: Any, parts: Any, tmp_path: Path) -> Parts:
    """Parts of which bfloat16 holds every weight of the language model exactly."""
    model = AutoModelForCausalLM.from_pretrained(parts.language, dtype=torch.bfloat16)
    folder = tmp_path / "rounded"
    shutil.copytree(parts.language, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(folder)
    return Parts(parts.vision, folder)


def held(model: VisionLanguageModel) -> set[str]:
    """The names of the weights that are in bfloat16."""
    return {name for name, p in model.named_parameters() if p.dtype == torch.bfloat16}


class Spy:
    """A watch that looks at the model and the stage's folder after each step."""

    def __init__(self, toy: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.watch = toy.Watch(self.look)
        self.folder = folder
        self.names: list[set[str]] = []
        self.files: list[set[str]] = []
        self.bytes: list[int] = []
        self.model: VisionLanguageModel | None = None
        begin = run.begin_lean

        def begun(model: VisionLanguageModel, *rest: Any) -> Lean:
            self.model = model
            return begin(model, *rest)

        monkeypatch.setattr(run, "begin_lean", begun)

    def look(self, row: dict[str, Any]) -> None:
        assert self.model is not None
        self.names.append(held(self.model))
        frozen = self.folder / "stages" / row["stage"] / FROZEN
        self.files.append({file.name for file in frozen.glob("*")})
        self.bytes.append(sum(p.numel() * p.element_size() for p in self.model.parameters()))


def switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "lean_layers", lambda *_: {})


@pytest.mark.parametrize("name", ["align", "some", "checkpointing", "lora", "dora", "head", "prefer"])
def test_nothing_changes_but_the_memory(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name in ("lora", "dora"):
        pytest.importorskip("peft")
    recipe = toy.make_recipe(data, *stages(toy)[name])
    spy = Spy(toy, monkeypatch, tmp_path / "lean")
    toy.run(recipe, tmp_path / "lean", parts, spy.watch)
    assert spy.names[0]
    assert not list((tmp_path / "lean").rglob(FROZEN))
    with monkeypatch.context() as patch:
        switch_off(patch)
        plain = Spy(toy, patch, tmp_path / "plain")
        toy.run(recipe, tmp_path / "plain", parts, plain.watch)
    assert not plain.names[0]
    assert spy.bytes[0] < plain.bytes[0]
    for stage in recipe.stages:
        assert toy.metrics(tmp_path / "lean", stage.name) == toy.metrics(tmp_path / "plain", stage.name)
    ours, theirs = (weight_files(tmp_path / name) for name in ("lean", "plain"))
    assert ours == theirs
    for file in ours:
        assert (tmp_path / "lean" / file).read_bytes() == (tmp_path / "plain" / file).read_bytes(), file


def weight_files(folder: Path) -> set[Path]:
    """Of models, adapters and references."""
    return {file.relative_to(folder) for file in folder.rglob("*.safetensors")}


def test_what_is_frozen_takes_half_and_is_kept_in_files(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All linear weights of the language model in the first stage; in the second it trains."""
    spy = Spy(toy, monkeypatch, tmp_path / "run")
    before, _, _ = build_model(parts.vision, parts.language, template="tiny", seed=3)
    wanted = {f"lm.{n}" for n, p in before.lm.named_parameters() if p.ndim == 2 and "embed" not in n}
    assert "lm.lm_head.weight" in wanted
    toy.run(
        toy.make_recipe(data, toy.align(**BF16), toy.instruct(**BF16)), tmp_path / "run", parts, spy.watch
    )
    assert spy.names == [wanted] * 3 + [set()] * 6
    assert spy.files == [{f"{name}.safetensors" for name in wanted}] * 3 + [set()] * 6
    own = dict(before.named_parameters())
    saved = sum(own[name].numel() for name in wanted) * 2
    assert spy.bytes[0] == sum(p.numel() for p in own.values()) * 4 - saved
    after = load_file(tmp_path / "run/stages/align/model/model.safetensors")
    for name, weight in before.lm.state_dict().items():
        key = next(key for key in after if key.endswith(name))
        assert torch.equal(after[key].view(torch.int32), weight.view(torch.int32)), name


def test_weights_that_bfloat16_holds_need_no_files(
    toy: Any, rounded: Parts, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the head, which has a new row, for <image>: a mean of the others."""
    spy = Spy(toy, monkeypatch, tmp_path / "run")
    toy.run(toy.make_recipe(data, toy.align(**BF16)), tmp_path / "run", rounded, spy.watch)
    assert len(spy.names[0]) == 15
    assert spy.files == [{"lm.lm_head.weight.safetensors"}] * 3
    before, _, _ = build_model(rounded.vision, rounded.language, template="tiny", seed=3)
    after = load_file(tmp_path / "run/stages/align/model/model.safetensors")
    for name, weight in before.lm.state_dict().items():
        key = next(key for key in after if key.endswith(name))
        assert torch.equal(after[key], weight.float()), name


def test_stages_in_fp32_are_as_they_were(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(toy, monkeypatch, tmp_path / "run")
    toy.run(toy.make_recipe(data, toy.align()), tmp_path / "run", parts, spy.watch)
    assert spy.names == [set()] * 3
    assert spy.files == [set()] * 3


def test_the_best_model_on_the_way_is_exact(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """It is written while frozen weights are in bfloat16; the files are there before the stage ends."""
    seen: list[dict[str, torch.Tensor]] = []
    folder = tmp_path / "run"

    def after(row: dict[str, Any]) -> None:
        if row["step"] == 3:  # the validation after step 2 is over
            seen.append(load_file(folder / "stages/instruct/best/model.safetensors"))

    stage = toy.instruct(**BF16, trainable=SOME, validation=BEST)
    toy.run(toy.make_recipe(data, stage), folder, parts, toy.Watch(after))
    (best,) = seen
    before, _, _ = build_model(parts.vision, parts.language, template="tiny", seed=3)
    same = {}
    for name, weight in before.lm.state_dict().items():
        key = next(key for key in best if key.endswith(name))
        same[name] = torch.equal(best[key], weight)
    trained = {name for name in same if "layers.1.self_attn" in name}
    assert {name for name, equal in same.items() if not equal} == trained


def test_a_run_that_stops_goes_on_the_same_and_leaves_no_files(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(data, toy.align(**BF16), toy.instruct(**BF16, trainable=SOME, validation=BEST))
    toy.run(recipe, tmp_path / "whole", parts)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 3 + 4

    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "run", parts, stop=stop)
    assert not list((tmp_path / "run").rglob(FROZEN))
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    for name in ("align/model", "instruct/model", "instruct/best"):
        place = Path("stages") / name
        assert toy.weights(tmp_path / "run" / place) == toy.weights(tmp_path / "whole" / place)
    for stage in ("align", "instruct"):
        assert toy.metrics(tmp_path / "run", stage) == toy.metrics(tmp_path / "whole", stage)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_a_killed_run_goes_on_the_same(toy: Any, parts: Any, data: Path, tmp_path: Path, stage: str) -> None:
    """The files of the killed process are still there; they are written anew, and gone at the end."""
    file = tmp_path / "recipe.yaml"
    chosen = toy.align(**BF16), toy.instruct(**BF16, trainable=SOME)
    file.write_text(dump_recipe(toy.make_recipe(data, *chosen)), "utf-8")
    recipe = load_recipe(file, variables={})
    toy.run(recipe, tmp_path / "whole", parts)
    words = [sys.executable, toy.__file__, tmp_path / "run", parts.vision.parent, data, stage, 2, file]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = list((tmp_path / f"run/stages/{stage}/{FROZEN}").iterdir())
    assert left
    left[0].write_bytes(b"damaged")
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    assert not list((tmp_path / "run").rglob(FROZEN))
    for name in ("align", "instruct"):
        place = f"stages/{name}/model"
        assert toy.weights(tmp_path / "run" / place) == toy.weights(tmp_path / "whole" / place)
        assert toy.metrics(tmp_path / "run", name) == toy.metrics(tmp_path / "whole", name)


def test_a_disk_without_room_is_an_error_that_says_so(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lean, "save_file", full)
    with pytest.raises(RunError, match="No space left"):
        toy.run(toy.make_recipe(data, toy.align(**BF16)), tmp_path / "run", parts)
    assert json.loads((tmp_path / "run/run.json").read_text("utf-8"))["status"] == "failed"


def model_of(parts: Any, stage: dict[str, Any] | None = None, **config: Any) -> VisionLanguageModel:
    """A new model; its language model from a changed config."""
    model, _, _ = build_model(parts.vision, parts.language, template="tiny")
    if config:
        own = AutoConfig.from_pretrained(parts.language, **config)
        model.lm = AutoModelForCausalLM.from_config(own)
    model.requires_grad_(False)
    return model


def test_a_head_that_is_the_embeddings_stays(parts: Any) -> None:
    tied = lean_layers(model_of(parts, tie_word_embeddings=True))
    assert tied
    assert "lm.lm_head" not in tied
    assert "lm.lm_head" in lean_layers(model_of(parts))


def test_weights_in_one_memory_and_layers_of_other_kinds_stay(parts: Any) -> None:
    model = model_of(parts)
    layer = model.lm.model.layers[0].mlp

    class Own(torch.nn.Linear):
        """Whose forward pass may do anything."""

    layer.up_proj = Own(32, 64, bias=False).requires_grad_(False)
    other = model.lm.model.layers[1].mlp
    other.gate_proj.weight = torch.nn.Parameter(layer.gate_proj.weight.data, requires_grad=False)
    found = lean_layers(model)
    assert {f"lm.model.layers.{n}.mlp.down_proj" for n in (0, 1)} <= found.keys()
    for name in ("0.mlp.up_proj", "0.mlp.gate_proj", "1.mlp.gate_proj"):
        assert f"lm.model.layers.{name}" not in found


def test_a_layer_of_which_anything_trains_stays_and_the_tower_too(parts: Any) -> None:
    model = model_of(parts)
    model.connector[0].bias.requires_grad_(True)
    found = lean_layers(model)
    assert "connector.2" in found
    assert "connector.0" not in found
    assert not [name for name in found if name.startswith("tower")]


@pytest.mark.parametrize(
    ("factor", "dtype"), [(1.0, torch.float32), (None, torch.float16), (0.0, None)], ids=str
)
def test_files_have_the_smallest_type_that_holds_a_weight(
    parts: Any, tmp_path: Path, factor: float | None, dtype: torch.dtype | None
) -> None:
    model = model_of(parts)
    weight = model.connector[0].weight
    with torch.no_grad():
        weight.copy_(weight.half() if factor is None else weight * factor)
        weight[0, 0] = -0.0
        weight[0, 1] = float("inf")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    kept = Lean(tmp_path / FROZEN)
    kept.hold(model)
    file = tmp_path / FROZEN / "connector.0.weight.safetensors"
    assert file.is_file() == (dtype is not None)
    if dtype is not None:
        assert load_file(file)["tensor"].dtype == dtype
    rounded = {name: p.detach().clone() for name, p in model.named_parameters()}
    with kept.exact():
        check_same(model, before)
    check_same(model, rounded)
    kept.end(model)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    check_same(model, before)
    assert not (tmp_path / FROZEN).exists()


def check_same(model: VisionLanguageModel, wanted: dict[str, torch.Tensor]) -> None:
    """All parameters, to the last bit."""
    for name, parameter in model.named_parameters():
        a, b = parameter.detach().float(), wanted[name].float()
        assert torch.equal(a.view(torch.int32), b.view(torch.int32)), name


@pytest.mark.parametrize("name", ["align", "some", "lora", "dora", "head", "qlora"])
def test_the_forecast_counts_what_is_held(toy: Any, parts: Any, data: Path, name: str) -> None:
    if name == "qlora":
        pytest.importorskip("bitsandbytes")
        chosen = [toy.instruct(**BF16, lora={"rank": 4, "quantize": "nf4", "targets": ["q_proj"]})]
    else:
        chosen = stages(toy)[name]
    if "lora" in chosen[0]:
        pytest.importorskip("peft")
    stage = toy.make_recipe(data, *chosen).stages[0]
    model = model_of(parts)
    counted = lean_sizes(model, stage)
    attach(model, stage, 0)
    freeze(model, stage)
    found = {"language": 0, "head": 0, "connector": 0}
    for where, layer in lean_layers(model).items():
        part = (
            "head" if layer is model.lm.lm_head else "connector" if where.startswith("conn") else "language"
        )
        found[part] += sum(p.numel() for p in layer.parameters())
    assert counted == found


@pytest.mark.slow
def test_two_ranks_train_the_same_with_lean_copies(
    toy: Any, parts: Any, data: Path, tmp_path: Path, launch: Launch
) -> None:
    """Layers then hold frozen weights in bfloat16 beside float32 ones that train; once in host memory."""
    names = ["align", "some", *(["lora"] if find_spec("peft") else [])]
    specs = []
    for name in names:
        file = tmp_path / f"{name}.yaml"
        chosen = {**stages(toy)[name][0], "rows_per_step": 4, "row_length": 80}
        if name == "some":
            chosen["offload"] = "all"
        file.write_text(dump_recipe(toy.make_recipe(data, chosen)), "utf-8")
        base = {"recipe": str(file), "parts": str(parts.vision.parent), "offload": name == "some"}
        specs += [{**base, "folder": str(tmp_path / f"{name}-{on}"), "lean": on} for on in (True, False)]
    launch(2, specs)
    for name in names:
        ours, theirs = (tmp_path / f"{name}-{on}" for on in (True, False))
        stage = stages(toy)[name][0]["name"]
        assert toy.metrics(ours, stage) == toy.metrics(theirs, stage)
        assert toy.weights(ours / f"stages/{stage}/model") == toy.weights(theirs / f"stages/{stage}/model")
