"""Weights as a benchmark names them, and what one token reads of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from pumice.errors import UsageError, suggest
from pumice.infer.weights import load_to_answer
from pumice.model.quantized.forms import Weights
from pumice.model.vlm import VisionLanguageModel

WEIGHTS = ("float32", "bfloat16", "int8", "int4")
"""Kinds of weights that an engine computes with."""


def load_as(folder: Path, weights: str) -> tuple[VisionLanguageModel, Any, Any]:
    """Model, image processor and tokenizer, as ``Engine`` takes them."""
    known: dict[str, Weights] = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8", "int4": "int4"}
    found = load_to_answer(folder, known[weights])
    return found.model, found.processor, found.tokenizer


def check_weights(name: str) -> None:
    """UsageError for a name that is none of ``WEIGHTS``."""
    if name not in WEIGHTS:
        raise UsageError(f"there are no weights {name!r}", where="--weights", remedy=suggest(name, WEIGHTS))


def weight_bytes(model: VisionLanguageModel) -> int:
    """Bytes of weights that one new token reads: all of the language model's, but for the table of its words
    unless that is its head as well."""
    lm: nn.Module = model.lm
    table, head = model.lm.get_input_embeddings(), model.lm.get_output_embeddings()
    skipped = set() if table.weight is getattr(head, "weight", None) else {id(table.weight)}
    kept = {id(one): one for one in [*lm.parameters(), *lm.buffers()] if id(one) not in skipped}
    return sum(one.numel() * one.element_size() for one in kept.values())
