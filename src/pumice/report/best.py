"""Which models of a run are kept as the best of their stages, in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pumice.report.collect import collect, number


def best_words(best: Mapping[str, Any]) -> str | None:
    """What a record of a best model says: ``pope.f1 83.20 after step 40``; None where it says nothing."""
    loss, value = number(best, "loss"), number(best, "value")
    if loss is not None:
        return f"validation loss {loss:.4f} after step {best.get('step')}"
    return None if value is None else f"{best.get('figure')} {value:.2f} after step {best.get('step')}"


def best_models(folder: Path) -> list[str]:
    """The best models of a run's stages: where each is, and what it reached.

    Raises:
        PumiceError: as ``collect``.
    """
    found = collect(folder, answers=False).info.get("best")
    kept = [one for one in found.values() if isinstance(one, dict)] if isinstance(found, dict) else []
    told = [(one, best_words(one)) for one in kept]
    return [f"{folder / str(one.get('model'))}: {words}" for one, words in told if words is not None]
