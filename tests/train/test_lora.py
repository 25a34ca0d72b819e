"""Stages that train additions to the language model: what trains, what is saved, and what a resume gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import pumice
from pumice.errors import CheckpointError, Interrupted, MissingExtraError, RunError
from pumice.lineage.digests import weight_digests
from pumice.model import attach, build, build_model, nf4
from pumice.recipes.schema import Recipe
from pumice.train import adapters
from pumice.train.checkpoint import list_states
from pumice.train.losses import stage_losses
from pumice.train.optim import build_optimizer, checkpoint_activations, freeze
from pumice.train.run import Parts

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"dora": True},
    "qlora": {"quantize": "nf4"},
    "qdora": {"quantize": "nf4", "dora": True, "double_quantization": False},
}


def lora(kind: str, **changes: Any) -> dict[str, Any]:
    """A stage's ``lora``."""
    return {"rank": 4, "alpha": 8, "dropout": 0.1, **KINDS[kind], **changes}


def recipe(toy: Any, data: Path, kind: str, *, changes: dict[str, Any] | None = None, **options: Any) -> Any:
    """Captions for the connector, then conversations for it and the additions."""
    stage = toy.instruct(lr={"connector": 0.003, "language": 0.02}, lora=lora(kind, **(changes or {})))
    return toy.make_recipe(data, toy.align(), {**stage, **options})


