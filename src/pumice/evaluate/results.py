"""The files that an evaluation of benchmark tasks writes, as types.

    OUT/results.json               ``Results``: every task that was asked for, whatever became of it
    OUT/NAME/result.json           ``TaskResult``: the figures of one task, with what they stand beside
    OUT/NAME/predictions.jsonl     ``Prediction``: a row for each question, in the order of the task
    OUT/NAME/answers.jsonl         the answers as they came; ``pumice score`` reads it
    OUT/NAME/answers.meta.json     ``AnswersRecord``: what the answers belong to
    OUT/NAME/refused.jsonl         questions that were left out, and why, where there are some
    OUT/NAME/blind/answers.jsonl   the same of the model without sight, its record and predictions beside

All figures are per cent, 0 to 100, but MME's points.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args, get_type_hints

from pumice.data.lines import to_line, write_lines
from pumice.errors import DataError
from pumice.files import write_json

FORMAT = 1
RESULTS = "results.json"
RESULT = "result.json"
PREDICTIONS = "predictions.jsonl"
ANSWERS = "answers.jsonl"
RECORD = "answers.meta.json"
REFUSED = "refused.jsonl"
"""The questions of a task that were left out, and why."""
BLIND = "blind"
"""The folder of the answers without sight, in the folder of the task."""

State = Literal["scored", "answered", "unfinished", "failed"]
"""What became of a task: it has figures; its answers wait for a judge; some questions have no answer yet;
an error."""


class ModelRecord(TypedDict):
    """Who answered. ``digest`` names the weights of a local model and is empty where nobody can tell."""

    kind: Literal["local", "endpoint", "file"]
    name: str
    digest: str


class AnswersRecord(TypedDict):
    """What a file of answers belongs to: answers of another record are refused."""

    format: int
    task: str
    model: ModelRecord
    settings: dict[str, Any]
    """Whatever else decides an answer: ``max_new_tokens``, ``template``, ``dtype``."""
    choices: dict[str, str]
    pictures: Literal["own", "grey"]
    limit: int | None
    questions: str
    """SHA-256 of what is asked: ids, prompts, rows, names and sizes of the pictures."""
    n: int


class Scores(TypedDict):
    """What a scorer says (``pumice.score.Result``)."""

    metrics: dict[str, float]
    """The first is the one that papers report."""
    interval: dict[str, list[float]]
    """The two ends of the 95% interval, of those figures that have one."""
    n: int
    groups: dict[str, dict[str, Any]]
    """By category or type: figures by name, ``n`` and ``interval``."""
    counts: dict[str, int]
    notes: list[str]


class Baseline(TypedDict):
    """A figure that needs no sight, scored by the same rule."""

    how: str
    """For people: ``always "yes"``, ``grey pictures of the same size``."""
    scores: Scores
    uniform: float | None
    """Of chance: what a guess among each question's options gets on average, where that can be told."""


class Baselines(TypedDict):
    """``chance``: the best of answers that are the same to every question; None of a judged task.

    ``blind``: the model itself with the pictures removed; None where it was not asked.
    """

    chance: Baseline | None
    blind: Baseline | None


class Overlap(TypedDict):
    """How many of a task's pictures and questions training data has, too (``evaluate.overlap``)."""

    pictures: int
    """Different pictures of the task."""
    pictures_same: int
    """Of these, with the very pixels of one in training."""
    pictures_near: int
    """Besides these, near to one."""
    questions: int
    questions_same: int
    """With the words of a question of training, whatever picture stood there."""
    questions_with_picture: int
    """Asked of the same or a near picture in the same words."""
    questions_with_same_picture: NotRequired[int]
    """Of these, those whose very picture stood there (not in results of earlier versions)."""
    examples: list[str]
    """Ids of the first few of ``questions_with_picture``."""
    training: list[dict[str, Any]]
    """The files that the fingerprints are of: ``path``, ``sha256`` and ``rows``."""


class Held(TypedDict, total=False):
    """What a result may have besides."""

    overlap: Overlap
    """Where fingerprints of training data were given."""
    left_out: int
    """Questions without a score that were not asked: their pictures cannot be decoded, or a file of answers
    lacks them. ``refused.jsonl`` lists them."""
    rule: str
    """Of a task that is no published benchmark: how its figure is made of single scores (``Scorer.rule``)."""


