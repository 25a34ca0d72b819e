"""Scenes that the tests of this folder share; scenes are frozen, so sharing them is safe."""

from __future__ import annotations

import pytest

from pumice.world.scene import Scene, make_scene


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    """Of each level 200 scenes."""
    return [make_scene(7, index, level) for level in ("easy", "full") for index in range(200)]
