"""The engine: many requests with text and pictures answered at once by one model.

engine      submitting from any thread, one step after another, the thread that steps
requests    what goes in and what comes out
bounds      what one request may ask for
queue       how much waits, and whether more may
prompt      from a request to token ids, the tower's inputs and keys for the caches
answers     from a request to sequences: ends of answers, who draws
sequence    one answer under way
scheduler   who runs: admission, parts of prompts, preemption
runner      one pass of the model over what many sequences need next
arena       the memory of keys and values, reserved once
memory      how much memory is free
room        whether weights fit, and how many tokens' keys and values a server reserves
prefix      beginnings that were computed before
sight       pictures that prompts come to next are found or encoded
features    embeddings of pictures that were encoded before
sampler     the next token of one answer
schema      answers that obey a JSON schema
stats       what it is doing and has done
"""

from pumice.infer.engine.engine import Engine
from pumice.infer.engine.prompt import Opened, Rendered
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
    Stage,
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
    "Opened",
    "PromptTooLong",
    "Rendered",
    "Running",
    "Stage",
    "Stats",
    "TokenLogprobs",
    "Totals",
    "Usage",
]
