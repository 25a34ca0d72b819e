"""`pumice recipes`: what ships, what it says, and what a recipe may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import commands, out
from pumice.cli.help import examples
from pumice.cli.opening import (
    ChangesArgument,
    RecipeArgument,
    SetOption,
    changes_of,
    world_folder,
)

app = typer.Typer(invoke_without_command=True, help="List and show recipes, and explain their keys.")


@app.callback(
    epilog=examples(
        ("every recipe that ships", "pumice recipes"),
        ("one of them", "pumice recipes show llava-1.5-7b"),
        ("the keys that a recipe may have", "pumice recipes fields"),
    )
)
def recipes(context: typer.Context) -> None:
    """List the recipes that ship; show one, or explain the keys of all."""
    if context.invoked_subcommand is None:
        list_recipes()


@app.command("list", epilog=examples(("every recipe that ships", "pumice recipes list")))
def list_recipes() -> None:
    """List the recipes that ship with Pumice, as pumice recipes does."""
    from rich.table import Table
    from rich.text import Text

    from pumice.recipes import load_recipe, recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        out.print(Text.assemble((name, "bold"), f"  {recipe.description}"))
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(min_width=12, no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for title in ("hardware", "time", "expected"):
            table.add_row(f"  {title}", getattr(recipe, title))
        out.print(table)
    commands(
        ("see all of one", "pumice recipes show llava-1.5-7b"),
        ("run its whole way in small", "pumice train llava-1.5-7b --small"),
    )


@app.command(
    "show",
    epilog=examples(
        ("as it was written, with its comments", "pumice recipes show tiny"),
        ("as it would run, every default filled in", "pumice recipes show tiny seed=7 --small"),
        ("start your own", "pumice recipes show tiny > mine.yaml"),
    ),
)
def show(
    recipe: RecipeArgument,
    words: ChangesArgument = None,
    changes: SetOption = None,
    small: Annotated[bool, typer.Option("--small", help="Apply the recipe's small mode.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="As it would run, with every default, also without changes.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="What ${data} stands for.")
    ] = None,
) -> None:
    """Print a recipe: as it was written, or, with changes or options, as it would run with every default."""
    from pumice.recipes import WORLD, dump_recipe, load_recipe, recipe_text, variables_in

    changed = changes_of(words, changes)
    loaded = load_recipe(recipe, changed, small=small)
    if data is not None:
        variables: dict[str, str | Path] = {"data": data}
        if WORLD in variables_in(loaded):
            variables[WORLD] = world_folder(Path("runs"))
        loaded = load_recipe(recipe, changed, small=small, variables=variables)
    plain = not changed and not small and not full and data is None
    typer.echo(recipe_text(recipe) if plain else dump_recipe(loaded), nl=False)


@app.command(
    "fields",
    epilog=examples(
        ("every key", "pumice recipes fields"),
        ("the keys of a stage", "pumice recipes fields stages"),
        ("by its last parts", "pumice recipes fields lr.connector"),
    ),
)
def fields(
    key: Annotated[
        str,
        typer.Argument(
            help="Only this key and what is in it: whole or in part, such as lr or image.aspect.",
            metavar="KEY",
            show_default="all keys",
        ),
    ] = "",
) -> None:
    """Explain every key that a recipe may have: what it takes, its default, what it means."""
    from rich.padding import Padding
    from rich.text import Text

    from pumice.errors import UsageError
    from pumice.recipes import find_fields, near_fields, recipe_fields
    from pumice.recipes.aliases import called_elsewhere, keys_called

    chosen = find_fields(key)
    if not chosen and (ours := keys_called(key)):
        out.print(f"{key}: {called_elsewhere(key)}\n", soft_wrap=True, markup=False)
        chosen = tuple(doc for doc in recipe_fields() if doc.key in ours)
    if not chosen:
        names = near_fields(key)
        known = called_elsewhere(key)
        near = f"{known}; " if known else f"perhaps {' or '.join(map(repr, names))}; " if names else ""
        raise UsageError(
            f"no key of a recipe is called {key!r}",
            where="KEY",
            remedy=f"{near}pumice recipes fields, without KEY, lists all",
        )
    for doc in chosen:
        default = f"  [{doc.default}]" if doc.default else ""
        out.print(Text.assemble((doc.key, "bold"), (f"  {doc.kind}", ""), (default, "dim")))
        out.print(Padding(Text(doc.description), (0, 0, 0, 4)))
