"""Where a model stands: its figures with intervals, what needs no sight, and what was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pumice.evaluate.published import MODELS, SOURCES, SPLITS, Published, comparable, of_task
from pumice.evaluate.results import Baseline, TaskResult
from pumice.report.charts import interval_plot, interval_scale
from pumice.report.evaluated import Evaluated
from pumice.report.html import Markup, tag
from pumice.report.radar import LEAST, Axis, Line, radar, rim
from pumice.report.sections import absent, scrolling, section

FULL = {("mme", "perception"): 2000, ("mme", "cognition"): 800}
"""The most that a figure can be; 100 for the others."""
SINGLE = ("conv", "detail", "complex")
"""Figures of single categories: they are in the task's own section."""
DRAWN = ("LLaVA-1.0-13B", "LLaVA-1.5-7B", "LLaVA-1.5-13B", "LLaVA-NeXT-13B")
"""Published models that the radar plot shows; the table has all."""
COLOURS = 6
"""Of the style sheet."""
DASH = "\u2013"
NONE = tag("span", "\u00b7", class_="quiet")


@dataclass(frozen=True)
class Standing:
    """One figure of one task."""

    result: TaskResult
    metric: str

    @property
    def key(self) -> tuple[str, str]:
        return self.result["task"], self.metric

    @property
    def comparable(self) -> bool:
        """Whether published figures are a yardstick for it."""
        return comparable(self.result, self.metric)

    @property
    def name(self) -> str:
        """The task, and the figure where it is not the one that papers report."""
        title = self.result["title"]
        return title if self.metric == self.result["figure"] else f"{title}, {words(self.metric)}"

    @property
    def full(self) -> float:
        return FULL.get(self.key, 100)

    @property
    def value(self) -> float:
        return self.result["scores"]["metrics"][self.metric]

    @property
    def ends(self) -> tuple[float, float] | None:
        found = self.result["scores"]["interval"].get(self.metric)
        return None if found is None else (found[0], found[1])

    def beside(self, baseline: Baseline | None) -> float | None:
        """The same figure of a baseline."""
        return None if baseline is None else baseline["scores"]["metrics"].get(self.metric)


def standings(one: Evaluated) -> list[Standing]:
    """The figures of a model, task by task: the reported one, and others that were published."""
    return [
        Standing(result, metric)
        for result in one.scored.values()
        for metric in dict.fromkeys((result["figure"], *_published_metrics(result)))
        if metric in result["scores"]["metrics"]
    ]


def table_section(main: Evaluated, others: Sequence[Evaluated]) -> Markup:
    """The headline table."""
    rows = standings(main)
    if not rows:
        return section("Figures", None, absent("No task has figures yet."))
    heads = [
        tag("th", "Task", scope="col"),
        tag("th", interval_scale(), scope="col", class_="plot"),
        tag("th", main.name, scope="col", class_="num"),
        tag("th", "95%", scope="col"),
        [tag("th", other.name, scope="col", class_="num") for other in others],
        [tag("th", name, scope="col", class_="num") for name in ("chance", "blind", "n")],
    ]
    body = [_row(row, others) for row in rows]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", body), class_="standing")
    intro = (
        "Per cent, and points for MME, with the scorer's 95% bootstrap interval. Chance: the best of answers "
        "that are the same to every question. Blind: the same model without the pictures."
    )
    dagger = "\u2020 not above chance and the blind model by more than its interval."
    note = tag("p", dagger, class_="note")
    return section("Figures", intro, _legend(), scrolling(table, "Figures of all tasks"), note)


def published_section(main: Evaluated, others: Sequence[Evaluated]) -> Markup:
    """What was published of LLaVA on the same tasks: a radar plot and a table."""
    rows = [row for row in standings(main) if of_task(*row.key)]
    title = "Beside published models"
    if not rows:
        return section(title, None, absent("Nothing was published of LLaVA on these tasks."))
    models = [
        model for model in MODELS if any(one.model == model for row in rows for one in of_task(*row.key))
    ]
    ours = [main, *others]
    heads = [tag("th", "Task", scope="col")]
    heads += [tag("th", one.name, scope="col", class_="num") for one in ours]
    heads += [tag("th", model, scope="col", class_="num published") for model in models]
    body = [
        tag(
            "tr",
            tag("th", row.name, scope="row"),
            tag("td", number(row.value), class_="num main"),
            [_other(row, other, ends=False) for other in others],
            [_published(row, model) for model in models],
        )
        for row in rows
    ]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", body))
    return section(
        title, None, *_radar(main, others), scrolling(table, "Published figures"), *_footnotes(rows)
    )


