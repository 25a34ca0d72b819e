"""Options of a judge's requests from the words of a command: ``NAME=VALUE``, as its server takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.evaluate.judging.terms import Temperature

_OURS = {
    "model": "the judge is named by the command",
    "messages": "the prompt is made from the task's files",
    "stream": "replies are read whole",
    "n": "the command says how often everything is judged",
    "seed": "each attempt has its own, so that a reply that cannot be read is not given again",
    "max_completion_tokens": "write max_tokens: servers that know the other name alone get it so",
}
"""Members of a call that are not for options, and why."""


@dataclass(frozen=True)
class JudgeOptions:
    """What options say: the temperature and the longest reply, where they do, and all other members."""

    temperature: Temperature = "task"
    max_tokens: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def judge_options(words: Sequence[str], option: str) -> JudgeOptions:
    """Read options; a value is JSON where it can be read so, else text.

    Args:
        words: ``NAME=VALUE`` each.
        option: what a user names them with, for errors.

    Raises:
        UsageError: one cannot be read, stands twice, or is not for options.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            remedy = "write NAME=VALUE, temperature=0.2 say"
            raise UsageError(f"{word!r} is no option of a judge", where=option, remedy=remedy)
        if name in _OURS or name in found:
            why = _OURS.get(name, "it stands twice")
            raise UsageError(f"{name} cannot be set: {why}", where=f"{option} {word}", remedy="leave it out")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    longest = found.pop("max_tokens", None)
    if longest is not None and (isinstance(longest, bool) or not isinstance(longest, int) or longest < 1):
        raise UsageError(
            f"max_tokens is {longest!r}", where=option, remedy="say how many tokens a reply may have"
        )
    warmth = temperature_of(str(found.pop("temperature", "task")), option)
    return JudgeOptions(warmth, longest, found)


def temperature_of(text: str, option: str) -> Temperature:
    """A temperature, ``none`` or ``task``.

    Raises:
        UsageError: it is nothing of these.
    """
    if text == "task":
        return "task"
    if text == "none":
        return "none"
    try:
        return float(text)
    except ValueError:
        remedy = "write a number, none, or task"
        raise UsageError(f"{text!r} is no temperature", where=option, remedy=remedy) from None
