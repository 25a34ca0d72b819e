"""How verbs take a recipe: its name, the changes to it, and what its variables stand for."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.recipes import Change, Recipe

RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A shipped recipe's name (see pumice recipes), or a .yaml file."),
]
ChangesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Changes to the recipe, such as seed=7 (pumice recipes fields lists the keys).",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="The same as KEY=VALUE without it; may be given several times."
    ),
]

AllowBad = Annotated[
    int | None,
    typer.Option(
        "--allow-bad",
        min=0,
        metavar="N",
        help="Leave out up to so many bad rows of each source, listed in refused.jsonl; more stop it.",
        show_default="the recipe's",
    ),
]


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that OUT holds.")]


def check_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that holds a checkpoint, unless it may be replaced; before anything is loaded.

    Raises:
        UsageError: it holds one.
    """
    if not overwrite and (folder.expanduser() / "config.json").exists():
        raise UsageError(
            "the folder holds a checkpoint already",
            where=str(folder),
            remedy="name another folder, or add --overwrite to replace it",
        )


def changes_of(
    words: Sequence[str] | None, settings: Sequence[str] | None, seed: int | None = None
) -> list[Change]:
    """The changes of a command line, in the order in which they apply: words, ``--set``, ``--seed``.

    Raises:
        UsageError: a word is no change.
    """
    from pumice.recipes import Change

    apart = any(word.startswith("=") or word.endswith("=") for word in words or ())
    for word in words or ():
        if apart and (word.startswith("=") or "=" not in word):
            raise UsageError(
                f"{word!r} is no change to the recipe",
                where="KEY=VALUE",
                remedy="write KEY=VALUE without spaces around =, such as seed=7",
            )
        if "=" not in word:
            raise UsageError(
                f"{word!r} is no change to the recipe",
                where="KEY=VALUE",
                remedy="behind the recipe's name stand changes such as seed=7 or "
                "stages.instruct.lr.language=1e-5; data goes behind --data",
            )
    changes = [Change(word, word) for word in words or ()]
    changes += [Change(text, f"--set {text}") for text in settings or ()]
    return changes if seed is None else [*changes, Change(f"seed={seed}", f"--seed {seed}")]


def open_recipe(
    name: str, changes: Sequence[Change], *, small: bool, data: Path | None, runs: Path
) -> Recipe:
    """A recipe as it will run: changed, checked, with its variables in place.

    Where its paths hold ``${world}``, the small world is made in the cache of ``runs``, or taken from there.

    Raises:
        RecipeError: the recipe, a change or a variable is not right.
    """
    from pumice.recipes import WORLD, load_recipe, variables_in

    variables: dict[str, str | Path] = {} if data is None else {"data": data}
    if WORLD in variables_in(load_recipe(name, changes, small=small)):
        variables[WORLD] = world_folder(runs)
    recipe = load_recipe(name, changes, small=small, variables=variables)
    if WORLD in variables:
        from pumice.world.small import small_world

        small_world(world_folder(runs))
    return recipe


def small_data(name: str, changes: Sequence[Change]) -> list[str]:
    """What the small mode reads in place of data files that the recipe names itself, as sentences.

    A recipe that builds on another has its small block, too, and that has data of its own.
    """
    from pumice.recipes import load_recipe

    full, little = (load_recipe(name, changes, small=small) for small in (False, True))
    return [
        f"--small: data.{key}.file is {near(little.data[key].file)}, not {near(source.file)}"
        for key, source in full.data.items()
        if "${" not in source.file and key in little.data and little.data[key].file != source.file
    ]


def near(file: str) -> str:
    """A path as one would type it here."""
    from_here = os.path.relpath(file) if os.path.isabs(file) else file
    return file if from_here.startswith("..") else from_here


def run_folder(runs: Path, name: str) -> Path:
    """The folder of a run.

    Raises:
        UsageError: the name is none.
    """
    if not name or name in (".", "..") or any(c in name for c in "/\\"):
        raise UsageError(
            f"{name!r} cannot name a run",
            where="--name",
            remedy="give one folder name; --runs is where it goes",
        )
    return runs / name


def nearest_beside(path: Path) -> str:
    """``did you mean X? Or `` where a file of nearly that name lies beside one that is not there."""
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"did you mean {path.with_name(near[0])}? Or " if near else ""


def world_folder(runs: Path) -> Path:
    """Where the small world is kept."""
    from pumice.data.index import CACHE_FOLDER

    return runs / CACHE_FOLDER / "world-small"


def trying(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with at most so many steps of each stage (``stages.NAME.most_steps``)."""
    every = None if recipe.evaluation is None else recipe.evaluation.every
    stages = []
    for stage in recipe.stages:
        most = min(steps, stage.most_steps or steps)
        changes: dict[str, Any] = {"most_steps": most}
        own = stage.validation
        if own is not None and own.figure is not None and (every is None or every > most):
            # So short a stage never comes to its figure, and keeps its last model alone.
            changes["validation"] = own.model_copy(update={"keep_best": False}) if own.source else None
        stages.append(stage.model_copy(update=changes))
    return recipe.model_copy(update={"stages": tuple(stages)})


def allowing(recipe: Recipe, count: int) -> Recipe:
    """The recipe with so many bad rows allowed in each source (``data.NAME.allow_bad``)."""
    data = {name: source.model_copy(update={"allow_bad": count}) for name, source in recipe.data.items()}
    return recipe.model_copy(update={"data": data})
