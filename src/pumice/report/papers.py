"""Evaluations and comparisons as tables for a paper: every figure with its n and its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pumice.evaluate.compare import Comparison, TaskComparison
from pumice.evaluate.results import TaskResult
from pumice.evaluate.wording import ends_text, points
from pumice.report.evaluated import Evaluated
from pumice.report.standing import standings
from pumice.report.typeset import Column, Sheet
from pumice.score.result import flat, of_all
from pumice.score.tasks import TASKS

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BOOTSTRAP = "Per cent (points for MME); in brackets the 95% interval"


def figures_sheet(models: Sequence[Evaluated]) -> Sheet:
    """The figures of one evaluation or of several that papers report; all figures and groups are records."""
    records = [record for one in models for result in one.scored.values() for record in _records(one, result)]
    return _one(models[0], records) if len(models) == 1 else _several(models, records)


def comparison_sheet(comparisons: Sequence[Comparison]) -> Sheet:
    """Differences between the first side and each of the others, a row for each task."""
    several = len(comparisons) > 1
    columns = (
        *([Column("against", numbers=False)] if several else []),
        Column("task", numbers=False), Column("figure", numbers=False), Column("A"), Column("A, 95%"),
        Column("other" if several else "B"), Column("95%" if several else "B, 95%"), Column("difference"),
        Column("difference, 95%"), Column("p" if comparisons[0].tests == 1 else "p, Holm"), Column("n"),
    )  # fmt: skip
    rows, records = [], []
    for letter, one in zip(LETTERS[1:], comparisons, strict=False):
        for task in one.tasks.values():
            rows.append([*([letter] if several else []), *_compared(task)])
            records.append(_record(one, task))
    first = comparisons[0]
    sides = [f"A: {first.a}"]
    sides += [f"{letter}: {one.b}" for letter, one in zip(LETTERS[1:], comparisons, strict=False)]
    tests = sorted({task.first.test for one in comparisons for task in one.tasks.values()})
    corrected = f", corrected by Holm over {first.tests} comparisons" if first.tests > 1 else ""
    refused = [f"{name} ({why})" for one in comparisons for name, why in one.refused.items()]
    caption = (
        f"{'. '.join(sides)}. {BOOTSTRAP} of 10,000 bootstrap samples that both sides share; "
        f"p two-sided ({'; '.join(tests)}){corrected}."
        + (f" Not compared: {'; '.join(refused)}." if refused else "")
    )
    return Sheet(columns, rows, records, caption)


def _records(one: Evaluated, result: TaskResult) -> Iterator[Mapping[str, Any]]:
    """A row for each figure, then for each group."""
    scores, baselines = result["scores"], result["baselines"]

    def row(figure: str, group: str, value: float, ends: Sequence[float] | None, n: int) -> dict[str, Any]:
        beside = {
            kind: None if found is None or group else found["scores"]["metrics"].get(figure)
            for kind, found in (("chance", baselines["chance"]), ("blind", baselines["blind"]))
        }
        low, high = ends or (None, None)
        return {
            "model": one.name, "task": result["task"], "figure": figure, "group": group, "value": value,
            "low": low, "high": high, "n": n, **beside, "asked": result["asked"], "total": result["total"],
        }  # fmt: skip

    for figure in of_all(scores["metrics"], scores["groups"]):
        yield row(figure, "", scores["metrics"][figure], scores["interval"].get(figure), scores["n"])
    for group, figures in scores["groups"].items():
        named = [name for name in figures if name not in ("n", "interval")]
        for place, figure in enumerate(named):
            ends = figures.get("interval") if place == 0 else None
            yield row(figure, group, figures[figure], ends, figures["n"])


def _one(model: Evaluated, records: Sequence[Mapping[str, Any]]) -> Sheet:
    whole = _reported([model], records)
    beside = [kind for kind in ("chance", "blind") if any(record[kind] is not None for record in whole)]
    columns = (
        Column("task", numbers=False), Column("figure", numbers=False), Column("score"), Column("95%"),
        *map(Column, beside), Column("n"),
    )  # fmt: skip
    rows = [
        [
            _task(model, record), _figure(record["figure"]), points(record["value"]),
            _ends(record), *(_number(record[kind]) for kind in beside), str(record["n"]),
        ]
        for record in whole
    ]  # fmt: skip
    caption = f"{model.name}. {BOOTSTRAP}." + _explained(beside) + _parts(records)
    return Sheet(columns, rows, records, caption)


def _several(models: Sequence[Evaluated], records: Sequence[Mapping[str, Any]]) -> Sheet:
    """A row for each figure, a column for each model."""
    found = {(r["model"], r["task"], r["figure"]): r for r in _reported(models, records)}
    keys = dict.fromkeys((task, figure) for _, task, figure in found)
    titles = {task: result["title"] for one in models for task, result in one.scored.items()}
    columns = (
        Column("task", numbers=False), Column("figure", numbers=False),
        *(Column(one.name) for one in models), Column("n"),
    )  # fmt: skip
    rows = []
    for task, figure in keys:
        own = [found.get((one.name, task, figure)) for one in models]
        sizes = dict.fromkeys(str(record["n"]) for record in own if record is not None)
        cells = ["" if record is None else f"{points(record['value'])} {_ends(record)}".strip()
                 for record in own]  # fmt: skip
        rows.append([titles[task], _figure(figure), *cells, "/".join(sizes)])
    return Sheet(columns, rows, records, f"{BOOTSTRAP}." + _parts(records))


def _reported(models: Sequence[Evaluated], records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of all figures those that papers report: the first of each task, and others that were published."""
    keys = {row.key for one in models for row in standings(one)}
    return [r for r in records if not r["group"] and (r["task"], r["figure"]) in keys]


