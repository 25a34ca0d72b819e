"""What entries of ``trainable`` mean in real models, of every family of towers too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from pumice.errors import RunError
from pumice.model.build import build_model
from pumice.model.select import chosen, idle_names
from pumice.model.shape import model_shape, partly_trained
from pumice.recipes.trained import read_selection

from .parts import make_language
from .test_families import TOWERS, save_tower

LAYER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def names(model: Any, text: str) -> set[str]:
    """What an entry means, without ``.weight``."""
    return {name.removesuffix(".weight") for name in chosen(model, read_selection(text), "trainable")}


def refused(model: Any, text: str) -> str:
    with pytest.raises(RunError) as caught:
        chosen(model, read_selection(text), "stages.a.trainable.0")
    assert "stages.a.trainable.0" in str(caught.value)
    return str(caught.value)


def test_of_a_language_model(tiny: Any) -> None:
    model = tiny.model
    everything = {name.removesuffix(".weight") for name, _ in model.lm.named_parameters()}
    second = {name for name in everything if name.startswith("model.layers.1.")}
    assert len(second) == 9
    assert names(model, "language") == everything
    for text in ("last-1", "layers.1", "layers.1-1"):
        assert names(model, f"language.{text}") == second
    assert names(model, "language.layers") == everything - {"model.embed_tokens", "model.norm", "lm_head"}
    assert names(model, "language.embeddings") == {"model.embed_tokens"}
    assert names(model, "language.head") == {"lm_head"}
    norms = {f"model.layers.{n}.{one}_layernorm" for n in (0, 1) for one in ("input", "post_attention")}
    assert names(model, "language.norms") == {*norms, "model.norm"}
    attention = {f"model.layers.0.self_attn.{one}" for one in LAYER[:4]}
    assert names(model, "language.first-1.attention") == attention
    assert names(model, "language.layers.0.mlp") == {f"model.layers.0.mlp.{one}" for one in LAYER[4:]}
    assert names(model, r"language./\.1\.self_attn\.[qv]_proj/") == {
        f"model.layers.1.self_attn.{one}_proj" for one in "qv"
    }


def test_kinds_leave_nothing_of_a_language_model_out(tiny: Any) -> None:
    kinds = [names(tiny.model, f"language.{k}") for k in ("attention", "embeddings", "head", "mlp", "norms")]
    assert set().union(*kinds) == names(tiny.model, "language")
    assert sum(map(len, kinds)) == len(names(tiny.model, "language"))


def test_a_tied_matrix_is_embeddings_and_head(tiny: Any, tmp_path: Path) -> None:
    model, _, _ = build_model(tiny.vision, make_language(tmp_path / "lm", tied=True), template="tiny")
    assert names(model, "language.embeddings") == names(model, "language.head") == {"model.embed_tokens"}


def test_of_a_tower_what_is_read(tiny: Any) -> None:
    """Three layers, features read behind the second."""
    model = tiny.model
    assert {name.split("layers.")[1][0] for name in names(model, "vision.last-1")} == {"1"}
    assert {name.split("layers.")[1][0] for name in names(model, "vision.layers")} == {"0", "1"}
    assert any("pre_layrnorm" in name for name in names(model, "vision.norms"))
    assert not any("post_layernorm" in name for name in names(model, "vision.norms"))
    told = refused(model, "vision.layers.1-2")
    assert "it has 3, and features are read after the first 2 of them" in told
    assert "vision.layers.0-1, or up to vision.last-2" in told
    assert "no feature depends on vision./post_layernorm/" in refused(model, "vision./post_layernorm/")


def test_what_means_no_parameter_names_the_nearest(tiny: Any) -> None:
    told = refused(tiny.model, "language./self_atn.q_proj/")
    assert "means no parameter of the language model" in told
    assert "self_attn.q_proj.weight" in told
    assert "choose from language.layers.0-1" in refused(tiny.model, "language.layers.2")
    assert "goes beyond the layers" in refused(tiny.model, "language.last-3")


@pytest.mark.parametrize("name", TOWERS)
def test_every_family_of_towers(tiny: Any, tmp_path: Path, name: str) -> None:
    """What depends on what is found without computing, and is what autograd says when all is computed."""
    model, _, _ = build_model(save_tower(tmp_path, TOWERS[name]()), tiny.language, template="tiny")
    tower = model.tower
    for parameter in tower.parameters():
        parameter.requires_grad_()
    side = tower.image_size
    tower(torch.rand(1, 3, side, side)).square().sum().backward()
    idle = {name for name, p in tower.named_parameters() if p.grad is None}
    assert idle_names(tower) == idle
    read = {name for name, _ in tower.named_parameters()} - idle
    kinds = {
        kind: set(chosen(model, read_selection(f"vision.{kind}"), ""))
        for kind in ("attention", "embeddings", "mlp", "norms")
    }
    assert min(map(len, kinds.values())) >= 2
    # DINO's scales of layers are of no kind.
    assert {n for n in read - set().union(*kinds.values()) if "layer_scale" not in n} == set()
    last = set(chosen(model, read_selection("vision.last-1"), ""))
    assert last
    assert last < set(chosen(model, read_selection("vision.layers"), "")) < read


def test_without_weights_the_same_is_found_and_counted(tiny: Any) -> None:
    planned = copy.deepcopy(tiny.model).to("meta")
    shape = model_shape(planned)
    for text in ("vision.last-1", "language.last-1", "language.norms", "language.head", "connector./bias/"):
        one = read_selection(text)
        found = chosen(tiny.model, one, "")
        assert list(chosen(planned, one, "")) == list(found)
        some = partly_trained(planned, one.part, set(found), shape)
        assert some is not None
        assert some.params == sum(p.numel() for p in found.values())
        assert some.head == (text == "language.head")
        assert some.reach == {"vision.last-1": 0.5, "language.last-1": 0.5, "language.head": 0.0}.get(text, 1)
    whole = {name for name, _ in tiny.model.lm.named_parameters()}
    assert partly_trained(planned, "language", whole, shape) is None
    assert partly_trained(planned, "language", set(), shape) is None