@pytest.fixture(scope="session", params=list(KINDS))
def trained(
    request: pytest.FixtureRequest, toy: Any, parts: Any, data: Path, tmp_path_factory: Any
) -> tuple[str, Path]:
    """A run of each kind, to its end; read only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("lora") / request.param
    toy.run(recipe(toy, data, request.param), folder, parts)
    torch.set_num_threads(before)
    return request.param, folder


def adapter_of(folder: Path) -> Path:
    return folder / "stages" / "instruct" / "adapter"


def logits(lm: Any) -> torch.Tensor:
    ids = torch.tensor([[3, 40, 5, 60, 7, 80]])
    with torch.no_grad():
        found: torch.Tensor = lm.eval()(input_ids=ids).logits
    return found


def test_the_loss_falls(toy: Any, trained: tuple[str, Path]) -> None:
    rows = toy.metrics(trained[1], "instruct")
    held_out = [row["loss"] for row in rows if row["kind"] == "validation"]
    assert held_out[-1] < held_out[0] - 0.3


def test_only_additions_and_the_connector_train(trained: tuple[str, Path], parts: Any) -> None:
    kind, folder = trained
    align, after = (
        load_file(folder / "stages" / s / "model" / "model.safetensors") for s in ("align", "instruct")
    )
    assert align.keys() == after.keys()
    for name, tensor in after.items():
        linear = name.startswith("language_model.model.layers") and name.endswith("_proj.weight")
        changes = linear or name.startswith("multi_modal_projector")
        assert torch.equal(tensor, align[name]) is not changes, name
    stage = json.loads((folder / "run.json").read_text("utf-8"))["stages"][1]
    assert stage["adapter"] == "stages/instruct/adapter"
    # 2 layers of: q and o 32x32, k and v 16x32, gate, up and down 64x32
    matrices = 2 * 4 * (2 * 64 + 2 * 48 + 3 * 96)
    lengths = 2 * (2 * 32 + 2 * 16 + 2 * 64 + 32) if "dora" in kind else 0
    assert stage["trainable"]["language"] == matrices + lengths
    whole = AutoModelForCausalLM.from_pretrained(parts.language).num_parameters()
    assert stage["frozen"]["language"] >= whole  # and rows for <image> and <pad>
    assert "connector" not in stage["frozen"]


def test_the_adapter_loads_as_the_model_of_the_stage(trained: tuple[str, Path]) -> None:
    _, folder = trained
    loaded = pumice.load(adapter_of(folder))
    saved = pumice.load(folder / "stages" / "instruct" / "model")
    assert loaded.model.config == saved.model.config
    assert loaded.processor == saved.processor
    assert loaded.tokenizer.get_vocab() == saved.tokenizer.get_vocab()
    for (name, one), other in zip(
        loaded.model.state_dict().items(), saved.model.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


def test_peft_loads_the_adapter_onto_the_base(trained: tuple[str, Path], parts: Any) -> None:
    """Plain transformers and PEFT; the base of QLoRA in 4 bits, as it was trained."""
    kind, folder = trained
    base: Any = AutoModelForCausalLM.from_pretrained(parts.language)
    if kind.startswith("q"):
        how = nf4.Quantization(double=kind == "qlora", dtype="float32")
        for name, layer in attach.linear_layers(base).items():
            attach._put(base, name, nf4.quantized(layer, how))
        base.is_loaded_in_4bit = True
    theirs = logits(peft.PeftModel.from_pretrained(base, adapter_of(folder)))
    ours = logits(pumice.load(folder / "stages" / "instruct" / "model").model.lm)
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, rtol=1e-5, atol=1e-5)
    plain = logits(AutoModelForCausalLM.from_pretrained(parts.language))
    assert float((plain - theirs).abs().max()) > 0.1


def test_the_record_tells_where_it_comes_from(trained: tuple[str, Path], parts: Any) -> None:
    kind, folder = trained
    record = json.loads((adapter_of(folder) / "pumice.json").read_text("utf-8"))
    assert record["base"] == {
        "vision": {"name": "vision", "path": str(parts.vision), "sha256": weight_digests(parts.vision)},
        "language": {
            "name": "language",
            "path": str(parts.language),
            "sha256": weight_digests(parts.language),
        },
    }
    made = record["lineage"]
    assert (made["recipe"], made["stage"], made["steps"], made["seed"]) == ("toy", "instruct", 6, 3)
    assert made["lora"]["rank"] == 4
    assert made["peft"] == peft.__version__
    assert made["pumice"] == pumice.__version__
    wanted = None
    if kind.startswith("q"):
        wanted = {"type": "nf4", "block": 64, "double": kind == "qlora", "dtype": "float32"}
    assert record["quantization"] == wanted


@pytest.mark.parametrize("asked", [5, 8])
def test_stopped_and_resumed_is_bit_identical(
    toy: Any, parts: Any, data: Path, trained: tuple[str, Path], tmp_path: Path, asked: int
) -> None:
    """In the first steps of the stage, and between two states; dropout draws the same."""
    kind, whole = trained
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == asked

    with pytest.raises(Interrupted, match="in stage 'instruct'"):
        toy.run(recipe(toy, data, kind), tmp_path / "run", parts, stop=stop)
    state = list_states(tmp_path / "run" / "stages" / "instruct" / "state")[-1]
    names = toy.saved_weights(state.folder)
    assert all("lora_" in name or name.startswith("connector.") for name in names)
    toy.run(recipe(toy, data, kind), tmp_path / "run", parts, resume=True)
    assert toy.metrics(tmp_path / "run", "instruct") == toy.metrics(whole, "instruct")
    for file in (
        "model/model.safetensors",
        "adapter/adapter_model.safetensors",
        "adapter/connector.safetensors",
    ):
        one, other = (run / "stages" / "instruct" / file for run in (tmp_path / "run", whole))
        assert one.read_bytes() == other.read_bytes(), file


def test_first_values_follow_from_the_seed(toy: Any, parts: Any, tmp_path: Path, data: Path) -> None:
    model = build_model(parts.vision, parts.language, template="tiny")[0]

    def drawn(seed: int, name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed + 77)
        stage = toy.make_recipe(data, toy.instruct(name=name, lora=lora("lora"))).stages[0]
        attached = adapters.attach(model, stage, seed)
        assert attached is not None
        state = torch.random.get_rng_state()
        torch.manual_seed(seed + 77)
        assert torch.equal(state, torch.random.get_rng_state()), "the generator of others is left alone"
        tensors = attached.tensors()
        attached.merge()
        return tensors

    first, again, other, later = drawn(1, "a"), drawn(1, "a"), drawn(2, "a"), drawn(1, "b")
    for name in (name for name in first if "lora_A" in name):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])
        assert not torch.equal(first[name], later[name])
    assert not any(bool(value.any()) for name, value in first.items() if "lora_B" in name)


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_targets_choose_layers(toy: Any, parts: Any, data: Path, tmp_path: Path, kind: str) -> None:
    plan = recipe(toy, data, kind, changes={"targets": ["q_proj", "v_proj"]}, steps=2, validation=None)
    toy.run(plan, tmp_path / "run", parts)
    names = load_file(adapter_of(tmp_path / "run") / "adapter_model.safetensors")
    assert {name.split(".")[-3] for name in names} == {"q_proj", "v_proj"}
    stage = tmp_path / "run" / "stages" / "instruct"
    align = load_file(tmp_path / "run" / "stages" / "align" / "model" / "model.safetensors")
    for name, tensor in load_file(stage / "model" / "model.safetensors").items():
        if name.startswith("language_model."):
            changed = "q_proj" in name or "v_proj" in name
            assert torch.equal(tensor, align[name]) is not changed, name


def test_unknown_targets_are_refused_before_the_run(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    plan = recipe(toy, data, "lora", changes={"targets": ["q_prj"]})
    with pytest.raises(RunError, match="no linear layer 'q_prj'") as caught:
        toy.run(plan, tmp_path / "run", parts)
    assert "did you mean 'q_proj'" in str(caught.value)
    assert "lm_head" not in str(caught.value)
    assert "stages.instruct.lora.targets" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("missing", "kind", "extra"), [("peft", "lora", "lora"), ("bitsandbytes", "qlora", "qlora")]
)
def test_missing_libraries_are_named_before_anything_is_read(
    toy: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, kind: str, extra: str
) -> None:
    for module in (attach, nf4):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(MissingExtraError) as caught:
        toy.run(recipe(toy, data, kind), tmp_path / "run", Parts(tmp_path / "no", tmp_path / "no"))
    assert f"pip install 'pumice[{extra}]'" in str(caught.value)
    assert "stages.instruct.lora" in str(caught.value)


def test_adapters_one_after_the_other(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """The second is an addition to what the first made; the run's folder may move."""
    first = toy.instruct(name="first", steps=2, validation=None, lora=lora("qlora"))
    second = toy.instruct(name="second", steps=2, validation=None, lora=lora("dora"))
    second["trainable"] = ["connector", "language", "vision"]
    second["lr"] = {"connector": 0.01, "language": 0.01, "vision": 0.001}
    toy.run(toy.make_recipe(data, first, second), tmp_path / "run", parts)
    folder = (tmp_path / "run").rename(tmp_path / "moved")
    record = json.loads((folder / "stages" / "second" / "adapter" / "pumice.json").read_text("utf-8"))
    assert list(record["base"]) == ["checkpoint"]
    assert record["base"]["checkpoint"]["sha256"] == weight_digests(folder / "stages" / "first" / "model")
    loaded = pumice.load(folder / "stages" / "second" / "adapter").model
    saved = pumice.load(folder / "stages" / "second" / "model").model
    for (name, one), other in zip(loaded.state_dict().items(), saved.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    tower = load_file(folder / "stages" / "second" / "adapter" / "vision_tower.safetensors")
    assert all(name.startswith("vision_tower.") for name in tower)
    with pytest.raises(CheckpointError, match="trained on a whole checkpoint"):
        pumice.load(folder / "stages" / "second" / "adapter", vision=parts.vision)


@pytest.mark.parametrize("kind", [None, "lora", "qlora"])
def test_activation_checkpointing_changes_nothing(
    toy: Any, parts: Any, data: Path, tmp_path: Path, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit by bit: losses, gradients' norms and weights; through a frozen language model, too. (The last layer
    is computed again as a whole, and products of another size round otherwise: not here.)"""
    monkeypatch.setattr(build, "_trims", lambda *given: False)
    stages = [toy.align(steps=2), toy.instruct(steps=3)]
    if kind is not None:
        stages[1]["lora"] = lora(kind)
    stages.append(toy.instruct(name="all", steps=2, validation=None))
    stages[2]["trainable"] = ["connector", "language", "vision"]
    stages[2]["lr"] = {"connector": 0.01, "language": 0.003, "vision": 0.001}
    runs = {}
    for wanted in (False, True):
        changed = [{**stage, "activation_checkpointing": wanted} for stage in stages]
        runs[wanted] = tmp_path / str(wanted)
        toy.run(toy.make_recipe(data, *changed), runs[wanted], parts)
    for name in ("align", "instruct", "all"):
        assert toy.learnt(runs[False], name) == toy.learnt(runs[True], name)
        one, other = (toy.weights(runs[k] / "stages" / name / "model") for k in (False, True))
        assert one == other


def test_layers_run_again_only_where_gradients_flow(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.align(activation_checkpointing=True))
    model, stage = bench.model, bench.context.stage
    checkpoint_activations(model, stage)
    calls = {"language": 0, "tower": 0}

    def count(part: str) -> Any:
        def hook(*_: Any) -> None:
            calls[part] += 1

        return hook

    model.lm.model.layers[0].self_attn.register_forward_pre_hook(count("language"))
    tower = model.tower.model.get_submodule("encoder.layers")[0]
    tower.self_attn.register_forward_pre_hook(count("tower"))
    batch = bench.data.batch([[0]])
    loss = stage_losses(model, batch, bench.data, bench.context).text
    loss.backward()
    assert calls == {"language": 2, "tower": 1}


def test_qlora_in_bfloat16(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Weights come back from 4 bits in the type of the products; the merged ones are those very ones."""
    plan = recipe(toy, data, "qlora", precision="bf16")
    toy.run(plan, tmp_path / "whole", parts)
    record = json.loads((adapter_of(tmp_path / "whole") / "pumice.json").read_text("utf-8"))
    assert record["quantization"]["dtype"] == "bfloat16"
    rows = toy.metrics(tmp_path / "whole", "instruct")
    held_out = [row["loss"] for row in rows if row["kind"] == "validation"]
    assert held_out[-1] < held_out[0] - 0.3
    loaded = pumice.load(adapter_of(tmp_path / "whole")).model.state_dict()
    saved = pumice.load(tmp_path / "whole" / "stages" / "instruct" / "model").model.state_dict()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == 6

    with pytest.raises(Interrupted):
        toy.run(plan, tmp_path / "again", parts, stop=stop)
    toy.run(plan, tmp_path / "again", parts, resume=True)
    assert toy.metrics(tmp_path / "again", "instruct") == rows


@pytest.mark.parametrize("whole", [False, True])
def test_a_model_of_tiles(toy: Any, parts: Any, data: Path, tmp_path: Path, whole: bool) -> None:
    """What ends lines of tiles trains with the connector and travels with it; also on a whole checkpoint."""
    stage = toy.instruct(steps=2, row_length=256, validation=None, lora=lora("lora"))
    tiles = {"aspect": "anyres", "grids": ["2x1", "1x2"]}
    fields = toy.make_recipe(data, stage).model_dump(mode="json", exclude_unset=True)
    places = parts
    if whole:
        places = Parts(checkpoint=toy.run(toy.make_recipe(data, toy.align()), tmp_path / "first", parts))
        fields["model"] = {"checkpoint": "first"}
    fields["model"]["image"] = tiles
    toy.run(Recipe.model_validate(fields), tmp_path / "run", places)
    adapter = adapter_of(tmp_path / "run")
    assert "image_newline" in load_file(adapter / "connector.safetensors")
    loaded, saved = pumice.load(adapter), pumice.load(tmp_path / "run" / "stages" / "instruct" / "model")
    assert loaded.model.config == saved.model.config
    assert loaded.model.config.tiled
    assert loaded.processor == saved.processor
    weights = saved.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    record = json.loads((adapter / "pumice.json").read_text("utf-8"))
    assert list(record["base"]) == (["checkpoint"] if whole else ["vision", "language"])


def test_rates_and_decay(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Additions at the language model's rate; matrices decay and DoRA's lengths do not."""
    fields = toy.instruct(lora=lora("qdora"), weight_decay=0.1)
    bench = toy.bench(data, parts, tmp_path, fields)
    model, stage = bench.model, bench.context.stage
    adapters.attach(model, stage, 1)
    counts = freeze(model, stage)
    groups = {}
    for group in build_optimizer(model, stage).param_groups:
        groups[group["part"], group["weight_decay"]] = (group["lr"], sum(p.numel() for p in group["params"]))
    named = list(model.lm.named_parameters())
    matrices = sum(p.numel() for name, p in named if "lora_A" in name or "lora_B" in name)
    lengths = sum(p.numel() for name, p in named if "magnitude" in name)
    assert groups["language", 0.1] == (stage.lr.language, matrices)
    assert groups["language", 0.0] == (stage.lr.language, lengths)
    assert groups["connector", 0.1][0] == stage.lr.connector
    assert counts.trainable["language"] == matrices + lengths
    whole = sum(
        p.numel() for p in build_model(parts.vision, parts.language, template="tiny")[0].lm.parameters()
    )
    assert counts.frozen["language"] == whole, "weights in 4 bits count as what they stand for"
