"""`pumice eval`: any model, any questions, with the baselines beside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples
from pumice.errors import UsageError, suggest

VARIANTS = ("tuned", "blind", "wrong-image")

EPILOG = examples(
    (
        "the shipped model on a world's test questions",
        "pumice eval tiny --questions data/easy/test_questions.jsonl",
    ),
    (
        "your own model and pictures, without baselines",
        "pumice eval runs/mine/model --questions q.jsonl --images photos --variants tuned",
    ),
)


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model's folder, a run's folder, or a shipped model such as tiny."
        ),
    ],
    questions: Annotated[
        Path,
        typer.Option(
            "--questions", metavar="FILE", help="JSONL of questions with their answers (docs/data.md)."
        ),
    ],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            metavar="DIR",
            help="The folder that image names are relative to.",
            show_default="the folder of FILE",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where scores and predictions go.",
            show_default="evals/MODEL/FILE, less the file's ending",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask only the first so many questions.", show_default="all")
    ] = None,
    variants: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Who answers, with commas between; the first is measured, the others stand beside it: "
            "tuned, the model; blind, without the picture; wrong-image, with another one.",
        ),
    ] = ",".join(VARIANTS),
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered at once.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Decides which wrong pictures are shown.")] = 0,
    template: Annotated[
        str | None,
        typer.Option(help="The conversation template: plain, v1 or tiny.", show_default="the model's own"),
    ] = None,
) -> None:
    """Measure a model: accuracy by question type, with intervals and baselines that see nothing."""
    from pumice.cli.console import note
    from pumice.cli.measure import measure, open_questions, print_answers, print_scores
    from pumice.cli.models import find_model, label

    chosen = _variants(variants)
    if images is not None and not images.is_dir():
        raise UsageError(f"there is no folder {str(images)!r}", where="--images", remedy="check the path")
    if template is not None:
        from pumice.text.templates import get_template

        get_template(template)
    place = find_model(model)
    asked = open_questions(questions, images, limit, chosen, seed)
    folder = folder or Path("evals") / label(model) / questions.stem
    scores = measure(
        asked,
        folder,
        place,
        None,
        chosen,
        max_new_tokens=max_new_tokens,
        seed=seed,
        rows=batch_size,
        template=template,
    )
    print_scores(scores)
    print_answers(folder / f"predictions-{next(iter(scores['variants']))}.jsonl")
    note(f"\nEvery answer is in {folder}")


def _variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in VARIANTS:
            raise UsageError(
                f"there is no variant {name!r}", where="--variants", remedy=suggest(name, VARIANTS)
            )
    if not names:
        raise UsageError("no variant is named", where="--variants", remedy=suggest("", VARIANTS))
    return names
