"""Judges from the words of a command."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pumice.cli.requests import Requests
from pumice.errors import EndpointError, UsageError

if TYPE_CHECKING:
    from pumice.endpoint.client import Endpoint
    from pumice.evaluate.judging import Terms
    from pumice.evaluate.samples import Benchmark, Loaded
    from pumice.evaluate.trial import Judge
    from pumice.evaluate.wish import Wish

_ELSEWHERE = re.compile(r"(.+?)@(https?://.+)")


@dataclass(frozen=True)
class Judging:
    """What was said of judges with ``pumice eval``; the defaults say nothing."""

    url: str | None = None
    model: str | None = None
    asking: Requests = field(default_factory=Requests)
    second: str | None = None
    second_key_variable: str | None = None
    runs: int | None = None
    both_orders: bool = False
    options: Sequence[str] = ()

    @property
    def said(self) -> bool:
        """Whether anything was said of a judge."""
        key = self.asking.key_variable
        words = (self.url, self.model, key, self.second, self.second_key_variable, self.runs)
        return self.both_orders or any(words) or bool(self.options)

    def terms(self, judge: str) -> Terms:
        """How the answers of a task are judged; only LLaVA-Bench's have an order."""
        from pumice.cli.judge_options import judge_options
        from pumice.evaluate.judging import Terms

        own = judge_options(self.options, "--judge-option")
        return Terms(
            runs=self.runs or 1,
            both_orders=self.both_orders and judge == "llava-bench",
            temperature=own.temperature,
            max_tokens=own.max_tokens,
            extra=own.extra,
        )

    def endpoints(self, judges: Sequence[str]) -> list[Endpoint]:
        """The judge, and the second one where there is one; warnings are told.

        Args:
            judges: how the tasks of the list are judged, those that are.

        Raises:
            UsageError: half of it is missing, or no task of the list is judged, or judged so.
        """
        from pumice.cli.console import hint

        if not judges:
            raise UsageError(
                "no task of the list is read by a judge",
                where="--judge",
                remedy="leave it out: rules score them",
            )
        if self.url is None or self.model is None:
            raise self._incomplete(judges)
        if self.both_orders and "llava-bench" not in judges:
            raise UsageError(
                "only llava-bench has two answers to put in another order",
                where="--both-orders",
                remedy="leave it out",
            )
        found = [self.asking.endpoint(self.url, self.model, key_option="--judge-key-variable")]
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

    def _incomplete(self, judges: Sequence[str]) -> UsageError:
        """The error of a judge that is half said, with one that would do."""
        from pumice.evaluate.judging.task import PUBLISHED_JUDGES

        if self.url is None:
            remedy = "say --judge URL: any server with OpenAI's chat API, --judge https://api.openai.com/v1"
            return UsageError("the judge's address is missing", where="--judge", remedy=remedy)
        known = {name: PUBLISHED_JUDGES[name] for name in dict.fromkeys(judges)}
        theirs = ", ".join(f"{model} ({name})" for name, model in known.items())
        return UsageError(
            "the judge's model is missing",
            where="--judge-model",
            remedy=f"say which model of the server judges: --judge-model {next(iter(known.values()))}, say; "
            f"published figures were judged by {theirs}",
        )


def judge_of(
    given: Judging, wishes: Sequence[Wish], again: str, *, asked: Endpoint | None = None
) -> Judge | None:
    """Whoever judges, where one is named.

    One that is not there is told before anything is asked, and stops nothing.

    Args:
        given: what was said of judges.
        wishes: the tasks of the list.
        again: the command that goes on with this one.
        asked: the server of the model, where it has one.

    Raises:
        UsageError: half of it is missing, or no task of the list needs a judge.
    """
    if not given.said:
        return None
    from pumice.cli.console import hint, print_error
    from pumice.cli.tasks import asking_progress
    from pumice.evaluate.judging import judge_task, judged_inputs
    from pumice.evaluate.trial import Ruling

    judged_by = [wish.benchmark.judge for wish in wishes if wish.benchmark.judge]
    first, *others = given.endpoints(judged_by)
    for name in judged_by:
        given.terms(name)  # what is wrong with the options is told before anything is asked
    for one in (first, *others):
        if asked is not None and (note := _one_key(asked, one)):
            hint(note)
    absent: EndpointError | None = None
    try:
        for endpoint in (first, *others):
            endpoint.check()
    except EndpointError as error:
        absent = error
        print_error(error)
        hint("Nothing is judged. All tasks are asked, those without a judge are scored.")

    def judge(benchmark: Benchmark, loaded: Loaded, answers: Path, folder: Path) -> Ruling:
        try:
            if absent is not None:
                raise EndpointError(absent.what, where=absent.where, remedy=absent.remedy)
            with asking_progress() as progress:
                judged = judge_task(
                    benchmark, loaded, answers, first, folder, given.terms(benchmark.judge),
                    second=others[0] if others else None, progress=progress,
                )  # fmt: skip
        except EndpointError as error:
            error.remedy = f"{error.remedy}; then go on, and the judge alone is asked: {again}"
            raise
        return Ruling(judged_inputs(loaded, judged), judged.record)

    return judge


def _one_key(asked: Endpoint, judge: Endpoint) -> str:
    """A note where the model's server and a judge's elsewhere get one key; empty where they do not."""
    variable = judge.key_variable
    shared = variable == asked.key_variable and asked.address.origin != judge.address.origin
    if not shared or not os.environ.get(variable, "").strip():
        return ""
    return (
        f"Note: the key in {variable} goes to {asked.address.host} and to {judge.address.host}: "
        f"--key-variable and {judge.key_option} name one for each."
    )


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
    from pumice.endpoint.client import Endpoint

    second = Endpoint(
        url, name, key_variable or "", first.concurrency, first.timeout, first.retries, key_option=option
    )
    if key_variable is None and second.address.origin == first.address.origin:
        second.key_variable = first.key_variable
    return second
