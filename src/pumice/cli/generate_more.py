"""Verbs beside `pumice generate`: prompts to edit, parts put together, files compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples

if TYPE_CHECKING:
    from pumice.generate.compare import Form

PROMPTS_EPILOG = examples(
    ("write the prompts, edit them, use them", "pumice generate prompts my-prompts"),
    ("then", "pumice generate scenes.jsonl --prompts my-prompts --dry-run"),
)
COMPARE_EPILOG = examples(
    ("length and form of two files", "pumice generate compare generated/data.json reference.jsonl")
)
MERGE_EPILOG = examples(
    (
        "a job of four: the second part",
        "pumice generate scenes.jsonl --teacher URL --model NAME --shards 4 --shard 1 --out part-1",
    ),
    ("all of them together", "pumice generate merge part-0 part-1 part-2 part-3 --out generated"),
)


def prompts(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; files that are there stay.")],
) -> None:
    """Write the prompts of all kinds, and the list of things, into a folder, to be edited."""
    from pumice.cli.console import commands, out
    from pumice.files import write_text
    from pumice.generate.spec import SHIPPED

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(SHIPPED.iterdir()):
        if path.suffix not in (".yaml", ".txt"):
            continue
        place = folder / path.name
        if place.exists():
            out.print(f"{place}: is there, and stays", soft_wrap=True, markup=False)
            continue
        write_text(place, path.read_text("utf-8"))
        out.print(f"{place}", soft_wrap=True, markup=False)
    commands(("see what they ask", f"pumice generate SCENES --prompts {folder} --dry-run"))


def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="The folders of all parts, in any order.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where everything goes.")],
) -> None:
    """Put the parts of one generation together (--shards): the same files as if it had been made in one."""
    from pumice.cli.generate_view import tell
    from pumice.generate.shards import merge as merge_parts

    tell(merge_parts(parts, out), out)


def compare(
    ours: Annotated[Path, typer.Argument(metavar="FILE", help="LLaVA JSON with a type in each row.")],
    other: Annotated[
        Path,
        typer.Argument(metavar="OTHER", help="Another, or JSONL of instruction, output and type."),
    ],
) -> None:
    """Compare length and form of two files of instruction data, kind by kind."""
    from rich.table import Table

    from pumice.cli.console import print_table
    from pumice.generate.compare import read_forms

    table = Table()
    for head in ("kind", "file", "rows", "turns a row", "question", "answer", "10%-50%-90%", "sentences",
                 "paragraphs", "questions differ", "answers begin"):  # fmt: skip
        table.add_column(head)
    forms = read_forms(ours), read_forms(other)
    for kind in sorted({*forms[0], *forms[1]}):
        for path, found in zip((ours, other), forms, strict=True):
            if kind in found:
                table.add_row(kind, path.name, *_form(found[kind]))
    print_table(table)


def _form(form: Form) -> list[str]:
    return [
        f"{form.rows:,}",
        f"{form.turns:.1f}",
        f"{form.question:.1f} words",
        f"{form.answer:.1f} words",
        "-".join(f"{one:.0f}" for one in form.spread),
        f"{form.sentences:.1f}",
        f"{form.paragraphs:.1f}",
        f"{100 * form.different:.0f}%",
        f"{form.begins[0]} ({100 * form.begins[1]:.0f}%)",
    ]
