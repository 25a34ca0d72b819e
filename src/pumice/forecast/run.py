"""All stages of a recipe: read and counted, with what they cost on named hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch

from pumice.cost.estimate import BF16, FP32, Attention, Estimate, Setup, estimate
from pumice.cost.hardware import THIS_MACHINE, Hardware, Sharding, get_hardware
from pumice.cost.published import published_load
from pumice.cost.shape import Additions, Load, Partly, Shape
from pumice.data.licensing import check_licences, licence_notes
from pumice.errors import DataError, RecipeError, UsageError
from pumice.forecast.asked import asked, asked_seconds
from pumice.forecast.fit import Planning, remedies
from pumice.forecast.machine import measure
from pumice.forecast.options import Options
from pumice.forecast.ranks import Spread, assumed_load, check_ranks, count_ranks
from pumice.forecast.stage import StageForecast, count_stage
from pumice.image.layout import image_layout
from pumice.licences import Policy
from pumice.model.geometry import model_geometry
from pumice.model.last_layer import MOST
from pumice.model.planned import Find, Planned, plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.processes import runner
from pumice.recipes import load_recipe, recipe_names
from pumice.recipes.schema import Lora, Published, Recipe, Stage
from pumice.train.attending import check_attention, will_lay_flat
from pumice.train.lean import lean_sizes
from pumice.train.optim import check_trainable, partly_of, trimmed_of
from pumice.words import counted

_HOLDS: dict[str, Attention] = {
    "auto": "blocks",
    "flex": "blocks",
    "varlen": "blocks",
    "sdpa": "mask",
    "eager": "scores",
}
"""What a stage's attention holds."""

