"""A trial: tasks are checked, asked, scored, and written with what a reader needs to trust them.

All files are checked before the first question is put, so that what is missing is told in the first minute
and not in the last. A task that fails does not take the others with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pumice
from pumice.data.fingerprints import Index
from pumice.errors import DataError, EndpointError, Interrupted, PumiceError, RunError
from pumice.evaluate.answers import AnswersFile
from pumice.evaluate.asking import Answerer, Progress, ask, record_of, some_of
from pumice.evaluate.chance import chance
from pumice.evaluate.overlap import overlap
from pumice.evaluate.pictures import check_pictures, why_bad
from pumice.evaluate.results import (
    BLIND,
    FORMAT,
    RESULTS,
    Baseline,
    Baselines,
    ModelRecord,
    Results,
    State,
    TaskResult,
    TaskState,
    read_results,
    still_there,
    write_predictions,
    write_result,
)
from pumice.evaluate.samples import Benchmark, Loaded, Sample
from pumice.evaluate.scored import figures_of, predictions, scores_json
from pumice.evaluate.states import check_problems, left_out, submission, told, waiting
from pumice.evaluate.wish import Ready, Terms, Wish
from pumice.files import write_json
from pumice.score import Inputs, Result, task_of
from pumice.score.answers import Missing


@dataclass(frozen=True)
class Ruling:
    """What a judge made of a file of answers: what the scorer reads, and who judged, for the record."""

    inputs: Inputs
    record: Mapping[str, Any]


Judge = Callable[[Benchmark, Loaded, Path, Path], Ruling]
"""From a task, its questions that were asked, the file of answers and a folder for what the judge says.

