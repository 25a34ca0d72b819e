"""What ends an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pumice.text.encoder import text_encoder
from pumice.text.template import Template
from pumice.text.writer import split_control

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def answer_ends(
    template: Template, tokenizer: PreTrainedTokenizerBase
) -> tuple[frozenset[int], tuple[str, ...]]:
    """What a model writes to end an answer: the token ids, and the strings where there is no token.

    Ids belong into a checkpoint's ``generation_config.eos_token_id``, so that transformers stops
    there too; strings are for ``stop_strings``.
    """
    ids: set[int] = set()
    if template.eos and tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    suffix = template.assistant_suffix
    token = next((piece for piece, is_control in split_control(suffix, template.control) if is_control), None)
    if token is not None:
        ids.add(text_encoder(tokenizer, -1).control_id(token))
        return frozenset(ids), ()
    is_end = bool(suffix.strip()) or (bool(suffix) and not template.eos)
    return frozenset(ids), (suffix,) if is_end else ()
