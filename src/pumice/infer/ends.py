"""Where an answer ends at the latest: end tokens, and the model's context."""

from __future__ import annotations

from typing import Any

from pumice.model import VisionLanguageModel


def end_ids(model: VisionLanguageModel, tokenizer: Any) -> frozenset[int]:
    """Token ids that end any answer: the generation config's and the tokenizer's."""
    ids: set[int] = set()
    for value in (model.lm.generation_config.eos_token_id, tokenizer.eos_token_id):
        ids.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return frozenset(ids)


def context_of(model: VisionLanguageModel) -> int | None:
    """The most tokens of prompt and answer: the model's positions. Attention windows do not bound them."""
    limit: int | None = getattr(model.lm.config, "max_position_embeddings", None)
    return limit
