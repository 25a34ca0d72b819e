"""What `pumice generate` prints: prompts before anything is asked, and what came of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from pumice.generate.budget import Budget
    from pumice.generate.plan import Plan
    from pumice.generate.work import Terms


def print_prompts(plan: Plan, terms: Terms, budget: Budget) -> None:
    """All prompts, what is the same for all of a kind once, and about what they take."""
    from pumice.cli.console import visible
    from pumice.generate.carry_out import estimate, first_requests

    told: set[tuple[str, str]] = set()
    for job, request in first_requests(plan, terms):
        if (job.spec.name, job.language) not in told:
            told.add((job.spec.name, job.language))
            typer.echo(f"===== {job.spec.name} ({job.language}): {job.spec.about}\n")
            typer.echo(f"--- system\n{visible(request.system)}\n")
            for asked, answered in request.examples:
                typer.echo(f"--- example, user\n{visible(asked)}\n")
                typer.echo(f"--- example, assistant\n{visible(answered)}\n")
        typer.echo(f"--- {job.id}\n{visible(request.text)}\n")
    about = estimate(plan, terms, budget)
    for name, count in plan.passed_over().items():
        if count:
            typer.echo(f"{name}: {count:,} scenes have nothing of what it is made from")
    typer.echo(
        f"{len(plan.scenes):,} scenes, {about.requests:,} requests; about {about.tokens_in:,} tokens sent "
        f"and {about.tokens_out:,} received"
    )
    if budget.price_in or budget.price_out:
        typer.echo(f"about {about.cost:.4g} by the prices given; what must be asked again comes on top")
    else:
        typer.echo("for a cost, say --price-in and --price-out, of a million tokens each")


def tell(record: dict[str, Any], folder: Path) -> None:
    """What was written, what was not, and what to do next."""
    from rich.table import Table

    from pumice.cli.console import commands, hint, note, out, print_table, visible
    from pumice.errors import RunError
    from pumice.generate.write import DATA, REJECTED
    from pumice.report.generation import write_generation_page

    table = Table()
    for head in ("kind", "rows", "answers", "words an answer", "rejected"):
        table.add_column(head)
    for name, kind in record["kinds"].items():
        mean = kind["words"] / kind["turns"] if kind["turns"] else math.nan
        why = ", ".join(f"{count:,} {check}" for check, count in kind["rejected"].items())
        table.add_row(
            name, f"{kind['rows']:,}", f"{kind['turns']:,}", f"{mean:.1f}" if kind["turns"] else "", why
        )
    print_table(table)
    tokens = record["tokens"]
    if record["requests"]["replies"]:
        cost = f", cost {record['cost']:.4g}" if record["cost"] else ""
        out.print(
            f"{record['requests']['replies']:,} replies, {record['requests']['this_sitting']:,} calls "
            f"in this sitting; {tokens['prompt_tokens']:,} tokens sent, "
            f"{tokens['completion_tokens']:,} received{cost}",
            soft_wrap=True, markup=False,
        )  # fmt: skip
    for id, words in list(record["refused"].items())[:5]:
        hint(f"refused: {id}: {visible(words)}")
    page = write_generation_page(folder)
    note(f"The page: {page}\nWhat was rejected, and why: {folder / REJECTED}")
    pending = sum(kind["pending"] for kind in record["kinds"].values())
    if pending:
        what = "the budget is spent" if record["spent"] else "the server refused some of it"
        raise RunError(
            f"{what}, and {pending:,} jobs lack a reply; {folder / DATA} holds the others",
            where=str(folder),
            remedy="raise --max-cost or --max-requests and run the same command: nothing is asked twice"
            if record["spent"]
            else "look at the server's words above, then run the same command",
        )
    commands(("see that it can be trained on", f"pumice data check {folder / DATA} --images PHOTOS"))
