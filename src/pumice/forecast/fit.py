"""Whether a stage fits onto a device, and what would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pumice.cost.estimate import Setup, stage_memory
from pumice.cost.hardware import Sharding
from pumice.cost.shape import Additions, Load, Shape

MOST_DEVICES = 4096
_DEVICES, _SPLIT = "--devices", "--split"


@dataclass(frozen=True, slots=True)
class Remedy:
    """Something that makes a stage fit: in words, and the bytes of a device and beside it then."""

    words: str
    bytes: float
    host: float = 0.0


@dataclass(frozen=True, slots=True)
class Planning:
    """How a plan sets up other devices than those it was asked about: a proposal must be what planning it
    gives.

    Attributes:
        accumulation: in how many parts the devices take a step's rows.
        per_node: over so many devices at most weights are split unless ``--split`` says otherwise; None for
            published runs, which split over all.
    """

    accumulation: int = 1
    per_node: int | None = None

    def rows_at_once(self, load: Load, devices: int) -> int:
        """Rows of a step on one device at a time."""
        return max(1, -(-load.rows // (devices * self.accumulation)))

    def split(self, devices: int) -> int:
        """Over how many devices weights are split where nothing is said; 0: all of them."""
        return 0 if self.per_node is None else min(self.per_node, devices)


def remedies(
    shape: Shape,
    load: Load,
    setup: Setup,
    additions: Callable[[bool], Additions] | None,
    needs: Callable[[Setup], float] | None = None,
    planning: Planning = Planning(),
) -> list[Remedy]:
    """What makes a stage fit that does not: single changes, or else all together and more devices.

    Args:
        shape: the model.
        load: the stage's.
        setup: with which it does not fit.
        additions: LoRA's, or QLoRA's (True), of usual size for this model; None where the stage has some.
        needs: bytes of a device under a setup; None takes ``cost.stage_memory``.
        planning: how a plan sets up other numbers of devices.
    """
    limit = setup.hardware.memory
    if needs is None:

        def needs(changed: Setup) -> float:
            return stage_memory(shape, load, changed).total

    def remedy(words: str, changed: Setup, size: float) -> Remedy:
        return Remedy(words, size, stage_memory(shape, load, changed).host)

    found: list[Remedy] = []
    for words, changed in _singles(shape, load, setup, additions, planning):
        kind = next((kind for kind in (_SPLIT, _DEVICES) if words.startswith(kind)), None)
        more = kind is not None and any(one.words.startswith((_SPLIT, _DEVICES)) for one in found)
        if not more and (size := needs(changed)) <= limit:
            found.append(remedy(words, changed, size))
    if any("LoRA" not in one.words for one in found):
        return found
    every = replace(setup, checkpointing=True, micro_rows=1)
    if setup.devices > 1:
        every = _sharded(every, "full", planning)
    words = _together(load, planning, setup, every)
    for changed in _several(every):
        if changed != setup and (size := needs(changed)) <= limit:
            return [remedy(_together(load, planning, setup, changed), changed, size), *found]
    if found:
        return found
    spread = _spread(every, load, max(2, setup.devices), "full", planning)
    while (size := needs(spread)) > limit and spread.devices < MOST_DEVICES:
        spread = _spread(spread, load, spread.devices * 2, "full", planning)
    if size <= limit:
        found.append(remedy(_together(load, planning, setup, spread), spread, size))
    if additions is not None and "language" in setup.trainable:
        for label, quantised in (("LoRA", False), ("QLoRA", True)):
            low = _adding(shape, every, additions(quantised))
            if (size := needs(low)) <= limit:
                found.append(remedy(", ".join(filter(None, [words, label])), low, size))
                break
    return found


def _singles(
    shape: Shape,
    load: Load,
    setup: Setup,
    additions: Callable[[bool], Additions] | None,
    planning: Planning,
) -> Iterator[tuple[str, Setup]]:
    if not setup.checkpointing:
        yield "activation_checkpointing: true", replace(setup, checkpointing=True)
    if setup.micro_rows > 1:
        yield f"one row at a time (it takes {setup.micro_rows}; accumulation)", replace(setup, micro_rows=1)
    if setup.optimizer == "adamw":
        yield "optimizer: adamw_8bit", replace(setup, optimizer="adamw_8bit")
    if setup.spare and setup.offload == "none":
        yield "offload: optimizer", replace(setup, offload="optimizer")
    if setup.spare and setup.offload != "all" and setup.sharding == "full":
        yield "offload: all", replace(setup, offload="all")
    if setup.devices > 1:
        for sharding in ("grads", "full"):
            if setup.sharding == "none" or (setup.sharding == "grads" and sharding == "full"):
                yield f"--sharding {sharding}", _sharded(setup, sharding, planning)
    split = setup.split * 2
    while split and split <= setup.devices:
        if setup.devices % split == 0:
            yield f"{_SPLIT} {split}", replace(setup, split=split)
        split *= 2
    devices = setup.devices * 2
    while setup.sharding != "none" and devices <= MOST_DEVICES:
        more = _spread(setup, load, devices, setup.sharding, planning)
        yield _together(load, planning, setup, more), more
        devices *= 2
    if additions is not None and "language" in setup.trainable:
        yield (
            "LoRA (lora: {} in the stage)",
            _adding(shape, setup, additions(False)),
        )
        yield (
            "QLoRA (lora: {quantize: nf4})",
            _adding(shape, setup, additions(True)),
        )


def _adding(shape: Shape, setup: Setup, additions: Additions) -> Setup:
    """The same with additions in the place of whatever trains of the language model."""
    others = {part: some for part, some in setup.partly.items() if part != "language"}
    covered = additions.covered if additions.bits is None else 0
    lean = {**setup.lean, "language": covered, "head": shape.language.head}
    return replace(setup, additions=additions, partly=others, lean=lean)


def _several(every: Setup) -> Iterator[Setup]:
    """All that saves memory on these devices and gives the same result; then what gives nearly the same, and
    what takes more time."""
    yield every
    yield (small := replace(every, optimizer="adamw_8bit"))
    if every.spare and every.offload == "none":
        yield replace(every, offload="optimizer")
        yield replace(small, offload="optimizer")


def _sharded(setup: Setup, sharding: Sharding, planning: Planning) -> Setup:
    """The same, split so; weights over as many devices as planning takes where nothing is said."""
    if setup.sharding == sharding:
        return setup
    split = planning.split(setup.devices) if sharding == "full" else 0
    return replace(setup, sharding=sharding, split=split)


def _spread(setup: Setup, load: Load, devices: int, sharding: Sharding, planning: Planning) -> Setup:
    """The same on so many devices; what is split is so over all of them, and each has fewer rows."""
    over_all = devices if sharding == "full" and planning.per_node is not None else 0
    return replace(
        setup,
        sharding=sharding,
        devices=devices,
        split=over_all,
        micro_rows=min(setup.micro_rows, planning.rows_at_once(load, devices)),
        weights="bf16",  # as several devices hold them
    )


def _together(load: Load, planning: Planning, old: Setup, new: Setup) -> str:
    """What differs between two setups, in words."""
    words = []
    if new.devices != old.devices:
        words.append(f"{_DEVICES} {new.devices}")
    if new.split and new.split != old.split:
        words.append(f"{_SPLIT} {new.split}")
    if new.sharding != old.sharding:
        words.append(f"--sharding {new.sharding}")
    if new.checkpointing != old.checkpointing:
        words.append("activation_checkpointing: true")
    # Fewer rows on each because there are more devices need no word.
    if new.micro_rows != old.micro_rows and new.micro_rows < planning.rows_at_once(load, new.devices):
        words.append("one row at a time (accumulation)")
    if new.optimizer != old.optimizer:
        words.append(f"optimizer: {new.optimizer}")
    if new.offload != old.offload:
        words.append(f"offload: {new.offload}")
    return ", ".join(words)
