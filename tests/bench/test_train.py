from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate (pumice[bench])")

from pumice.bench import peer
from pumice.bench.material import Size, make_data, make_model
from pumice.bench.train import GOALS, SIDES, Settings, bench_training, compare_losses
from pumice.bench.worker import Spec
from pumice.errors import RunError, UsageError
from pumice.model import build_connector

TINY = Size(
    width=32, layers=2, heads=2, mlp=48, vocabulary=300, vision_width=16, vision_layers=3, vision_heads=2,
    pixels=28, patch=14,
)  # fmt: skip
QUICK = Settings(samples=4, micro=2, steps=3, rounds=1, precision="fp32", threads=1)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    make_model(folder, TINY)
    make_data(folder, 16, TINY)
    return folder


def spec(material: Path, side: str) -> Spec:
    return Spec(side, "instruct", str(material), "", 8, 2, 2, "fp32", 1, 2048, 1)


def test_material_has_the_lengths_of_the_file(material: Path) -> None:
    rows = json.loads((material / "instruct.json").read_text("utf-8"))
    assert len(rows) == 16
    assert len({row["image"] for row in rows}) == 16
    turns = [len(turn["value"].removeprefix("<image>\n").split()) for turn in rows[0]["conversations"]]
    lengths = json.loads(Path(peer.__file__).with_name("lengths.json").read_text("utf-8"))["rows"]
    assert turns in lengths


@pytest.mark.parametrize("stage", ["instruct", pytest.param("align", marks=pytest.mark.slow)])
def test_both_sides_compute_the_same_losses(material: Path, stage: Any) -> None:
    found = compare_losses(material, stage, QUICK)
    assert found.steps == 3
    assert found.first < 1e-5
    assert found.worst < 1e-3


@pytest.mark.slow
def test_lines_compare_each_side_with_ours(material: Path) -> None:
    told: list[tuple[str, int, int]] = []
    lines = bench_training(
        material, ["align"], ["pumice", "grouped"], QUICK, lambda *given: told.append(given)
    )
    ours, theirs = lines
    assert (ours.side, ours.speedup) == ("pumice", None)
    assert theirs.speedup == pytest.approx(ours.supervised_rate / theirs.supervised_rate)
    assert theirs.memory_share == pytest.approx(ours.peak_bytes / theirs.peak_bytes)
    assert told[-1] == ("measured", 2, 2)


def test_a_peer_sees_the_samples_of_each_step_in_its_own_order(material: Path) -> None:
    rows = peer.read_rows(spec(material, "padded"))
    lengths = np.array([len(row.input_ids) for row in rows])
    padded = peer.order_of(spec(material, "padded"), rows)
    grouped = peer.order_of(spec(material, "grouped"), rows)
    for step in range(2):
        here = slice(8 * step, 8 * step + 8)
        assert sorted(padded[here]) == sorted(grouped[here])
    sums = lengths[grouped[:8]].reshape(4, 2).sum(axis=1)
    assert sums.max() - sums.min() <= lengths.max()
    ordered = lengths[peer.order_of(spec(material, "sorted"), rows)]
    assert (np.diff(ordered) <= 0).all()


def test_an_unknown_side_lists_all(material: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'padded'"):
        bench_training(material, ["align"], ["paded"], QUICK, lambda *given: None)
    assert {side for _, side in GOALS} <= set(SIDES)


def test_a_side_that_fails_says_why(material: Path, tmp_path: Path) -> None:
    make_data(tmp_path, 4, TINY)
    with pytest.raises(RunError, match="model"):
        bench_training(tmp_path, ["align"], ["padded"], QUICK, lambda *given: None)


def test_the_default_size_is_the_one_it_says() -> None:
    vision, language = configs(Size())
    with torch.device("meta"):
        parts = (
            AutoModel.from_config(vision),
            AutoModelForCausalLM.from_config(language),
            build_connector("mlp2x_gelu", vision.hidden_size, language.hidden_size, seed=0),
        )
    total = sum(parameter.numel() for part in parts for parameter in part.parameters())
    assert total / 1e6 == pytest.approx(41.8, abs=0.1)


def configs(size: Size) -> Any:
    from transformers import AutoConfig

    vision = AutoConfig.for_model(
        "clip_vision_model", hidden_size=size.vision_width, intermediate_size=4 * size.vision_width,
        num_hidden_layers=size.vision_layers, num_attention_heads=size.vision_heads, image_size=size.pixels,
        patch_size=size.patch,
    )  # fmt: skip
    language = AutoConfig.for_model(
        "llama", hidden_size=size.width, intermediate_size=size.mlp, num_hidden_layers=size.layers,
        num_attention_heads=size.heads, vocab_size=size.vocabulary,
    )  # fmt: skip
    return vision, language
