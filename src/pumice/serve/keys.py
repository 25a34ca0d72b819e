"""Who may call, and how often."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import UsageError

SHORTEST = 16
"""Characters of a key; shorter ones can be guessed."""
REMEMBERED = 4096
"""How many callers' rates are remembered at once."""
_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Key:
    """A key by its digest, and the name under which the log knows it."""

    name: str
    digest: bytes


def key_of(name: str, secret: str, where: str) -> Key:
    """A key.

    Raises:
        UsageError: it is too short, or holds what no header can.
    """
    if len(secret) < SHORTEST or not _KEY.fullmatch(secret):
        raise UsageError(
            f"an API key must have {SHORTEST} or more characters of ASCII, without spaces",
            where=where,
            remedy='make one: python -c "import secrets; print(secrets.token_urlsafe(32))"',
        )
    return Key(name, _digest(secret))


def read_keys(path: Path) -> tuple[Key, ...]:
    """Keys of a file: one a line, a name before it if there is one; lines that begin with # are skipped.

    Raises:
        UsageError: the file cannot be read, holds no key, or one that is none.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the file of API keys cannot be read",
            where=str(path),
            remedy="check the path and its permissions",
        ) from error
    keys: list[Key] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise UsageError(
                "a line holds more than a name and a key",
                where=f"{path}, line {number}",
                remedy="write NAME KEY, or the key alone",
            )
        name = words[0] if len(words) == 2 else f"key {number}"
        keys.append(key_of(name, words[-1], f"{path}, line {number}"))
    if not keys:
        raise UsageError("the file holds no API key", where=str(path), remedy="write one a line")
    return tuple(keys)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Keys:
    """The keys that open the server; without any, whoever reaches it may call."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = keys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def caller(self, authorization: str | None) -> str | None:
        """The name of the key in an ``Authorization`` header; None where it opens nothing.

        Every key is compared, in constant time: how long it takes tells nothing about any of them.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        digest = _digest(secret.strip())
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.name
        return found if scheme.lower() == "bearer" else None


class Rates:
    """Calls a minute for each caller: a bucket that holds a minute's worth and fills evenly.

    Args:
        per_minute: 0 is no limit.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self._clock = per_minute, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str) -> float | None:
        """None, and the call counts; or the seconds after which it would."""
        if not self.per_minute:
            return None
        now = self._clock()
        room, then = self._buckets.pop(caller, (float(self.per_minute), now))
        room = min(float(self.per_minute), room + (now - then) * self.per_minute / 60)
        wait = None if room >= 1 else (1 - room) * 60 / self.per_minute
        self._buckets[caller] = (room - 1 if wait is None else room, now)
        if len(self._buckets) > REMEMBERED:  # the one that was silent for longest has the fullest bucket
            del self._buckets[next(iter(self._buckets))]
        return wait
