"""Judging a file of answers to a task: by one judge, or two and their agreement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.endpoint.cache import Cache
from pumice.endpoint.client import Endpoint
from pumice.errors import DataError, EndpointError, UsageError, suggest
from pumice.evaluate.judging import llava_bench, mm_vet, mmbench
from pumice.evaluate.judging.agreement import agreement
from pumice.evaluate.judging.ask import Progress
from pumice.evaluate.judging.sitting import Sitting
from pumice.evaluate.judging.terms import Terms, Verdicts, run_file
from pumice.evaluate.samples import Benchmark, Loaded
from pumice.files import write_json
from pumice.score.answers import Missing
from pumice.score.inputs import Inputs

CACHE = "judge-cache.jsonl"
RECORD = "judge.json"
PUBLISHED_JUDGES = {"llava-bench": llava_bench.JUDGE, "mm-vet": mm_vet.JUDGE}
"""Who judged for the published figures."""
SCALES = {"llava-bench": 10.0, "mm-vet": 1.0, "mmbench": 1.0, "mmbench-cn": 1.0}
"""The highest score of each judged task."""

Material = llava_bench.Material | mm_vet.Material | mmbench.Material


@dataclass(frozen=True)
class Judged:
    """What judging brought.

    Attributes:
        files: the first judge's, as the scorer takes them.
        second: the second judge's; empty without one.
        record: who judged, how, and how far two judges agree; JSON values.
    """

    files: tuple[Path, ...]
    second: tuple[Path, ...]
    record: dict[str, Any]


def judge_task(
    benchmark: Benchmark,
    loaded: Loaded,
    answers: Path,
    endpoint: Endpoint,
    out: Path,
    terms: Terms | None = None,
    *,
    second: Endpoint | None = None,
    cache: Path | None = None,
    missing: Missing = "skip",
    progress: Progress | None = None,
) -> Judged:
    """Have the answers to a judged benchmark judged.

    Into ``out`` go ``reviews.jsonl`` (``reviews-2.jsonl`` of a second run, and so on) or ``grades.json``,
    those of a second judge with ``second-`` before their names, and ``judge.json``, the record.

    Args:
        benchmark: whose ``judge`` says how.
        loaded: its questions; the official files are looked for where its question file lies.
        answers: what was answered.
        endpoint: the judge.
        out: the folder.
        terms: how to ask; once, in the official order, where nothing is said.
        second: another judge of the same answers.
        cache: the file of replies; ``judge-cache.jsonl`` in ``out`` where none is named.
        missing: ``skip`` judges the questions that have answers; whether all have is for the scorer to say.
        progress: told which judge is at work, and how many of how many judgements stand.

    Raises:
        DataError: a file is missing or wrong.
        EndpointError: a judge could not be asked, or the first one said nothing that can be read.
    """
    questions = loaded.inputs(answers).questions
    if questions is None:
        raise DataError(
            f"{benchmark.name} does not say where its questions lie, so no judge can read them",
            remedy="judge its answers with pumice judge, which takes the file",
        )
    name = "reviews.jsonl" if benchmark.judge == "llava-bench" else "grades.json"
    out.mkdir(parents=True, exist_ok=True)
    judged = judge_file(
        benchmark.judge,
        material_of(benchmark.judge, questions),
        answers,
        endpoint,
        out / name,
        terms,
        second=second,
        cache=cache or out / CACHE,
        missing=missing,
        progress=progress,
    )
    write_json(out / RECORD, judged.record)
    return judged


def judge_file(
    task: str,
    material: Material,
    answers: Path,
    endpoint: Endpoint,
    out: Path,
    terms: Terms | None = None,
    *,
    second: Endpoint | None = None,
    cache: Path,
    missing: Missing = "error",
    progress: Progress | None = None,
) -> Judged:
    """The same of files alone, as ``judge_task``, with ``out`` for the first one, and no record on disk.

    Raises:
        UsageError: as ``check_wish``.
        EndpointError: as ``judge_task``.
    """
    own = terms or Terms()
    check_wish(task, material, answers, endpoint, out, own, second=second, cache=cache)

    def by(judge: Endpoint, path: Path) -> Verdicts:
        with Cache(cache) as replies:
            sitting = Sitting(answers, judge, path, replies, own, missing, progress)
            if isinstance(material, llava_bench.Material):
                return llava_bench.judge_reviews(material, sitting)
            if isinstance(material, mm_vet.Material):
                return mm_vet.judge_grades(material, sitting)
            return mmbench.judge_choices(material, sitting)

    first = by(endpoint, out)
    if not first.scores and first.record["unparsed"] and not isinstance(material, mmbench.Material):
        raise _nothing_read(first.record, cache)
    record = dict(first.record)
    if second is None:
        return Judged(first.files, (), record | {"second": None, "agreement": None})
    other = by(second, out.with_name(f"second-{out.name}"))
    agreed = agreement(first.scores, other.scores, SCALES[task])
    return Judged(first.files, other.files, record | {"second": other.record, "agreement": agreed})


def _nothing_read(record: Mapping[str, Any], cache: Path) -> EndpointError:
    """The error of a judge that gave no score at all."""
    said = record["first_unparsed"]
    return EndpointError(
        f"no reply of the judge {record['model']} ({record['host']}) can be read: to question "
        f"{said['question_id']} it said {said['reply']}",
        where=f"{cache}: {record['judgements']:,} judgements, each asked for {record['attempts']} times",
        remedy="take another judge, or see what it lacks (room to think: pumice judge --max-tokens) and "
        "remove its replies before it is asked again",
    )


def check_wish(
    task: str,
    material: Material,
    answers: Path,
    endpoint: Endpoint,
    out: Path,
    terms: Terms,
    *,
    second: Endpoint | None,
    cache: Path,
) -> None:
    """Refuse what cannot be done before anything is asked; arguments as ``judge_file``.

    Raises:
        UsageError: the task has no such terms, both judges are one, or what is written would replace a file
            that is read.
    """
    if task != "llava-bench" and terms.both_orders:
        raise UsageError(
            f"the judge of {task} reads one answer, which has no order",
            where="both orders",
            remedy="leave it out",
        )
    if isinstance(material, mmbench.Material) and terms.runs > 1:
        raise UsageError(
            "an answer chooses one option, however often the judge is asked",
            where="runs",
            remedy="leave it out",
        )
    if second is not None and (second.model, second.address) == (endpoint.model, endpoint.address):
        raise UsageError("the second judge is the first one", where="the second judge", remedy="name another")
    named: dict[str, Path | None] = {"the answers": answers, "the cache": cache}
    named |= {
        f"the file of {field.name}": getattr(material, field.name) for field in dataclasses.fields(material)
    }
    firsts = [out] if second is None else [out, out.with_name(f"second-{out.name}")]
    for path in (run_file(first, run) for first in firsts for run in range(terms.runs)):
        if path.is_dir():
            raise UsageError(
                "there is a folder of that name", where=str(path), remedy="name a file with --out"
            )
        for what, read in named.items():
            if read is not None and path.resolve() == read.resolve():
                raise UsageError(
                    f"what the judge says would replace {what}",
                    where=str(path),
                    remedy="name another file with --out",
                )


def material_of(task: str, questions: Path, **given: Path | None) -> Material:
    """The files of a judged task: those given, the others beside the questions.

    Args:
        task: ``llava-bench``, ``mm-vet``, ``mmbench`` or ``mmbench-cn``.
        questions: its question file.
        given: ``context``, ``reference`` and ``rules`` of LLaVA-Bench, ``prompt`` of MM-Vet.

    Raises:
        UsageError: there is no such judged task, or it has no such file.
        DataError: a file that was given is not there.
    """
    if task not in SCALES:
        raise UsageError(f"no judge reads {task!r}", where="the task", remedy=suggest(task, SCALES))
    usual: Material
    if task == "llava-bench":
        usual = llava_bench.Material.beside(questions)
    elif task == "mm-vet":
        usual = mm_vet.Material.beside(questions)
    else:
        usual = mmbench.Material(questions)
    named: dict[str, Any] = {name: path for name, path in given.items() if path is not None}
    known = {field.name for field in dataclasses.fields(usual)}
    for name, path in named.items():
        if name not in known:
            raise UsageError(f"{task} has no file of {name}", where=f"--{name}", remedy=suggest(name, known))
        if not path.is_file():
            raise DataError(f"there is no file of {name}", where=str(path), remedy="check the path")
    return dataclasses.replace(usual, **named)


def judged_inputs(loaded: Loaded, judged: Judged) -> Inputs:
    """What the scorer reads after judging: every run of LLaVA-Bench's judge, not the first alone."""
    inputs = loaded.inputs(judged.files[0])
    return dataclasses.replace(inputs, reviews=judged.files) if inputs.reviews else inputs
