"""What a client is told when a call fails: a status, and words that show nothing of this machine."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pumice.errors import DataError, ImageError, PumiceError, TemplateError, UsageError
from pumice.serve.backend import Full, TooLong, Unable

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
"""OpenAI's ``type`` of each status."""


class Failure(Exception):
    """A call that fails.

    Args:
        status: of HTTP, one of ``KINDS``.
        words: for the person behind the client. They must name no path and no address of this machine.
        param: the member of the request that is meant.
        code: a word that programs can tell the failure by.
        retry_after: seconds after which the client may try again.
    """

    def __init__(
        self,
        status: int,
        words: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(words)
        self.status, self.words, self.param, self.code = status, words, param, code
        self.retry_after = retry_after

    def openai(self) -> dict[str, Any]:
        """The body in OpenAI's form."""
        error = {"message": self.words, "type": KINDS[self.status], "param": self.param, "code": self.code}
        return {"error": error}

    def ollama(self) -> dict[str, Any]:
        """The body in Ollama's form."""
        return {"error": self.words}

    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


@contextmanager
def named(members: Mapping[str, str]) -> Iterator[None]:
    """Let failures name a request's members as its call does.

    What answers knows one name of each, whichever call it came by.

    Args:
        members: the call's names, by those.
    """
    try:
        yield
    except Failure as failure:
        failure.param = members.get(failure.param or "", failure.param)
        raise


def failure_of(error: Exception) -> Failure:
    """What a client is told of any exception.

    A request that cannot be carried out says why. Everything else is of this machine, and the client learns
    only that it happened.
    """
    if isinstance(error, Failure):
        return error
    if isinstance(error, Full):
        return Failure(
            429, "the server's queue is full; try again", code="queue_full", retry_after=error.retry_after
        )
    if isinstance(error, TooLong):
        return Failure(400, clean(str(error)), param="messages", code="context_length_exceeded")
    if isinstance(error, Unable):
        return Failure(400, str(error), param=error.param, code="unsupported_value")
    if isinstance(error, DataError | TemplateError | UsageError) and not isinstance(error, ImageError):
        return Failure(400, clean(error.what), param=_param(error), code="invalid_value")
    return Failure(500, "the server failed at this request; its log says why", code="internal_error")


_INSIDE = re.compile(r"0x[0-9a-fA-F]{6,}|(?<![\w/])(?:[A-Za-z]:)?[/\\\\](?:[\w.~ -]+[/\\\\])+[\w.~-]*")


def clean(words: str) -> str:
    """Words without what looks like a path or an address in memory."""
    return _INSIDE.sub("...", words)


def _param(error: PumiceError) -> str | None:
    """Where it was, if that is a name in the request and not a place on this machine."""
    where = error.where
    return where if where is not None and where.replace("_", "").isalnum() else None
