"""What makes a stage fit onto a device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pumice.cost.estimate import Setup, stage_memory
from pumice.cost.hardware import get_hardware
from pumice.cost.shape import Additions, Load, Shape
from pumice.forecast.fit import remedies
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes.schema import Lora, Model

INSTRUCT = frozenset({"connector", "language"})


def nowhere(name: str, kind: str) -> Path | None:
    return None


def load(rows: int) -> Load:
    return Load(
        steps=100,
        tokens=100.0 * rows * 2048,
        squares=100.0 * rows * 2048**2,
        logits=1e6,
        images=1e5,
        image_tokens=5.76e7,
        row=2048,
        rows=rows,
        images_per_step=2.0 * rows,
        logits_per_row=512.0,
    )


@pytest.fixture(scope="module")
def large() -> tuple[Shape, Additions, Additions]:
    vision, language = "hub:openai/clip-vit-large-patch14-336", "hub:meta-llama/Llama-2-70b-hf"
    planned = plan_model(Model(vision=vision, language=language, template="v1"), nowhere)
    lm = planned.model.lm
    return model_shape(planned.model), additions_of(lm, Lora()), additions_of(lm, Lora(quantize="nf4"))


@pytest.mark.parametrize(("devices", "fits"), [(8, False), (64, True), (512, True)])
def test_seventy_billion_on_many_devices(
    large: tuple[Shape, Additions, Additions], devices: int, fits: bool
) -> None:
    shape, low, lower = large
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), devices, "full", micro_rows=max(1, 64 // devices))
    memory = stage_memory(shape, load(64), setup)
    assert (memory.total <= 80e9) is fits
    # 16 bytes of each parameter are spread (2 of those that are frozen); two layers are gathered at a time.
    spread = (16 * (sum(shape.params.values()) - shape.tower.params) + 2 * shape.tower.params) / devices
    held = memory.weights + memory.gradients + memory.optimizer
    assert held == pytest.approx(spread + 2 * 2 * shape.language.body / 80)
    found = remedies(shape, load(64), setup, lambda quantised: lower if quantised else low)
    if not fits:
        words = [one.words for one in found]
        assert any(word.startswith("--devices") for word in words)
        assert any("LoRA" in word for word in words)
        assert all(one.bytes <= 80e9 for one in found)


def test_the_least_change_is_named_first(large: tuple[Shape, Additions, Additions]) -> None:
    shape = large[0]
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 512, "full", checkpointing=False, micro_rows=8)
    assert stage_memory(shape, load(64), setup).total > 80e9
    words = [one.words for one in remedies(shape, load(64), setup, None)]
    assert words[0] == "activation_checkpointing: true"
    assert any("one row at a time" in word for word in words[1:])
    assert not any("LoRA" in word for word in words)


def test_smaller_averages_and_host_memory_are_named(large: tuple[Shape, Additions, Additions]) -> None:
    """16 devices of 80 GB: 8 bits save 26 GB of each, offload of all nearly everything that is split."""
    shape = large[0]
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 16, "full", micro_rows=2)
    assert stage_memory(shape, load(64), setup).total > 80e9
    found = {one.words: one for one in remedies(shape, load(64), setup, None)}
    assert found["optimizer: adamw_8bit"].host == 0
    assert found["offload: optimizer"].host == pytest.approx(8 * 69.0e9 / 16, rel=0.01)
    assert found["offload: all"].bytes < found["offload: optimizer"].bytes
    alike = dataclasses.replace(setup, optimizer="adamw_8bit", offload="optimizer")
    assert "optimizer: adamw_8bit" not in {one.words for one in remedies(shape, load(64), alike, None)}
    without = dataclasses.replace(setup, spare=False)
    assert not any("offload" in one.words for one in remedies(shape, load(64), without, None))


def test_seven_billion_train_in_full_on_one_device_of_eighty() -> None:
    """By several changes together; QLoRA, which would do alone, is still told."""
    vision, language = "hub:openai/clip-vit-large-patch14-336", "hub:lmsys/vicuna-7b-v1.5"
    planned = plan_model(Model(vision=vision, language=language, template="v1"), nowhere)
    shape, lm = model_shape(planned.model), planned.model.lm
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 1, "none", micro_rows=60, weights="fp32")
    found = remedies(
        shape, load(64), setup, lambda low: additions_of(lm, Lora(quantize="nf4" if low else None))
    )
    assert found[0].words == "one row at a time (accumulation), optimizer: adamw_8bit"
    assert found[0].bytes < 80e9
    assert found[0].host == 0
    assert any("QLoRA" in one.words for one in found[1:])


def test_what_no_single_change_mends_is_mended_by_several(large: tuple[Shape, Additions, Additions]) -> None:
    shape = large[0]
    setup = Setup(INSTRUCT, get_hardware("rtx4090"), 8, "none", checkpointing=False, micro_rows=8)
    [found] = remedies(shape, load(64), setup, None)
    assert found.words.startswith("--devices")
    assert "--sharding full" in found.words
    assert "activation_checkpointing" in found.words
    count = int(found.words.split()[1].rstrip(",").replace(",", ""))
    changed = dataclasses.replace(setup, devices=count, sharding="full", checkpointing=True, micro_rows=1)
    assert stage_memory(shape, load(64), changed).total == found.bytes <= 24e9


def test_weights_beside_additions_take_two_bytes(large: tuple[Shape, Additions, Additions]) -> None:
    """On one device, where Pumice holds float32: LoRA is told as its own plan would be."""
    shape, low, lower = large
    hardware = dataclasses.replace(get_hardware("h100"), memory=200e9)
    setup = Setup(INSTRUCT, hardware, 1, "none", weights="fp32")
    found = {
        one.words: one.bytes
        for one in remedies(shape, load(1), setup, lambda quantised: lower if quantised else low)
    }
    (lora,) = (number for words, number in found.items() if words.startswith("LoRA"))
    lean = {"language": low.covered, "head": shape.language.head}
    told = dataclasses.replace(setup, additions=low, lean=lean)
    assert lora == stage_memory(shape, load(1), told).total
    plain = stage_memory(shape, load(1), dataclasses.replace(told, lean={}))
    assert plain.total - lora == 2 * (low.covered + shape.language.head)
