"""The maker of runs, as a fixture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import run_made

Make = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Makes the folder of a run by its name (``run_made.make_run``)."""

    def make(name: str, *more: Any, **options: Any) -> Path:
        return run_made.make_run(tmp_path / name, *more, **options)

    return make
