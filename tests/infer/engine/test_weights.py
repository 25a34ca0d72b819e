"""Engines with weights in few bits: whole layers as one call, and answers that do not hang on the batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from pumice.errors import CheckpointError
from pumice.infer.engine import Limits
from pumice.infer.quality import divergence, reference
from pumice.infer.weights import chosen_weights, load_to_answer, settings_of
from pumice.model.pieces import Checkpoint
from pumice.model.quantized.forms import Weights
from pumice.model.quantized.fused import FusedLayer
from pumice.model.quantized.kernel import find_kernel
from pumice.model.save import save_model

WEIGHTS = ("bf16", "int8", "int4")


@pytest.fixture(scope="module")
def folder(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose heads fill whole tiles, so that its layers can be one call."""
    place = tmp_path_factory.mktemp("weights")
    vision = parts.make_vision(place / "vision")
    language = parts.make_language(place / "language", width=64, num_key_value_heads=2)
    from pumice.model.build import build_model

    save_model(*build_model(vision, language, template="tiny"), place / "model", dtype="float32")
    return place / "model"


def is_fused(model: Any) -> bool:
    return all(isinstance(layer.forward, FusedLayer) for layer in model.lm.model.layers)


def separate(model: Any) -> None:
    """Let layers compute as transformers does."""
    for layer in model.lm.model.layers:
        layer.__dict__.pop("forward", None)


@pytest.mark.skipif(find_kernel() is None, reason="there is no compiler")
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("window", [None, 6])
def test_a_layer_in_one_call_computes_what_its_modules_do(
    folder: Path, engine_of: Any, show: Any, weights: Any, window: int | None
) -> None:
    from pumice.model.loading import load

    made = load(folder, dtype="float32", form=weights)
    assert is_fused(made.model)
    made.model._windows = dict.fromkeys(made.model._windows, window)
    limits = Limits(tokens=2048, chunk=24)
    rig = engine_of(made.model, made.tokenizer, made.processor, limits)
    seen: list[torch.Tensor] = []
    # What is drawn from: the last layer leaves out all else.
    head = made.model.lm.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for _ in range(2):
        for name, images in (("One?", [show(1)]), ("And two, or three?", []), ("Four", [show(2)])):
            rig.ask(name, *images, max_new_tokens=4, ignore_end=True)
        rig.run()
        separate(made.model)
        rig = engine_of(made.model, made.tokenizer, made.processor, limits)
    hook.remove()
    fused, plain = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len({one.shape[0] for one in fused}) > 1  # parts of prompts beside answers under way
    assert [one.shape for one in fused] == [one.shape for one in plain]
    for left, right in zip(fused, plain, strict=True):
        # The modules round to 8 bits (or bfloat16) at the same places, but of other last bits.
        assert (left - right).norm() < 0.02 * right.norm()


@pytest.mark.skipif(find_kernel() is None, reason="there is no compiler")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_an_answer_does_not_hang_on_the_batch(folder: Path, engine_of: Any, show: Any, weights: Any) -> None:
    model, tokenizer, processor = load_to_answer(folder, weights)
    questions = [("What?", [show(1)]), ("Where is it, then?", []), ("Who", [show(2)]), ("Why not?", [])]
    alone = []
    for temperature in (0.0, 1.0):
        for text, images in questions:
            rig = engine_of(model, tokenizer, processor)
            running = rig.ask(text, *images, temperature=temperature, seed=7, max_new_tokens=24)
            rig.run()
            alone.append(rig.answer(running).ids)
    rig = engine_of(model, tokenizer, processor)
    together = []
    for temperature in (0.0, 1.0):
        for text, images in questions:
            together.append(rig.ask(text, *images, temperature=temperature, seed=7, max_new_tokens=24))
            rig.run(steps=1)
    rig.run()
    assert [rig.answer(one).ids for one in together] == alone


@pytest.mark.skipif(find_kernel() is None, reason="there is no compiler")
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_number_of_threads_changes_no_layer(
    folder: Path, engine_of: Any, show: Any, weights: Any
) -> None:
    """A layer has a dozen parts that threads divide, one behind another."""
    model, tokenizer, processor = load_to_answer(folder, weights)
    head, seen = model.lm.get_output_embeddings(), list[torch.Tensor]()
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    before = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            rig = engine_of(model, tokenizer, processor)
            rig.ask("What?", show(1), max_new_tokens=6, ignore_end=True)
            rig.ask("Where is it, then?", max_new_tokens=6, ignore_end=True)
            rig.run()
    finally:
        torch.set_num_threads(before)
        hook.remove()
    one, three = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(one) == len(three) >= 6
    # Prompts go through torch's attention, which sums otherwise on other threads.
    assert all((a - b).norm() < 0.02 * b.norm() for a, b in zip(one, three, strict=True))


@pytest.mark.parametrize("weights", ["fp32", "fp16", *WEIGHTS])
def test_scores_come_near_those_of_float32(folder: Path, weights: Any) -> None:
    wanted = reference(load_to_answer(folder, "fp32"))
    found = divergence(wanted, load_to_answer(folder, weights))
    assert found.tokens == sum(len(one) for one in wanted.answers) > 20
    most = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 3e-3, "int8": 6e-3, "int4": 0.5}[weights]
    assert found.kl <= most
    assert found.kl <= found.worst
    if weights == "fp32":
        assert (found.same, found.perplexity) == (1.0, pytest.approx(1.0))


def test_the_default_is_the_folder_s_own(folder: Path, tmp_path: Path) -> None:
    assert chosen_weights(folder, None, "cpu") == "fp32"
    assert chosen_weights(folder, None, "cuda") == "bf16"
    save_model(*load_to_answer(folder, "int8"), tmp_path / "out")
    assert chosen_weights(tmp_path / "out", None, "cuda") == "int8"
    with pytest.raises(CheckpointError, match="int8 already, and int4"):
        chosen_weights(tmp_path / "out", "int4", "cpu")
    assert chosen_weights(tmp_path / "out", "fp32", "cpu") == "fp32"
    told = {json.dumps(settings_of(weights)) for weights in get_args(Weights)}
    assert len(told) == len(get_args(Weights)), "answers of two kinds of weights are never mixed"
    made: Checkpoint = load_to_answer(tmp_path / "out")
    assert made.model.dtype == torch.bfloat16
