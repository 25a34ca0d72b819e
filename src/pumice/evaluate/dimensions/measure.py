"""Dimensions are measured one after the other; each has figures of its own in the files of an evaluation.

OUT/NAME/result.json             its figures, as those of a task (``pumice.evaluate.results``)
OUT/NAME/predictions.jsonl       a row for each question, where it has questions
OUT/NAME/predictions-WAY.jsonl   answers as they came; an interrupted measurement goes on with them
OUT/results.json                 every task and dimension
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pumice
from pumice.errors import DataError, Interrupted, PumiceError, RunError, UsageError, suggest
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.domain import DOMAINS
from pumice.evaluate.dimensions.efficiency import EFFICIENCY
from pumice.evaluate.dimensions.fusion import FUSION
from pumice.evaluate.dimensions.instructions import INSTRUCTIONS
from pumice.evaluate.dimensions.reasoning import REASONING
from pumice.evaluate.dimensions.retrieval import RETRIEVAL
from pumice.evaluate.dimensions.scaling import SCALING
from pumice.evaluate.results import (
    FORMAT,
    RESULT,
    RESULTS,
    Baselines,
    Results,
    State,
    TaskResult,
    TaskState,
    read_result,
    read_results,
    still_there,
    write_predictions,
    write_result,
)
from pumice.files import write_json

ALL = "all"
_ALL = (RETRIEVAL, INSTRUCTIONS, REASONING, DOMAINS, FUSION, EFFICIENCY, SCALING)
DIMENSIONS: dict[str, Dimension] = {one.name: one for one in _ALL}


def chosen(text: str, subject: Subject, data: Path | None) -> list[Dimension]:
    """The dimensions of a list of names; ``all`` are those whose files (or runs) are there.

    Raises:
        UsageError: an unknown name, no name, or ``all`` and nothing is there.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == [ALL]:
        found = [one for one in _ALL if _there(one, subject, data)]
        if not found:
            raise UsageError(
                "the files of no dimension are there",
                where=f"--data {data}" if data else "--data",
                remedy="say --data DIR; pumice world benchmarks DIR writes files for most of them",
            )
        return found
    for name in names:
        if name not in DIMENSIONS:
            raise UsageError(
                f"there is no dimension {name!r}",
                where="--dimensions",
                remedy=suggest(name, [*DIMENSIONS, ALL]),
            )
    if not names:
        raise UsageError(
            "no dimension is named", where="--dimensions", remedy=f"{', '.join(DIMENSIONS)}, or {ALL}"
        )
    return [DIMENSIONS[name] for name in names]


def _there(one: Dimension, subject: Subject, data: Path | None) -> bool:
    if one.folder:
        return data is not None and (data / one.folder).is_dir()
    if one is SCALING:
        return len({*subject.others, *([subject.run] if subject.run else [])}) > 1
    return subject.run is not None


def check_all(dimensions: Sequence[Dimension], subject: Subject, data: Path | None) -> None:
    """Make sure that each can be measured, before hours go into the first.

    Raises:
        UsageError, DataError, RunError: the first that cannot; files or a run are missing.
    """
    for one in dimensions:
        _folder(one, data)
        one.check(subject)


def measure_all(
    dimensions: Sequence[Dimension],
    subject: Subject,
    data: Path | None,
    out: Path,
    terms: Terms,
    progress: Progress | None = None,
) -> Results:
    """Measure; the results are written after each dimension, and one that fails does not take others with it.

    Args:
        dimensions: which (``chosen``).
        subject: the model.
        data: the folder of their folders.
        out: the folder of the evaluation; figures of tasks and other dimensions that are there stay.
        terms: how.
        progress: told how far each is.

    Raises:
        RunError: the folder holds results of another model.
        Interrupted: Ctrl-C; what was answered is kept.
    """
    tell = progress or (lambda what, done, total: None)
    results = _before(out, subject)
    out.mkdir(parents=True, exist_ok=True)
    for one in dimensions:
        results["tasks"].pop(one.name, None)
        results["tasks"][one.name] = _told("unfinished", None)
    for one in dimensions:
        try:
            result = _measured(one, subject, data, out, terms, tell)
            results["tasks"][one.name] = TaskState(state="scored", result=result, problem="", remedy="")
        except (Interrupted, KeyboardInterrupt) as error:
            raise _stopped(one, out, error) from error
        except PumiceError as error:
            results["tasks"][one.name] = _told("failed", error)
        finally:
            results["date"] = _now()
            write_json(out / RESULTS, results)
    return results


