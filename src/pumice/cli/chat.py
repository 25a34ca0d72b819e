"""`pumice chat`: one question, or a conversation."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples
from pumice.cli.models import QuarantinedOption, WeightsOption
from pumice.errors import UsageError

EPILOG = examples(
    (
        "one question; the answer alone goes to standard output",
        'pumice chat tiny --image a.png "What shape is red?"',
    ),
    ("a conversation: /image PATH shows a picture, /help lists the rest", "pumice chat tiny"),
    (
        "about a video, a file or a folder of frames",
        'pumice chat runs/clips --video walk.mp4 "What happens?"',
    ),
    ("in a pipe", 'echo "What is this?" | pumice chat runs/tiny/model --image a.png'),
    (
        "a question in each line, an object of JSON for each answer",
        "pumice chat tiny --image a.png --lines --json < questions.txt",
    ),
)


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model's folder, a run's folder, a shipped model such as tiny, or hub:ORG/NAME.",
        ),
    ],
    question: Annotated[
        str | None, typer.Argument(help="Asked once; without it, a conversation.", metavar="QUESTION")
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="A picture to show first; may be given several times."),
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(
            "--video",
            metavar="FILE",
            help="A video to show first, or a folder of its frames; may be given several times. Pictures "
            "stand before videos.",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 gives the most likely words; towards 1 and above, more variety.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(help="Draw among the likeliest words of this total probability, over 0 and up to 1."),
    ] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw among so many likeliest words; 0 is no limit.")] = 0,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Decides the draws; at temperature 0 there are none. --stats, --json and /save tell it.",
            show_default="another one each time",
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="The longest answer, in tokens.")] = 512,
    system: Annotated[
        str | None, typer.Option(help="A system prompt.", show_default="the conversation template's")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="The conversation template by its exact name, such as v1, llama_2, chatml_direct or chat, "
            "the tokenizer's own (docs/templates.md has all).",
            show_default="the model's own",
        ),
    ] = None,
    weights: WeightsOption = None,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines",
            help="Each line of standard input is a question of one conversation; empty lines are left out.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="For scripts: a line of JSON for each answer, with its counts, times and seed.",
        ),
    ] = False,
    stats: Annotated[
        bool,
        typer.Option("--stats", help="Tell after each answer what it took, on standard error."),
    ] = False,
    allow_quarantined: QuarantinedOption = False,
) -> None:
    """Ask a model about pictures: once with QUESTION, or in a conversation without."""
    from pumice.cli.models import find_model
    from pumice.image.decode import image_size
    from pumice.image.video import video_info

    if not 0 < top_p <= 1:
        raise UsageError(
            f"{top_p:g} is no share of the probability",
            where="--top-p",
            remedy="give a number above 0 and at most 1",
        )
    folder = find_model(model, allow_quarantined=allow_quarantined)
    for image in images or ():
        image_size(image)
    for video in videos or ():
        video_info(video)
    if template is not None:
        from pumice.text.templates import check_template_name

        check_template_name(template)
    talk = question is None and sys.stdin.isatty()
    if talk and (as_json or lines):
        raise UsageError(
            f"{'--json' if as_json else '--lines'} is not for a conversation at the terminal",
            remedy="give a QUESTION, or questions on standard input",
        )
    questions = [] if talk else _questions(question, lines=lines)
    # What was typed is right: now what takes seconds.
    from pumice.cli.console import answer_piece, hint, note

    if talk:
        note(f"loading {folder}")
    from pumice.cli.converse import NO_PICTURE
    from pumice.cli.models import load_generator
    from pumice.infer import ChatSession, Sampling
    from pumice.types import Video

    # Short enough to be typed again.
    drawn = secrets.randbits(32) if seed is None else seed
    sampling = Sampling(temperature, top_k, top_p, drawn)
    generator = load_generator(
        folder, template=template, weights=weights, allow_quarantined=allow_quarantined
    )
    session = ChatSession(generator, system=system, sampling=sampling, max_new_tokens=max_new_tokens)
    for image in images or ():
        session.add_image(image)
    for video in videos or ():
        session.add_image(Video(video))
    if not images and not videos:
        way = "/image PATH" if talk else "--image FILE"
        hint(NO_PICTURE.format(way=way))
    if talk:
        from pumice.cli.converse import Conversation

        Conversation(session, model=model, stats=stats).run()
        return
    from pumice.cli.converse import tell_end
    from pumice.cli.transcript import turn_row

    for one in questions:
        for piece in session.ask(one):
            if not as_json:
                answer_piece(piece)
        if as_json:
            assert session.last is not None
            row = {"model": model, **turn_row(session.last)}
            sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            sys.stdout.write("\n")
            tell_end(session, cut=False, stats=stats)


def _questions(question: str | None, *, lines: bool) -> list[str]:
    """What is asked outside of a terminal.

    Raises:
        UsageError: nothing is, or it is asked in two ways.
    """
    if question is not None:
        if lines:
            raise UsageError(
                "--lines reads standard input, and a QUESTION is given", remedy="give one of them"
            )
        if not question.strip():
            raise UsageError("the question is empty", where="QUESTION", remedy="ask something")
        return [question]
    text = sys.stdin.read()
    found = [line.strip() for line in (text.splitlines() if lines else [text]) if line.strip()]
    if not found:
        raise UsageError(
            "there is no question", where="standard input", remedy="give one: pumice chat MODEL QUESTION"
        )
    return found
