"""How answers are drawn, as OpenAI's calls say it and tell it: settings in, scores of tokens out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pumice.serve.backend import Settings, TokenScore
from pumice.serve.failure import Failure
from pumice.serve.schema import Drawn
from pumice.serve.service import Service


def settings_of(
    given: Drawn,
    service: Service,
    *,
    limit: int | None,
    logprobs: int | None,
    shape: Mapping[str, Any] | None,
) -> Settings:
    """A body's settings.

    Args:
        given: what the body says.
        service: its seeds and its longest answer.
        limit: the longest answer that was asked for, in tokens.
        logprobs, shape: as in ``Settings``.

    Raises:
        Failure: 400, ``logit_bias`` says what it cannot.
    """
    stop = [given.stop] if isinstance(given.stop, str) else given.stop or []
    return Settings(
        temperature=1.0 if given.temperature is None else given.temperature,
        top_p=1.0 if given.top_p is None else given.top_p,
        top_k=max(0, given.top_k or 0),
        seed=service.seed(given.seed),
        max_new_tokens=service.new_tokens(limit),
        repetition_penalty=given.repetition_penalty or 1.0,
        presence_penalty=given.presence_penalty or 0.0,
        frequency_penalty=given.frequency_penalty or 0.0,
        stop=tuple(stop),
        logit_bias=_bias(given.logit_bias or {}),
        logprobs=logprobs,
        shape=shape,
    )


def shape_of(kind: str, schema: Any, param: str) -> Mapping[str, Any] | None:
    """What an answer must be: nothing for ``text``, an object, or what a schema says.

    Args:
        kind: ``text``, ``json_object`` or ``json_schema``.
        schema: the schema, where there is one.
        param: the member that holds it.

    Raises:
        Failure: 400, ``json_schema`` without a schema.
    """
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if not isinstance(schema, dict):
        raise Failure(400, "json_schema needs a schema", param=param, code="invalid_value")
    return {"type": "json_schema", "schema": schema}


def scored(scores: Sequence[TokenScore]) -> list[dict[str, Any]]:
    """Tokens with their logarithmic probabilities, and the likeliest at each place."""

    def one(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": finite(logprob), "bytes": list(token.encode("utf-8", "replace"))}

    return [one(s.token, s.logprob) | {"top_logprobs": [one(*other) for other in s.top]} for s in scores]


def finite(logprob: float) -> float:
    """A logarithmic probability that JSON can say."""
    return max(logprob, -9999.0)  # OpenAI's own word for "never"


def _bias(bias: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    pairs = []
    for key, value in bias.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and -100 <= value <= 100):
            raise Failure(
                400, "logit_bias gives numbers from -100 to 100 by token id", param="logit_bias",
                code="invalid_value",
            )  # fmt: skip
        pairs.append((int(key), value))
    return tuple(pairs)