FORMAT, VERSION = "pumice plan of a run", 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is said of a recipe: ``summary`` is ``plan.json`` but for its stages."""

    summary: dict[str, Any]
    stages: tuple[StageForecast, ...]
    policy: Policy | None = None

    def to_dict(self) -> dict[str, Any]:
        """``plan.json``."""
        return {**self.summary, "stages": [stage.summary for stage in self.stages]}

    def check(self) -> None:
        """Refuse rows that cannot be used, where more are so than their source lets pass, rows whose licence
        the recipe forbids, and features that do not fit on disk.

        Raises:
            DataError: it names the sources and their numbers.
            RecipeError: it names the stage's budget.
        """
        over = []
        for stage in self.stages:
            for row in [*stage.summary.get("sources", []), *stage.summary.get("validation", [])]:
                if row["refused"] > row["allow_bad"]:
                    over.append(f"{row['refused']:,} of {counted(row['rows'], 'row')} of {row['source']}")
        if over:
            raise DataError(
                f"{', '.join(dict.fromkeys(over))} cannot be used",
                remedy="mend or remove them; or leave them out: --allow-bad N, or allow_bad of the source in "
                "the recipe",
            )
        if self.policy is not None:
            check_licences(self.policy, _trained_on(self.stages))
        for stage in self.stages:
            refused = stage.summary.get("features", {}).get("refused")
            if refused is not None:
                raise RecipeError(refused["what"], where=refused["where"], remedy=refused["to do"])


def forecast(recipe: Recipe, find: Find, options: Options) -> Forecast:
    """Plan every stage of a recipe.

    Args:
        recipe: the run.
        find: the local folder of a part by its name; None for one that is not here.
        options: on what, and how thoroughly.

    Raises:
        PumiceError: a part that is neither here nor known, a file that cannot be read, no sizes published.
    """
    if options.published and not recipe.published:
        raise UsageError(
            f"the recipe {recipe.name} tells no published sizes",
            where="--published-size",
            remedy=f"leave it out, or add a published block; {_told()} have one",
        )
    planned = plan_model(recipe.model, find)
    shape = model_shape(planned.model)
    if options.ranks:
        check_ranks(recipe, options)
    with _spread(recipe, find, options) as spread:
        stages = tuple(_stage(recipe, stage, planned, shape, options, spread) for stage in recipe.stages)
    summary = {
        "format": FORMAT,
        "version": VERSION,
        "recipe": recipe.name,
        "seed": recipe.seed,
        "parameters": shape.params,
        "model": {
            "vision": recipe.model.vision,
            "language": recipe.model.language,
            "checkpoint": recipe.model.checkpoint,
        },
        "estimated_tokens": planned.estimated,
        "notes": [*_notes(options, planned), *licence_notes(recipe.policy, _trained_on(stages))],
    }
    if options.data:
        summary["seconds"] = _seconds(stages)
    return Forecast(summary, stages, recipe.policy)


def _trained_on(stages: Sequence[StageForecast]) -> list[dict[str, Any]]:
    """What the sources of all stages bring."""
    return [row for stage in stages for row in stage.summary.get("sources", [])]


def _notes(options: Options, planned: Planned) -> list[str]:
    """What was taken for granted where data was read."""
    if not options.data:
        return []
    if options.images:
        return planned.notes
    wide, high = options.size
    tiled = f"one of {wide} x {high} pixels (--assume-size)" if planned.model.config.tiled else "one square"
    return [*planned.notes, f"pictures were not looked at: each counts as {tiled}"]


@contextmanager
def _spread(recipe: Recipe, find: Find, options: Options) -> Iterator[Spread | None]:
    """What counts ranks, in a process of its own, where they are asked for."""
    if not options.ranks:
        yield None
        return
    with runner(1, apart=True) as carry_out:
        yield Spread(recipe, find, options.per_node, lambda job: next(iter(carry_out(count_ranks, [job]))))


def _stage(
    recipe: Recipe,
    stage: Stage,
    planned: Planned,
    shape: Shape,
    options: Options,
    spread: Spread | None,
) -> StageForecast:
    check_trainable(planned.model, stage)
    check_attention(planned.model, stage, None)
    additions = None if stage.lora is None else additions_of(planned.model.lm, stage.lora)
    partly = partly_of(planned.model, stage, shape)
    told = recipe.published.get(stage.name)
    summary: dict[str, Any] = {
        "name": stage.name,
        "kind": stage.kind,
        "trains": list(stage.trainable),
        "trained": _trained(shape, stage, additions, partly),
        "lora": None if stage.lora is None else stage.lora.model_dump(mode="json"),
        "activation_checkpointing": stage.activation_checkpointing,
        "precision": stage.precision,
        "attention": stage.attention,
        "optimizer": stage.optimizer,
        "offload": stage.offload,
        "compile": stage.compile,
    }
    counted = None
    if options.data:
        devices = _devices(options, told)
        flat = will_lay_flat(planned.model, stage, "cpu" if _on_cpu(options, told) else "cuda")
        counted = count_stage(recipe, stage, planned, options, flat=flat, alone=devices == 1)
        load = counted.load
        where = _Place.of(options, told, shape, load, stage)
        setup = replace(
            where.setup(stage, load, additions),
            partly=partly,
            lean=lean_sizes(planned.model, stage),
            trimmed=_trimmed(planned, stage, load),
        )
        summary |= {
            **counted.facts,
            "sources": counted.sources,
            "validation": counted.validation,
            "refused": len(counted.refused),
            "pictures_read": ("pixels" if options.decode else "headers") if options.images else None,
            "cost": _cost(shape, load, setup, stage, planned, options.per_node),
        }
        if recipe.evaluation is not None and recipe.evaluation.every is not None:
            summary["asked"] = _asked(recipe, stage, planned, shape, where, counted.facts, options)
    if spread is not None:
        load = counted.load if counted is not None else _assumed(stage, told, planned, options)
        setup = _Place.of(options, told, shape, load, stage).setup(stage, load, additions)
        split = options.split or min(options.per_node, setup.devices)
        setup = replace(setup, sharding="full", split=split, partly=partly)
        usual = None if stage.lora is not None else partial(_usual_lora, planned)
        told_of = spread.report(stage, shape, load, setup, usual)
        summary["ranks"] = {**told_of, "assumed": counted is None}
    if options.published and told is not None:
        summary["published"] = _published(recipe, stage, told, planned, shape, additions, partly, options)
    return StageForecast(summary, counted)


def _asked(
    recipe: Recipe,
    stage: Stage,
    planned: Planned,
    shape: Shape,
    where: _Place,
    facts: Mapping[str, Any],
    options: Options,
) -> dict[str, Any]:
    """Questions on the way: how many, and how long they take at most."""
    assert recipe.evaluation is not None
    told = asked(recipe.evaluation, stage.name, facts["steps"])
    geometry = model_geometry(planned.model.config, planned.model.tower, planned.processor, stage.aspect)
    layout = image_layout(options.size, geometry.settings)
    return told | asked_seconds(
        recipe.evaluation,
        told["times"],
        shape,
        where.hardware,
        devices=where.devices,
        text=facts["tokens"]["text"] / facts["samples"],
        picture=(geometry.tokens(layout), layout.tiles),
        longest=options.longest,
    )


def _seconds(stages: Sequence[StageForecast]) -> dict[str, float]:
    """Of all stages together, with what is not known left out."""
    told = [stage.summary for stage in stages if "cost" in stage.summary]
    steps = sum(one["cost"]["seconds"] for one in told)
    questions = sum(one.get("asked", {}).get("seconds") or 0.0 for one in told)
    return {"steps": steps, "asked": questions, "all": steps + questions}


def _trained(
    shape: Shape, stage: Stage, additions: Additions | None, partly: Mapping[str, Partly]
) -> dict[str, int]:
    """How many parameters of each part train."""
    counts: dict[str, int] = {part: shape.params[part] for part in stage.parts}
    counts |= {part: some.params for part, some in partly.items()}
    return counts if additions is None else {**counts, "language": additions.params}


def _trimmed(planned: Planned, stage: Stage, load: Load) -> int:
    """Parameters that steps apply at supervised places alone, as they will when the stage trains."""
    if stage.activation_checkpointing or load.logits > MOST * load.tokens:
        return 0
    return trimmed_of(planned.model, stage)


def _as_told(options: Options, told: Published | None) -> bool:
    """Whether a stage is planned for what was published."""
    return options.hardware is None and not options.measure and told is not None


def _devices(options: Options, told: Published | None) -> int:
    return options.devices or (told.devices if told is not None and _as_told(options, told) else 1)


def _on_cpu(options: Options, told: Published | None) -> bool:
    """Whether a stage is planned for this machine, and that has no GPU; what is known by name are GPUs."""
    return options.hardware is None and not _as_told(options, told) and not torch.cuda.is_available()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a stage runs, and whether it trains there in float32."""

    hardware: Hardware
    devices: int
    sharding: Sharding
    split: int
    fp32: bool

    @classmethod
    def of(cls, options: Options, told: Published | None, shape: Shape, load: Load, stage: Stage) -> _Place:
        devices = _devices(options, told)
        sharding: Sharding
        if options.sharding is not None:
            sharding = options.sharding
        elif devices == 1:
            sharding = "none"
        elif told is not None:
            sharding = told.sharding
        else:  # as the published runs: weights are split where the language model trains
            sharding = "full" if "language" in stage.parts else "grads"
        # As training does it: over the devices of a node, whose copies repeat each other.
        split = options.split or min(options.per_node, devices) if sharding == "full" else 0
        fp32 = stage.precision == "fp32"
        if options.hardware is not None:
            return cls(options.hardware, devices, sharding, split, fp32)
        if told is not None and _as_told(options, told):
            return cls(get_hardware(told.hardware), devices, sharding, split, fp32)
        hardware, measured = measure(shape.language, load.row, load.rows, stage.precision)
        return cls(hardware, devices, sharding, split, measured.precision == "fp32")

    def setup(self, stage: Stage, load: Load, additions: Additions | None) -> Setup:
        """How the stage runs here: Pumice's own way on one device, the usual one on several."""
        return Setup(
            trainable=frozenset(stage.parts),
            hardware=self.hardware,
            devices=self.devices,
            sharding=self.sharding,
            split=self.split,
            checkpointing=stage.activation_checkpointing,
            micro_rows=Planning(stage.accumulation).rows_at_once(load, self.devices),
            weights="fp32" if self.devices == 1 else "bf16",
            activation=FP32 if self.fp32 else BF16,
            additions=additions,
            attention=_HOLDS[stage.attention],
            reference=1 / (stage.epochs or 1) if stage.kind == "prefer" else 0.0,
            optimizer=stage.optimizer,
            offload="none" if stage.offload == "all" and self.devices == 1 else stage.offload,
            spare=self.spare,
        )

    @property
    def spare(self) -> bool:
        """Whether the device has host memory beside its own."""
        return self.hardware.name != THIS_MACHINE or torch.cuda.is_available()