def _stopped(one: Dimension, out: Path, error: BaseException) -> Interrupted:
    if isinstance(error, Interrupted):
        return error
    return Interrupted(
        f"{one.name} was stopped; what was answered is kept",
        where=str(out / one.name),
        remedy="run the same command again to go on",
    )


def _before(out: Path, subject: Subject) -> Results:
    """The results that are there; of another model they are refused."""
    found = Results(format=FORMAT, model=subject.model, tasks={}, pumice=pumice.__version__, date=_now())
    if not (out / RESULTS).is_file():
        return found
    there = read_results(out)
    if there["model"]["digest"] != subject.model["digest"] or there["model"]["kind"] != subject.model["kind"]:
        raise RunError(
            f"the folder holds results of another model, {there['model']['name']}",
            where=str(out / RESULTS),
            remedy="measure into another folder (--out), or remove this one",
        )
    there["tasks"] = still_there(out, there["tasks"])
    return there


def _measured(
    one: Dimension, subject: Subject, data: Path | None, out: Path, terms: Terms, tell: Progress
) -> TaskResult:
    folder = _folder(one, data)
    digest = one.digest(subject, folder)
    place = out / one.name
    settings = {**subject.settings, **terms.as_json()}
    kept = _kept(one, place, subject, settings, digest)
    if kept is not None:
        return kept
    place.mkdir(parents=True, exist_ok=True)
    measured = one.measure(subject, folder, place, terms, tell)
    if measured.predictions:
        write_predictions(place, list(measured.predictions))
    result = _result(one, measured, subject, settings, digest, folder, terms)
    write_result(place, result)
    return result


def _folder(one: Dimension, data: Path | None) -> Path:
    if not one.folder:
        return data or Path()
    if data is None:
        raise UsageError(
            f"where the files of {one.name} lie is not said",
            where="--data",
            remedy=f"say --data DIR; DIR/{one.folder} has them (pumice world benchmarks DIR writes some)",
        )
    if not (data / one.folder).is_dir():
        raise DataError(
            f"the files of {one.name} are not there",
            where=str(data / one.folder),
            remedy=f"put them there: {'; '.join(one.files)}",
        )
    return data / one.folder


def _kept(
    one: Dimension, place: Path, subject: Subject, settings: dict[str, Any], digest: str
) -> TaskResult | None:
    """What was measured before, of the same model on the same files in the same way.

    Instruction following looks at answers of tasks as well, which may have come since: it is scored again,
    out of the answers that are kept.
    """
    if one is INSTRUCTIONS or not (place / RESULT).is_file():
        return None
    try:
        result = read_result(place)
    except DataError:
        return None
    same = (
        result["model"] == subject.model and result["settings"] == settings and result["questions"] == digest
    )
    return result if same and result["pumice"] == pumice.__version__ else None


def _result(
    one: Dimension,
    measured: Measured,
    subject: Subject,
    settings: dict[str, Any],
    digest: str,
    folder: Path,
    terms: Terms,
) -> TaskResult:
    scores = measured.scores
    scores["metrics"] = {name: round(value, 6) for name, value in scores["metrics"].items()}
    scores["interval"] = {name: [round(end, 4) for end in ends] for name, ends in scores["interval"].items()}
    return TaskResult(
        format=FORMAT,
        task=one.name,
        title=one.title,
        figure=next(iter(scores["metrics"])),
        scores=scores,
        baselines=Baselines(chance=measured.chance, blind=None),
        asked=measured.asked,
        total=measured.total,
        limit=terms.limit,
        notes=list(measured.notes),
        model=subject.model,
        settings=settings,
        choices={},
        questions=digest,
        data=str(folder.resolve()),
        judge=None,
        pumice=pumice.__version__,
        date=_now(),
        seconds=None,
    )


def _told(state: State, error: PumiceError | None) -> TaskState:
    if error is None:
        return TaskState(state=state, result=None, problem="", remedy="")
    problem = f"{error.what} ({error.where})" if error.where else error.what
    return TaskState(state=state, result=None, problem=problem, remedy=error.remedy or "")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
