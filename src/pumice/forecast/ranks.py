"""What each rank of a run on many devices would hold, counted on ranks that do not exist.

A process of its own builds the model on the meta device, joins a fake process group of so many ranks, and
splits the model with the very function that training uses (``train.parallel.shard``). What lies where is read
off the split tensors. The group ends with that process; nothing of it is left in the one that asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pumice.cost.estimate import Setup, stage_memory
from pumice.cost.hardware import HARDWARE
from pumice.cost.shape import Additions, Load, Shape
from pumice.errors import UsageError
from pumice.forecast.fit import Planning, remedies
from pumice.forecast.options import Options
from pumice.model.attach import require_extras
from pumice.model.planned import Find, Kind, Planned, plan_model
from pumice.recipes.schema import Lora, Model, Published, Recipe, Stage
from pumice.train.adapters import attach
from pumice.train.holding import Held, Keeping, held, held_by_all
from pumice.train.lean import make_lean
from pumice.train.optim import freeze
from pumice.train.parallel import Ranks, check_split, shard

Places = Mapping[tuple[str, Kind], Path | None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Devices that train one model: how many, how many on a node, and how many share one copy of the weights
    (0: those of a node)."""

    devices: int
    per_node: int
    split: int = 0

    @property
    def ranks(self) -> Ranks:
        """The first rank among them."""
        return Ranks(0, self.devices, 0, self.per_node, self.split)

    def check(self) -> None:
        """UsageError unless there are several, on whole nodes; RunError of a split that divides them not."""
        if self.devices < 2:
            raise UsageError(
                "one device holds everything, and there is nothing to split",
                where="--ranks",
                remedy="add --devices N",
            )
        if self.devices % self.per_node:
            raise UsageError(
                f"{self.devices} devices make no nodes of {self.per_node}",
                where="--per-node",
                remedy=f"choose a divisor of {self.devices}",
            )
        check_split(self.split, self.devices)


@dataclass(frozen=True, slots=True)
class Job:
    """One stage to count on a cluster; ``half`` as ``shard`` takes it."""

    model: Model
    places: Places
    stage: Stage
    cluster: Cluster
    half: bool
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What the ranks that share one copy of the weights hold, in their order; ``whole`` is the bytes of the
    model before it was split."""

    held: tuple[Held, ...]
    whole: int

    @property
    def worst(self) -> Held:
        """What the fullest rank holds."""
        return max(self.held, key=lambda one: one.total)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the first, the fullest and the last rank, and sums over one copy."""
        shares = {
            name: sum(getattr(one, name) for one in self.held)
            for name in ("weights", "padding", "gradients", "optimizer")
        }
        return {
            "first": _with_total(self.held[0]),
            "worst": _with_total(self.worst),
            "last": _with_total(self.held[-1]),
            "copy": shares,
            "whole": self.whole,
        }


def _with_total(held: Held) -> dict[str, int]:
    return {**asdict(held), "all": held.total}


Count = Callable[[Job], Counted]
"""``count_ranks`` in another process."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A recipe whose stages are counted on ranks; ``count`` carries a job out."""

    recipe: Recipe
    find: Find
    per_node: int
    count: Count

    def report(
        self,
        stage: Stage,
        shape: Shape,
        load: Load,
        setup: Setup,
        additions: Callable[[bool], Additions] | None,
    ) -> dict[str, Any]:
        """What the ranks of a stage hold, beside a device's memory, and what would fit where that does not.

        Args:
            stage: the recipe's.
            shape, load, setup, additions: as ``fit.remedies`` takes them; ``setup.split`` is set.

        Raises:
            UsageError: a number of devices that makes no whole nodes.
        """
        counted = self.count(self._job(stage, setup))
        memory = stage_memory(shape, load, setup)
        busy = {"activations": memory.activations, "logits": memory.logits, "overhead": memory.overhead}
        most = counted.worst.total + sum(busy.values())
        fits = most <= setup.hardware.memory

        def needs(changed: Setup) -> float:
            own = stage_memory(shape, load, changed)
            held = self.count(self._job(stage, changed)).worst.total
            return held + own.activations + own.logits + own.overhead

        planning = Planning(stage.accumulation, self.per_node)
        found = [] if fits else remedies(shape, load, setup, additions, needs, planning)
        return {
            "devices": setup.devices,
            "per_node": min(self.per_node, setup.devices),
            "split": setup.split,
            "copies": setup.devices // setup.split,
            "half": stage.precision != "fp32",
            "label": setup.hardware.label,
            **counted.to_dict(),
            **busy,
            "row": load.row,
            "rows_at_once": setup.micro_rows,
            "rows": load.rows,
            "all": most,
            "device": setup.hardware.memory,
            "fits": fits,
            "would_fit": [asdict(one) for one in found],
        }

    def _job(self, stage: Stage, setup: Setup) -> Job:
        own = self.recipe.model
        names: list[tuple[str | None, Kind]] = [(own.checkpoint, "checkpoint"), (own.language, "language")]
        names += [(name, "vision") for name in (own.vision, *own.more_vision)]
        places = {(name, kind): self.find(name, kind) for name, kind in names if name is not None}
        if setup.additions is not None and stage.lora is None:
            lora = Lora(quantize=None if setup.additions.bits is None else "nf4")
            trains = [name for name in stage.trainable if not name.startswith("language")]
            stage = stage.model_copy(update={"lora": lora, "trainable": (*trains, "language")})
        changed = {"optimizer": setup.optimizer, "offload": setup.offload}
        stage = stage.model_copy(update=changed)
        cluster = Cluster(setup.devices, min(self.per_node, setup.devices), setup.split)
        cluster.check()
        half = stage.precision != "fp32"
        return Job(own, places, stage, cluster, half, self.recipe.seed)


