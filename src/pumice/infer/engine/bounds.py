"""What one request may ask for: answers, tokens of the vocabulary, and the length of an answer."""

from __future__ import annotations

from pumice.errors import UsageError
from pumice.infer.engine.requests import EngineRequest, Limits, PromptTooLong


def check(request: EngineRequest, limits: Limits, vocabulary: int) -> None:
    """Refuse settings that no answer could obey.

    Raises:
        UsageError: a token that is not in the vocabulary, or more answers than there is room for at once.
    """
    for token, _ in request.sampling.logit_bias:
        if token >= vocabulary:
            raise UsageError(
                f"logit_bias names token {token}, but the vocabulary has {vocabulary}",
                where="logit_bias",
            )
    if request.n > limits.queue + limits.running:
        raise UsageError(
            f"n is {request.n}, and this engine takes {limits.queue + limits.running} answers",
            where="n",
            remedy="ask for fewer, or raise the limit of the queue",
        )


def longest(tokens: int, request: EngineRequest, limits: Limits, context: int | None) -> int:
    """The most tokens that can be generated behind a prompt of so many.

    Args:
        tokens: of the prompt.
        request: what is asked.
        limits: the engine's.
        context: the most tokens that the model takes; None where it does not say.

    Raises:
        PromptTooLong: not one.
    """
    # The last token that is drawn takes no place.
    room = limits.tokens - tokens + 1
    what = "the memory reserved for one answer"
    most = limits.tokens
    if limits.most_bytes is not None:  # it grows
        room = request.sampling.max_new_tokens
    if context is not None and context - tokens <= room:
        room, what, most = context - tokens, "the model's context", context
    if room < 1:
        error = PromptTooLong(
            f"the prompt has {tokens} tokens, but {what} is {most}", remedy="shorten the conversation"
        )
        error.tokens, error.limit = tokens, most
        raise error
    return min(request.sampling.max_new_tokens, room)