An EndpointError says that the judge could not be asked, or said nothing that can be read: the answers wait.
"""

BLIND_HOW = "the same model, grey pictures of the same size"


@dataclass(frozen=True)
class Trial:
    """Tasks, who answers, and where everything goes."""

    wishes: Sequence[Wish]
    answerer: Answerer
    out: Path
    terms: Terms = field(default_factory=Terms)
    judge: Judge | None = None
    training: Sequence[Index] = ()
    """Fingerprints of what the model was trained on; the overlap is counted where there are some."""

    def prepare(self) -> tuple[dict[str, Ready], dict[str, PumiceError]]:
        """Read all tasks' files and what was answered before; nobody is asked yet.

        Returns:
            The tasks that can be asked, and the errors of the others, by name.

        Raises:
            RunError: the folder holds results of another model.
        """
        self._before()
        ready: dict[str, Ready] = {}
        failed: dict[str, PumiceError] = {}
        for wish in self.wishes:
            try:
                ready[wish.benchmark.name] = self._prepare(wish)
            except PumiceError as error:
                failed[wish.benchmark.name] = error
        return ready, failed

    def carry_out(
        self,
        ready: Mapping[str, Ready],
        failed: Mapping[str, PumiceError],
        progress: Progress | None = None,
    ) -> Results:
        """Ask and score every task; the results are written after each.

        Args:
            ready, failed: from ``prepare``.
            progress: told how far each task is.

        Raises:
            Interrupted: Ctrl-C; what was answered is kept.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        results = Results(
            format=FORMAT,
            model=self.answerer.model,
            tasks=self._before(),
            pumice=pumice.__version__,
            date=_now(),
        )
        for wish in self.wishes:
            name = wish.benchmark.name
            problem = failed.get(name)
            results["tasks"].pop(name, None)
            state: State = "unfinished" if problem is None else "failed"
            results["tasks"][name] = told(state, problem)
        if any(not file.complete for one in ready.values() for file in (one.own, one.blind) if file):
            self.answerer.ready()
        for name, one in ready.items():
            try:
                results["tasks"][name] = self._task(one, progress)
            except Interrupted as error:
                results["tasks"][name] = told("unfinished", error)
                raise
            except PumiceError as error:
                state = "failed" if one.own.complete else "unfinished"
                results["tasks"][name] = told(state, error)
            finally:
                results["date"] = _now()
                write_json(self.out / RESULTS, results)
        return results

    def _before(self) -> dict[str, TaskState]:
        """What this folder's results say of other tasks, which stay in them."""
        if not (self.out / RESULTS).is_file():
            return {}
        found = read_results(self.out)
        # a file of answers may be mended, and each task has one of its own: whose they are is their name
        filed = self.answerer.model["kind"] == "file"
        key = "digest" if self.answerer.model["digest"] and not filed else "name"
        theirs, ours = _by_name(found["model"]), _by_name(self.answerer.model)
        if theirs.get(key) != ours[key] or theirs.get("kind") != ours["kind"]:
            raise RunError(
                "the folder holds results of another model",
                where=f"{self.out / RESULTS}: {theirs.get('name')} ({str(theirs.get('digest', ''))[:12]}), "
                f"now {ours['name']} ({ours['digest'][:12]})",
                remedy="remove the folder, or measure into another one with --out",
            )
        return still_there(self.out, found["tasks"])

    def _prepare(self, wish: Wish) -> Ready:
        benchmark = wish.benchmark
        loaded = benchmark.load(wish.folder, wish.choices)
        if not loaded.samples:
            raise DataError(
                f"{benchmark.name} has no questions", where=str(wish.folder), remedy="check its files"
            )
        samples = some_of(loaded.samples, self.terms.limit, self.terms.seed)
        check_pictures(samples, wish.folder)
        own = self._file(wish, samples, blind=False)
        self._still_bad(own)
        blind = self._file(wish, samples, blind=True) if self.terms.blind else None
        return Ready(wish, loaded, samples, own, blind)

    def _still_bad(self, own: AnswersFile) -> None:
        """Leave out what an earlier sitting left out, as far as it is as bad as it was."""
        if not self.terms.allow_bad or self.answerer.model["kind"] == "file":
            return
        bad = [(sample, why) for sample in own.refused_before if (why := why_bad(sample))]
        for sample, why in bad if len(bad) <= self.terms.allow_bad else []:
            own.leave_out(sample, why)

    def _file(self, wish: Wish, samples: Sequence[Sample], *, blind: bool) -> AnswersFile:
        record = record_of(
            wish.benchmark.name,
            samples,
            wish.folder,
            self.answerer,
            max_new_tokens=self.terms.max_new_tokens or wish.benchmark.max_new_tokens,
            choices=wish.choices,
            limit=self.terms.limit,
            blind=blind,
        )
        folder = self.out / wish.benchmark.name
        return AnswersFile(folder / BLIND if blind else folder, record, samples)

    def _task(self, one: Ready, progress: Progress | None) -> TaskState:
        """Ask a task, then score it if it can be scored."""
        filed = self.answerer.model["kind"] == "file"
        allowed = None if filed else self.terms.allow_bad
        ask(one.name, one.own, self.answerer, progress, allow_bad=allowed)
        if one.blind is not None:
            for sample in one.samples:
                if sample.id in one.own.left_out and sample.id not in one.blind.rows:
                    one.blind.leave_out(sample, one.own.left_out[sample.id])
            ask(f"{one.name} blind", one.blind, self.answerer, progress, blind=True, allow_bad=allowed)
        folder = one.own.folder
        check_problems(one)
        waits = submission(one) if not one.loaded.scored else None
        if one.wish.benchmark.judge and self.judge is None:
            waits = ("a judge must read the answers", "the same command with --judge URL --judge-model NAME")
        if waits is not None:
            return waiting(one, *waits)
        blind = guessed = None
        try:
            result, ruling = self._score(one, one.own)
            if one.blind is not None:
                unseeing, _ = self._score(one, one.blind)
                blind = Baseline(how=BLIND_HOW, scores=scores_json(unseeing), uniform=None)
        except EndpointError as error:  # of the judge: the answers are there, and wait for it
            return waiting(one, f"not judged: {error.line}", error.remedy or "")
        if ruling is None:
            guessing = one.samples if self.terms.missing == "wrong" else one.own.answered
            guessed = chance(guessing, one.loaded.guesses, lambda file: self._figures(one, one.own, file))
        made = self._result(one, result, Baselines(chance=guessed, blind=blind), ruling)
        if one.own.left_out:
            made["left_out"] = len(one.own.left_out)
        if one.loaded.scorer is not None:
            made["rule"] = one.loaded.scorer.rule
        if self.training:
            made["overlap"] = overlap(one.own.answered, self.training, progress)
        write_result(folder, made)
        return TaskState(state="scored", result=made, problem="", remedy="")

    def _score(self, one: Ready, file: AnswersFile) -> tuple[Result, Ruling | None]:
        """The figures of a file of answers, and the judge's part; its predictions are written beside it."""
        ruling = None
        if one.wish.benchmark.judge:
            assert self.judge is not None
            asked = dataclasses.replace(one.loaded, samples=file.answered)
            ruling = self.judge(one.wish.benchmark, asked, file.path, file.folder)
        result = self._figures(one, file, file.path if ruling is None else ruling.inputs)
        write_predictions(
            file.folder, predictions(one.samples, file.text, result, one.wish.folder, file.left_out)
        )
        return result, ruling

    def _figures(self, one: Ready, file: AnswersFile, of: Path | Inputs) -> Result:
        missing: Missing = "error"
        if file.left_out:
            missing = "wrong" if self.terms.missing == "wrong" else "skip"
        return figures_of(one.loaded, len(one.samples), of, missing)

    def _result(self, one: Ready, result: Result, baselines: Baselines, ruling: Ruling | None) -> TaskResult:
        drawn, asked, total = len(one.samples), len(one.own.answered), len(one.loaded.samples)
        notes = list(one.loaded.notes)
        if one.own.left_out:
            notes.insert(0, left_out(one, self.terms.missing))
        if drawn < total:
            notes.insert(0, f"{drawn:,} of {total:,} questions, drawn by chance: no official figure")
        notes += self.answerer.remarks(asked)
        problems = one.own.problems
        if problems:
            notes.append(f"{len(problems):,} questions could not be put and count as answered with nothing")
        record = one.own.record
        timed = record["model"]["kind"] != "file"
        return TaskResult(
            format=FORMAT,
            task=one.name,
            title=one.loaded.scorer.title if one.loaded.scorer else task_of(one.loaded.task).title,
            figure=next(iter(result.metrics)),
            scores=scores_json(result),
            baselines=baselines,
            asked=asked,
            total=total,
            limit=self.terms.limit,
            notes=notes,
            model=record["model"],
            settings=record["settings"],
            choices=record["choices"],
            questions=record["questions"],
            data=one.wish.source or str(one.wish.folder.absolute()),
            judge=None if ruling is None else dict(ruling.record),
            pumice=pumice.__version__,
            date=_now(),
            seconds=round(one.own.seconds, 3) if timed else None,
        )


def _by_name(model: ModelRecord) -> dict[str, str]:
    return {key: str(value) for key, value in model.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