def _cost(
    shape: Shape, load: Load, setup: Setup, stage: Stage, planned: Planned, per_node: int | None = None
) -> dict[str, Any]:
    """Arithmetic, memory and time, and what would make the stage fit where it does not.

    ``per_node`` is None for a published run, whose split is over all devices.
    """
    busy = min(setup.devices, max(1, load.rows))
    found = estimate(shape, load, setup)
    seconds = found.seconds * setup.devices / busy
    fits = found.memory.total <= setup.hardware.memory
    usual = None if stage.lora is not None else partial(_usual_lora, planned)
    notes = []
    if busy < setup.devices:
        notes.append(
            f"a step has at most {counted(load.rows, 'row')}: {setup.devices - busy:,} of {setup.devices:,} "
            "devices have nothing to do"
        )
    if setup.activation == FP32 and setup.hardware.name != THIS_MACHINE:
        notes.append("the stage trains in fp32, which is slower than the bf16 that the time is for")
    if stage.offload != "none" and not setup.spare:
        notes.append(f"offload {stage.offload} changes nothing: a CPU computes in host memory")
    elif stage.offload == "all" and setup.devices == 1:
        notes.append("offload all takes weights apart over several devices: with one, training refuses it")
    planning = Planning(stage.accumulation, per_node)
    would = [] if fits else remedies(shape, load, setup, usual, planning=planning)
    return {
        **_described(found, setup),
        "seconds": seconds,
        "fits": fits,
        "would_fit": [asdict(one) for one in would],
        "notes": notes,
    }


