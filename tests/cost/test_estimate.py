"""What a run costs: by hand on small shapes, and against the published times."""

from __future__ import annotations

import dataclasses

import pytest

from pumice.cost.estimate import Setup, estimate, passes, stage_flops, stage_memory
from pumice.cost.hardware import HARDWARE, get_hardware
from pumice.cost.shape import Additions, LanguageShape, Load, Partly, Shape, TowerShape
from pumice.errors import UsageError

SHAPE = Shape(
    TowerShape(params=1000, used=800, layers=2, width=8, tokens=5),
    connector=100,
    language=LanguageShape(
        body=10_000,
        embedding=640,
        head=640,
        layers=3,
        width=16,
        attention_width=16,
        mlp_width=32,
        vocabulary=40,
        tied=False,
    ),
)
LOAD = Load(
    steps=10,
    tokens=500.0,
    squares=9000.0,
    logits=50.0,
    images=20.0,
    image_tokens=80.0,
    row=64,
    rows=4,
    images_per_step=4.0,
    logits_per_row=10.0,
)
ALIGN, INSTRUCT, ALL = (
    frozenset({"connector"}),
    frozenset({"connector", "language"}),
    frozenset({"vision", "connector", "language"}),
)


@pytest.mark.parametrize(
    ("trainable", "checkpointing", "wanted"),
    [
        (ALIGN, False, (1, 3, 2)),
        (ALIGN, True, (1, 3, 3)),
        (INSTRUCT, False, (1, 3, 3)),
        (INSTRUCT, True, (1, 3, 4)),
        (ALL, False, (3, 3, 3)),
        (ALL, True, (4, 3, 4)),
        (frozenset({"language"}), True, (1, 1, 4)),
        (frozenset({"vision"}), True, (4, 2, 3)),
    ],
)
def test_each_part_is_passed_as_often_as_gradients_need(
    trainable: frozenset[str], checkpointing: bool, wanted: tuple[int, int, int]
) -> None:
    """Forward, the gradient through it, its own weights' gradient, and the forward pass again."""
    parts = ("vision", "connector", "language")
    assert tuple(passes(part, trainable, checkpointing=checkpointing) for part in parts) == wanted


def test_arithmetic_by_hand() -> None:
    flops = stage_flops(SHAPE, LOAD, ALIGN, checkpointing=False)
    assert flops["vision"] == 20 * (2 * 800 * 5 + 4 * 2 * 8 * 25)
    assert flops["connector"] == 3 * (2 * 100 * 80)
    assert flops["language"] == 2 * (2 * 10_000 * 500 + 4 * 3 * 16 * 9000 / 2)
    assert flops["head"] == 2 * (2 * 40 * 16 * 50)


def test_what_is_applied_at_supervised_places_alone_counts_there_alone() -> None:
    whole = stage_flops(SHAPE, LOAD, INSTRUCT, checkpointing=False)
    less = stage_flops(SHAPE, LOAD, INSTRUCT, checkpointing=False, trimmed=100)
    assert whole["language"] - less["language"] == 3 * 2 * 100 * (LOAD.tokens - LOAD.logits)
    assert {**less, "language": 0} == {**whole, "language": 0}


def test_a_reference_is_one_forward_pass_of_its_share() -> None:
    setup = Setup(ALL, get_hardware("h100"), devices=1, sharding="none", reference=0.5)
    flops = estimate(SHAPE, LOAD, setup).flops
    plain = estimate(SHAPE, LOAD, dataclasses.replace(setup, checkpointing=False, reference=0.0)).flops
    assert "reference" not in plain
    assert flops["reference"] == pytest.approx(0.5 * sum(plain.values()) / 3)


