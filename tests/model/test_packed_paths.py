"""Packed rows are their samples alone: loss and every gradient, by every way to attend.

Legend: T tokens.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.model.attention import AUTO, set_attention
from pumice.model.build import build_model
from pumice.model.last_layer import last_feed_forward
from pumice.model.vlm import VisionLanguageModel

from .test_families import LANGUAGES, save_language
from .test_vlm import Row, loss

MODELS = ("llama", "mistral-window", "gemma2", "gemma3", "phi3-window")
"""Grouped heads; a window; caps and a head that is the embeddings; both kinds of layers; odd names."""

PATHS = [
    pytest.param("auto", "cpu"),
    pytest.param("sdpa", "cpu"),
    pytest.param("eager", "cpu"),
    *(
        pytest.param(kind, "cuda", marks=pytest.mark.gpu)
        for kind in ("auto", "sdpa", "eager", "flex", "varlen")
    ),
]
"""Flex has no backward pass on a CPU, and varlen is no kernel of CPUs: their gradients need a GPU."""


@pytest.fixture(scope="module", params=MODELS)
def model(tiny: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    folder = save_language(tiny, tmp_path_factory.mktemp("lm") / "lm", LANGUAGES[request.param]())
    built, _, _ = build_model(tiny.vision, folder, template="tiny")
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in built.connector.parameters():
            parameter.normal_(0.0, 0.3)
    return built


def packed(model: VisionLanguageModel, *, branches: bool) -> list[Row]:
    """Rows of several samples: with two pictures, with branches behind one, without any, and padding."""
    image = model.config.image_token_id
    one, two = Row(image), Row(image)
    at = one.image(1, one.add([0, 5, 6], 1, start=0))
    at = one.add([7], 1, start=at)
    if branches:
        one.add([20, 21, 22, 23], 1, branch=1, start=at, lit=2)
        one.add([30, 31, 32, 33, 34, 35, 36], 1, branch=2, start=at, lit=5)
    else:
        one.add([20, 21, 22, 23], 1, start=at, lit=2)
    one.add([0, 40, 41, 42, 43, 44, 45, 46], 2, start=0, lit=4)
    two.add([60, 61, 62], 2, start=two.image(2, two.image(2, two.add([0, 9], 2, start=0))), lit=3)
    two.add([0, 50, 51, 52], 3, start=0, lit=1)
    return [one, two]


def alone(model: VisionLanguageModel, *, branches: bool) -> list[tuple[Row, list[int]]]:
    """The same samples, a row each (a branch with its trunk), and the numbers of their pictures."""
    image = model.config.image_token_id
    found: list[tuple[Row, list[int]]] = []
    answers = [([20, 21, 22, 23], 2), ([30, 31, 32, 33, 34, 35, 36], 5)]
    for tokens, lit in answers if branches else answers[:1]:
        row = Row(image)
        at = row.add([7], 1, start=row.image(1, row.add([0, 5, 6], 1, start=0)))
        row.add(tokens, 1, start=at, lit=lit)
        found.append((row, [0]))
    for tokens, lit in (([0, 40, 41, 42, 43, 44, 45, 46], 4), ([0, 50, 51, 52], 1)):
        row = Row(image)
        row.add(tokens, 1, start=0, lit=lit)
        found.append((row, []))
    row = Row(image)
    row.add([60, 61, 62], 1, start=row.image(1, row.image(1, row.add([0, 9], 1, start=0))), lit=3)
    found.append((row, [1, 2]))
    return found


def measured(
    model: VisionLanguageModel, rows: list[tuple[list[Row], list[int]]], pixels: Tensor, *, train: bool
) -> tuple[float, dict[str, Tensor]]:
    """The loss of rows in turn, and gradients of all that trains."""
    model.requires_grad_(train)
    model.zero_grad(set_to_none=True)
    total = 0.0
    for own, pictures in rows:
        with torch.set_grad_enabled(train):
            value, _ = loss(model, own, pixels[pictures] if pictures else None)
        if train:
            value.backward()
        total += float(value.detach())
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return total, grads


def wanted(model: VisionLanguageModel, pixels: Tensor, *, branches: bool, train: bool) -> Any:
    """Each sample in a row of its own, by transformers' plain products."""
    set_attention(model.lm, "eager")
    return measured(
        model, [([row], own) for row, own in alone(model, branches=branches)], pixels, train=train
    )


