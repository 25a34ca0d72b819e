"""`pumice card`: the model card of a run, from its records and a person's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.help import examples
from pumice.errors import UsageError

EPILOG = examples(
    ("first, a file of what only a person can say", "pumice card runs/mine --template"),
    ("then the card", "pumice card runs/mine --power-watts 300 --grid 380"),
    ("beside an export, with benchmarks measured elsewhere",
     "pumice card runs/mine --eval evals/mine --out exported/README.md"),
    ("in a script: does it still agree with the records?",
     "pumice card runs/mine --check runs/mine/README.md"),
)  # fmt: skip
README = "README.md"


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run: its folder, or its name.")],
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            metavar="FILE",
            help="What a person says: YAML, as --template writes it.",
            show_default="RUN/card.yaml",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The card that is written.",
                     show_default="RUN/README.md"),
    ] = None,
    evaluations: Annotated[
        list[Path] | None,
        typer.Option("--eval", metavar="DIR", help="What pumice eval wrote of the model elsewhere; several."),
    ] = None,
    power_watts: Annotated[
        float | None,
        typer.Option(
            "--power-watts", min=0.001, metavar="W",
            help="What one device draws, where no counter measured the run: a GPU with its share of the "
            "machine, or the machine.",
        ),
    ] = None,
    grid: Annotated[
        float | None,
        typer.Option(
            "--grid", min=0, metavar="G", help="Grams of CO2-equivalent for each kWh where it was trained."
        ),
    ] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Write the answers file to fill in, and stop.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="FILE",
            help="Write nothing; end with 1 where this card does not agree with the records.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write a model card from a run's records; what nothing tells is listed, and fails."""
    from pumice.cli.models import run_named

    folder = run_named(str(run)) or run
    given = answers or folder / "card.yaml"
    if template and check is not None:
        raise UsageError("--template writes and --check writes nothing", where="--check", remedy="choose one")
    if check is not None:
        _check(folder, check)
    elif template:
        _template(folder, given, evaluations or [])
    else:
        _write(folder, given, out or folder / README, evaluations or [], power_watts, grid)


def _template(run: Path, target: Path, evaluations: list[Path]) -> None:
    from pumice.cli.console import commands, out
    from pumice.files import write_text
    from pumice.report.card import answers_template, gather

    text = answers_template(gather(run, evaluations))
    if target.exists():
        raise UsageError(
            "the answers file is there already",
            where=str(target),
            remedy="fill it in, or name another: --answers",
        )
    write_text(target, text)
    out.print(f"answers to fill in: {target}", soft_wrap=True, markup=False)
    commands(("then, the card", f"pumice card {run}"))


def _write(
    run: Path, given: Path, target: Path, evaluations: list[Path], watts: float | None, grid: float | None
) -> None:
    from pumice.cli.console import commands, err, out
    from pumice.files import write_text
    from pumice.report.card import Answers, blank_lines, gather, make_card, read_answers

    facts = gather(run, evaluations)
    said = read_answers(given) if given.exists() or given != run / "card.yaml" else Answers()
    stated = {"power_watts": watts, "grid": grid}
    said = said.model_copy(update={key: value for key, value in stated.items() if value is not None})
    made = make_card(facts, said)
    if made.blanks:
        lines = blank_lines(made.blanks)
        err.print(f"the card has {len(lines)} blanks, and is not written:", style="red", highlight=False)
        for line in lines:
            err.print(f"  - {line}", soft_wrap=True, markup=False, highlight=False)
        if not given.exists():
            commands(("a file to fill in", f"pumice card {run} --template"))
        raise typer.Exit(1)
    write_text(target, made.text)
    out.print(f"card {target}", soft_wrap=True, markup=False)
    commands(("see that it still agrees, any time", f"pumice card {run} --check {target}"))


def _check(run: Path, path: Path) -> None:
    from pumice.cli.console import err, out
    from pumice.report.card import check_card

    problems = check_card(path, run)
    if not problems:
        out.print(f"{path} agrees with the records of {run}", soft_wrap=True, markup=False)
        return
    err.print(
        f"{path} does not agree with the records of {run}:", style="red", soft_wrap=True, highlight=False
    )
    for problem in problems:
        err.print(f"  {problem}", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(1)
