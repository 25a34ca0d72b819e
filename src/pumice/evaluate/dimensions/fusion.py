"""What is lost when the picture, the connector or the language model's view of the picture is taken away."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pumice.errors import DataError
from pumice.evaluate.dimensions.ablate import connector_replaced, layers_of, mean_of, noise_like, sight_cut
from pumice.evaluate.dimensions.asked import (
    INTACT,
    Change,
    Way,
    ask,
    correct,
    file_digest,
    predictions,
    read,
    some_of,
)
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.intervals import drop, group, share
from pumice.evaluate.questions import QuestionSet
from pumice.evaluate.results import Baseline, Scores
from pumice.infer import Generator

PARTS = ("early", "middle", "late")
"""Thirds of the language model's layers."""
ALL = "all"


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Ask the intact model and every ablated one; accuracies, and the drops against the intact model."""
    whole = read(folder)
    questions = some_of(whole, terms.limit, terms.seed)
    asked = questions.questions
    if any(question.image is None for question in asked):
        raise DataError("a question shows no picture", where=str(folder), remedy="leave such questions out")
    ways = [
        Way(INTACT),
        Way("image-grey", "removed"),
        Way("image-other", "wrong"),
        Way("connector-mean", change=_mean),
        Way("connector-noise", change=lambda generator, _: connector_replaced(generator, noise_like)),
        *(Way(f"sight-{part}", change=_cut(part)) for part in (*PARTS, ALL)),
    ]
    raws = ask("fusion", questions, ways, subject, out, terms, progress)
    right = {
        name: [correct(q, raw) for q, raw in zip(asked, each, strict=True)] for name, each in raws.items()
    }
    keys = [question.image for question in asked]
    accuracy, ends = share(keys, right[INTACT])
    metrics, interval = {"accuracy": accuracy}, {"accuracy": list(ends)}
    groups: dict[str, Any] = {}
    for name, values in right.items():
        value, around = share(keys, values)
        figures = {"accuracy": value}
        if name != INTACT:
            lost, own = drop(keys, right[INTACT], values)
            figures["drop"] = metrics[f"drop_{name}"] = lost
            interval[f"drop_{name}"] = list(own)
        groups[name] = group(len(asked), figures, around)
    grey = Scores(
        metrics={"accuracy": groups["image-grey"]["accuracy"]},
        interval={},
        n=len(asked),
        groups={},
        counts={},
        notes=[],
    )
    return Measured(
        Scores(metrics=metrics, interval=interval, n=len(asked), groups=groups, counts={}, notes=[]),
        len(asked),
        len(whole),
        Baseline(how="the same model, grey pictures of the same size", scores=grey, uniform=None),
        (
            "image: grey pictures, or another question's; connector: every token the mean of all pictures, or"
            " noise of its length; sight: text does not see the picture in a third of the layers, or in all",
            "drops are against the intact model on the same questions; intervals: bootstrap over pictures",
        ),
        predictions(questions, raws[INTACT], right[INTACT], [question.type for question in asked]),
    )


def _mean(generator: Generator, questions: QuestionSet) -> AbstractContextManager[object]:
    names = dict.fromkeys(question.image for question in questions.questions if question.image)
    sources = [questions.image_root / name for name in names]
    return connector_replaced(generator, mean_of(generator, sources))


def _cut(part: str) -> Change:
    def change(generator: Generator, questions: QuestionSet) -> AbstractContextManager[object]:
        count = len(layers_of(generator))
        if part == ALL:
            return sight_cut(generator, 0, count - 1)
        bounds = [round(count * number / len(PARTS)) for number in range(len(PARTS) + 1)]
        place = PARTS.index(part)
        return sight_cut(generator, bounds[place], bounds[place + 1] - 1)

    return change


FUSION = Dimension(
    "fusion",
    "Fusion",
    "What is lost without the picture, without what the connector says, and without sight in some layers.",
    "reasoning",
    ("questions.jsonl: rows of docs/data.md with a picture each (those of the dimension reasoning)",),
    measure,
    lambda subject, folder: file_digest(folder),
)
