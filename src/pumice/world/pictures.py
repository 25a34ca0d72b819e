"""A pool of rendered training pictures on disk, with what each patch shows.

The towers see each picture many times; drawing them once is what makes pretraining quick.
Shapes: N pictures, P patches, L regions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pumice.data.grounding import assign_regions, patch_places
from pumice.files import replacing
from pumice.processes import runner
from pumice.world.draw import draw
from pumice.world.scene import CHARACTERS, COLOURS, SHAPES, SIDE, SIGN, SIZES, Scene, Split, make_scene

Progress = Callable[[int, int], None]

CHUNK = 500

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "color": tuple(COLOURS),
    "shape": (*SHAPES, SIGN),
    "character": tuple(CHARACTERS),
}
"""What a patch can be asked for; the classes of each, in this order."""


def scenes(seed: int, level: str, split: Split | None = None, start: int = 0) -> Iterator[Scene]:
    """Endless scenes of a seed; those of one split only, where it is given."""
    index = start
    while True:
        scene = make_scene(seed, index, level)
        index += 1
        if split is None or scene.split == split:
            yield scene


def patch_classes(scene: Scene, grid: int) -> tuple[NDArray[np.int8], NDArray[np.bool_], NDArray[np.float32]]:
    """What each patch shows: int8 [P, 4], one column per attribute, -1 for nothing; centres bool [P];
    and where that is, float32 [P, 2] (``patch_places``)."""
    boxes, rows = [], []
    for thing in scene.things:
        boxes.append(thing.box)
        if thing.shape == SIGN:
            rows.append([-1, -1, len(SHAPES), -1])
        else:
            values = (thing.size, thing.colour, thing.shape)
            rows.append([ATTRIBUTES[n].index(v) for n, v in zip(ATTRIBUTES, values, strict=False)] + [-1])
    whole = len(boxes)
    for thing in scene.things:
        if thing.shape == SIGN:
            for char, box in thing.characters():
                boxes.append(box)
                rows.append([-1, -1, -1, CHARACTERS.index(char)])
    owner, center = assign_regions(boxes, grid)
    table = np.array([*rows, [-1, -1, -1, -1]], dtype=np.int8)
    centers = np.zeros(grid * grid, dtype=bool)
    centers[center[:whole]] = True
    return table[owner], centers, patch_places(boxes, owner, grid)


@dataclass(frozen=True, slots=True)
class Pool:
    """Pictures uint8 [N,SIDE,SIDE,3], classes int8 [N,P,4], centres bool [N,P], places float32 [N,P,2],
    captions N x 5."""

    pixels: NDArray[np.uint8]
    classes: NDArray[np.int8]
    centers: NDArray[np.bool_]
    places: NDArray[np.float32]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.pixels)

    def shown(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each patch of some pictures shows a thing, not background: bool [rows, P]."""
        return np.asarray((self.classes[rows] >= 0).any(axis=-1))


def _chunk(task: tuple[int, str, Split, int, int, str]) -> str:
    seed, level, split, number, grid, folder = task
    path = Path(folder) / f"{level}-{split}-{seed}-grid{grid}-places-{number}.npz"
    if not path.exists():
        source = scenes(seed, level, split, start=number * CHUNK * 20)
        pixels = np.empty((CHUNK, SIDE, SIDE, 3), np.uint8)
        classes = np.empty((CHUNK, grid * grid, 4), np.int8)
        centers = np.empty((CHUNK, grid * grid), bool)
        places = np.empty((CHUNK, grid * grid, 2), np.float32)
        captions = []
        for i in range(CHUNK):
            scene = next(source)
            pixels[i] = np.asarray(draw(scene))
            classes[i], centers[i], places[i] = patch_classes(scene, grid)
            captions.append(list(scene.captions))
        # An open file: to a name, NumPy would add its own suffix.
        with replacing(path, shared=True) as partial, partial.open("wb") as file:
            np.savez(
                file,
                pixels=pixels,
                classes=classes,
                centers=centers,
                places=places,
                captions=np.frombuffer(json.dumps(captions).encode(), dtype=np.uint8),
            )
    return str(path)


def picture_pool(
    folder: Path,
    *,
    seed: int,
    level: str,
    split: Split,
    count: int,
    grid: int,
    workers: int,
    progress: Progress,
) -> Pool:
    """Draw ``count`` pictures of a split (rounded up to whole chunks), or reuse those in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    chunks = -(-count // CHUNK)
    tasks = [(seed, level, split, n, grid, str(folder)) for n in range(chunks)]
    pool = Pool(
        np.empty((chunks * CHUNK, SIDE, SIDE, 3), np.uint8),
        np.empty((chunks * CHUNK, grid * grid, 4), np.int8),
        np.empty((chunks * CHUNK, grid * grid), bool),
        np.empty((chunks * CHUNK, grid * grid, 2), np.float32),
        [],
    )
    with runner(workers) as run:
        for number, path in enumerate(run(_chunk, tasks)):
            with np.load(path, allow_pickle=False) as part:
                rows = slice(number * CHUNK, (number + 1) * CHUNK)
                pool.pixels[rows], pool.classes[rows] = part["pixels"], part["classes"]
                pool.centers[rows], pool.places[rows] = part["centers"], part["places"]
                pool.captions.extend(json.loads(part["captions"].tobytes()))
            progress((number + 1) * CHUNK, chunks * CHUNK)
    return pool
