"""A whole generation: teachers asked, files written, and the record of both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pumice.endpoint.cache import Cache
from pumice.endpoint.client import Endpoint
from pumice.files import write_json
from pumice.generate.budget import TOKENS_PER_BYTE, Budget, Meter, size_of
from pumice.generate.objects import Vocabulary, read_vocabulary
from pumice.generate.plan import Plan
from pumice.generate.prompt import ask
from pumice.generate.protocol import SceneText, Teacher
from pumice.generate.rules import rules_outcome
from pumice.generate.sitting import Sitting
from pumice.generate.work import Job, Outcome, Terms, numbered
from pumice.generate.write import DATA, RECORD, REJECTED, REPLIES, write_rows

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told what goes on, how many of how many are done, and figures to show beside."""
TYPICAL = {"dialogue": 0.35, "text": 0.35, "describe": 0.4, "locate": 0.4, "verdict": 0.1}
"""Share of a reply's longest length that it has, about; for estimates."""


def vocabulary_of(path: Path, scenes: Sequence[SceneText]) -> Vocabulary:
    """Kinds of things and their words: those of a list, and the categories of the scenes."""
    return read_vocabulary(path, {one.category for scene in scenes for one in scene.instances})


@dataclass(frozen=True)
class Estimate:
    """What a generation would take at most once each, before any reply is read.

    Attributes:
        requests: how many, without those that have to be asked again.
        tokens_in: about.
        tokens_out: about.
        cost: about, by the prices given.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float


def first_requests(plan: Plan, terms: Terms) -> Iterator[tuple[Job, Any]]:
    """Each job with its first request; jobs that ask nothing (phrases come with the scene) are left out."""
    for job in plan.jobs():
        boxed = job.spec.form in ("describe", "locate")
        if boxed and job.scenes[0].regions:
            continue
        things = numbered(job) if boxed else ()
        yield job, ask(job.spec, job.scenes, language=job.language, numbered=things)


def estimate(plan: Plan, terms: Terms, budget: Budget) -> Estimate:
    """About what it takes: a second pass counts as one more request for each job that has one."""
    seen: set[bytes] = set()
    requests = tokens_in = tokens_out = 0
    for job, request in first_requests(plan, terms):
        key = hashlib.sha256(repr(request).encode()).digest()
        size = size_of(request) * TOKENS_PER_BYTE
        out = job.spec.max_tokens * TYPICAL[job.spec.form]
        if key not in seen:
            seen.add(key)
            requests += 1
            tokens_in += round(size)
            tokens_out += round(out)
        if terms.agreement is not None and job.spec.form not in ("describe", "locate"):
            requests += 1
            again = ask(terms.agreement, job.scenes, written=" ")
            tokens_in += round(size_of(again) * TOKENS_PER_BYTE + out)
            tokens_out += round(terms.agreement.max_tokens * TYPICAL["verdict"])
    return Estimate(requests, tokens_in, tokens_out, budget.cost(tokens_in, tokens_out))


def carry_out(
    plan: Plan,
    terms: Terms,
    endpoints: Sequence[Endpoint],
    folder: Path,
    *,
    budget: Budget | None = None,
    progress: Progress | None = None,
    known: Path | None = None,
) -> dict[str, Any]:
    """Have all jobs done and write the files; what is in the folder's replies is asked of nobody again.

    Args:
        plan: the jobs.
        terms: how they are done.
        endpoints: the teacher, and another for the second pass where there is one.
        folder: where everything goes; made where it is missing.
        budget: limits and prices.
        progress: told how far it is.
        known: a file of further replies, which is read only.

    Returns:
        The record, which is ``generation.json``, too.

    Raises:
        EndpointError: a teacher could not be asked. Its replies so far are kept; the same call goes on.
        RunError: another process writes into the folder.
    """
    tell = progress or (lambda what, done, total, figures: None)
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(1 for _ in plan.jobs())
    with Cache(
        folder / REPLIES,
        what="generating",
        remedy="wait for it, or name another folder with --out",
        known=known,
    ) as cache:
        cache.claim()
        meter = Meter(budget or Budget(), len(cache), cache.tokens)
        sitting = Sitting(terms, endpoints, cache, meter)
        for whom, endpoint in enumerate(endpoints):
            endpoint.admit = meter.admit

            what = f"{endpoint.model} {'reads' if whom else 'writes'}"

            def said(done: int, total: int, meter: Meter, what: str = what) -> None:
                tell(what, done, total, _figures(meter))

            if not sitting.spent:
                sitting.ask(plan.jobs(), total, whom, said)
        figures = _write(plan, sitting.outcome, folder, tell)
        record = _record(plan, terms, figures, folder) | {
            "complete": not any(kind["pending"] for kind in figures["kinds"].values()),
            "spent": sitting.spent,
            "teachers": [{"host": one.address.host, "model": one.model} for one in endpoints],
            "requests": {"replies": len(cache), "this_sitting": meter.sent},
            "tokens": {name: meter.tokens[name] for name in ("prompt_tokens", "completion_tokens")},
            "cost": round(meter.cost, 6),
            "budget": asdict(meter.budget),
            "refused": dict(list(sitting.refused.items())[:100]),
        }
    write_json(folder / RECORD, record)
    return record


def carry_out_rules(
    plan: Plan, terms: Terms, teacher: Teacher, folder: Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """The same with a teacher that writes by rule: nothing is asked, all else is as with a model."""
    tell = progress or (lambda what, done, total, figures: None)
    folder.mkdir(parents=True, exist_ok=True)
    figures = _write(plan, lambda job: rules_outcome(job, teacher, terms), folder, tell)
    record = _record(plan, terms, figures, folder) | {
        "complete": True,
        "spent": False,
        "teachers": [{"host": "", "model": teacher.name}],
        "requests": {"replies": 0, "this_sitting": 0},
        "tokens": {"prompt_tokens": 0, "completion_tokens": 0},
        "cost": 0.0,
        "budget": asdict(Budget()),
        "refused": {},
    }
    write_json(folder / RECORD, record)
    return record


def _figures(meter: Meter) -> dict[str, float]:
    shown = {
        "requests": float(meter.before + meter.answered),
        "tokens": float(meter.tokens["prompt_tokens"] + meter.tokens["completion_tokens"]),
    }
    priced = meter.budget.price_in or meter.budget.price_out
    return shown | ({"cost": meter.cost} if priced else {})


def _write(
    plan: Plan, outcome_of: Callable[[Job], Outcome | None], folder: Path, tell: Progress
) -> dict[str, Any]:
    return write_rows(
        plan.groups(),
        len(plan.places),
        outcome_of,
        folder,
        lambda done, total: tell("writing", done, total, {}),
    )


def _record(plan: Plan, terms: Terms, figures: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What was wanted, as far as it decides the files, and what came of it."""
    scenes = hashlib.sha256()
    for scene in plan.scenes:
        scenes.update(repr(scene).encode())
    prompts = {
        spec.name: hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16] for spec in plan.kinds
    }
    told = [plan.scenes[place] for place in plan.places]
    boxed = sum(len(scene.instances) > 0 for scene in told)
    return {
        "scenes": {"number": len(told), "with_boxes": boxed, "sha256": scenes.hexdigest()},
        "shard": {"index": plan.shard, "of": plan.shards},
        "prompts": prompts,
        "shares": dict(plan.shares),
        "languages": list(plan.languages),
        "seed": plan.seed,
        "attempts": terms.attempts,
        "second_pass": terms.agreement is not None,
        "passed_over": {name: count for name, count in plan.passed_over().items() if count},
        **figures,
        **{name: in_order(figures[name], prompts) for name in ("kinds", "samples")},
        "files": {name: digest_of(folder / name) for name in (DATA, REJECTED)},
    }


def in_order(of_kinds: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """What is known of kinds, in the order of their names here: not in that of the first rows."""
    return {name: of_kinds[name] for name in names if name in of_kinds}


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
