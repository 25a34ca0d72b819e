"""Benchmark tasks as tables: which there are, and what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pumice.cli.console import note, out, visible

if TYPE_CHECKING:
    from pumice.evaluate.results import Baseline, Overlap, Results, Scores, TaskResult

PUBLISHED = ("LLaVA-1.5-7B", "LLaVA-1.5-13B")
"""Whose published figures stand beside ours."""
STAR = "*"
CHANCE = "chance: the best answer that is the same to every question."
BESIDE = " 1.5-7B and -13B: LLaVA's as published, of other questions in places (docs/scoring.md)."

OTHERS = "those figures are of all official questions"
OTHER_JUDGE = ", with GPT-4 as the judge"


def print_tasks(data: Path | None) -> None:
    """Every task: whether its folder is there, its files, and its options."""
    from pumice.cli.tasks import is_hub
    from pumice.evaluate.hub import NAMES, from_hub
    from pumice.evaluate.tasks import TASKS, folder_of
    from pumice.score import task_of

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("task", no_wrap=True)
    if data is not None:
        table.add_column("there", no_wrap=True)
    table.add_column("its files, in DIR/TASK, and options", overflow="fold")
    hub = is_hub(data)
    for own in TASKS.values():
        benchmark = from_hub(own) if hub and own.name in NAMES else own
        there = own.name in NAMES if hub else data is not None and folder_of(data, own.name).is_dir()
        cells = [Text("yes", "green") if there else Text("no", "dim")] if data is not None else []
        lines = [task_of(benchmark.name).title + (", read by a judge" if benchmark.judge else "")]
        lines += list(benchmark.files)
        for choice in benchmark.choices:
            values = "|".join(choice.values)
            lines.append(f"--set {benchmark.name}.{choice.name}={values}: {choice.meaning}")
        table.add_row(Text(benchmark.name, "bold"), *cells, Text("\n".join(lines)))
    out.print(table)


def print_dimensions(data: Path | None) -> None:
    """Every dimension: whether its files are there, what it says, and what it takes."""
    from pumice.evaluate.dimensions import DIMENSIONS

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("dimension", no_wrap=True)
    if data is not None:
        table.add_column("there", no_wrap=True)
    table.add_column("what it says, and its files, in DIR/FOLDER", overflow="fold")
    for one in DIMENSIONS.values():
        there = data is not None and bool(one.folder) and (data / one.folder).is_dir()
        cells = [Text("yes", "green") if there else Text("no" if one.folder else "", "dim")]
        files = [f"{one.folder}/{name}" if one.folder else name for name in one.files]
        lines = Text("\n".join([one.about, *files]))
        table.add_row(Text(one.name, "bold"), *(cells if data is not None else []), lines)
    out.print()
    out.print(table)
    if data is None:
        note("--data DIR (or PUMICE_DATA) shows which are there, --data hub which can be fetched.")


def print_results(results: Results, names: Sequence[str]) -> None:
    """The figures of these tasks beside what needs no sight and what was published; what is wrong below."""
    states = {name: results["tasks"][name] for name in names}
    scored = [state["result"] for state in states.values() if state["result"] is not None]
    if scored:
        out.print()
        published = [model for model in PUBLISHED if _any_published(model, scored)]
        out.print(_table(scored, published))
        note(CHANCE + (BESIDE if published else ""))
        if others := [result for result in scored if _of_others(result)]:
            judged = OTHER_JUDGE if any(result["judge"] for result in others) else ""
            these = ", ".join(result["task"] for result in others)
            note(f"Nothing published stands beside {these}: {OTHERS}{judged}.")
        for line in _cautions(scored, published):
            note(line)
    for text, tasks in _noted(scored).items():
        note(visible(f"{', '.join(tasks)}: {text}"))
    for result in scored:
        if result["judge"]:
            note(visible(f"{result['task']}: {_judged(result['judge'])}"))
        if "overlap" in result:
            note(f"{result['task']}: in training: {_overlap(result['overlap'])}")
    for name, state in states.items():
        if state["state"] == "scored":
            continue
        out.print(Text(f"\n{name}: {state['state']}: {visible(state['problem'])}", "yellow"), soft_wrap=True)
        if state["remedy"]:
            out.print(Text(f"  to do: {visible(state['remedy'])}", "dim"), soft_wrap=True)


def _noted(scored: Sequence[TaskResult]) -> dict[str, list[str]]:
    """Each note with the tasks that it is of: what is true of several is said once."""
    notes: dict[str, list[str]] = {}
    for result in scored:
        for text in dict.fromkeys((*result["notes"], *result["scores"]["notes"])):
            notes.setdefault(text, []).append(result["task"])
    return notes


def _judged(judge: Mapping[str, Any]) -> str:
    """Who judged, whether that compares with published figures, and what else to know, on one line."""
    said = f"judged by {judge.get('model')} ({judge.get('host')}): {'; '.join(judge.get('notes') or [])}"
    second = judge.get("second")
    return said if not second else f"{said}. Second judge: {second['model']} ({second['host']})"


def _cautions(scored: Sequence[TaskResult], published: Sequence[str]) -> list[str]:
    """What the stars at published figures mean: a line for each."""
    from pumice.evaluate.published import of_model

    stars: dict[str, list[str]] = {}
    for result in scored:
        for figure in _shown(result):
            for model in published:
                if _published(model, result, figure).endswith(STAR):
                    caution = of_model(model)[result["task"], figure].caution
                    stars.setdefault(caution, []).append(result["task"])
    return [f"{STAR} {', '.join(dict.fromkeys(tasks))}: {caution}." for caution, tasks in stars.items()]


def _overlap(found: Overlap) -> str:
    from pumice.evaluate.overlap import verdict

    return (
        f"{verdict(found)}. Counted: {found['pictures_same']:,} of {found['pictures']:,} pictures, "
        f"{found['pictures_near']:,} more near; "
        f"{found['questions_same']:,} of {found['questions']:,} questions, "
        f"{found['questions_with_picture']:,} of them with such a picture"
    )


def _any_published(model: str, scored: Sequence[TaskResult]) -> bool:
    return any(_published(model, result, name) for result in scored for name in _shown(result))


def _table(scored: Sequence[TaskResult], published: Sequence[str]) -> Table:
    blind = any(result["baselines"]["blind"] for result in scored)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("task", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    table.add_column("chance", justify="right", no_wrap=True)
    if blind:
        table.add_column("blind", justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True, style="dim", header_style="dim bold")
    for model in published:
        table.add_column(model.removeprefix("LLaVA-"), justify="right", no_wrap=True, style="dim")
    for result in scored:
        _add(table, result, published, blind=blind)
    return table


def _add(table: Table, result: TaskResult, published: Sequence[str], *, blind: bool) -> None:
    for figure in _shown(result):
        first = figure == result["figure"]
        beside = [result["baselines"]["chance"], *([result["baselines"]["blind"]] if blind else [])]
        table.add_row(
            result["task"] if first else "",
            figure,
            _score(result["scores"], figure, beside, first=first),
            _ends(result["scores"], figure),
            *(_of(one, figure) for one in beside),
            _n(result) if first else "",
            *(_published(model, result, figure) for model in published),
        )


def _n(result: TaskResult) -> str:
    """How many questions the figure is of, and how many were left out."""
    left = result.get("left_out", 0)
    return f"{result['scores']['n']:,}" + (f" ({left:,} left out)" if left else "")


def _shown(result: TaskResult) -> list[str]:
    """The figures of all questions; those that are of a group alone stay in the file."""
    from pumice.score.result import of_all

    return of_all(result["scores"]["metrics"], result["scores"]["groups"])


def _score(scores: Scores, figure: str, beside: Sequence[Baseline | None], *, first: bool) -> Text:
    """The first figure is green where its whole interval is above all that needs no sight, else yellow."""
    value = scores["metrics"][figure]
    reached = [one["scores"]["metrics"].get(figure) for one in beside if one is not None]
    known = [other for other in reached if other is not None]
    low, high = scores["interval"].get(figure, [value, value])
    style = (
        ""
        if not first
        else "bold"
        if not known
        else "bold green"
        if high > low > max(known)
        else "bold yellow"
    )
    return Text(f"{value:.2f}", style)


def _of(one: Baseline | None, figure: str) -> str:
    value = None if one is None else one["scores"]["metrics"].get(figure)
    return "" if value is None else f"{value:.2f}"


def _ends(scores: Scores, figure: str) -> str:
    ends = scores["interval"].get(figure)
    if ends is None:
        return ""
    return f"{ends[0]:.2f}–{ends[1]:.2f}" if ends[1] > ends[0] else "no spread"  # noqa: RUF001 - the dash of ranges


def _of_others(result: TaskResult) -> bool:
    """Whether what was published of the task is no yardstick for its first figure."""
    from pumice.evaluate.published import comparable, of_task

    figure = result["figure"]
    known = any(one.model in PUBLISHED for one in of_task(result["task"], figure))
    return known and not comparable(result, figure)


def _published(model: str, result: TaskResult, figure: str) -> str:
    """A model's published figure; nothing where it is no yardstick: for fewer questions, another judge."""
    from pumice.evaluate.published import comparable, of_model

    found = of_model(model).get((result["task"], figure))
    if found is None or not comparable(result, figure):
        return ""
    return f"{found.value:g}" + (STAR if found.caution else "")
