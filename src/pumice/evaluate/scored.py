"""From a scorer's result to the rows and objects of the result files."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.data.lines import to_line
from pumice.evaluate.pictures import picture_name
from pumice.evaluate.results import Prediction, Scores
from pumice.evaluate.samples import Loaded, Sample
from pumice.score import Inputs, Item, Result, score
from pumice.score.answers import Missing

PLACES = 6


def scores_json(result: Result) -> Scores:
    """What a scorer says, as JSON values."""
    value = result.as_json()
    return Scores(
        metrics={name: round(figure, PLACES) for name, figure in result.metrics.items()},
        interval=value["interval"],
        n=result.n,
        groups=value["groups"],
        counts=value["counts"],
        notes=value["notes"],
    )


def predictions(
    samples: Sequence[Sample],
    said: Callable[[Sample], str],
    result: Result | None,
    folder: Path,
    left_out: Mapping[str, str] | None = None,
) -> list[Prediction]:
    """A row for each question, in their order.

    Args:
        samples: the questions.
        said: the raw answer to each.
        result: what the scorer says; None where nobody has scored yet.
        folder: the task's files, which pictures are named by.
        left_out: why samples have no answer, by their ids.
    """
    items = {item.id: item for item in result.items} if result is not None else {}
    rows = []
    for sample in samples:
        item = item_of(sample, items)
        own = [sample.group] if sample.group else []
        row = Prediction(
            id=sample.id,
            question_id=sample.row.get("question_id", sample.id),
            prompt=sample.text,
            images=[picture_name(image, folder) for image in sample.images],
            raw=said(sample),
            parsed=None if item is None else item.parsed,
            score=None if item is None else round(item.score, PLACES),
            truth=sample.truth,
            group=sample.group,
            groups=list(item.groups) if item is not None and item.groups else own,
        )
        if left_out and sample.id in left_out:
            row["left_out"] = left_out[sample.id]
        rows.append(row)
    return rows


def score_texts(samples: Sequence[Sample], texts: Sequence[str], figures: Callable[[Path], Result]) -> Result:
    """The figures of answers that are in no file.

    Args:
        samples: the questions.
        texts: the answer to each.
        figures: from a file of answers to figures.

    Raises:
        DataError: as the scorer.
    """
    with tempfile.TemporaryDirectory(prefix="pumice-answers-") as folder:
        file = Path(folder) / "answers.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            for sample, text in zip(samples, texts, strict=True):
                stream.write(to_line({**sample.row, "text": text}) + "\n")
        return figures(file)


def figures_of(loaded: Loaded, asked: int, of: Path | Inputs, missing: Missing = "error") -> Result:
    """The figures of a task from a file of answers (or what a judge made of it).

    Args:
        loaded: the task.
        asked: how many of its questions were asked; the others were left out on purpose, and are no fault.
        of: the file, or the scorer's input.
        missing: what becomes of questions without an answer, where all were asked.
    """
    inputs = loaded.inputs(of) if isinstance(of, Path) else of
    if asked < len(loaded.samples):
        missing = "skip"
    if missing != "error":
        inputs = dataclasses.replace(inputs, missing=missing)
    return score(loaded.task, inputs) if loaded.scorer is None else loaded.scorer.score(inputs)


def item_of(sample: Sample, items: Mapping[str, Item]) -> Item | None:
    """What the scorer made of a sample: it names questions as the sample is named, or by their own id.

    The orders of one question (MMBench) are samples ``ID``, ``ID#...``, and one item for all of them.
    """
    names: list[Any] = [sample.id, sample.id.partition("#")[0], sample.row.get("question_id", "")]
    return next((items[str(name)] for name in names if str(name) in items), None)
