"""The benchmark of a GPU: what fits, what gives way, and the script itself in small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate (pumice[bench])")

from pumice.bench import gpu
from pumice.bench.gpu import Way, bench_card, matmul_peak, ways
from pumice.bench.material import LLAVA_7B, Size, make_model
from pumice.bench.train import Settings
from pumice.errors import RunError
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes import load_recipe
from pumice.recipes.schema import Lora

SETTINGS = Settings(samples=64, micro=8, steps=6, rounds=2)
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_train.py"


@pytest.fixture
def seven(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sizes of LLaVA-1.5-7B in the place of a checkpoint's."""
    recipe = load_recipe("llava-1.5-7b", variables={"data": "nowhere"})
    planned = plan_model(recipe.model, lambda name, kind: None)
    shape = model_shape(planned.model)
    found = (shape, additions_of(planned.model.lm, Lora()), shape.language.params)
    monkeypatch.setattr(gpu, "_sizes", lambda material, settings: found)
    return shape


def test_the_large_size_is_that_of_llava(seven: Any) -> None:
    assert LLAVA_7B.width == seven.language.width
    assert LLAVA_7B.layers == seven.language.layers
    assert LLAVA_7B.mlp == seven.language.mlp_width
    assert LLAVA_7B.vision_width == seven.tower.width
    assert (LLAVA_7B.pixels // LLAVA_7B.patch) ** 2 + 1 == seven.tower.tokens
    assert LLAVA_7B.vision_layers - 1 == seven.tower.layers


@pytest.mark.parametrize(
    ("gigabytes", "stage", "first"),
    [
        (141, "instruct", Way(lora=False, checkpointing=True)),
        (80, "instruct", Way(lora=True, checkpointing=False)),
        (48, "instruct", Way(lora=True, checkpointing=True)),
        (80, "align", Way(lora=False, checkpointing=False)),
        (40, "align", Way(lora=False, checkpointing=True)),
    ],
)
def test_the_best_way_that_fits_comes_first(seven: Any, gigabytes: int, stage: Any, first: Way) -> None:
    assert ways(Path(), stage, SETTINGS, gigabytes * 0.95e9)[0] == first


def test_where_nothing_fits_it_is_said_how_much_would(seven: Any) -> None:
    with pytest.raises(RunError, match=r"needs 2\d GB, and there are 20"):
        ways(Path(), "instruct", SETTINGS, 20e9)
    with pytest.raises(RunError, match=r"needs 1\d\d GB"):
        ways(Path(), "instruct", SETTINGS, 80e9, "full")


class Card:
    """Measures nothing: ours takes a second, Trainer two; memory runs out where it is told."""

    def __init__(self, *full: tuple[str, str]) -> None:
        self.full = full
        self.asked: list[tuple[str, str, int]] = []

    def __call__(self, material: Path, stage: str, side: str, settings: Settings) -> dict[str, Any]:
        assert settings.bare
        kind = "lora" if settings.lora else "full"
        self.asked.append((side, kind, settings.micro))
        for who, what in self.full:
            if who == side and what in (kind, str(settings.micro)):
                raise RunError("CUDA out of memory. Tried to allocate 1 GiB")
        ours = side == "pumice"
        return {
            "seconds": 1.0 if ours else 2.0,
            "peak_bytes": 5,
            "losses": [2.0],
            "supervised": 100,
            "tokens": 1000,
            "places": 1000,
            "useful": 6e12 if ours else 0.0,
            "carried": 8e12 if ours else 0.0,
        }


def bench(card: Card, memory: float = 141e9) -> list[gpu.Figure]:
    return bench_card(Path(), ["instruct"], ["padded"], SETTINGS, memory, lambda *given: None, measure=card)


def test_shares_count_what_the_same_samples_need(seven: Any) -> None:
    card = Card()
    ours, theirs = bench(card)
    assert (ours.useful, ours.carried, ours.supervised_rate) == (6e12, 8e12, 100.0)
    assert (theirs.useful, theirs.carried, theirs.supervised_rate) == (3e12, 0.0, 50.0)
    assert [side for side, _, _ in card.asked] == ["pumice", "padded", "pumice", "padded"]


def test_a_way_that_runs_out_of_memory_gives_way_to_the_next(seven: Any) -> None:
    ours, theirs = bench(Card(("pumice", "full")))
    assert ours.way.lora
    assert ours.trains.startswith("LoRA")
    assert theirs.way == ours.way


def test_trainer_takes_fewer_samples_at_once_or_is_said_to_fail(seven: Any) -> None:
    _, theirs = bench(Card(("padded", "8"), ("padded", "4")))
    assert theirs.micro == 2
    assert theirs.failed is None
    _, theirs = bench(Card(("padded", "full")))
    assert theirs.micro == 8
    assert "out of memory" in str(theirs.failed)


def test_the_peak_is_the_best_of_sizes() -> None:
    assert matmul_peak((64, 128), seconds=0.01) > 1e6


def test_a_model_in_bfloat16_is_made_and_kept_so(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    size = Size(
        width=32, layers=2, heads=2, mlp=48, vocabulary=300, vision_width=16, vision_layers=3, vision_heads=2,
        pixels=28,
    )  # fmt: skip
    made = make_model(tmp_path, size, dtype="bfloat16")
    tensors = load_file(made / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--stage", "align"], ["--stage", "instruct", "--way", "lora"]])
def test_the_script_goes_its_whole_way_in_small(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, str(SCRIPT), "--small", "--side", "padded", "--json", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text("utf-8"))
    ours, theirs = told["figures"]
    assert (ours["side"], theirs["side"]) == ("pumice", "padded")
    assert ours["failed"] is None
    assert theirs["failed"] is None
    assert ours["way"]["lora"] is ("lora" in words)
    assert theirs["useful"] > 0
    assert 0 < ours["useful"] <= ours["carried"] < told["peak"]
    # Different noise of dropout and of bfloat16; the same samples.
    assert ours["losses"][0] == pytest.approx(theirs["losses"][0], rel=2e-2)
    assert done.stdout.count("| this program |") == 1
