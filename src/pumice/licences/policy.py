"""What a recipe permits: which licences its rows may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pumice.licences.known import UNKNOWN
from pumice.licences.licence import Licence
from pumice.licences.read import Reading, licence_named, short_id

Purpose = Literal["commercial", "research", "private"]


@dataclass(frozen=True, slots=True)
class Policy:
    """Which licences pass.

    Attributes:
        purpose: what is made serves this; facts of licences then decide. None: only ``allow`` decides.
        allow: families or ids that pass whatever their facts; where no purpose is given, nothing else does.
        forbid: those that never pass; stronger than ``allow``.
        unknown: whether rows without a known licence are refused, or told of and used.
    """

    purpose: Purpose | None = None
    allow: tuple[Licence, ...] = ()
    forbid: tuple[Licence, ...] = ()
    unknown: Literal["refuse", "warn"] = "refuse"

    def objection(self, reading: Reading) -> str | None:
        """Why rows under this licence are refused; None where they pass. Of ``A OR B`` one must pass.

        What is unknown passes here where ``unknown`` is warn: ``warns`` tells it.
        """
        first: str | None = None
        for way in reading.ways:
            reason = next((found for one in way if (found := self._against(one)) is not None), None)
            if reason is None:
                return None
            first = first or reason
        return first

    def warns(self, reading: Reading) -> bool:
        """Whether rows pass though nobody knows their licence."""
        return not reading.known and self.objection(reading) is None

    def _against(self, one: Licence) -> str | None:
        name = short_id(one.id)
        if _names(self.forbid, one):
            return f"{name} is forbidden by name"
        if _names(self.allow, one):
            return None
        if one is UNKNOWN:
            return None if self.unknown == "warn" else "no known licence"
        if self.purpose is None:
            return f"{name} is not among those allowed" if self.allow else None
        return _facts_against(one, self.purpose, name)


def _names(named: Sequence[Licence], one: Licence) -> bool:
    """Whether a licence is named, or all versions of it are: ``CC-BY`` means every one."""
    return any(name.id in (one.id, one.family) for name in named)


def _facts_against(one: Licence, purpose: Purpose, name: str) -> str | None:
    if one.use == "no":
        return f"{name} permits no use"
    if purpose == "private":
        return None
    if one.derivatives in ("no", "unclear"):
        return f"{name} permits no sharing of what is made from it" + _unclear(one.derivatives)
    if purpose == "commercial" and one.commercial != "yes":
        if one.commercial == "limited":
            return f"{name} permits commercial use under conditions ({one.remark})"
        return f"{name} permits no commercial use" + _unclear(one.commercial)
    return None


def _unclear(verdict: str) -> str:
    return ", as far as can be told" if verdict == "unclear" else ""


def make_policy(
    purpose: Purpose | None, allow: Sequence[str], forbid: Sequence[str], unknown: Literal["refuse", "warn"]
) -> Policy:
    """A policy out of names, each of which is one licence's (``licence_named``)."""
    return Policy(purpose, _licences(allow), _licences(forbid), unknown)


def _licences(names: Sequence[str]) -> tuple[Licence, ...]:
    found = [licence_named(name) for name in names]
    return tuple(licence for licence in found if licence is not None)
