"""How many scenes a minute go through `pumice generate` when the teacher answers at once.

    python benchmarks/generate.py 1000

The teacher is the scripted one, in this process: what is measured is prompts, connections, cache, checks
and files, for all kinds that scenes of captions and boxes allow, with and without a second pass.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from pumice.generate.carry_out import carry_out, vocabulary_of
from pumice.generate.plan import Plan
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.scripted import scripted
from pumice.generate.spec import AGREEMENT, choose, objects_file, read_specs
from pumice.generate.work import Terms

THINGS = ("person", "dog", "car", "bench", "bicycle", "chair", "cup", "bottle", "umbrella", "bird")


def scene(number: int) -> SceneText:
    """Five captions and eight boxes, as COCO has them on average."""
    rng = random.Random(number)
    things = [rng.choice(THINGS) for _ in range(8)]
    boxes = [(x := rng.uniform(0, 0.7), y := rng.uniform(0, 0.7), x + 0.2, y + 0.25) for _ in things]
    captions = tuple(
        f"A {rng.choice(things)} stands near a {rng.choice(things)} at place {number}, view {view}."
        for view in range(5)
    )
    instances = tuple(Instance(thing, box) for thing, box in zip(things, boxes, strict=True))
    return SceneText(str(number), f"{number}.jpg", captions, instances)


def main(count: int) -> None:
    """Print scenes a minute, with and without the second pass."""
    specs = read_specs()
    kinds = choose(specs, "all")
    scenes = [scene(number) for number in range(count)]
    plan = Plan(scenes, tuple(specs[name] for name in kinds), kinds)
    for agree in (False, True):
        terms = Terms(
            vocabulary_of(objects_file(None), scenes), agreement=specs[AGREEMENT] if agree else None
        )
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu = time.perf_counter(), time.process_time()
            record = carry_out(plan, terms, [scripted(specs.values(), concurrency=32)], Path(folder))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rows = sum(kind["rows"] for kind in record["kinds"].values())
        passes = "with" if agree else "without"
        print(
            f"{passes} a second pass: {count:,} scenes, {record['requests']['replies']:,} replies, "
            f"{rows:,} rows in {wall:.1f} s ({cpu:.1f} s of CPU): {60 * count / wall:,.0f} scenes a minute"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
