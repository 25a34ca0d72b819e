"""Shared by every test: no network, one thread count, seeded randomness, GPU tests skipped without one,
and tiny random models."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

# Before anything imports torch or a Hugging Face library: they read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# A fixed count, so that sums are taken in one order on every machine.
os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
import pytest
from hypothesis import settings

# The same examples on every run; no database, so that no run depends on an earlier one.
settings.register_profile("pumice", derandomize=True, deadline=None, database=None)
settings.load_profile("pumice")

LOCAL = {"127.0.0.1", "::1", "localhost"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where torch sees no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed the global generators: a test that draws from them draws the same, in any order."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Connections leave this machine from no test; servers on localhost are fine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise AssertionError(f"a test tried to connect to {address[0]}")
        connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def parts() -> Any:
    """``tests/model/parts.py``: the makers of tiny random checkpoints."""
    from .model import parts

    return parts


@pytest.fixture(scope="session")
def original() -> Any:
    """``tests/model/original.py``: the writers of folders in the original's layout."""
    from .model import original

    return original


@pytest.fixture(scope="session")
def tiny(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model; read only."""
    return parts.make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """`pumice serve tiny` as a process, one for all tests that only ask: `serve.real.Process`."""
    from .serve.real import served

    with served(tmp_path_factory.mktemp("serve"), "tiny") as process:
        yield process
