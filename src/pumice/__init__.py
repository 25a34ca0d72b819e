"""Pumice: build, measure and serve LLaVA-style vision-language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pumice.model.loading import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """``pumice.load``, which needs torch, is imported when it is first asked for."""
    if name == "load":
        from pumice.model.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