def _described(found: Estimate, setup: Setup) -> dict[str, Any]:
    hardware = setup.hardware
    memory = {name: float(value) for name, value in asdict(found.memory).items()}
    return {
        "hardware": hardware.name,
        "label": hardware.label,
        "devices": setup.devices,
        "sharding": setup.sharding,
        "share_of_peak": hardware.share[setup.sharding],
        "peak": hardware.peak,
        "source": hardware.source,
        "rows_at_once": setup.micro_rows,
        "flops": {**found.flops, "all": found.total_flops},
        "memory": {**memory, "all": found.memory.total, "device": hardware.memory},
    }


def _assumed(stage: Stage, told: Published | None, planned: Planned, options: Options) -> Load:
    geometry = model_geometry(planned.model.config, planned.model.tower, planned.processor, stage.aspect)
    layout = image_layout(options.size, geometry.settings)
    return assumed_load(stage, told, image_tokens=geometry.tokens(layout), tiles=layout.tiles)


def _usual_lora(planned: Planned, quantised: bool) -> Additions:
    return additions_of(planned.model.lm, Lora(quantize="nf4" if quantised else None))


def _told() -> str:
    """The recipes that ship with published sizes."""
    return ", ".join(name for name in recipe_names() if load_recipe(name).published)


def _published(
    recipe: Recipe,
    stage: Stage,
    told: Published,
    planned: Planned,
    shape: Shape,
    additions: Additions | None,
    partly: Mapping[str, Partly],
    options: Options,
) -> dict[str, Any]:
    """The stage as its authors ran it: one sample a row, logits at every place, checkpointing."""
    geometry = model_geometry(planned.model.config, planned.model.tower, planned.processor, stage.aspect)
    layout = image_layout(options.size, geometry.settings)
    load = published_load(
        told,
        image_tokens=geometry.tokens(layout),
        epochs=stage.epochs or 1,
        batch=stage.samples_per_step or stage.rows or 1,
        row=stage.row_length,
        tiles=layout.tiles,
    )
    hardware = options.hardware
    if hardware is None:
        hardware = get_hardware(told.hardware)
    devices = options.devices or told.devices
    setup = Setup(
        trainable=frozenset(stage.parts),
        hardware=hardware,
        devices=devices,
        sharding=options.sharding or told.sharding,
        checkpointing=True,
        micro_rows=Planning(stage.accumulation).rows_at_once(load, devices),
        additions=additions,
        partly=partly,
    )
    cost = _cost(shape, load, setup, stage, planned)
    hours = cost["seconds"] / 3600
    notes = []
    same = (hardware.peak, devices, setup.sharding) == (
        get_hardware(told.hardware).peak,
        told.devices,
        told.sharding,
    )
    if not same:
        label = get_hardware(told.hardware).label
        notes.append(f"published on {told.devices} x {label}, sharding {told.sharding}")
    if geometry.settings.aspect == "anyres":
        notes.append(
            f"every picture counts as one of {options.size[0]} x {options.size[1]} pixels: "
            f"{layout.tiles} tiles, {geometry.tokens(layout):,} tokens (--assume-size)"
        )
    return {
        **cost,
        "samples": told.samples,
        "images": told.images,
        "steps": load.steps,
        "tokens": load.tokens,
        "hours": hours,
        "published_hours": told.hours,
        "difference": hours / told.hours - 1 if told.hours and same else None,
        "published_source": told.source,
        "notes": [*cost["notes"], *notes],
    }
