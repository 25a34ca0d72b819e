"""Judges from the words of a command."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.evaluate.endpoint import Endpoint
    from pumice.evaluate.judging import Terms

_ELSEWHERE = re.compile(r"(.+?)@(https?://.+)")


@dataclass(frozen=True)
class Judging:
    """What was said of judges with ``pumice eval``; the defaults say nothing."""

    url: str | None = None
    model: str | None = None
    key_variable: str | None = None
    second: str | None = None
    second_key_variable: str | None = None
    runs: int | None = None
    both_orders: bool = False
    concurrency: int | None = None
    timeout: float | None = None

    @property
    def said(self) -> bool:
        """Whether anything was said of a judge."""
        words = (self.url, self.model, self.key_variable, self.second, self.second_key_variable, self.runs)
        return self.both_orders or any(words)

    def terms(self, judge: str) -> Terms:
        """How the answers of a task are judged; only LLaVA-Bench's have an order."""
        from pumice.evaluate.judging import Terms

        return Terms(runs=self.runs or 1, both_orders=self.both_orders and judge == "llava-bench")

    def endpoints(self, judges: Sequence[str]) -> list[Endpoint]:
        """The judge, and the second one where there is one; warnings are told.

        Args:
            judges: how the tasks of the list are judged, those that are.

        Raises:
            UsageError: half of it is missing, or no task of the list is judged, or judged so.
        """
        from pumice.cli.console import hint
        from pumice.evaluate.endpoint import Endpoint

        if not judges:
            raise UsageError(
                "no task of the list is read by a judge",
                where="--judge",
                remedy="leave it out: rules score them",
            )
        if self.url is None or self.model is None:
            missing, option = ("address", "--judge") if self.url is None else ("model", "--judge-model")
            raise UsageError(f"the judge's {missing} is missing", where=option, remedy=f"say {option}")
        if self.both_orders and "llava-bench" not in judges:
            raise UsageError(
                "only llava-bench has two answers to put in another order",
                where="--both-orders",
                remedy="leave it out",
            )
        given = {
            "key_variable": self.key_variable, "concurrency": self.concurrency, "timeout": self.timeout,
        }  # fmt: skip
        more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        found = [Endpoint(self.url, self.model, key_option="--judge-key-variable", **more)]
        if self.second is None and self.second_key_variable is not None:
            raise UsageError(
                "there is no second judge to have a key",
                where="--second-judge-key-variable",
                remedy="name one: --second-judge NAME[@URL]",
            )
        if self.second is not None:
            apart = _ELSEWHERE.fullmatch(self.second)
            name, url = apart.groups() if apart else (self.second, self.url)
            if (name, url) == (self.model, self.url):
                raise UsageError(
                    "the second judge is the first one", where="--second-judge", remedy="name another"
                )
            found.append(
                second_judge(
                    found[0], url, name, self.second_key_variable, option="--second-judge-key-variable"
                )
            )
        for warning in dict.fromkeys(warning for endpoint in found for warning in endpoint.warnings):
            hint(f"Note: {warning}.")
        return found


def second_judge(first: Endpoint, url: str, name: str, key_variable: str | None, *, option: str) -> Endpoint:
    """A second judge, asked as the first one is. A key is never sent to another server than it is for.

    Args:
        first: the first judge.
        url: where the second one is.
        name: as its server calls it.
        key_variable: the variable with its key. None takes the first one's on the same scheme, host and port,
            and no key elsewhere.
        option: what the user names it with.
    """
    from pumice.evaluate.endpoint import Endpoint

    second = Endpoint(url, name, key_variable or "", first.concurrency, first.timeout, key_option=option)
    if key_variable is None and second.address.origin == first.address.origin:
        second.key_variable = first.key_variable
    return second
