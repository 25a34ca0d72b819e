"""`pumice recipe`: what ships, what it says, and what a recipe may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import commands, out
from pumice.cli.help import examples

app = typer.Typer(no_args_is_help=True, help="List and show recipes, and explain their keys.")


@app.command("list", epilog=examples(("every recipe that ships", "pumice recipe list")))
def list_recipes() -> None:
    """List the recipes that ship with Pumice."""
    from rich.table import Table

    from pumice.recipes import load_recipe, recipe_names

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("recipe", "what it makes", "hardware", "time"):
        table.add_column(title)
    for name in recipe_names():
        recipe = load_recipe(name)
        table.add_row(name, recipe.description, recipe.hardware, recipe.time)
    out.print(table)
    commands(("see all of one", f"pumice recipe show {recipe_names()[0]}"))


@app.command(
    "show",
    epilog=examples(
        ("as it was written, with its comments", "pumice recipe show tiny"),
        ("as it would run, every default filled in", "pumice recipe show tiny --set seed=7 --small"),
        ("start your own", "pumice recipe show tiny > mine.yaml"),
    ),
)
def show(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name, or a .yaml file.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key (pumice recipe fields lists them); may be given several times.",
        ),
    ] = None,
    small: Annotated[bool, typer.Option("--small", help="Apply the recipe's small mode.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="What ${data} stands for.")
    ] = None,
) -> None:
    """Print a recipe: as it was written, or, with options, as it would run with every default."""
    from pumice.recipes import dump_recipe, load_recipe, recipe_text

    variables = {"data": data} if data is not None else None
    loaded = load_recipe(recipe, changes or (), small=small, variables=variables)
    plain = not changes and not small and data is None
    typer.echo(recipe_text(recipe) if plain else dump_recipe(loaded), nl=False)


@app.command(
    "fields",
    epilog=examples(
        ("every key", "pumice recipe fields"),
        ("the keys of a stage", "pumice recipe fields stages"),
        ("by its last parts", "pumice recipe fields lr.connector"),
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
    from pumice.recipes import find_fields, near_fields

    chosen = find_fields(key)
    if not chosen:
        names = near_fields(key)
        near = f"perhaps {' or '.join(map(repr, names))}; " if names else ""
        raise UsageError(
            f"no key of a recipe is called {key!r}",
            where="KEY",
            remedy=f"{near}pumice recipe fields, without KEY, lists all",
        )
    for doc in chosen:
        default = f"  [{doc.default}]" if doc.default else ""
        out.print(Text.assemble((doc.key, "bold"), (f"  {doc.kind}", ""), (default, "dim")))
        out.print(Padding(Text(doc.description), (0, 0, 0, 4)))
