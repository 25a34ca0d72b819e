"""A sitting: one judge and one file of answers, which is what all judged tasks have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.endpoint.cache import Cache
from pumice.endpoint.client import Endpoint
from pumice.evaluate.judging.ask import Account, Case, Judgement, Progress, Score, judge_all
from pumice.evaluate.judging.terms import Rules, Terms
from pumice.score.answers import Missing, quoted


@dataclass(frozen=True)
class Sitting:
    """What is judged, by whom and how.

    Attributes:
        answers: the file of answers.
        endpoint: the judge.
        out: the file that is written.
        cache: replies that are there already.
        terms: how to ask.
        missing: ``skip`` leaves out questions without an answer.
        progress: told how many judgements stand.
    """

    answers: Path
    endpoint: Endpoint
    out: Path
    cache: Cache
    terms: Terms
    missing: Missing = "error"
    progress: Progress | None = None

    def judge(self, cases: Sequence[Case[Score]]) -> tuple[list[Judgement[Score]], Account]:
        """Judge all cases (``judge_all``)."""
        return judge_all(
            cases, self.endpoint, self.cache, attempts=self.terms.attempts, progress=self.progress
        )

    def record(
        self,
        account: Account,
        rules: Rules,
        *,
        temperature: float | None,
        max_tokens: int,
        unread: int,
        judgements: int,
    ) -> dict[str, Any]:
        """The record of the judge; ``notes`` begin with whether its figures compare with published ones.

        Args:
            account: what it took.
            rules: where its prompt comes from.
            temperature: of the first attempt.
            max_tokens: of a reply.
            unread: judgements that could not be read.
            judgements: all of them.
        """
        differs = self._differs(account, rules)
        verdict = f"not comparable with published figures: {'; '.join(differs)}"
        notes = [verdict if differs else f"prompt and judge are those of published figures ({rules.judge})"]
        said = None
        if account.unread is not None and unread:
            said = {"question_id": account.unread[0], "reply": quoted(account.unread[1])}
            notes.append(
                f"{unread:,} of {judgements:,} judgements cannot be read and take no part; to question "
                f"{said['question_id']} the judge said {said['reply']}"
            )
        file = rules.file
        return {
            "model": self.endpoint.model,
            "host": self.endpoint.address.host,
            "answered_by": dict(account.models),
            "prompt": "own" if file is None else "official" if rules.published else "given",
            "rules": None if file is None else str(file),
            "rules_sha256": None if file is None else hashlib.sha256(file.read_bytes()).hexdigest(),
            "comparable": not differs,
            "runs": self.terms.runs,
            "attempts": self.terms.attempts,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "options": dict(self.terms.extra),
            "judgements": judgements,
            "unparsed": unread,
            "first_unparsed": said,
            "requests": account.asked,
            "reused": account.reused,
            "tokens": dict(account.tokens),
            "notes": notes,
        }

    def _differs(self, account: Account, rules: Rules) -> list[str]:
        """What is not as it was when the published figures were made."""
        found = []
        if rules.file is None:
            found.append("the rules are this program's own")
        elif not rules.published:
            found.append(f"the rules in {rules.file.name} are not the published ones")
        if rules.judge and {self.endpoint.model, *account.models} != {rules.judge}:
            found.append(f"the judge is {self.endpoint.model}, theirs was {rules.judge}")
        if self.terms.both_orders:
            found.append("scores are means of both orders")
        if self.terms.temperature != "task" or self.terms.max_tokens is not None or self.terms.extra:
            found.append("the settings are not the script's")
        return found