def pictures() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize(("kind", "device"), PATHS)
def test_packed_rows_are_their_samples_alone(model: Any, kind: str, device: str, branches: bool) -> None:
    capped = getattr(model.lm.config, "attn_logit_softcapping", None) is not None
    if capped and kind in ("sdpa", "varlen"):
        pytest.skip("neither caps scores")
    if kind == "varlen" and branches:
        pytest.skip("varlen knows no branches")
    pixels = pictures()
    total, grads = wanted(model, pixels, branches=branches, train=True)
    set_attention(model.lm, kind)
    rows = packed(model, branches=branches)
    if device == "cuda":
        loss_, found = on_gpu(model, rows, pixels, half=kind == "varlen")
    else:
        loss_, found = measured(model, [(rows, [0, 1, 2])], pixels, train=True)
    half = kind == "varlen"
    assert loss_ == pytest.approx(total, rel=2e-2 if half else 1e-5)
    assert found.keys() == grads.keys()
    assert {name.split(".")[0] for name in grads} == {"tower", "connector", "lm"}
    # Some gradients are nothing but rounding (a bias of keys changes no softmax).
    least = 1e-3 * max(float(grad.norm()) for grad in grads.values())
    for name, grad in grads.items():
        error = float((found[name] - grad).norm()) / (float(grad.norm()) + least)
        assert error < (6e-2 if half else 1e-3 if device == "cuda" else 2e-5), name


def on_gpu(
    model: VisionLanguageModel, rows: list[Row], pixels: Tensor, *, half: bool
) -> tuple[float, dict[str, Tensor]]:
    """The same on a GPU, and the model back on the CPU behind it."""
    moved = model.to("cuda")
    try:
        with torch.device("cuda"), torch.autocast("cuda", torch.bfloat16, enabled=half):
            total, grads = measured(moved, [(rows, [0, 1, 2])], pixels.cuda(), train=True)
    finally:
        model.to("cpu")
    return total, {name: grad.float().cpu() for name, grad in grads.items()}


@pytest.mark.parametrize("branches", [False, True])
def test_flex_gives_the_loss_on_a_cpu(model: Any, branches: bool) -> None:
    """Without gradients: it has none there."""
    pixels = pictures()
    total, _ = wanted(model, pixels, branches=branches, train=False)
    set_attention(model.lm, "flex")
    found, _ = measured(model, [(packed(model, branches=branches), [0, 1, 2])], pixels, train=False)
    assert found == pytest.approx(total, rel=1e-5)


def test_flex_says_that_it_has_no_gradients_on_a_cpu(tiny: Any) -> None:
    model = copy.deepcopy(tiny.model)
    set_attention(model.lm, "flex")
    with pytest.raises(CheckpointError, match="no backward pass on a CPU"):
        measured(model, [(packed(model, branches=True), [0, 1, 2])], pictures(), train=True)
    set_attention(model.lm, "varlen")
    with pytest.raises(CheckpointError, match="this device is cpu"):
        measured(model, [(packed(model, branches=False), [0, 1, 2])], pictures(), train=False)
    set_attention(model.lm, "auto")
    assert model.lm.config._attn_implementation == AUTO


def test_a_model_may_be_loaded_for_flex(tiny: Any, tmp_path: Path) -> None:
    model, _, _ = build_model(tiny.vision, tiny.language, template="tiny", attention="flex")
    assert model.packs
    rows = packed(model, branches=True)
    found, _ = measured(model, [(rows, [0, 1, 2])], pictures(), train=False)
    assert found == pytest.approx(wanted(model, pictures(), branches=True, train=False)[0], rel=1e-5)
    with pytest.raises(CheckpointError, match="this device is cpu"):
        build_model(tiny.vision, tiny.language, template="tiny", attention="varlen")


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_last_layer_that_is_computed_where_it_is_read_changes_nothing(
    tiny: Any, tmp_path: Path, name: str
) -> None:
    """Of every family; the places are those of three samples, one of them in branches."""
    folder = save_language(tiny, tmp_path / "lm", LANGUAGES[name]())
    model, _, _ = build_model(tiny.vision, folder, template="tiny")
    assert model.trims
    part = last_feed_forward(model.lm)
    assert part is not None
    places: list[int] = []
    inner = next(part.children())
    inner.register_forward_pre_hook(lambda module, given: places.append(given[0].shape[:-1].numel()))
    found = []
    for trims in (True, False):
        model.trims = trims
        rows = packed(model, branches=True)
        found.append(measured(model, [(rows, [0, 1, 2])], pictures(), train=True))
    few, all_ = places
    assert few < all_ / 2
    (loss_, grads), (total, wanted_) = found
    assert loss_ == pytest.approx(total, rel=1e-6)
    assert grads.keys() == wanted_.keys()
    least = 1e-3 * max(float(grad.norm()) for grad in wanted_.values())
    for key, grad in wanted_.items():
        assert float((grads[key] - grad).norm()) < 2e-5 * (float(grad.norm()) + least), key
