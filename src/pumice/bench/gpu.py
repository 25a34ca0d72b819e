"""Training at the sizes of LLaVA-1.5-7B on one card: the share of its measured peak, beside Trainer.

Which way a stage is trained is decided by the forecast's arithmetic: all weights where they fit, else
additions; activations are kept where they fit, else computed again. A way that runs out of memory all the
same gives way to the next one. Trainer trains the same way, in smaller parts of a step where it must.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pumice.bench.material import StageName
from pumice.bench.ours import bench_recipe
from pumice.bench.train import MEANINGS, Settings, Tell, measure, spec_of
from pumice.bench.worker import rates
from pumice.cost.estimate import FP32, Setup, stage_memory
from pumice.cost.hardware import Hardware
from pumice.cost.shape import Additions, Load, Shape
from pumice.errors import RunError
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes.schema import Lora

GOALS: dict[StageName, float] = {"instruct": 0.50, "align": 0.55}
"""The share of the measured peak that we mean to reach on a GPU."""

SIDES = (2048, 4096, 8192, 16384)
"""Of the square matrices whose products are measured on a card."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a stage is trained: additions or all weights of the language model, where it trains at all."""

    lora: bool
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One side of one stage: medians over the rounds.

    Attributes:
        stage, side: what was measured (names of ``train.SIDES``).
        way: how.
        micro: samples that went through the model at once.
        supervised_rate: supervised tokens a second.
        peak_bytes: the most memory that torch held.
        useful: FLOP/s that count: of real tokens, nothing computed twice.
        carried: FLOP/s with what was computed twice and, where rows are padded, with padding; 0 for Trainer.
        losses: of the last round, a step each.
        failed: why there are no numbers; None where there are.
    """

    stage: StageName
    side: str
    way: Way
    micro: int
    supervised_rate: float = 0.0
    peak_bytes: float = 0.0
    useful: float = 0.0
    carried: float = 0.0
    losses: tuple[float, ...] = ()
    failed: str | None = None

    @property
    def meaning(self) -> str:
        """The side in words."""
        return MEANINGS[self.side]

    @property
    def trains(self) -> str:
        """What trains, and how, in words."""
        language = "LoRA" if self.way.lora else "full"
        weights = "connector" if self.stage == "align" else language
        return f"{weights}, activation checkpointing" if self.way.checkpointing else weights


def matmul_peak(sides: Sequence[int], seconds: float = 1.0) -> float:
    """FLOP/s of bfloat16 products, the best of square matrices of these sizes; each measured so long."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return max(_products(device, side, seconds) for side in sides)


def _products(device: torch.device, side: int, limit: float) -> float:
    a_DD, b_DD = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < limit:
        began = time.perf_counter()
        torch.matmul(a_DD, b_DD)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return 2.0 * side**3 / statistics.median(taken[2:])


def ways(
    material: Path, stage: StageName, settings: Settings, memory: float, only: str = "auto"
) -> list[Way]:
    """Ways to train a stage that should fit into so many bytes, the best first.

    Args:
        material: where the model is.
        stage: which one.
        settings: of the benchmark.
        memory: of the card.
        only: ``full`` or ``lora`` (of the language model, where it trains), or ``auto``.

    Raises:
        RunError: none fits.
    """
    shape, additions, language = _sizes(material, settings)
    found = [
        way for way in _candidates(stage, only) if _needs(shape, additions, stage, settings, way) <= memory
    ]
    if not found:
        least = min(_needs(shape, additions, stage, settings, way) for way in _candidates(stage, only))
        raise RunError(
            f"{stage} of {language / 1e9:.1f} billion parameters needs {least / 1e9:.0f} GB, and there are "
            f"{memory / 1e9:.0f}",
            where="memory",
            remedy="take fewer samples at once (--micro), additions (--way lora), or a larger card",
        )
    return found


def _candidates(stage: StageName, only: str) -> Iterator[Way]:
    kinds = {"full": (False,), "lora": (True,)}.get(only, (False, True))
    for lora in kinds if stage == "instruct" else (False,):
        for checkpointing in (False, True):
            yield Way(lora, checkpointing)


def _sizes(material: Path, settings: Settings) -> tuple[Shape, Additions, int]:
    """The model's sizes, without its weights."""
    planned = plan_model(_recipe(material, settings).model, lambda name, kind: material / "model")
    shape = model_shape(planned.model)
    return shape, additions_of(planned.model.lm, Lora()), shape.language.params


def _recipe(material: Path, settings: Settings) -> Any:
    return bench_recipe(spec_of(material, material / "plan", "align", "pumice", settings))


