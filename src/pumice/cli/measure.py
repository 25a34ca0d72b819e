"""Measuring model folders: variants, a bar, tables, and a few answers to look at."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pumice.cli.console import out, visible
from pumice.cli.models import FolderPredictor, Loaded, answer_settings
from pumice.cli.progress import counting
from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.evaluate import QuestionSet, Scores
    from pumice.model import Checkpoint
    from pumice.model.quantized.forms import Weights
    from pumice.train.best import Ask

ROWS = 64
"""Questions that are answered at once."""
SHOWN = 6
"""Answers that are printed after a measurement."""


def open_questions(
    file: Path, images: Path | None, limit: int | None, variants: Sequence[str], seed: int
) -> QuestionSet:
    """The questions, and the certainty that every variant can be asked them.

    ``limit`` keeps the first so many, all questions of one picture standing together.

    Raises:
        DataError, ImageError: a row or picture that cannot be used, or no second picture to swap with.
    """
    from pumice.evaluate import read_questions, wrong_image

    questions = first_questions(read_questions(file, images), limit)
    if "wrong-image" in variants:
        wrong_image(questions.prompts(), seed)
    return questions


def first_questions(questions: QuestionSet, limit: int | None) -> QuestionSet:
    """The first ``limit`` of some questions, with a digest of their own; all where there are no more."""
    if limit is None or limit >= len(questions):
        return questions
    digest = hashlib.sha256(f"{questions.digest} first {limit}".encode()).hexdigest()
    return dataclasses.replace(questions, questions=questions.questions[:limit], digest=digest)


def measure(
    questions: QuestionSet,
    folder: Path,
    tuned: Path,
    aligned: Path | None,
    variants: Sequence[str],
    *,
    max_new_tokens: int,
    seed: int,
    rows: int = ROWS,
    template: str | None = None,
    weights: Weights | None = None,
) -> Scores:
    """Ask every variant every question; predictions and scores go to ``folder``.

    Args:
        questions: from ``open_questions``.
        folder: where the files go; answers that are there already, of the same models and settings, are
            not asked for again.
        tuned: the finished model's folder.
        aligned: that of the model after alignment, where there is one.
        variants: which columns; the first is the one that is measured.
        max_new_tokens: the longest answer.
        seed: decides the wrong images.
        rows: questions that are answered at once.
        template: the conversation template of all questions; each model's own when None.
        weights: those of the models, as for ``load_generator``.

    Raises:
        PumiceError: as ``pumice.evaluate.evaluate``.
    """
    from pumice.evaluate import evaluate, model_digest, standard_variants

    loaded = Loaded(rows, template, weights)
    predictor = FolderPredictor(tuned, loaded, max_new_tokens)
    early = FolderPredictor(aligned, loaded, max_new_tokens) if aligned is not None else None
    known = standard_variants(
        predictor,
        early,
        tuned_model=model_digest(tuned),
        aligned_model=model_digest(aligned) if aligned is not None else "",
        settings={"max_new_tokens": max_new_tokens, **answer_settings(tuned, template, weights)},
    )
    chosen = [variant for variant in known if variant.name in variants]
    # The first one asked for is measured, the others stand beside it; equal models stay neighbours.
    chosen.sort(key=lambda variant: variant.name != variants[0])
    if len(chosen) < len(set(variants)):
        missing = sorted(set(variants) - {variant.name for variant in known})
        raise UsageError(f"no model answers as {', '.join(missing)}", remedy="leave it out of the variants")
    with counting() as progress:
        return evaluate(questions, chosen, folder, progress, batch_size=rows, seed=seed)


def asker(questions: QuestionSet, limit: int, max_new_tokens: int) -> Ask:
    """Asks a model in training the first ``limit`` questions; what it returns goes into the metrics file."""
    from pumice.evaluate.scores import score
    from pumice.infer import Generator

    few = first_questions(questions, limit)
    prompts = [(prompt.text, prompt.images) for prompt in few.prompts()]

    def ask(checkpoint: Checkpoint) -> dict[str, Any]:
        generator = Generator(*checkpoint, max_rows=ROWS)
        answers: list[str] = []
        for start in range(0, len(prompts), ROWS):
            answers += generator.answer(prompts[start : start + ROWS], max_new_tokens)
        found = score(few, {"tuned": answers}, {"tuned": "in training"})["variants"]["tuned"]
        by_type = {kind: one["value"] for kind, one in found["by_type"].items()}
        return {**found["overall"], "by_type": by_type}

    return ask


def print_scores(scores: Scores) -> None:
    """Both tables."""
    from pumice.evaluate import pope_table, scores_table

    out.print()
    out.print(scores_table(scores))
    existence = pope_table(scores)
    if existence is not None:
        out.print()
        out.print(existence)


def print_answers(predictions: Path, count: int = SHOWN) -> None:
    """Some answers from a prediction file: one of each type in turn, the first ones of the file."""
    rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").splitlines()]
    by_type: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_type.setdefault(row["type"], []).append(row)
    rounds = range(max(len(group) for group in by_type.values()))
    chosen = [group[i] for i in rounds for group in by_type.values() if i < len(group)][:count]
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", title="Some answers",
        title_justify="left", title_style="bold",
    )  # fmt: skip
    for title in ("picture", "question", "answer", "truth"):
        table.add_column(title, overflow="fold")
    for row in chosen:
        style = "green" if row["correct"] else "red"
        table.add_row(
            Text(Path(row["image"]).name if row["image"] else "none", "dim"),
            Text(visible(row["text"].split("\n")[0])),
            Text(("✓ " if row["correct"] else "✗ ") + visible(row["raw"]).strip(), style),
            Text(visible(row["answer"])),
        )
    out.print()
    out.print(table)
