from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pumice.world import pictures
from pumice.world.draw import draw
from pumice.world.pictures import ATTRIBUTES, patch_classes, picture_pool
from pumice.world.scene import CHARACTERS, SIGN, Scene, Thing, make_scene

GRID = 14


def test_scenes_of_a_split_are_those_of_the_seed_in_order() -> None:
    everything = [make_scene(2, i, "full") for i in range(80)]
    some = [s for s in everything if s.split == "validation"]
    assert some
    assert list(islice(pictures.scenes(2, "full", "validation"), len(some))) == some
    assert list(islice(pictures.scenes(2, "full", start=5), 3)) == everything[5:8]


def test_patches_show_what_their_boxes_hold() -> None:
    disc = Thing("circle", "blue", "small", 28.0, 28.0, 8.0, (0, 0, 255), 0.0)
    sign = Thing(SIGN, "white", "medium", 84.0, 84.0, 10.0, (250, 250, 250), 0.0, "A7")
    scene = Scene("s", "full", (disc, sign), 1, ("x",) * 5)
    classes, centers, places = patch_classes(scene, GRID)
    assert classes.shape == (GRID * GRID, len(ATTRIBUTES))
    blue_disc = [ATTRIBUTES["size"].index("small"), ATTRIBUTES["color"].index("blue"), 0, -1]
    assert classes[3 * GRID + 3].tolist() == blue_disc
    # Pixels 69 to 84 are the A, 84 to 99 the 7; characters win over the sign they stand on.
    assert classes[10 * GRID + 9].tolist() == [-1, -1, -1, CHARACTERS.index("A")]
    assert classes[10 * GRID + 11].tolist() == [-1, -1, -1, CHARACTERS.index("7")]
    assert classes[0].tolist() == [-1] * 4
    assert np.flatnonzero(centers).tolist() == [3 * GRID + 3, 10 * GRID + 10]
    # The disc's patches know its centre, those of the A its own; what shows nothing knows its patch's.
    np.testing.assert_allclose(places[3 * GRID + 3], [0.25, 0.25])
    assert places[10 * GRID + 9][0] < 0.75 < places[10 * GRID + 11][0]
    np.testing.assert_allclose(places[0], [0.5 / GRID] * 2)


def test_a_pool_is_drawn_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "CHUNK", 4)
    seen: list[tuple[int, int]] = []

    def pool(grid: int = GRID) -> pictures.Pool:
        return picture_pool(
            tmp_path,
            seed=0,
            level="easy",
            split="train",
            count=7,
            grid=grid,
            workers=1,
            progress=lambda done, total: seen.append((done, total)),
        )

    first = pool()
    assert len(first) == 8
    assert seen == [(4, 8), (8, 8)]
    scene = next(pictures.scenes(0, "easy", "train"))
    assert (first.pixels[0] == np.asarray(draw(scene))).all()
    assert first.captions[0] == list(scene.captions)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = pool()
    assert (again.pixels == first.pixels).all()
    assert (again.classes == first.classes).all()
    assert (again.places == first.places).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert pool(grid=7).classes.shape == (8, 49, 4), "other patches are other files"
    assert len(list(tmp_path.iterdir())) == 2 * len(written)
