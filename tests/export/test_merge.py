"""Adapters merged into their base: the scores before, behind and read back are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

import pumice
from pumice.errors import CheckpointError, UsageError
from pumice.export import merge
from pumice.lineage.digests import weight_digests
from pumice.model import Checkpoint, build_model, save_model
from pumice.model.adapter import BasePart
from pumice.model.adapter_save import save_adapter
from pumice.model.attach import Attached, new_config
from pumice.model.nf4 import Quantization
from pumice.recipes.schema import Lora

KINDS = {
    "lora": Lora(rank=4, alpha=8),
    "dora": Lora(rank=4, alpha=8, dora=True),
    "qlora": Lora(rank=4, alpha=8, quantize="nf4"),
    "qlora in bfloat16": Lora(rank=4, alpha=8, quantize="nf4"),
    "targets": Lora(rank=3, alpha=5, targets=("q_proj", "down_proj"), dora=True, quantize="nf4"),
}


def base_of(tiny: Any, **places: Path) -> dict[str, BasePart]:
    parts = places or {"language": tiny.language, "vision": tiny.vision}
    return {part: BasePart(str(path), str(path), weight_digests(path)) for part, path in parts.items()}


def write(
    folder: Path, tiny: Any, lora: Lora, model: Any = None, *, dtype: str = "float32", **places: Path
) -> Any:
    """An adapter with random additions, as training writes it; returns the language model with them in it."""
    if model is None:
        model = build_model(tiny.vision, tiny.language, template="tiny")[0]
    model.connector.load_state_dict(tiny.model.connector.state_dict())
    quantization = Quantization(True, dtype) if lora.quantize else None
    attached = Attached(model.lm, new_config(model.lm, lora, "lora"), quantization)
    generator = torch.Generator().manual_seed(4)
    drawn = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        for name, value in attached.tensors().items()
    }
    attached.set(drawn, "drawn")
    folder.mkdir(parents=True)
    save_adapter(
        folder,
        model,
        attached,
        tiny.tokenizer,
        tiny.processor,
        base_of(tiny, **places),
        {"recipe": "r"},
        tower=False,
    )
    return Checkpoint(model, tiny.tokenizer, tiny.processor)


def quantized_in(folder: Path) -> str | None:
    how = json.loads((folder / "pumice.json").read_text("utf-8"))["quantization"]
    return None if how is None else str(how["dtype"])


@pytest.fixture(params=list(KINDS))
def adapter(request: pytest.FixtureRequest, tiny: Any, tmp_path: Path) -> tuple[Path, Any]:
    dtype = "bfloat16" if "bfloat16" in request.param else "float32"
    return tmp_path / "adapter", write(tmp_path / "adapter", tiny, KINDS[request.param], dtype=dtype)


def test_the_merged_model_is_the_one_with_the_adapter(
    adapter: tuple[Path, Any], tiny: Any, tmp_path: Path
) -> None:
    from pumice.export.verify import evidence

    folder, unmerged = adapter
    done = merge(folder, tmp_path / "out")
    assert done.dtype == "float32"
    assert done.merging <= 1e-4
    assert done.rounding == done.read_back == 0.0
    assert done.transformers_read_back is not None
    assert done.transformers_read_back <= 1e-5
    unmerged.model.eval()
    before = evidence(unmerged)
    after = evidence(pumice.load(tmp_path / "out"), before.ids)
    rounds = 0.05 if quantized_in(folder) == "bfloat16" else 1e-4  # products were taken in bfloat16
    torch.testing.assert_close(after.logits_TV, before.logits_TV, rtol=rounds, atol=rounds)
    plain = evidence(Checkpoint(tiny.model, tiny.tokenizer, tiny.processor), before.ids)
    assert float((plain.logits_TV - before.logits_TV).abs().max()) > 0.1
    record = json.loads((tmp_path / "out" / "pumice.json").read_text("utf-8"))["lineage"]
    assert record["recipe"] == "r"
    assert record["base"]["language"]["sha256"] == weight_digests(tiny.language)
    assert record["adapter"]["sha256"] == weight_digests(folder)


def test_a_type_is_rounded_to_once(tiny: Any, tmp_path: Path) -> None:
    """A base in bfloat16: the sum is taken in float32, whatever it is written in."""
    model, tokenizer, _ = build_model(tiny.vision, tiny.language, template="tiny")
    half = tmp_path / "half"
    model.lm.to(torch.bfloat16).save_pretrained(half)
    tokenizer.save_pretrained(half)
    again = build_model(tiny.vision, half, template="tiny")[0]
    write(tmp_path / "adapter", tiny, KINDS["lora"], again, language=half, vision=tiny.vision)
    assert merge(tmp_path / "adapter", tmp_path / "own").dtype == "bfloat16"
    done = merge(tmp_path / "adapter", tmp_path / "full", dtype="float32")
    assert done.merging <= 1e-4
    assert done.rounding == 0.0
    full, own = (load_file(tmp_path / name / "model.safetensors") for name in ("full", "own"))
    key = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(full[key].to(torch.bfloat16), own[key])
    assert not torch.equal(full[key].to(torch.bfloat16).float(), full[key])


def test_a_whole_checkpoint_as_base(tiny: Any, tmp_path: Path) -> None:
    save_model(tiny.model, tiny.tokenizer, tiny.processor, tmp_path / "base", dtype="float32")
    model = pumice.load(tmp_path / "base").model
    write(tmp_path / "adapter", tiny, KINDS["dora"], model, checkpoint=tmp_path / "base")
    shutil.move(tmp_path / "base", tmp_path / "moved")
    with pytest.raises(CheckpointError, match="which is not here") as caught:
        merge(tmp_path / "adapter", tmp_path / "out")
    assert "--base" in str(caught.value)
    assert merge(tmp_path / "adapter", tmp_path / "out", base=tmp_path / "moved").merging <= 1e-4
    assert pumice.load(tmp_path / "adapter", base=tmp_path / "moved").model.config == model.config


def test_a_base_that_changed_is_noticed(tiny: Any, tmp_path: Path) -> None:
    language = Path(shutil.copytree(tiny.language, tmp_path / "language"))
    write(tmp_path / "adapter", tiny, KINDS["lora"], language=language, vision=tiny.vision)
    tensors = load_file(language / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, language / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="not those that the adapter was trained on"):
        merge(tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(CheckpointError, match="not those that the adapter was trained on"):
        pumice.load(tmp_path / "adapter")
    assert pumice.load(tmp_path / "adapter", base=language).model.config == tiny.model.config
    done = merge(tmp_path / "adapter", tmp_path / "out", base=language)
    assert any("not those" in line for line in done.notes)


def test_another_base_is_refused(tiny: Any, parts: Any, tmp_path: Path) -> None:
    write(tmp_path / "adapter", tiny, KINDS["lora"])
    other = parts.make_language(tmp_path / "other", width=64)
    with pytest.raises(CheckpointError, match="do not fit the base model's"):
        merge(tmp_path / "adapter", tmp_path / "out", base=other)
    shorter = parts.make_language(tmp_path / "shorter", num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"changes model\.layers\.1"):
        pumice.load(tmp_path / "adapter", base=shorter)


def test_another_vocabulary_is_refused(tiny: Any, parts: Any, tmp_path: Path) -> None:
    write(tmp_path / "adapter", tiny, KINDS["lora"])
    other = parts.make_language(tmp_path / "other")
    tokenizer = parts.make_tokenizer(270)
    tokenizer.save_pretrained(other)
    with pytest.raises(CheckpointError, match="with <image> as token"):
        pumice.load(tmp_path / "adapter", base=other)


def test_a_wrong_merge_leaves_nothing(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the formula were wrong: twice the addition."""
    write(tmp_path / "adapter", tiny, KINDS["lora"])
    from pumice.model import lora

    right = lora.combine
    monkeypatch.setattr(lora, "combine", lambda w, a, b, scale, m=None: right(w, a, b, 2 * scale, m))
    with pytest.raises(CheckpointError, match="beside the base with the adapter active in it"):
        merge(tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_original_layout_merges(tiny: Any, original: Any, tmp_path: Path) -> None:
    """With PEFT's own scores beside ours, where an export has only ours."""
    folder = original.write_adapter(tmp_path / "a", tiny.model, 290, str(tiny.vision))
    done = merge(folder, tmp_path / "out", base=tiny.language, template="tiny")
    assert done.merging <= 1e-4


@pytest.mark.parametrize("what", ["whole", "plain peft"])
def test_other_folders_are_refused(tiny: Any, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "m"
    if what == "whole":
        save_model(tiny.model, tiny.tokenizer, tiny.processor, folder)
        wanted = "holds no adapter, but a whole model"
    else:
        write(folder, tiny, KINDS["lora"])
        (folder / "pumice.json").unlink()
        wanted = "says which connector belongs to it"
    with pytest.raises(CheckpointError, match=wanted):
        merge(folder, tmp_path / "out")


def test_bad_options(tiny: Any, tmp_path: Path) -> None:
    write(tmp_path / "adapter", tiny, KINDS["lora"])
    with pytest.raises(UsageError, match="replace its adapter"):
        merge(tmp_path / "adapter", tmp_path / "adapter")
    with pytest.raises(UsageError, match="no dtype 'int3'"):
        merge(tmp_path / "adapter", tmp_path / "out", dtype="int3")


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_peft_loads_and_merges_alike(tiny: Any, tmp_path: Path, kind: str) -> None:
    from transformers import LlamaForCausalLM

    write(tmp_path / "adapter", tiny, KINDS[kind])
    base: Any = LlamaForCausalLM.from_pretrained(tiny.language)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload().state_dict()
    ours = pumice.load(tmp_path / "adapter").model.lm.state_dict()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key][: value.shape[0]], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["mixtral", "qwen2", "gemma2", "gemma3", "phi3"])
def test_families_merge(tiny: Any, tmp_path: Path, family: str) -> None:
    """Their files name tensors as the adapter does, whatever transformers renames as it loads."""
    from ..model.test_families import LANGUAGES, save_language, spread

    language = save_language(tiny, tmp_path / "lm", spread(LANGUAGES[family]()))
    model = build_model(tiny.vision, language, template="tiny")[0]
    write(tmp_path / "adapter", tiny, KINDS["dora"], model, language=language, vision=tiny.vision)
    assert merge(tmp_path / "adapter", tmp_path / "out").merging <= 1e-4