def _needs(shape: Shape, additions: Additions, stage: StageName, settings: Settings, way: Way) -> float:
    """Bytes of a card, as ``pumice plan`` counts them; a row for every two samples, as they are packed."""
    rows = -(-settings.micro // 2) if stage == "instruct" else -(-settings.micro // 3)
    load = Load(
        steps=1,
        tokens=0.0,
        squares=0.0,
        logits=0.0,
        images=0.0,
        image_tokens=0.0,
        row=settings.row_length,
        rows=rows,
        images_per_step=float(settings.micro),
        logits_per_row=float(settings.row_length),
    )
    full = stage == "instruct" and not way.lora
    frozen = {} if full else {"language": additions.covered, "head": shape.language.head}
    card = Hardware("card", "card", 1.0, 1.0, {"none": 1.0, "grads": 1.0, "full": 1.0}, "", 1.0)
    setup = Setup(
        trainable=frozenset(rates(stage)),
        hardware=card,
        devices=1,
        sharding="none",
        checkpointing=way.checkpointing,
        micro_rows=rows,
        weights="fp32",
        activation=FP32 if settings.precision == "fp32" else 2,
        additions=additions if way.lora else None,
        lean=frozen,
    )
    return stage_memory(shape, load, setup).total


Measure = Callable[[Path, StageName, str, Settings], dict[str, Any]]


def bench_card(
    material: Path,
    stages: Sequence[StageName],
    sides: Sequence[str],
    settings: Settings,
    memory: float,
    tell: Tell,
    *,
    only: str = "auto",
    measure: Measure = measure,
) -> list[Figure]:
    """Measure stages and sides in turn, round after round.

    Args:
        material: a folder with ``model`` and the data of ``material.make_data``.
        stages: which.
        sides: Trainer's (``padded``, ``grouped``, ``sorted``); ours is always measured.
        settings: sizes and rounds.
        memory: bytes of the card.
        tell: told of progress.
        only: as ``ways`` takes it.
        measure: of ``bench.train``.

    Raises:
        RunError: ours fails, or fits in no way.
    """
    found = []
    for number, stage in enumerate(stages):
        tell(f"{stage}: what fits", number, len(stages))
        chosen, first = _first(
            material, stage, settings, ways(material, stage, settings, memory, only), measure
        )
        took: dict[str, list[dict[str, Any]]] = {"pumice": [first]}
        own = {"pumice": replace(settings, bare=True, lora=chosen.lora, checkpointing=chosen.checkpointing)}
        failed: dict[str, str] = {}
        for side in sides:
            own[side] = own["pumice"]
        for turn in range(settings.rounds):
            for side in ["pumice", *sides]:
                if side in failed or (side == "pumice" and turn == 0):
                    continue
                tell(f"{stage}, {MEANINGS[side]}, round {turn + 1}", number, len(stages))
                try:
                    own[side], one = _fitting(material, stage, side, own[side], measure)
                except RunError as error:
                    if side == "pumice":
                        raise
                    failed[side] = str(error)
                else:
                    took.setdefault(side, []).append(one)
        useful = statistics.median(one["useful"] for one in took["pumice"])
        for side in ["pumice", *sides]:
            rows = took.get(side, [])
            found.append(_figure(stage, side, chosen, own[side].micro, rows, useful, failed.get(side)))
    tell("measured", len(stages), len(stages))
    return found


def _first(
    material: Path, stage: StageName, settings: Settings, chosen: Sequence[Way], measure: Measure
) -> tuple[Way, dict[str, Any]]:
    """The first of the ways that does not run out of memory, and what it took."""
    for way in chosen:
        own = replace(settings, bare=True, lora=way.lora, checkpointing=way.checkpointing)
        try:
            return way, measure(material, stage, "pumice", own)
        except RunError as error:
            if not _no_memory(error) or way is chosen[-1]:
                raise
    raise AssertionError("there is at least one way")


def _fitting(
    material: Path, stage: StageName, side: str, settings: Settings, measure: Measure
) -> tuple[Settings, dict[str, Any]]:
    """What a side took, Trainer with half as many samples at once as long as memory runs out."""
    while True:
        try:
            return settings, measure(material, stage, side, settings)
        except RunError as error:
            if side == "pumice" or settings.micro == 1 or not _no_memory(error):
                raise
            settings = replace(settings, micro=max(1, settings.micro // 2))


def _no_memory(error: RunError) -> bool:
    return any(words in str(error).lower() for words in ("out of memory", "memory ran out"))


def _figure(
    stage: StageName,
    side: str,
    way: Way,
    micro: int,
    took: Sequence[dict[str, Any]],
    useful: float,
    failed: str | None,
) -> Figure:
    if failed is not None:
        return Figure(stage, side, way, micro, failed=failed)

    def median(value: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(value(one) for one in took)

    seconds = median(lambda one: one["seconds"])
    return Figure(
        stage,
        side,
        way,
        micro,
        supervised_rate=median(lambda one: one["supervised"] / one["seconds"]),
        peak_bytes=median(lambda one: one["peak_bytes"]),
        useful=useful / seconds,  # all sides take the same samples in each step
        carried=median(lambda one: one["carried"]) / seconds,
        losses=tuple(took[-1]["losses"]),
    )
