"""`pumice chat`: one question, or a conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples
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
)


def chat(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model's folder, a run's folder, or a shipped model such as tiny."
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
    seed: Annotated[int, typer.Option(min=0, help="Decides the draws; at temperature 0 there are none.")] = 0,
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
) -> None:
    """Ask a model about pictures: once with QUESTION, or in a conversation without."""
    from pumice.cli.models import find_model
    from pumice.image.decode import image_size
    from pumice.image.video import video_info

    folder = find_model(model)
    for image in images or ():
        image_size(image)
    for video in videos or ():
        video_info(video)
    if template is not None:
        from pumice.text.templates import check_template_name

        check_template_name(template)
    talk = question is None and sys.stdin.isatty()
    if question is None and not talk:
        question = sys.stdin.read().strip()
        if not question:
            raise UsageError(
                "there is no question", where="standard input", remedy="give one: pumice chat MODEL QUESTION"
            )
    # What was typed is right: now what takes seconds.
    from pumice.cli.console import answer_piece, hint, note

    if talk:
        note(f"loading {folder}")
    from pumice.cli.converse import NO_PICTURE
    from pumice.cli.models import load_generator
    from pumice.infer import ChatSession, Sampling
    from pumice.types import Video

    sampling = Sampling(temperature, top_k, top_p, seed)
    generator = load_generator(folder, template=template)
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

        Conversation(session).run()
    else:
        assert question is not None
        for piece in session.ask(question):
            answer_piece(piece)
        sys.stdout.write("\n")