def _radar(main: Evaluated, others: Sequence[Evaluated]) -> Iterator[Markup | None]:
    """The plot, with what it does not show in words."""
    rows = [row for row in standings(main) if _fair(row, DRAWN)]
    if len(rows) < LEAST:
        yield absent(
            f"A radar plot needs {LEAST} figures that LLaVA was published with; here are {len(rows)}."
        )
        return
    lines = _lines(rows, main, others)
    axes = [
        Axis(
            row.name + ("" if row.comparable else "*"),
            0,
            rim([v for line in lines for v in [line.values[i]] if v is not None], row.full / 10),
            "" if row.full != 100 else "%",
        )
        for i, row in enumerate(rows)
    ]
    left_out = [row.name for row in standings(main) if row not in rows]
    notes = [
        "The centre of every axis is 0, its rim the number at its name. A figure that is not known is a gap."
    ]
    for line in lines:
        gaps = [row.name for row, value in zip(rows, line.values, strict=True) if value is None]
        if gaps:
            notes.append(f"{line.name} has no figure here for {', '.join(gaps)}.")
    if left_out:
        notes.append(f"Not in the plot, because nothing of the kind was published: {', '.join(left_out)}.")
    if any(not row.comparable for row in rows):
        warning = (
            "* These are not the official questions, far fewer of them, or read by another judge: the "
            "published lines are of another test, and the distance between the lines says nothing."
        )
        yield tag("p", warning, class_="note warn")
    yield radar(axes, lines)
    yield from (tag("p", note, class_="note") for note in notes)


def number(value: float | None, full: float = 100) -> str:
    """A figure with one place; MME's points, too."""
    return "" if value is None else f"{value:.1f}" if full == 100 or value % 1 else f"{value:,.0f}"


def ends_text(ends: Sequence[float] | None) -> str:
    """An interval; one without width says only that all resamples are alike, not that all is certain."""
    if ends is None:
        return ""
    return f"{ends[0]:.1f}{DASH}{ends[1]:.1f}" if ends[1] > ends[0] else "no spread"


def words(name: str) -> str:
    """A figure's name as it is read."""
    return {"accuracy_img": "with a picture"}.get(name, name.replace("accuracy_", "").replace("_", " "))


def _published_metrics(result: TaskResult) -> Iterator[str]:
    for task, metric in SPLITS:
        if task == result["task"] and metric not in SINGLE:
            yield metric


def _fair(row: Standing, models: Sequence[str]) -> bool:
    return any(figure.model in models and not figure.caution for figure in of_task(*row.key))


def _lines(rows: Sequence[Standing], main: Evaluated, others: Sequence[Evaluated]) -> list[Line]:
    lines = [Line(main.name, tuple(row.value for row in rows), 1, strong=True)]
    for other in others:
        own = {row.key: row.value for row in standings(other)}
        lines.append(
            Line(other.name, tuple(own.get(row.key) for row in rows), _colour(len(lines)), strong=True)
        )
    for model in DRAWN:
        values = tuple(
            next((f.value for f in of_task(*row.key) if f.model == model and not f.caution), None)
            for row in rows
        )
        if any(value is not None for value in values):
            lines.append(Line(model, values, _colour(len(lines))))
    return lines


def _colour(place: int) -> int:
    return place % COLOURS + 1