def check_ranks(recipe: Recipe, options: Options) -> None:
    """UsageError unless options say on what the ranks are, and split what training splits."""
    if options.sharding not in (None, "full"):
        raise UsageError(
            f"--ranks counts what Pumice splits, which is all, and not {options.sharding}",
            where="--sharding",
            remedy="leave it out",
        )
    for stage in recipe.stages:
        if options.hardware is None and (options.measure or stage.name not in recipe.published):
            raise UsageError(
                f"which devices the ranks of stage {stage.name} have is not said",
                where="--ranks",
                remedy=f"add --hardware NAME, one of {', '.join(HARDWARE)}",
            )


def assumed_load(stage: Stage, told: Published | None, *, image_tokens: int, tiles: int) -> Load:
    """The load of a stage whose data nobody read: full rows, as many as the published sizes fill; without
    these one of each sample.

    Args:
        stage: the recipe's.
        told: its published sizes.
        image_tokens: tokens of a picture.
        tiles: inputs of the tower for one picture.
    """
    rows, row = stage.rows or stage.samples_per_step or 1, stage.row_length
    if stage.rows is None and told is not None:
        length = min(told.text_tokens + told.images / told.samples * image_tokens, float(row))
        rows = math.ceil(rows * length / row)
    pictures = rows * max(1, row // max(1, image_tokens))
    return Load(
        steps=1,
        tokens=float(rows * row),
        squares=float(rows * row**2),
        logits=float(rows * row),
        images=float(pictures * tiles),
        image_tokens=float(pictures * image_tokens),
        row=row,
        rows=rows,
        images_per_step=float(pictures * tiles),
        logits_per_row=float(row),
    )


def count_ranks(job: Job) -> Counted:
    """What every rank holds, counted here: a process that trains or has a process group must not call it.

    Raises:
        PumiceError: parts or options that do not fit.
    """
    planned = plan_model(job.model, lambda name, kind: job.places.get((name, kind)))
    whole = sum(p.numel() * p.element_size() for p in planned.model.parameters())
    with fake_group(job.cluster.devices):
        split_planned(planned, job)
        keeping = Keeping(job.half, job.stage.optimizer == "adamw_8bit", job.stage.offload)
        found = held_by_all(planned.model, keeping)
        assert found[0] == held(planned.model, keeping), "torch splits otherwise than its own rule says"
    return Counted(tuple(found), whole)


def split_planned(planned: Planned, job: Job) -> None:
    """Prepare a planned model as a stage does and split it; in a process group."""
    if job.stage.lora is not None:
        require_extras(job.stage.lora, f"stages.{job.stage.name}.lora")
    attach(planned.model, job.stage, job.seed)
    freeze(planned.model, job.stage)
    if job.half:
        make_lean(planned.model)
    shard(planned.model, job.cluster.ranks, half=job.half)


@contextmanager
def fake_group(world: int, rank: int = 0) -> Iterator[None]:
    """This process as one of so many that do not exist; whatever they send is lost."""
    from torch.testing._internal.distributed.fake_pg import FakeStore  # registers the backend "fake"

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world)
    try:
        yield
    finally:
        dist.destroy_process_group()