def _title(task: str) -> str:
    """As papers write it; one's own benchmarks and dimensions keep their names."""
    return TASKS[task].title if task in TASKS else task


def _figure(name: str) -> str:
    """A figure's name as papers write it."""
    return {"f1": "F1", "anls": "ANLS"}.get(name, name.replace("_", " "))


def _task(model: Evaluated, record: Mapping[str, Any]) -> str:
    return model.scored[record["task"]]["title"]


def _ends(record: Mapping[str, Any]) -> str:
    low, high = record["low"], record["high"]
    return "" if low is None or flat((low, high)) else f"[{ends_text((low, high), ', ')}]"


def _number(value: float | None) -> str:
    return "" if value is None else points(value)


def _explained(beside: Sequence[str]) -> str:
    said = {
        "chance": " Chance: the best answer that is the same to every question.",
        "blind": " Blind: the same model without the pictures.",
    }
    return "".join(said[kind] for kind in beside)


def _parts(records: Sequence[Mapping[str, Any]]) -> str:
    """Which tasks were asked in part."""
    found = {
        f"{record['task']} ({record['asked']:,} of {record['total']:,} questions)": None
        for record in records
        if record["asked"] < record["total"]
    }
    return f" A drawn part, no official figure: {', '.join(found)}." if found else ""


def _compared(task: TaskComparison) -> list[str]:
    one, pair = task.first, task.first.paired
    p = "<0.001" if task.p_holm < 0.001 else f"{task.p_holm:.3f}"

    def ends(both: tuple[float, float], *, signed: bool = False) -> str:
        return "" if flat(both) else f"[{ends_text(both, ', ', signed=signed)}]"

    return [
        _title(task.task), _figure(task.figure), points(pair.a), ends(pair.interval_a), points(pair.b),
        ends(pair.interval_b), points(pair.difference, signed=True), ends(pair.interval, signed=True), p,
        str(one.n),
    ]  # fmt: skip


def _record(one: Comparison, task: TaskComparison) -> Mapping[str, Any]:
    first, pair = task.first, task.first.paired
    return {
        "a": one.a, "b": one.b, "task": task.task, "figure": task.figure, "n": first.n, "unit": first.unit,
        "value_a": pair.a, "low_a": pair.interval_a[0], "high_a": pair.interval_a[1],
        "value_b": pair.b, "low_b": pair.interval_b[0], "high_b": pair.interval_b[1],
        "difference": pair.difference, "low": pair.interval[0], "high": pair.interval[1],
        "p": first.p, "p_holm": task.p_holm, "test": first.test, "told": task.told,
        "only_a": task.only_a, "only_b": task.only_b,
    }  # fmt: skip
