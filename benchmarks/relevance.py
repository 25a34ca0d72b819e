"""Whether the map of `pumice look` lies on the object asked about: `python benchmarks/relevance.py`.

Asks the shipped model about one object of each of many scenes of the embedded world (color, shape, size), and
tells which share of the map lies in the object's true box: beside the box's share of the picture, and beside
the same map with its patches shuffled.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from pumice.infer import Generator
from pumice.infer.relevance import Looker
from pumice.model.save import load_model
from pumice.types import Box, text_message
from pumice.world.draw import draw
from pumice.world.embedded import resolve
from pumice.world.samples import scene_text
from pumice.world.scene import Scene, make_scene
from pumice.world.teacher import WorldTeacher, read

KINDS = ("color", "shape", "size")


def cases(number: int, seed: int) -> list[tuple[Scene, Any, Box]]:
    """Scenes of two objects or more, one question each, and the box of what it asks about."""
    found: list[tuple[Scene, Any, Box]] = []
    teacher = WorldTeacher(0)
    index = 0
    while len(found) < number:
        scene = make_scene(seed, index, "full")
        index += 1
        text, rng = scene_text(scene), np.random.default_rng(index)
        things = [read(instance) for instance in text.instances]
        for thing, instance in zip(things, text.instances, strict=True):
            kind = KINDS[rng.integers(len(KINDS))]
            turn = teacher.attribute(things, thing, kind, rng) if len(things) > 1 else None
            if turn is not None:
                found.append((scene, turn, instance.box))
                break
    return found


def within(heat_RC: Any, box: Box) -> float:
    """The share of a map inside a box."""
    rows, columns = heat_RC.shape
    y, x = np.arange(rows), np.arange(columns)
    down = np.clip(np.minimum(y + 1, box[3] * rows) - np.maximum(y, box[1] * rows), 0, 1)
    across = np.clip(np.minimum(x + 1, box[2] * columns) - np.maximum(x, box[0] * columns), 0, 1)
    return float((heat_RC * np.outer(down, across)).sum() / heat_RC.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=120)
    parser.add_argument("--seed", type=int, default=177)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 4, 8, 16])
    given = parser.parse_args()
    model, tokenizer, processor = load_model(resolve("tiny", "model"), dtype="float32")
    generator = Generator(model.eval().requires_grad_(False), tokenizer, processor)
    looker = Looker(model, generator.pictures, tokenizer, generator.template)
    asked = cases(given.n, given.seed)
    images = [draw(scene) for scene, _, _ in asked]
    pairs = [(turn.question, [image]) for (_, turn, _), image in zip(asked, images, strict=True)]
    answers = generator.answer(pairs, 20)
    right = np.mean([turn.answer in answer for (_, turn, _), answer in zip(asked, answers, strict=True)])
    areas = np.array([(box[2] - box[0]) * (box[3] - box[1]) for _, _, box in asked])
    print(f"{given.n} questions, {right:.1%} answered right; the box is {areas.mean():.1%} of the picture")
    rng = np.random.default_rng(0)
    for steps in given.steps:
        began = time.process_time()
        inside, shuffled, hits = [], [], []
        for (_, turn, box), image, answer in zip(asked, images, answers, strict=True):
            message = text_message("user", turn.question, images=[0])
            heat_RC = looker.look([message], [image], answer, steps=steps).pictures[0].heat_NRC[0]
            rows, columns = heat_RC.shape
            inside.append(within(heat_RC, box))
            shuffled.append(within(rng.permutation(heat_RC.ravel()).reshape(rows, columns), box))
            y, x = np.unravel_index(int(heat_RC.argmax()), heat_RC.shape)
            across = x < box[2] * columns and x + 1 > box[0] * columns
            hits.append(across and y < box[3] * rows and y + 1 > box[1] * rows)
        seconds = (time.process_time() - began) / given.n
        drawn = [np.mean(rng.choice(inside, len(inside))) for _ in range(2000)]
        low, high = np.percentile(drawn, [2.5, 97.5])
        print(
            f"steps {steps:2}: {np.mean(inside):.1%} of the map in the box (95% {low:.1%} to {high:.1%}), "
            f"shuffled {np.mean(shuffled):.1%}, hottest patch on the object {np.mean(hits):.1%}, "
            f"above the area in {np.mean(np.array(inside) > areas):.1%}, {seconds:.2f} core-seconds each"
        )


if __name__ == "__main__":
    main()