def test_time_falls_with_devices_and_with_the_share_of_the_peak() -> None:
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 8, "full")
    eight = estimate(SHAPE, LOAD, setup)
    one = estimate(SHAPE, LOAD, dataclasses.replace(setup, devices=1))
    assert one.seconds == pytest.approx(8 * eight.seconds)
    grads = estimate(SHAPE, LOAD, dataclasses.replace(setup, sharding="grads"))
    shares = HARDWARE["a100-80g"].share
    assert grads.seconds / eight.seconds == pytest.approx(shares["full"] / shares["grads"])
    assert eight.seconds == pytest.approx(eight.total_flops / (312e12 * shares["full"] * 8))


def test_memory_by_what_is_split() -> None:
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 4, "none")
    whole = stage_memory(SHAPE, LOAD, setup)
    trained, everything = 100 + 11_280, 1000 + 100 + 11_280
    assert (whole.weights, whole.gradients, whole.optimizer) == (2 * everything, 2 * trained, 12 * trained)
    grads = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, sharding="grads"))
    assert (grads.weights, grads.optimizer) == (whole.weights, whole.optimizer / 4)
    full = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, sharding="full"))
    assert full.weights < grads.weights
    assert full.total == sum(
        (full.weights, full.gradients, full.optimizer, full.activations, full.logits, full.overhead)
    )
    kept = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, checkpointing=False))
    assert kept.activations > whole.activations
    frozen = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, trainable=ALIGN))
    assert frozen.optimizer == 12 * 100


def test_averages_of_8_bits_take_a_quarter() -> None:
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 1, "none", weights="fp32", optimizer="adamw_8bit")
    plain = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, optimizer="adamw"))
    small = stage_memory(SHAPE, LOAD, setup)
    assert plain.optimizer == 8 * 11_380
    assert small.optimizer == 11_380 * (2 + 8 / 256)
    assert plain.total - small.total == plain.optimizer - small.optimizer


def test_what_is_offloaded_is_beside_the_device() -> None:
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 4, "full")
    plain = stage_memory(SHAPE, LOAD, setup)
    assert plain.host == 0
    some = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, offload="optimizer"))
    assert (some.host, some.optimizer) == (8 * 11_380 / 4, 4 * 11_380 / 4)
    assert some.total + some.host == plain.total
    everything = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, offload="all"))
    assert everything.optimizer == 0
    assert everything.weights < some.weights
    assert everything.host > some.host
    assert (everything.activations, everything.logits) == (plain.activations, plain.logits)
    cpu = dataclasses.replace(setup, offload="all", spare=False)
    assert stage_memory(SHAPE, LOAD, cpu) == plain


def test_unknown_hardware_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="no hardware 'a100'") as caught:
        get_hardware("a100")
    assert "a100-80g" in str(caught.value)


def test_additions_train_in_the_place_of_weights() -> None:
    additions = Additions(params=200, covered=9_000, bits=4.0)
    flops = stage_flops(SHAPE, LOAD, INSTRUCT, checkpointing=True, additions=additions)
    whole = stage_flops(SHAPE, LOAD, INSTRUCT, checkpointing=True)
    assert flops["language"] == whole["language"] * 3 / 4
    assert flops["head"] == whole["head"] * 2 / 3
    assert flops["additions"] == 4 * 2 * 200 * 500
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 1, "none", additions=additions)
    memory = stage_memory(SHAPE, LOAD, setup)
    assert (memory.gradients, memory.optimizer) == (2 * 300, 12 * 300)
    assert memory.weights == 2 * (1000 + 100 + 11_280 + 200) - 9_000 * 1.5
    plain = dataclasses.replace(setup, additions=Additions(params=200, covered=9_000))
    assert stage_memory(SHAPE, LOAD, plain).weights == 2 * (1000 + 100 + 11_280 + 200)


