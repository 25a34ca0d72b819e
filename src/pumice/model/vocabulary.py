"""The tokens that pictures need: rows of the embedding for them, and their removal."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import AddedToken

from pumice.errors import CheckpointError
from pumice.types import PLACEHOLDER

PAD = "<pad>"
IMAGE_START, IMAGE_END = "<im_start>", "<im_end>"
VOCABULARY_MULTIPLE = 64
"""Embedding rows are padded to a multiple of this, as transformers' LLaVA converter does."""


def extend_vocabulary(lm: Any, tokenizer: Any, *, extra: tuple[str, ...] = ()) -> int:
    """Give the tokenizer ``<image>`` and a padding token, and the LM rows for them; the id of ``<image>``.

    New rows, spare ones among them, become the mean of the old ones.

    Args:
        lm: a causal LM; its embedding and its head grow where they are too small.
        tokenizer: the LM's tokenizer; it is changed.
        extra: more special tokens to add, before ``<image>``.

    Raises:
        CheckpointError: the tokenizer knows more tokens than the model has rows.
    """
    rows = int(lm.get_input_embeddings().weight.shape[0])
    old = len(tokenizer)
    check_rows(old, rows)
    for token in (*extra, PLACEHOLDER):
        if token not in tokenizer.get_vocab():
            tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    if len(tokenizer) > rows:
        with torch.random.fork_rng(devices=[]):  # new rows are drawn, before they become the mean
            lm.resize_token_embeddings(
                len(tokenizer), pad_to_multiple_of=VOCABULARY_MULTIPLE, mean_resizing=False
            )
    if len(tokenizer) > old:
        tables = [lm.get_input_embeddings().weight]
        if lm.get_output_embeddings().weight is not tables[0]:
            tables.append(lm.get_output_embeddings().weight)
        with torch.no_grad():
            for table_VD in tables:
                table_VD[old:] = table_VD[:old].mean(dim=0, dtype=torch.float32).to(table_VD.dtype)
    lm.config.pad_token_id = lm.generation_config.pad_token_id = tokenizer.pad_token_id
    return token_id(tokenizer, PLACEHOLDER)


def added_last(tokenizer: Any) -> list[str]:
    """Of the tokens that ``extend_vocabulary`` adds, those at the very end of the vocabulary, last first.

    They stand for no text, and can be taken out again without moving another token.
    """
    found: list[str] = []
    for number in range(len(tokenizer) - 1, -1, -1):
        token = tokenizer.convert_ids_to_tokens(number)
        if token not in (PLACEHOLDER, PAD):
            break
        found.append(str(token))
    return found


def check_rows(tokens: int, rows: int, where: str = "vocab_size") -> None:
    """CheckpointError if a tokenizer knows more tokens than a language model has embedding rows."""
    if tokens > rows:
        raise CheckpointError(
            f"the tokenizer knows {tokens} tokens, but the language model has {rows} embedding rows",
            where=where,
            remedy="use the tokenizer that belongs to this language model",
        )


def token_id(tokenizer: Any, token: str) -> int:
    """The id of a token that the tokenizer must know.

    Raises:
        CheckpointError: it does not.
    """
    if token not in tokenizer.get_vocab():
        raise CheckpointError(
            f"the tokenizer does not know {token}",
            where="tokenizer.json",
            remedy="use the tokenizer that was saved with this model",
        )
    number = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(number, int)
    return number
