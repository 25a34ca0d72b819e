"""From a scorer's result to the rows and objects of the result files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.evaluate.pictures import picture_name
from pumice.evaluate.results import Prediction, Scores
from pumice.evaluate.samples import Sample
from pumice.score import Item, Result

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
    samples: Sequence[Sample], said: Callable[[Sample], str], result: Result | None, folder: Path
) -> list[Prediction]:
    """A row for each question, in their order.

    Args:
        samples: the questions.
        said: the raw answer to each.
        result: what the scorer says; None where nobody has scored yet.
        folder: the task's files, which pictures are named by.
    """
    items = {item.id: item for item in result.items} if result is not None else {}
    rows = []
    for sample in samples:
        item = item_of(sample, items)
        rows.append(
            Prediction(
                id=sample.id,
                question_id=sample.row.get("question_id", sample.id),
                prompt=sample.text,
                images=[picture_name(image, folder) for image in sample.images],
                raw=said(sample),
                parsed=None if item is None else item.parsed,
                score=None if item is None else round(item.score, PLACES),
                truth=sample.truth,
                group=sample.group,
            )
        )
    return rows


def item_of(sample: Sample, items: Mapping[str, Item]) -> Item | None:
    """What the scorer made of a sample: it names questions as the sample is named, or by their own id.

    The orders of one question (MMBench) are samples ``ID``, ``ID#...``, and one item for all of them.
    """
    names: list[Any] = [sample.id, sample.id.partition("#")[0], sample.row.get("question_id", "")]
    return next((items[str(name)] for name in names if str(name) in items), None)