def _row(row: Standing, others: Sequence[Evaluated]) -> Markup:
    baselines = row.result["baselines"]
    chance, blind = row.beside(baselines["chance"]), row.beside(baselines["blind"])
    low, high = row.ends or (row.value, row.value)
    marks = [
        (kind, value / row.full) for kind, value in (("floor", chance), ("blind", blind)) if value is not None
    ]
    label = f"{row.name}: {number(row.value)}" + (f" (95% {ends_text(row.ends)})" if row.ends else "")
    plot = interval_plot(row.value / row.full, low / row.full, high / row.full, marks, label)
    scale = None if row.full == 100 else tag("span", f" of {row.full:,.0f}", class_="quiet")
    name = tag("a", row.name, href=f"#task-{row.result['task']}")
    part = row.result["asked"] < row.result["total"]
    plain = row.metric == "accuracy" or row.metric != row.result["figure"]
    figure = None if plain else tag("span", words(row.metric), class_="figure-name")
    return tag(
        "tr",
        tag("th", name, tag("span", " (a part)", class_="quiet") if part else None, figure, scope="row"),
        tag("td", plot, class_="plot"),
        tag("td", number(row.value), scale, class_=_standing_class(row, chance, blind)),
        tag("td", ends_text(row.ends), class_="ends"),
        [_other(row, other) for other in others],
        tag("td", number(chance), class_="num"),
        tag("td", number(blind), class_="num"),
        tag("td", f"{row.result['scores']['n']:,}", class_="num quiet"),
    )


def _standing_class(row: Standing, *floors: float | None) -> str:
    low = row.ends[0] if row.ends else row.value
    known = [floor for floor in floors if floor is not None]
    return "num main at-floor" if known and low <= max(known) else "num main"


def _other(row: Standing, other: Evaluated, *, ends: bool = True) -> Markup:
    own = next((one for one in standings(other) if one.key == row.key), None)
    if own is None:
        return tag("td", NONE, class_="num")
    interval = tag("span", f" {ends_text(own.ends)}", class_="quiet") if own.ends and ends else None
    return tag("td", number(own.value), interval, class_="num")


def _published(row: Standing, model: str) -> Markup:
    figure = next((one for one in of_task(*row.key) if one.model == model), None)
    if figure is None:
        return tag("td", NONE, class_="num published")
    far = "" if row.comparable else " far"
    mark = "\u2021" if figure.caution else ""
    title = f"{model}: {SOURCES[figure.source]}. {_of(figure)}"
    printed = f"{figure.value:.1f}" if round(figure.value, 1) == figure.value else f"{figure.value:g}"
    return tag("td", f"{printed}{mark}", class_=f"num published{far}", title=title)


def _of(figure: Published) -> str:
    return f"{figure.split}. {figure.caution}" if figure.caution else f"{figure.split}."


def _legend() -> Markup:
    def key(drawing: Markup, said: str) -> Markup:
        return tag(
            "span", tag("svg", drawing, width=22, height=14, viewBox="0 0 22 14", aria_hidden="true"), said
        )

    whisker = tag("line", x1=2, x2=20, y1=7, y2=7, class_="whisker")
    return tag(
        "div",
        key(Markup(whisker + tag("circle", cx=11, cy=7, r=4.6, class_="mark-main")), "figure, 95% interval"),
        key(tag("circle", cx=11, cy=7, r=3.6, class_="mark-blind"), "blind"),
        key(tag("line", x1=11, x2=11, y1=1, y2=13, class_="mark-floor"), "chance"),
        class_="plot-legend",
    )


def _footnotes(rows: Sequence[Standing]) -> list[Markup]:
    figures = [figure for row in rows for figure in of_task(*row.key)]
    said: list[str] = []
    cautions = sorted({figure.caution for figure in figures if figure.caution})
    said += [f"\u2021 {caution}." for caution in cautions]
    far = [row.name for row in rows if not row.comparable and of_task(*row.key)]
    if far:
        said.append(
            f"Of other questions than the published figures, far fewer, or read by another judge: "
            f"{', '.join(far)}. The figures in italics are no yardstick for them."
        )
    notes = [tag("p", line, class_="note") for line in said]
    if figures:
        items = [tag("li", tag("b", row.name), f": {SPLITS[row.key]}.") for row in rows if row.key in SPLITS]
        sources = [
            tag("li", text, ".") for key, text in SOURCES.items() if any(f.source == key for f in figures)
        ]
        what = tag("summary", "What the published figures are of, and where they were printed")
        notes.append(tag("details", what, tag("ul", items), tag("ul", sources), class_="sources"))
    return notes
