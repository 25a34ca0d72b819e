"""What a server said instead of an answer: whether to ask again, when, and what to tell people."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from pumice.errors import EndpointError

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may be others a moment later."""
LASTING = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Codes of a 429 that no waiting mends."""
LONGEST = 120.0
"""Seconds of a Retry-After that are waited; a server that names more is asked again after these."""
SHOWN = 400
"""Characters of a server's words in an error."""
_LOADING = re.compile(r"\bloading (the )?model\b|\bmodel\b.{0,120}\b(is|being) (being )?load(ed|ing)\b", re.I)
_IMAGES = re.compile(r"image|vision|multi-?modal|content part", re.I)


@dataclass(eq=False)
class Refusal(Exception):
    """An attempt that brought no answer.

    Attributes:
        status: of HTTP; 0 where no whole reply came.
        words: what the server, or the connection, said; trimmed, without the key.
        passing: whether it may go well later.
        after: seconds after which the server wants to be asked again; None where it said nothing.
        code: the server's own name for what is wrong; empty where it has none.
    """

    status: int
    words: str
    passing: bool
    after: float | None = None
    code: str = ""

    @property
    def loading(self) -> bool:
        """Whether the server is well and only loads its model yet, as this program's and llama.cpp's say."""
        return self.status == 503 and (self.code == "model_loading" or bool(_LOADING.search(self.words)))


@dataclass(frozen=True, slots=True)
class Key:
    """Where the key of a call was looked for.

    Attributes:
        variable: the environment variable; empty where none was named.
        option: what a user names another one with.
        sent: whether there was one.
    """

    variable: str
    option: str
    sent: bool

    @property
    def remedy(self) -> str:
        """What to do where the server wants another key, or one at all."""
        if self.sent:
            return (
                f"the key in {self.variable} was sent: check that it is this server's and what it may do, or "
                f"name the variable with another one: {self.option} VARIABLE"
            )
        if self.variable:
            return (
                f"no key was sent, for the environment variable {self.variable} is not set: put the key into "
                f"it, or say which variable has it: {self.option} VARIABLE"
            )
        return (
            "no key was sent, for no variable was named: put the key into an environment variable, and say "
            f"which: {self.option} VARIABLE"
        )


def refused(response: httpx2.Response, content: bytes, key: str) -> Refusal:
    """The refusal that a reply of another status than 200 is, with its body."""
    words, code = _words(content)
    if 300 <= response.status_code < 400:
        words = f"moved to {response.headers.get('location', 'an address it does not tell')}"
    passing = response.status_code in PASSING or response.status_code >= 500
    return Refusal(
        response.status_code,
        trimmed(words, key) or response.reason_phrase,
        passing and code not in LASTING,
        retry_after(response.headers),
        code,
    )


def refused_inside(reply: dict[str, Any], key: str) -> Refusal | None:
    """The refusal inside a reply of status 200, as some gateways send it."""
    if "error" not in reply or reply.get("choices"):
        return None
    error = reply["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 200
    words, _ = _words(json.dumps(reply).encode())
    return Refusal(status, trimmed(words, key), status in PASSING or status >= 500 or status == 200)


def trimmed(text: str, key: str) -> str:
    """A server's words on one line, short, and without the key."""
    line = " ".join((text.replace(key, "***") if key else text).split())
    return line if len(line) <= SHOWN else line[:SHOWN] + "…"


def retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that a server asks to be left alone, at most ``LONGEST``; None where it does not say."""
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        else:
            seconds = float(headers["retry-after"])
    except KeyError:
        return None
    except ValueError:
        try:
            moment = parsedate_to_datetime(headers["retry-after"])
        except (KeyError, ValueError, OverflowError):
            return None
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (aware - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST) if seconds == seconds else None  # a NaN is no number of seconds


def as_error(refusal: Refusal, place: str, key: Key, *, hint: str = "") -> EndpointError:
    """The error for a refusal that stands: what the server said, where, and what to do.

    Args:
        refusal: the last of its kind.
        place: the address, and how often it was asked.
        key: where its key was looked for.
        hint: what to do where the caller knows better (the nearest model, say).
    """
    status = refusal.status
    if not status:
        what = f"the server did not answer: {refusal.words}"
    elif status == 200:
        what = f"the server's reply is none: {refusal.words}"
    else:
        what = f"the server said {status}: {refusal.words}"
    return EndpointError(what, where=place, remedy=hint or _remedy(refusal, key))


def _remedy(refusal: Refusal, key: Key) -> str:
    status = refusal.status
    if status in (401, 403):
        return key.remedy
    if status == 404:
        return "check the address: it ends in /v1 for most servers"
    if status == 413:
        return "the pictures are too many or too large for this server"
    if status == 400 and _IMAGES.search(refusal.words):
        return "take a model that sees pictures, and check how many and which kinds the server takes"
    if status == 400 and "temperature" in refusal.words:
        return "this model has one temperature: ask for none (--temperature none)"
    if status == 429:
        return "ask for fewer at once, or look at the account's limits"
    if status in (200, 300, 301, 302, 303, 307, 308):
        return "check the address: it should be an OpenAI-compatible server's"
    if refusal.passing:
        return "look after the server, then start again: what was answered is kept"
    return "mend what the server complains of"


def _words(body: bytes) -> tuple[str, str]:
    """The message of an error, and its code; the whole body where it is not of the usual form."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text, ""
    if not isinstance(value, dict):
        return text, ""
    error = value.get("error", value)
    if isinstance(error, str):
        return error, ""
    if not isinstance(error, dict):
        return text, ""
    message = next((error[name] for name in ("message", "detail") if isinstance(error.get(name), str)), text)
    code = error.get("code") or error.get("type")
    return message, code if isinstance(code, str) else ""
