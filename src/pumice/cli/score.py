"""`pumice score`: the official figures of a benchmark from answers that are there already."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples

if TYPE_CHECKING:
    from rich.table import Table

    from pumice.evaluate.samples import Scorer
    from pumice.score import Result

EPILOG = examples(
    (
        "POPE, from LLaVA's files",
        "pumice score pope --answers answers.jsonl --questions llava_pope_test.jsonl --labels coco",
    ),
    (
        "ScienceQA, as one JSON object",
        "pumice score scienceqa --answers answers.jsonl --labels problems.json --json",
    ),
    (
        "three runs of a judge",
        "pumice score llava-bench --reviews a.jsonl --reviews b.jsonl --reviews c.jsonl",
    ),
    ("a task of your own", "pumice score parts.yaml --answers answers.jsonl"),
    (
        "what VQAv2's server takes",
        "pumice score vqav2 --answers answers.jsonl --questions llava_vqav2_mscoco_test2015.jsonl "
        "--submission upload.json",
    ),
)


class Missing(StrEnum):
    """What becomes of questions without an answer."""

    error = "error"
    skip = "skip"
    wrong = "wrong"


def score(
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK",
            help="vqav2, gqa, vizwiz, scienceqa, textvqa, pope, mme, mmbench, mmbench-cn, seed, llava-bench, "
            "mm-vet, mmmu, mmstar, chartqa, docvqa, ai2d, vqa-rad, slake or pathvqa; or the YAML file of a "
            "task of your own (docs/evaluation-tasks.md).",
        ),
    ],
    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Answers, a row each: JSONL of question_id and text, as LLaVA writes them."
        ),
    ] = None,
    questions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The benchmark's own question file.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The true answers, where they are not with the questions."),
    ] = None,
    reviews: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A judge's reviews (llava-bench); several are runs of the judge."),
    ] = None,
    grades: Annotated[Path | None, typer.Option(metavar="FILE", help="A judge's grades (mm-vet).")] = None,
    missing: Annotated[
        Missing,
        typer.Option(
            help="Questions without an answer: stop, leave them out of the score, or count them as wrong."
        ),
    ] = Missing.error,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: figures by name, n, intervals, groups.")
    ] = False,
    details: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write each question's parsed answer and score, JSONL."),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what the benchmark's server takes, and score nothing."),
    ] = None,
) -> None:
    """Score a file of answers by a benchmark's official rules, quirks included."""
    from pumice.cli.console import out
    from pumice.errors import UsageError
    from pumice.score import TASKS, Inputs, task_of
    from pumice.score import score as run
    from pumice.score import submit as write

    if task not in TASKS and (scored := _own(task)) is not None:
        elsewhere = {"--questions": questions, "--labels": labels, "--reviews": reviews, "--grades": grades}
        for name, value in (elsewhere | {"--submission": submission}).items():
            if value:
                raise UsageError(
                    f"{name} does nothing for a task of your own",
                    where=name,
                    remedy="leave it out: the task's file says where its questions are, and rules score them",
                )
        _show(scored.title, scored.score(Inputs(answers, missing=missing.value)), as_json, details)
        return
    known = task_of(task)
    inputs = Inputs(answers, questions, labels, tuple(reviews or ()), grades, missing.value)
    if submission is not None:
        if as_json or details is not None:
            option = "--json" if as_json else "--details"
            raise UsageError(
                f"{option} is of scores, and a submission has none",
                where=option,
                remedy="leave one of the two out",
            )
        count = write(task, inputs, submission)
        out.print(f"{submission}: {count:,} answers for {known.title}", soft_wrap=True, markup=False)
        return
    _show(known.title, run(task, inputs), as_json, details)


def _own(word: str) -> Scorer | None:
    """What scores a task of one's own; None where the word is none.

    Raises:
        DataError: its files are wrong.
    """
    from pumice.evaluate.own import is_own, read_own

    if not is_own(word):
        return None
    benchmark, folder = read_own(Path(word))
    return benchmark.load(folder, {}).scorer


def _show(title: str, result: Result, as_json: bool, details: Path | None) -> None:
    """The figures on the terminal; of every question in a file, where one is named."""
    from pumice.cli.console import hint, out

    if details is not None:
        _write(details, result)
    if as_json:
        import json

        typer.echo(json.dumps(result.as_json(), indent=1, ensure_ascii=False))
        return
    out.print(_figures(title, result))
    if result.groups:
        out.print()
        out.print(_groups(result))
    for line in _remarks(result):
        hint(line)


def _write(path: Path, result: Result) -> None:
    from pumice.data.lines import write_lines

    rows = (
        {"question_id": item.id, "parsed": item.parsed, "score": round(item.score, 6), "groups": item.groups}
        for item in result.items
    )
    write_lines(path, rows)


def _table(title: str) -> Table:
    from rich.table import Table

    return Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold",
        title=title, title_justify="left", title_style="bold",
    )  # fmt: skip


def _figures(title: str, result: Result) -> Table:
    from pumice.score.result import of_all

    table = _table(f"{title}, {result.n:,} questions")
    table.add_column("figure", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    for name in of_all(result.metrics, {name: group.metrics for name, group in result.groups.items()}):
        table.add_row(name, f"{result.metrics[name]:.2f}", _ends(result.intervals.get(name)))
    return table


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f}–{interval[1]:.2f}"  # noqa: RUF001 - the dash of ranges


def _groups(result: Result) -> Table:
    from rich.text import Text

    from pumice.cli.console import visible

    heads = list(dict.fromkeys(name for group in result.groups.values() for name in group.metrics))
    table = _table("By group")
    table.add_column("group", overflow="fold")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right", no_wrap=True)
        if number == 0:
            table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    table.add_column("n", justify="right", no_wrap=True, style="dim", header_style="dim bold")
    for name, group in result.groups.items():
        cells = [f"{group.metrics[head]:.2f}" if head in group.metrics else "" for head in heads]
        cells.insert(1, _ends(group.interval))
        table.add_row(Text(visible(name)), *cells, f"{group.n:,}")
    return table


def _remarks(result: Result) -> list[str]:
    counted = [f"{name.replace('_', ' ')} {count:,}" for name, count in result.counts.items() if count]
    return [*result.notes, *(["; ".join(counted)] if counted else [])]
