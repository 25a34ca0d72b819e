"""Fixtures of tiny random models; the makers lie with the tests of ``model``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parents[1] / "model"


def load(stem: str) -> ModuleType:
    """A file beside the tests of ``model``, by its path: test folders are no packages."""
    name = f"pumice_test_{stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{stem}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def parts() -> Any:
    """The makers of tiny checkpoints."""
    return load("parts")


@pytest.fixture(scope="session")
def original() -> Any:
    """The writers of folders in the original's layout."""
    return load("original")


@pytest.fixture(scope="session")
def tiny(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model; read only."""
    return parts.make_tiny(tmp_path_factory.mktemp("tiny"))
