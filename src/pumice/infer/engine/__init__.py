"""The engine: many requests with text and pictures answered at once by one model.

requests    what goes in and what comes out
"""

from pumice.infer.engine.engine import Engine
from pumice.infer.engine.requests import (
    Delta,
    EngineClosed,
    EngineFull,
    EngineRequest,
    Event,
    Finished,
    Likely,
    Limits,
    PromptTooLong,
    Running,
    TokenLogprobs,
    Usage,
)
from pumice.infer.engine.stats import Stats, Totals

__all__ = [
    "Delta",
    "Engine",
    "EngineClosed",
    "EngineFull",
    "EngineRequest",
    "Event",
    "Finished",
    "Likely",
    "Limits",
    "PromptTooLong",
    "Running",
    "Stats",
    "TokenLogprobs",
    "Totals",
    "Usage",
]
