"""The command line: one file per verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import os
import sys
import threading
from typing import Annotated

import typer

import pumice
from pumice.cli import (
    bench,
    card,
    chat,
    compare,
    data,
    evaluate,
    export,
    generate,
    generate_more,
    judge,
    look,
    merge,
    plan,
    quantize,
    recipes,
    report,
    runs,
    score,
    serve,
    train,
    world,
)
from pumice.cli.group import PumiceGroup
from pumice.cli.help import examples
from pumice.cli.ranks import started
from pumice.heap import restart_with_heap
from pumice.processes import end, sleep_early

app = typer.Typer(
    name="pumice",
    cls=PumiceGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        ("make pictures, questions and answers", "pumice world make data/first --n 1000 --level easy"),
        ("train on them, measure, write a page", "pumice train tiny --data data/first"),
        ("ask the shipped model", 'pumice chat tiny --image PICTURE "What color is the star?"'),
    ),
)
app.add_typer(world.app, name="world")
app.add_typer(data.app, name="data")
app.command("generate", epilog=generate.EPILOG)(generate.generate)
app.command("generate prompts", epilog=generate_more.PROMPTS_EPILOG)(generate_more.prompts)
app.command("generate merge", epilog=generate_more.MERGE_EPILOG)(generate_more.merge)
app.command("generate compare", epilog=generate_more.COMPARE_EPILOG)(generate_more.compare)
app.command("plan", epilog=plan.EPILOG)(plan.plan)
app.command("train", epilog=train.EPILOG)(train.train)
app.command("eval", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("eval compare", epilog=compare.EPILOG)(compare.compare)
app.command("judge", epilog=judge.EPILOG)(judge.judge)
app.command("score", epilog=score.EPILOG)(score.score)
app.command("chat", epilog=chat.EPILOG)(chat.chat)
app.command("look", epilog=look.EPILOG)(look.look)
app.command("serve", epilog=serve.EPILOG)(serve.serve)
app.command("report", epilog=report.EPILOG)(report.report)
app.command("card", epilog=card.EPILOG)(card.card)
app.add_typer(runs.app, name="runs")
app.command("export", epilog=export.EPILOG)(export.export)
app.command("merge", epilog=merge.EPILOG)(merge.merge)
app.command("quantize", epilog=quantize.EPILOG)(quantize.quantize)
app.add_typer(recipes.app, name="recipes")
app.add_typer(recipes.app, name="recipe", hidden=True)  # the name it had first
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pumice {pumice.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; goes before the verb.")
    ] = False,
) -> None:
    """Build, measure and talk to models that see: a vision tower, a connector and a language model."""


def main() -> None:
    """The entry point of ``pumice``."""
    # No option before the verb takes a value.
    words = [word for word in sys.argv[1:] if not word.startswith("-")][:2]
    if words[:1] == ["train"]:
        restart_with_heap()
    elif words[:1] != ["bench"] or words == ["bench", "serve"]:  # others' sides are processes of their own
        sleep_early(os.environ)
    try:
        app()
    except SystemExit as ended:
        if started() or threading.active_count() > 1:
            end(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise


__all__ = ["app", "main"]