class TaskResult(Held):
    """The figures of one task, and all that a reader needs to trust them."""

    format: int
    task: str
    title: str
    figure: str
    """The name of the figure that papers report, the first of ``scores["metrics"]``."""
    scores: Scores
    baselines: Baselines
    asked: int
    """Questions that were put to the model."""
    total: int
    """Questions of the task; more than ``asked`` under ``--limit``."""
    limit: int | None
    notes: list[str]
    """How it was asked, besides the scorer's own notes in ``scores``."""
    model: ModelRecord
    settings: dict[str, Any]
    choices: dict[str, str]
    questions: str
    """As in ``AnswersRecord``: results with one value were asked the same."""
    data: str
    """The task's folder of official files; names of pictures are relative to it. Or ``hub:`` and a name."""
    judge: dict[str, Any] | None
    """Of a judged task: who judged."""
    pumice: str
    """This program's version."""
    date: str
    """When it was scored, ISO 8601 in UTC."""
    seconds: float | None
    """How long answering took, all sittings together; None for answers of a file."""


class Grouped(TypedDict, total=False):
    """What a question may have besides."""

    groups: list[str]
    """All categories and types that the scorer puts it into; without them ``group`` stands alone."""
    left_out: str
    """Why it has no answer, where it has none."""


class Prediction(Grouped):
    """One question, what was said to it, and what that is worth."""

    id: str
    """The sample's: no other row of the task has it, and it is the same in every run."""
    question_id: Any
    prompt: str
    images: list[str]
    """Files relative to the task's folder (absolute where they lie outside), or names of stored pictures."""
    raw: str
    parsed: str | None
    """What the scorer read; None where it left the question out, or gives nothing for single questions."""
    score: float | None
    """0 to 1."""
    truth: str
    group: str


class TaskState(TypedDict):
    """What became of one task of a run."""

    state: State
    result: TaskResult | None
    problem: str
    """Why there are no figures; empty where there are."""
    remedy: str
    """What to do about it: a command, often."""


class Results(TypedDict):
    """All tasks of one run, in the order in which they were asked for."""

    format: int
    model: ModelRecord
    tasks: dict[str, TaskState]
    pumice: str
    date: str


def still_there(folder: Path, tasks: Mapping[str, TaskState]) -> dict[str, TaskState]:
    """The tasks of an evaluation whose folders are there: to remove a task is to remove its folder."""
    return {name: state for name, state in tasks.items() if (folder / name).is_dir()}


def write_result(folder: Path, result: TaskResult) -> None:
    """Write a task's figures into its folder."""
    write_json(folder / RESULT, result)


def write_predictions(folder: Path, rows: list[Prediction]) -> None:
    """Write a task's predictions into its folder, whole or not at all."""
    write_lines(folder / PREDICTIONS, rows)


def encoded(row: Mapping[str, Any]) -> bytes:
    """A row as a line of JSON in UTF-8. Half a surrogate, which has no UTF-8, stands as JSON escapes it."""
    return (to_line(row) + "\n").encode()


def read_results(folder: Path) -> Results:
    """The results of an evaluation's folder.

    Raises:
        DataError: they are missing or not what they should be.
    """
    path = folder / RESULTS
    content = _read(path, Results.__required_keys__)
    _check_types(content, {"model": dict, "tasks": dict}, str(path))
    _check_model(content["model"], str(path))
    for name, state in content["tasks"].items():
        where = f"{path}, task {name}"
        _check(state, TaskState.__required_keys__, where)
        _check_types(state, {"result": (dict, NoneType), "problem": str, "remedy": str}, where)
        if state["result"] is not None:
            _check_result(state["result"], where)
    return cast(Results, content)


def read_result(folder: Path) -> TaskResult:
    """The result of a task's folder; errors as ``read_results``."""
    content = _read(folder / RESULT, TaskResult.__required_keys__)
    _check_result(content, str(folder / RESULT))
    return cast(TaskResult, content)


