"""One task on an evaluation's page: all of its figures, groups, counts, how it was asked, and examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pumice.evaluate.overlap import verdict
from pumice.evaluate.results import Overlap, TaskResult, TaskState
from pumice.report.album import Album
from pumice.report.evaluated import Evaluated, Shown
from pumice.report.examples import HOW, MAX_NAME, MAX_WORDS, gallery
from pumice.report.html import Markup, tag
from pumice.report.sections import scrolling
from pumice.report.standing import ends_text, number, words
from pumice.score.result import of_all

MAX_GROUPS = 120
"""Rows of a table of groups; so many tasks have at most."""
MAX_NOTE = 2000
"""Characters of a note and of what a record says."""


def task_section(
    result: TaskResult,
    shown: Sequence[Shown],
    album: Album,
    main: Evaluated,
    others: Sequence[Evaluated],
    most: int = MAX_WORDS,
) -> Markup:
    """A task that has figures; of prompts and answers so many characters are shown."""
    task = result["task"]
    scores = result["scores"]
    models = [(main.name, result), *((o.name, o.scored[task]) for o in others if task in o.scored)]
    identity = f"task-{task}"
    return tag(
        "section",
        tag("header", tag("h2", result["title"], id=identity), tag("p", _lead(result))),
        _figures(models),
        _groups(models),
        [
            tag("p", note[:MAX_NOTE], class_="note")
            for note in (*scores["notes"], *result["notes"], *_counted(result))
        ],
        _overlap(result),
        _judge(result["judge"]),
        _facts(result),
        tag("h3", "Answers") if shown else None,
        tag("p", HOW, class_="note") if shown else None,
        gallery(shown, album, [main.name, *(other.name for other in others)], most),
        aria_labelledby=identity,
        class_="task",
    )


def waiting_row(name: str, state: TaskState) -> Markup:
    """A task without figures: what is the matter, and what to do."""
    return tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", state["state"]),
        tag("td", state["problem"]),
        tag("td", state["remedy"]),
    )


def _lead(result: TaskResult) -> str:
    scores = result["scores"]
    bad = result.get("left_out", 0)
    asked, total = result["asked"] + bad, result["total"]
    of = f"{asked:,} questions" if asked >= total else f"{asked:,} of {total:,} questions"
    left = f", of which {scores['n']:,} have a score" if scores["n"] != asked else ""
    left += f" and {bad:,} were left out" if bad else ""
    seconds = result["seconds"]
    took = f", answered in {_time(seconds)}" if seconds is not None else ""
    return f"{of}{left}{took}."


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _figures(models: Sequence[tuple[str, TaskResult]]) -> Markup:
    """Every figure of the task but those of single groups, with chance and blind."""
    first = models[0][1]
    scores = first["scores"]
    names = of_all(scores["metrics"], scores["groups"])
    heads = [tag("th", "Figure", scope="col")]
    for model, _ in models:
        heads += [tag("th", model, scope="col", class_="num"), tag("th", "95%", scope="col")]
    heads += [tag("th", name, scope="col", class_="num") for name in ("chance", "blind")]
    rows = []
    for name in names:
        cells = []
        for _, result in models:
            own = result["scores"]
            cells += [
                tag("td", number(own["metrics"].get(name)), class_="num main"),
                tag("td", ends_text(own["interval"].get(name)), class_="ends"),
            ]
        baselines = first["baselines"]
        cells += [
            tag("td", number(None if one is None else one["scores"]["metrics"].get(name)), class_="num")
            for one in (baselines["chance"], baselines["blind"])
        ]
        rows.append(tag("tr", tag("th", words(name), scope="row"), cells))
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows), class_="figures")
    said = [
        f"{kind}: {one['how']}"
        + (f"; a guess among the options gets {one['uniform']:.1f}" if one["uniform"] is not None else "")
        for kind, one in (("Chance", first["baselines"]["chance"]), ("Blind", first["baselines"]["blind"]))
        if one is not None
    ]
    note = tag("p", ". ".join(said) + ".", class_="note") if said else None
    return Markup(scrolling(table, f"Figures of {first['title']}") + (note or ""))


def _groups(models: Sequence[tuple[str, TaskResult]]) -> Markup | None:
    first = models[0][1]["scores"]["groups"]
    if not first:
        return None
    names = list(first)[:MAX_GROUPS]
    figures = list(dict.fromkeys(key for group in first.values() for key in group))
    figures = [name for name in figures if name not in ("n", "interval")]
    heads = [tag("th", "Group", scope="col")]
    for model, _ in models:
        prefix = f"{model}: " if len(models) > 1 else ""
        heads += [
            tag("th", prefix + words(figures[0]), scope="col", class_="num"),
            tag("th", "95%", scope="col"),
        ]
    heads += [tag("th", words(name), scope="col", class_="num") for name in (*figures[1:], "n")]
    rows = []
    for name in names:
        cells = []
        for _, result in models:
            own: Mapping[str, Any] = result["scores"]["groups"].get(name, {})
            cells += [
                tag("td", number(own.get(figures[0])), class_="num main"),
                tag("td", ends_text(own.get("interval")), class_="ends"),
            ]
        cells += [tag("td", number(first[name].get(key)), class_="num") for key in figures[1:]]
        cells.append(tag("td", f"{first[name]['n']:,}", class_="num quiet"))
        rows.append(tag("tr", tag("th", name[:MAX_NAME], scope="row"), cells))
    more = len(first) - len(names)
    note = tag("p", f"and {more:,} more groups in result.json", class_="note") if more > 0 else None
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows), class_="groups")
    return Markup(scrolling(table, "Figures by group") + (note or ""))


def _counted(result: TaskResult) -> list[str]:
    counts = {name.replace("_", " "): count for name, count in result["scores"]["counts"].items() if count}
    return (
        ["Counted: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()) + "."]
        if counts
        else []
    )


def _judge(judge: Mapping[str, Any] | None) -> Markup | None:
    """Who judged, and how far two judges agree, as it was written down."""
    if not judge:
        return None
    rows = [
        tag("div", tag("dt", name.replace("_", " ")), tag("dd", _said(value)[:MAX_NOTE]))
        for name, value in judge.items()
        if value not in (None, "", [], {})
    ]
    return tag("div", tag("h3", "Judge"), tag("dl", rows, class_="facts"), class_="judge")


_COUNTED = (
    "pictures", "pictures_same", "pictures_near", "questions", "questions_same", "questions_with_picture",
)  # fmt: skip


def _overlap(result: TaskResult) -> Markup | None:
    """What of the task stood in the training data, where that was looked at."""
    found = cast("Mapping[str, Any]", result).get("overlap")
    if not isinstance(found, Mapping):
        return None

    def count(key: str) -> str:
        value = found.get(key)
        return f"{value:,}" if isinstance(value, int) else "?"

    files = [str(one.get("path", "?")) for one in found.get("training") or [] if isinstance(one, Mapping)]
    known = all(isinstance(found.get(key), int) for key in _COUNTED)
    said = (f"{verdict(cast('Overlap', found)).capitalize()}. " if known else "") + (
        f"Of {count('pictures')} pictures {count('pictures_same')} stand in the training data, and "
        f"{count('pictures_near')} more are near to one there. Of {count('questions')} questions "
        f"{count('questions_same')} stand there in the same words, {count('questions_with_picture')} of them "
        "beside the same or a near picture."
    )
    ids = ", ".join(map(str, found.get("examples") or []))
    return tag(
        "div",
        tag("h3", "Seen in training"),
        tag("p", said, class_="note warn" if found.get("questions_with_picture") else "note"),
        tag("p", f"Of the last: {ids[: MAX_NAME * 4]}", class_="note") if ids else None,
        tag("p", f"Held against {', '.join(files)[: MAX_NAME * 4]}.", class_="note") if files else None,
    )


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')} {_said(one)}" for key, one in value.items())
    return str(value) if isinstance(value, str | int) else json.dumps(value, ensure_ascii=False)


def _facts(result: TaskResult) -> Markup:
    """How to do it again."""
    settings = {**result["settings"], **result["choices"]}
    facts = {
        "Model": result["model"]["name"],
        "Weights": result["model"]["digest"],
        "Asked with": "; ".join(f"{name} {_said(value)}" for name, value in settings.items()),
        "Questions": result["questions"],
        "Files": result["data"],
        "Scored": f"{result['date']}, Pumice {result['pumice']}",
    }
    rows = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", value[:MAX_NOTE]),
            class_="wide" if name in ("Questions", "Files") else None,
        )
        for name, value in facts.items()
        if value
    ]
    return tag("details", tag("summary", "How it was asked"), tag("dl", rows, class_="facts"))
