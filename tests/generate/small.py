"""A few scenes of all sorts, and what is needed to have data written about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pumice.generate.carry_out import vocabulary_of
from pumice.generate.plan import Plan
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.spec import AGREEMENT, choose, objects_file, read_specs
from pumice.generate.work import Terms


def scene(n: int = 0, **more: Any) -> SceneText:
    """A street with three cars and a dog."""
    told: dict[str, Any] = {
        "captions": (
            f"A brown dog sits beside three cars in street {'abcdefghij'[n % 10]}.",
            "Three cars and a dog on a sunny street.",
            "A dog is waiting next to a red car.",
        ),
        "instances": (
            Instance("car", (0.1, 0.3, 0.3, 0.6)),
            Instance("car", (0.4, 0.3, 0.6, 0.6)),
            Instance("car", (0.7, 0.3, 0.9, 0.6)),
            Instance("dog", (0.45, 0.65, 0.55, 0.9)),
        ),
    }
    return SceneText(f"s{n}", f"s{n}.jpg", **(told | more))


def plan(scenes: list[SceneText], kinds: str = "all", languages: tuple[str, ...] = ("en",)) -> Plan:
    """All jobs of these scenes."""
    specs = read_specs()
    chosen = choose(specs, kinds)
    return Plan(scenes, tuple(specs[name] for name in chosen), chosen, languages)


def terms(scenes: list[SceneText], *, agree: bool = False, **more: Any) -> Terms:
    """How they are done."""
    agreement = read_specs()[AGREEMENT] if agree else None
    return Terms(vocabulary_of(objects_file(None), scenes), agreement=agreement, **more)


def files_of(folder: Path) -> dict[str, bytes]:
    """What decides whether two generations are the same."""
    return {name: (folder / name).read_bytes() for name in ("data.json", "rejected.jsonl")}
