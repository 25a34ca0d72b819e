"""`pumice train`: a recipe from its first check to the page of its run."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.asked import Asked, measure_asked, open_asked
from pumice.cli.help import examples
from pumice.cli.logs import Log, check_logs
from pumice.cli.opening import (
    AllowBad,
    ChangesArgument,
    RecipeArgument,
    SetOption,
    allowing,
    changes_of,
    near,
    nearest_beside,
    open_recipe,
    run_folder,
    small_data,
    trying,
)
from pumice.errors import DataError, Interrupted, RunError, UsageError
from pumice.types import HUB
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.cli.stopping import Stopping
    from pumice.recipes import Recipe
    from pumice.train.parallel import Ranks

EPILOG = examples(
    ("the shipped recipe on a world made before", "pumice train tiny --data data/easy"),
    (
        "the whole way in about half a minute, to no good score",
        "pumice train tiny --data data/easy --small --name try",
    ),
    (
        "change one thing",
        "pumice train tiny stages.instruct.lr.language=1e-4 --data data/easy --name slow",
    ),
    ("a published recipe in small, nothing needed", "pumice train llava-1.5-7b --small"),
    ("ten steps of each stage, on the data itself", "pumice train tiny --data data/easy --steps 10"),
    ("curves for TensorBoard, too", "pumice train tiny --data data/easy --log tensorboard"),
    ("go on after Ctrl-C", "pumice train tiny --data data/easy --resume"),
    ("again without rows that were erased", "pumice train runs/a/recipe.yaml --name b --reuse runs/a"),
)


def train(
    recipe: RecipeArgument,
    words: ChangesArgument = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="The folder that ${data} in the recipe stands for; shipped recipes need it.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="The run's name.",
            show_default="the recipe's name, and behind it -small with --small, -trial with --steps",
        ),
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="The folder that holds all runs.")
    ] = Path("runs"),
    changes: SetOption = None,
    small: Annotated[
        bool,
        typer.Option(
            "--small",
            help="The recipe's small mode, to see the whole way: little data, and of a published recipe "
            "tiny parts of random weights and pictures that are made here.",
        ),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            metavar="N",
            help="A trial of the recipe as it is, on its own data: at most N steps of each stage.",
            show_default="all",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of that name after a stop.")
    ] = False,
    restart_stage: Annotated[
        bool,
        typer.Option(
            "--restart-stage",
            help="With --resume: begin a stage again, with its steps lost, where no state of it can be read.",
        ),
    ] = False,
    reuse: Annotated[
        Path | None,
        typer.Option(
            "--reuse",
            metavar="RUN",
            help="Take the stages of an earlier run that would come out the same, bit for bit.",
        ),
    ] = None,
    keep_plan: Annotated[
        bool,
        typer.Option(
            "--keep-plan",
            help="With --reuse: keep RUN's steps, without rows erased since, and go on from its last state "
            "before the first (docs/lineage.md).",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Decides initial weights, order and every other chance.", show_default="the recipe's"
        ),
    ] = None,
    allow_bad: AllowBad = None,
    no_eval: Annotated[
        bool,
        typer.Option("--no-eval", help="Leave out the measurement after training and on the way."),
    ] = False,
    split: Annotated[
        int | None,
        typer.Option(
            "--split",
            min=1,
            metavar="N",
            help="Under torchrun: over how many ranks weights are split; the others repeat them. Changes "
            "memory and speed alone.",
            show_default="the ranks of a node",
        ),
    ] = None,
    log: Annotated[
        list[Log] | None,
        typer.Option(
            "--log", help="Also write curves for this program, into the run's folder; may be given twice."
        ),
    ] = None,
) -> None:
    """Train a model as a recipe says, measure it, and write the run's page."""
    if data is not None and not data.is_dir():
        raise UsageError(
            f"there is no folder {str(data)!r}",
            where="--data",
            remedy=f"{nearest_beside(data)}make one: pumice world make {data}",
        )
    if restart_stage and not resume:
        raise UsageError(
            "a stage can be begun again only of a run that goes on",
            where="--restart-stage",
            remedy="add --resume, or leave it out",
        )
    if keep_plan and reuse is None:
        raise UsageError(
            "there is no plan to keep", where="--keep-plan", remedy="name the run that has it: --reuse RUN"
        )
    from pumice.cli.ranks import first_alone, joined

    check_logs(log or ())
    with joined(split) as ranks:
        with first_alone(ranks):
            loaded = open_recipe(recipe, changes_of(words, changes, seed), small=small, data=data, runs=runs)
        if small and (ranks is None or ranks.lead):
            from pumice.cli.console import note

            for text in small_data(recipe, changes_of(words, changes, seed)):
                note(f"Note: {text}.")
        trial = steps is not None
        folder = run_folder(runs, name or f"{loaded.name}{'-small' * small}{'-trial' * trial}")
        if steps is not None:
            loaded = trying(loaded, steps)
            if ranks is None or ranks.lead:
                from pumice.cli.console import note

                most = counted(steps, "step")
                note(f"Note: a trial of at most {most} a stage; what it reaches is no result.")
        changes = [*(changes or ()), *([f"seed={seed}"] if seed is not None else [])]
        if allow_bad is not None:
            loaded = allowing(loaded, allow_bad)
        typed = [recipe, *(words or ())]
        command = _command(
            typed, data, name, runs, changes, small, steps, no_eval, allow_bad, split, log or ()
        )
        if reuse is not None:
            command += f" --reuse {shlex.quote(str(reuse))}" + " --keep-plan" * keep_plan
        without = "--no-eval" if resume else "--set evaluation=null"
        asked = None if no_eval else open_asked(loaded, without)
        start = Start(folder, command, resume, restart_stage, reuse, keep_plan)
        _carry_out(loaded, start, asked, ranks, log or ())


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run is, the command that starts it, whether it goes on, and ``--restart-stage``, ``--reuse``,
    ``--keep-plan``."""

    folder: Path
    command: str
    resume: bool
    restart: bool
    reuse: Path | None
    keep_plan: bool


def _carry_out(
    recipe: Recipe,
    start: Start,
    asked: Asked | None,
    ranks: Ranks | None,
    logs: Sequence[Log],
) -> None:
    """Train, measure, write the page; stopped at any place, say how to go on."""
    from pumice.cli.stopping import Stopping

    folder = start.folder
    launched = "the same torchrun and " if ranks is not None else ""
    again = f"go on with: {launched}{start.command} --resume"
    with Stopping() as stopping:
        try:
            final = _train(recipe, start, stopping, asked, ranks, logs)
            if ranks is not None and not ranks.lead:
                return
            if stopping.asked():
                raise Interrupted("stopped when training was done, before the measurement", where=str(folder))
            _link(folder / "model", final)
            if asked is not None:
                measure_asked(recipe, folder, final, asked)
        except Interrupted as error:
            raise Interrupted(error.what, where=str(folder), remedy=again) from error
    _finish(folder, asked)


def _train(
    recipe: Recipe,
    start: Start,
    stopping: Stopping,
    asked: Asked | None,
    ranks: Ranks | None,
    logs: Sequence[Log],
) -> Path:
    from pumice.cli.console import note
    from pumice.cli.logs import Logged, open_logs
    from pumice.cli.watch import RunWatch

    folder = start.folder
    note(f"run {folder}: checking all data before the first step")
    from pumice.cli.models import find_parts

    _check_files(recipe)
    from pumice.cli.ranks import first_alone
    from pumice.train.parallel import ALONE
    from pumice.train.reuse import Reuse
    from pumice.train.run import train

    watch = RunWatch(stopping, peak=partial(_peak, ranks))
    logged = Logged(watch, lambda: open_logs(logs, folder, recipe))
    ask = None if asked is None else asked.on_the_way()
    try:
        with first_alone(ranks):
            parts = find_parts(recipe.model, folder.parent)
        return train(
            recipe,
            folder,
            parts,
            logged,
            command=start.command,
            resume=start.resume,
            restart=start.restart,
            stop=stopping.asked_at_step,
            ranks=ranks or ALONE,
            ask=ask,
            reuse=None if start.reuse is None else Reuse(start.reuse, start.keep_plan),
        )
    finally:
        watch.close()
        logged.close()
        stopping.wait_for_step = False


PEAK_SECONDS = 0.2
"""How long the peak of a device without a known name is measured."""


def _peak(ranks: Ranks | None, half: bool) -> float | None:
    """FLOP/s that each rank reaches at most; None for ranks that share the cores of a CPU."""
    from pumice.forecast.machine import device_peak
    from pumice.train.parallel import ALONE

    device = (ranks or ALONE).device
    if ranks is not None and device.type == "cpu":
        return None
    return device_peak(device, half=half, seconds=PEAK_SECONDS)


def _check_files(recipe: Recipe) -> None:
    """A data file that is not there is told before parts of many gigabytes are fetched.

    Raises:
        DataError: there is none at a source's path.
    """
    for name, source in recipe.data.items():
        # A dataset of the hub, and a range of shards, are no paths; whoever reads them says what is wrong.
        if source.format == "hub" or source.file.startswith(HUB) or "{" in source.file:
            continue
        # Behind @ may stand a split; a name may also hold one.
        if not Path(source.file).exists() and not Path(source.file.partition("@")[0]).exists():
            raise DataError(
                "there is no such data file",
                where=f"{source.file} (data.{name}.file)",
                remedy=f"check --data, or name the file: data.{name}.file=PATH",
            )


def _finish(folder: Path, asked: Asked | None) -> None:
    """Write the page and say what to do next."""
    from pumice.cli.console import commands, out
    from pumice.report import write_report
    from pumice.report.best import best_models

    page = write_report(folder)
    out.print(f"\nmodel {folder / 'model'}", soft_wrap=True, markup=False)
    for best in best_models(folder):
        out.print(f"best  {best}", soft_wrap=True, markup=False)
    out.print(f"page  {page}", soft_wrap=True, markup=False)
    image, words = "PICTURE", "What is in the picture?"
    questions = asked.questions if asked is not None else None
    shown = next((q for q in questions.questions if q.image), None) if questions is not None else None
    if questions is not None and shown is not None and shown.image is not None:
        image, words = near(str(questions.image_root / shown.image)), shown.text.split("\n")[0]
    ask = shlex.join(["pumice", "chat", str(folder / "model"), "--image", image, words])
    commands(("ask the model", ask), ("see curves, scores and pictures", f"open {page} in a browser"))


def _command(
    recipe: list[str],
    data: Path | None,
    name: str | None,
    runs: Path,
    changes: list[str],
    small: bool,
    steps: int | None,
    no_eval: bool,
    allow_bad: int | None,
    split: int | None,
    logs: Sequence[Log],
) -> str:
    """The command that starts this run, as one would type it."""
    words = ["pumice", "train", *recipe]
    words += ["--data", str(data)] if data is not None else []
    words += ["--name", name] if name is not None else []
    words += ["--runs", str(runs)] if runs != Path("runs") else []
    for change in changes:
        words += ["--set", change]
    words += ["--small"] if small else []
    words += ["--steps", str(steps)] if steps is not None else []
    words += ["--allow-bad", str(allow_bad)] if allow_bad is not None else []
    words += ["--no-eval"] if no_eval else []
    words += ["--split", str(split)] if split is not None else []
    for one in dict.fromkeys(logs):
        words += ["--log", one.value]
    return shlex.join(words)


def _link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target``; a copy where the file system knows no links.

    Raises:
        RunError: something that is not ours is in the way.
    """
    if link.is_symlink():
        link.unlink()
    elif (link / "config.json").is_file():
        shutil.rmtree(link)
    elif link.exists():
        raise RunError(
            "something is where the finished model goes", where=str(link), remedy="move it away and resume"
        )
    try:
        link.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    except OSError:
        shutil.copytree(target, link)
