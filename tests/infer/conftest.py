"""Fixtures of tiny random models; ``parts.py`` makes them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PARTS = Path(__file__).parents[1] / "model" / "parts.py"


def load_parts() -> ModuleType:
    """``parts.py`` by its path: test folders are no packages."""
    name = "pumice_test_parts"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PARTS)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def parts() -> Any:
    """The makers of tiny checkpoints."""
    return load_parts()


@pytest.fixture(scope="session")
def tiny(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model; read only."""
    return parts.make_tiny(tmp_path_factory.mktemp("tiny"))