def read_predictions(folder: Path) -> Iterator[Prediction]:
    """The predictions of a task's folder, a row at a time.

    Raises:
        DataError: there are none, or a row is not what it should be; its line is named.
    """
    path = folder / PREDICTIONS
    remedy = "run the evaluation again"
    if not path.is_file():
        raise DataError("there are no predictions", where=str(path), remedy=remedy)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"the row is not JSON ({error})", where=where, remedy=remedy) from error
            _check(row, Prediction.__required_keys__, where)
            _check_types(row, _PREDICTION, where)
            if not all(isinstance(one, str) for key in ("images", "groups") for one in row.get(key, ())):
                raise _wrong("images and groups", "lists of names", where)
            yield cast(Prediction, row)


def _read(path: Path, keys: frozenset[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"the results cannot be read ({error})",
            where=str(path),
            remedy="give the folder that pumice eval wrote, or run it again",
        ) from error
    _check(content, keys, str(path))
    return cast("dict[str, Any]", content)


def _check(content: Any, keys: frozenset[str], where: str) -> None:
    missing = keys - set(content) if isinstance(content, dict) else keys
    if missing:
        raise DataError(
            f"{', '.join(sorted(missing))} is missing" if len(missing) == 1 else
            f"these are missing: {', '.join(sorted(missing))}",
            where=where,
            remedy="run the evaluation again",
        )  # fmt: skip
    if "format" in content and content["format"] != FORMAT:
        raise DataError(
            f"the file is of format {content['format']}, not {FORMAT}",
            where=where,
            remedy="it is of another version of this program: run the evaluation again",
        )


_PREDICTION: dict[str, Any] = {
    "id": str, "prompt": str, "images": list, "raw": str, "parsed": (str, NoneType),
    "score": (int, float, NoneType), "truth": str, "group": str, "groups": list,
}  # fmt: skip
_RESULT: dict[str, Any] = {
    "task": str, "title": str, "figure": str, "scores": dict, "baselines": dict, "asked": int, "total": int,
    "notes": list, "model": dict, "settings": dict, "choices": dict, "questions": str, "data": str,
    "rule": str, "judge": (dict, NoneType), "pumice": str, "date": str, "seconds": (int, float, NoneType),
}  # fmt: skip
_SCORES: dict[str, Any] = {
    "metrics": dict, "interval": dict, "n": int, "groups": dict, "counts": dict, "notes": list,
}  # fmt: skip


def _check_result(content: Any, where: str) -> None:
    """Refuse a result that no reader of it could use."""
    _check(content, TaskResult.__required_keys__, where)
    _check_types(content, _RESULT, where)
    _check_model(content["model"], where)
    _check(content["baselines"], Baselines.__required_keys__, f"{where}, baselines")
    scores = [content["scores"]]
    for name, baseline in content["baselines"].items():
        if baseline is not None:
            _check(baseline, Baseline.__required_keys__, f"{where}, {name}")
            scores.append(baseline["scores"])
    for one in scores:
        _check(one, Scores.__required_keys__, f"{where}, scores")
        _check_types(one, _SCORES, f"{where}, scores")


def _check_model(content: Any, where: str) -> None:
    _check(content, ModelRecord.__required_keys__, f"{where}, model")
    _check_types(content, {"name": str, "digest": str}, f"{where}, model")
    if content["kind"] not in get_args(get_type_hints(ModelRecord)["kind"]):
        raise _wrong("kind", "local, endpoint or file", f"{where}, model")


def _check_types(content: dict[str, Any], types: dict[str, Any], where: str) -> None:
    for key, wanted in types.items():
        if key in content and not isinstance(content[key], wanted):
            kinds = wanted if isinstance(wanted, tuple) else (wanted,)
            raise _wrong(key, " or ".join(_NAMES[kind] for kind in kinds), where)


_NAMES = {
    str: "text", list: "a list", dict: "an object", int: "a number", float: "a fraction", NoneType: "null",
}  # fmt: skip


def _wrong(key: str, wanted: str, where: str) -> DataError:
    return DataError(f"{key} should be {wanted}", where=where, remedy="run the evaluation again")