def test_weights_in_float32_need_no_copies() -> None:
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 1, "none", weights="fp32")
    own, usual = (
        stage_memory(SHAPE, LOAD, one) for one in (setup, dataclasses.replace(setup, weights="bf16"))
    )
    trained, everything = 100 + 11_280, 1000 + 100 + 11_280
    assert (own.weights, own.gradients, own.optimizer) == (4 * everything, 4 * trained, 8 * trained)
    assert usual.weights + usual.gradients + usual.optimizer == 2 * everything + 14 * trained
    kept = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, checkpointing=False))
    assert kept.weights == own.weights + 2 * 10_000, "what autocast made of them stays"
    single = dataclasses.replace(setup, activation=4)
    assert stage_memory(SHAPE, LOAD, single).activations == 2 * own.activations


def test_frozen_layers_take_two_bytes_where_they_are_multiplied_in_two() -> None:
    lean = {"language": 9_000, "head": 640, "connector": 0}
    setup = Setup(ALIGN, get_hardware("a100-80g"), 1, "none", weights="fp32", lean=lean)
    everything = 1000 + 100 + 11_280
    assert stage_memory(SHAPE, LOAD, setup).weights == 4 * everything - 2 * 9_640
    kept = dataclasses.replace(setup, checkpointing=False)
    assert stage_memory(SHAPE, LOAD, kept).weights == 4 * everything - 2 * 9_640 + 2 * (10_000 - 9_000)
    for other in (dataclasses.replace(setup, activation=4), dataclasses.replace(setup, weights="bf16")):
        plain = dataclasses.replace(other, lean={})
        assert stage_memory(SHAPE, LOAD, other) == stage_memory(SHAPE, LOAD, plain)


def test_of_a_part_that_trains_in_part_only_that_is_counted() -> None:
    some = {"vision": Partly(params=90, own=0.1, reach=0.5), "language": Partly(400, 0.04, 0.25, head=False)}
    setup = Setup(ALL, get_hardware("a100-80g"), 1, "none", checkpointing=False, partly=some)
    memory = stage_memory(SHAPE, LOAD, setup)
    whole = stage_memory(SHAPE, LOAD, dataclasses.replace(setup, partly={}))
    trained = 90 + 100 + 400
    assert (memory.gradients, memory.optimizer) == (2 * trained, 12 * trained)
    assert memory.weights == whole.weights
    assert memory.activations < whole.activations, "less of the tower is kept"
    flops = stage_flops(SHAPE, LOAD, ALL, checkpointing=False, partly=some)
    once = stage_flops(SHAPE, LOAD, (), checkpointing=False)
    assert flops["vision"] == once["vision"] * (1 + 0.5 + 0.1)
    assert flops["language"] == once["language"] * (1 + 1 + 0.04), "gradients come through from below"
    assert flops["head"] == once["head"]
    # Where nothing below trains, no gradient goes below the lowest layer that does.
    alone = frozenset({"language"})
    assert stage_flops(SHAPE, LOAD, alone, checkpointing=False, partly=some)["language"] == once[
        "language"
    ] * (1 + 0.25 + 0.04)
    upper = dataclasses.replace(setup, trainable=alone)
    full = dataclasses.replace(upper, partly={})
    assert stage_memory(SHAPE, LOAD, upper).activations < stage_memory(SHAPE, LOAD, full).activations


def test_scores_that_are_kept_take_the_square_of_a_row() -> None:
    language = dataclasses.replace(SHAPE.language, heads=4)
    shape = dataclasses.replace(SHAPE, language=language)
    setup = Setup(INSTRUCT, get_hardware("a100-80g"), 1, "none", checkpointing=False, micro_rows=2)
    blocks, mask, scores = (
        stage_memory(shape, LOAD, dataclasses.replace(setup, attention=kind)).activations
        for kind in ("blocks", "mask", "scores")
    )
    assert mask - blocks == 2 * 64**2 * (1 + 2)
    assert scores - mask == 3 * 2 * 4 * 64**2 * (4 + 2)
    again = dataclasses.replace(setup, checkpointing=True, attention="scores")
    one = stage_memory(shape, LOAD, again).activations
    assert one - stage_memory(shape, LOAD, dataclasses.replace(again, attention="mask")).activations == (
        2 * 4 * 64**2 * (4 + 2)
    )
