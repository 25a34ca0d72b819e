"""On what a plan is made: hardware, how many devices, and how thoroughly data is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pumice.cost.hardware import Hardware, Sharding
from pumice.image.grid import Size

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is made.

    Attributes:
        hardware: what it runs on; None takes what the recipe says was published for a stage, or else measures
            this machine.
        measure: measure this machine, whatever was published.
        devices: how many; None takes the published number, or 1.
        sharding: what is split over them; None takes the published way, or what is usual.
        per_node: how many devices one node has at most, over which weights are split unless ``split`` says
            otherwise; of what Pumice itself trains, not of published runs.
        split: over how many devices weights are split.
        ranks: also count what every rank holds, on ranks that do not exist.
        images: whether pictures are looked at; without, each counts as one of ``size``.
        decode: decode every picture rather than read its header.
        size: width and height in pixels that stand for pictures that are not looked at.
        published: also predict the stages of the recipe's ``published`` block.
        data: whether the data is read at all.
        longest: of each kind of questions on the way the longest answer, in tokens; empty where nobody knows.
        cache: where what was found is kept for the next time.
        progress: told now and then.
    """

    hardware: Hardware | None = None
    measure: bool = False
    devices: int | None = None
    sharding: Sharding | None = None
    per_node: int = 8
    split: int | None = None
    ranks: bool = False
    images: bool = True
    decode: bool = False
    size: Size = (640, 480)
    published: bool = False
    data: bool = True
    longest: tuple[int, ...] = ()
    cache: Path | None = None
    progress: Progress | None = None
