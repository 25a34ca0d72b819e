"""`pumice look`: an answer, and a picture of what the model looked at for it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples
from pumice.cli.models import QuarantinedOption, WeightsOption
from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.infer.relevance import Relevance

EPILOG = examples(
    (
        "the answer, and beside it map.png",
        'pumice look tiny --image a.png "What shape is red?" --out map.png',
    ),
    (
        "where one word of a given answer came from",
        'pumice look tiny --image a.png "Describe the image in detail." --answer "A red star." --word star',
    ),
)
LITTLE = 0.1
"""Nats; what a picture does below that makes no difference."""


def look(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's folder, a run's folder, a shipped model such as tiny, or hub:ORG/NAME.",
        ),
    ],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What is asked about the pictures.")],
    images: Annotated[
        list[Path], typer.Option("--image", metavar="FILE", help="A picture; may be given several times.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The picture to write: PNG, JPEG or WebP. Of several, each gets its number.",
            show_default="looked.png, or the next free of looked2.png, ...",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace pictures that --out names.")
    ] = False,
    answer: Annotated[
        str | None,
        typer.Option(help="The answer it is about.", show_default="the model's own, the likeliest"),
    ] = None,
    word: Annotated[
        str | None, typer.Option(help="Words of the answer, where they stand first.", show_default="all")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 128,
    steps: Annotated[
        int, typer.Option(min=1, help="Points of the path along which gradients are summed.")
    ] = 4,
    template: Annotated[
        str | None,
        typer.Option(help="The conversation template, as for pumice chat.", show_default="the model's own"),
    ] = None,
    weights: WeightsOption = None,
    allow_quarantined: QuarantinedOption = False,
) -> None:
    """Ask about pictures, and draw where in them the answer came from."""
    from pumice.cli.models import find_model
    from pumice.image.decode import image_size, open_image
    from pumice.image.heat import heated

    folder = find_model(model, allow_quarantined=allow_quarantined)
    for image in images:
        image_size(image)
    targets = _free(len(images)) if out is None else _given(out, len(images), overwrite)
    if template is not None:
        from pumice.text.templates import check_template_name

        check_template_name(template)
    # What was typed is right: now what takes seconds.
    from pumice.cli.console import note
    from pumice.cli.models import load_generator
    from pumice.infer.relevance import Looker
    from pumice.types import text_message

    generator = load_generator(
        folder, template=template, weights=weights, allow_quarantined=allow_quarantined
    )
    generator.model.requires_grad_(False)  # gradients of the weights would be computed for nothing
    said = generator.answer([(question, images)], max_new_tokens)[0] if answer is None else answer
    typer.echo(said)
    looker = Looker(generator.model, generator.pictures, generator.tokenizer, generator.template)
    message = text_message("user", question, images=range(len(images)))
    found = looker.look([message], images, said, _span(said, word), steps=steps)
    most = max(float(one.heat_NRC.max()) for one in found.pictures)
    for target, file, one in zip(targets, images, found.pictures, strict=True):
        heated(open_image(file), one.heat_NRC[0], most).save(target)
        share = f", {one.share:.0%} of what the pictures did" if len(images) > 1 else ""
        note(f"{target}{share}")
    note(_told(found, said))


def _numbered(out: Path, count: int) -> list[Path]:
    return [out] if count == 1 else [out.with_stem(f"{out.stem}-{number}") for number in range(1, count + 1)]


def _free(count: int) -> list[Path]:
    """Names in this folder that nothing has."""
    for number in itertools.count(1):
        targets = _numbered(Path(f"looked{number if number > 1 else ''}.png"), count)
        if not any(target.exists() for target in targets):
            return targets
    raise AssertionError("numbers do not end")


def _given(out: Path, count: int, overwrite: bool) -> list[Path]:
    """The names that ``--out`` means.

    Raises:
        UsageError: no name of a picture, no such folder, or a file that may not be replaced.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"{out} is no name of a picture", where="--out", remedy="end it in .png")
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}", where="--out", remedy="make it first")
    targets = _numbered(out, count)
    there = [target for target in targets if target.exists()]
    if there and not overwrite:
        raise UsageError(
            "there is such a file already",
            where=f"--out, {there[0]}",
            remedy="give another name, or add --overwrite to replace it",
        )
    return targets


def _span(answer: str, word: str | None) -> tuple[int, int] | None:
    if word is None:
        return None
    start = answer.find(word) if word.strip() else -1
    if start < 0:
        raise UsageError(
            f"{word!r} does not stand in the answer {answer[:200]!r}",
            where="--word",
            remedy="give words of it",
        )
    return start, start + len(word)


def _told(found: Relevance, answer: str) -> str:
    words = answer[slice(*found.span)].strip()
    if abs(found.gain) < LITTLE:
        return f"the picture made no difference to {words!r}: the model would have said it anyway"
    gain = f"the picture's details made {found.gain:+.2f}"
    return f"{words!r}: log-probability {found.logprob:.2f}, of which {gain}"
