"""The parts of a run page that tell what was run: header, curves, what trained, mixture, recipe, lineage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pumice.report.best import best_words
from pumice.report.charts import Point, Series, line_chart, running_mean, short
from pumice.report.collect import Curves, Row, RunFolder, number, points
from pumice.report.html import Markup, escape, join, tag
from pumice.words import counted

STATUS = {
    "finished": "good",
    "done": "good",
    "complete": "good",
    "completed": "good",
    "failed": "bad",
    "died": "bad",
}


def section(title: str, intro: str | None, *content: Markup | None) -> Markup:
    """A titled part of the page, which its heading names for a screen reader."""
    identity = re.sub(r"\W+", "-", title.lower())
    head = tag("header", tag("h2", title, id=identity), tag("p", intro) if intro else None)
    return tag("section", head, content, aria_labelledby=identity)


def scrolling(table: Markup, label: str) -> Markup:
    """A table that scrolls by itself on a narrow screen, also from the keyboard."""
    return tag("div", table, class_="scroll", role="region", aria_label=label, tabindex=0)


def absent(what: str) -> Markup:
    """A box that says that something is not there yet."""
    return tag("p", what, class_="absent")


def header(run: RunFolder) -> Markup:
    """What the run is, in one sentence and a list of facts."""
    info = run.info
    status = run.status
    brand = tag(
        "p",
        tag("b", "pumice"),
        tag("span", "run page"),
        tag("span", status, class_=f"status {STATUS.get(status, 'open')}"),
        class_="brand",
    )
    facts = [
        ("Seed", info.get("seed")),
        ("Started", moment(info.get("created"))),
        ("Time in training", _total_time(run)),
        ("Pumice", code(info)),
        ("Libraries", _libraries(info)),
        ("Machine", info.get("machine")),
        ("Ranks", info.get("ranks") if info.get("ranks") != 1 else None),
        ("Command", tag("code", str(info["command"])) if info.get("command") else None),
    ]
    listed = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", value if isinstance(value, Markup) else _plain(value)),
            class_=width,
        )
        for name, value in facts
        if value not in (None, "")
        for width in ["wide" if name in ("Machine", "Command", "Libraries") else None]
    ]
    return tag(
        "header",
        brand,
        tag("h1", run.name),
        _lead(run),
        tag("dl", listed, class_="facts") if listed else None,
    )


def curves(run: RunFolder) -> Markup:
    """Loss, learning rate, gradient norm and grounding of every stage, one row of charts each."""
    intro = (
        "Loss is per supervised token, or per pair of answers. The faint line is every step, the strong one "
        "its running mean."
    )
    if not run.curves:
        return section("Curves", None, absent("No steps have been logged yet."))
    recorded = {str(stage.get("name")): stage for stage in run.stages}
    best = _mapping(run.info, "best")
    return section(
        "Curves",
        intro,
        *(_stage(each, recorded.get(each.stage, {}), _mapping(best, each.stage)) for each in run.curves),
    )


def trained(run: RunFolder) -> Markup:
    """Which group of parameters trained in which stage, with counts."""
    groups: dict[str, None] = {}
    for stage in run.stages:
        for state in ("frozen", "trainable"):
            groups |= dict.fromkeys(stage.get(state) or {})
    if not groups:
        return section("What trained", None, absent("No stage has begun yet."))
    rows = [
        tag("tr", tag("th", group, scope="row"), [_state(stage, group) for stage in run.stages])
        for group in groups
    ]
    totals = [
        tag("td", f"{sum((stage.get('trainable') or {}).values()):,} parameters trained", class_="quiet")
        for stage in run.stages
    ]
    heads = [
        tag("th", f"Stage {i + 1}: {stage.get('name')}", scope="col") for i, stage in enumerate(run.stages)
    ]
    table = tag(
        "table",
        tag("thead", tag("tr", tag("th", "Part", scope="col"), heads)),
        tag("tbody", rows, tag("tr", tag("th", "in total", scope="row"), totals, class_="total")),
    )
    intro = "A frozen part keeps its weights; gradients may still pass through it."
    return section("What trained", intro, scrolling(table, "What trained"))


def mixture(run: RunFolder) -> Markup:
    """Where the training samples come from, per stage, with bars for the shares."""
    if not run.mixture:
        return section("Mixture", None, absent("The mixture is not recorded."))
    numbers = ("samples", "images", "tokens", "supervised_tokens")
    names = ("Source", "Share", "Rows", "Samples", "Images", "Tokens", "Supervised", "File")
    heads = [
        tag("th", name, scope="col", class_="num" if 2 <= i <= 6 else None) for i, name in enumerate(names)
    ]
    rows: list[Markup] = []
    largest = max((number(row, "share") or 0.0 for row in run.mixture), default=0.0)
    for stage in dict.fromkeys(str(row.get("stage")) for row in run.mixture):
        rows.append(tag("tr", tag("th", stage, scope="rowgroup", colspan=len(names)), class_="group"))
        for row in run.mixture:
            if str(row.get("stage")) != stage:
                continue
            cells = [tag("td", _kept(row), class_="num")]
            cells += [tag("td", _count(row.get(key)), class_="num") for key in numbers]
            share = tag("td", _bar(number(row, "share"), largest))
            file = tag("td", row.get("file"), class_="path")
            rows.append(tag("tr", tag("th", str(row.get("source")), scope="row"), share, cells, file))
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    intro = "What each stage was trained on. Supervised tokens are those that carry a loss."
    return section("Mixture", intro, scrolling(table, "Mixture"))


def recipe(run: RunFolder) -> Markup:
    """The resolved recipe, folded."""
    if run.recipe is None:
        return section("Recipe", None, absent("The resolved recipe is not in the folder."))
    lines = run.recipe.splitlines()
    summary = tag("summary", "Resolved recipe", tag("span", f"recipe.yaml, {len(lines)} lines"))
    text = Markup("\n").join(_yaml_line(line) for line in lines)
    intro = "Every option as it was used, defaults and overrides included."
    return section("Recipe", intro, tag("details", summary, tag("pre", tag("code", Markup(text)))))


def lineage(run: RunFolder) -> Markup:
    """What the model was made from, and what the figures were made with."""
    rows: list[tuple[str, Any]] = [("run folder", run.path.resolve().name)]
    parts = run.info.get("parts")
    for part, facts in (parts if isinstance(parts, dict) else {}).items():
        described = facts.items() if isinstance(facts, dict) else [("", facts)]
        rows += [(f"{part} {key}".strip(), value) for key, value in described]
    rows += [(f"stage {stage.get('name')}", stage.get("model")) for stage in run.stages if stage.get("model")]
    if run.info.get("final"):
        rows.append(("final model", run.info["final"]))
    if run.scores:
        rows.append(("questions", f"{run.scores['questions']:,}, digest {run.scores['digest']}"))
        rows += [(f"answers {name}", scored["model"]) for name, scored in run.scores["variants"].items()]
    body = [
        tag("tr", tag("th", name, scope="row"), tag("td", _plain(value), class_="mono"))
        for name, value in rows
    ]
    table = tag("table", tag("tbody", body), class_="lineage")
    return section("Lineage", "Which parts the model grew from, and which weights gave the answers.", table)


def _lead(run: RunFolder) -> Markup:
    stages = [str(stage.get("name")) for stage in run.stages]
    said: list[Markup | str] = []
    if stages:
        said += [f"{counted(len(stages), 'stage')}: ", tag("b", ", then ".join(stages)), ". "]
    if run.scores:
        asked = f"{run.scores['questions']:,} questions about {run.scores['pictures']:,} pictures"
        said += ["Measured on ", tag("b", asked), ". "]
    else:
        said.append("Not measured yet. ")
    if run.missing:
        said.append(f"Not in the folder: {'; '.join(run.missing)}.")
    return tag("p", said, class_="lead")


def _best(best: Mapping[str, Any]) -> str | None:
    """Which model of a stage is kept as its best, and where."""
    words = best_words(best)
    return None if words is None else f"best {words}, kept in {best.get('model')}"


def _memory(each: Curves) -> str | None:
    held = number(each.train[-1], "memory") if each.train else None
    return None if held is None else f"{held / 1e9:.1f} GB at most"


def _stage(each: Curves, record: Mapping[str, Any], best: Mapping[str, Any]) -> Markup:
    lr_groups = list(dict.fromkeys(group for row in each.train for group in _mapping(row, "lr")))
    asked = points(each.evaluation, "value")
    extra = _grounding(each) or _preference(each)
    tasks = _tasks(each)
    more = bool(extra or asked or tasks)
    # three charts stand in one row, more in two columns
    size = (480, 268) if more else (344, 248)
    rates = [_group_line(each.train, "lr", group, i) for i, group in enumerate(lr_groups)]
    norms = _smoothed("before clipping", points(each.train, "grad_norm"), 3)
    charts = [
        line_chart("Loss", _loss(each), size=size),
        line_chart("Learning rate", rates, from_zero=True, size=size),
        line_chart("Gradient norm", norms, from_zero=True, size=size),
        extra,
        _shares(_ASKED, [Series("exact match", asked, 1, dots=len(asked) <= 40)]) if asked else None,
        *tasks,
    ]
    facts = [
        f"{short(float(record['steps']))} steps" if number(record, "steps") is not None else None,
        duration(number(record, "seconds")),
        f"last step {each.train[-1].get('step')}" if each.train and not record else None,
        _memory(each),
        _best(best),
    ]
    words = ", ".join(fact for fact in facts if fact)
    title = tag("h3", each.stage, tag("span", words) if words else None)
    return tag(
        "div",
        title,
        tag("div", [chart for chart in charts if chart], class_="charts" if more else "charts three"),
        class_="stage",
    )


def _loss(each: Curves) -> list[Series]:
    lines = _smoothed("train", points(each.train, "loss"), 1)
    held_out = points(each.validation, "loss")
    return [*lines, Series("validation", held_out, 2, dots=len(held_out) <= 40)] if held_out else lines


def _smoothed(name: str, values: tuple[Point, ...], colour: int) -> list[Series]:
    window = len(values) // 40 | 1
    if window < 3:
        return [Series(name, values, colour)]
    mean = Series(
        f"{name}, mean of {window}", running_mean([v for v in values if v[1] == v[1]], window), colour
    )
    return [Series(name, values, colour, faint=True), mean]


def _group_line(rows: Iterable[Row], key: str, group: str, place: int) -> Series:
    pairs = [(number(row, "step"), number(_mapping(row, key), group)) for row in rows]
    return Series(group, tuple((x, y) for x, y in pairs if x is not None and y is not None), place % 6 + 1)


def _grounding(each: Curves) -> Markup | None:
    names = list(dict.fromkeys(name for row in each.grounding for name in _mapping(row, "accuracy")))
    lines = [_group_line(each.grounding, "accuracy", name, i) for i, name in enumerate(names)]
    dotted = [Series(line.name, line.points, line.colour, dots=len(line.points) <= 40) for line in lines]
    return _shares("Grounding, nearest word", dotted)


IN_POINTS = ("mme",)
"""Tasks whose figure is no per cent."""
_ASKED = "Questions on the way, answered rightly"


def _tasks(each: Curves) -> list[Markup]:
    """Benchmark tasks on the way: figures in per cent in one chart, MME's points in another."""
    lines: dict[str, dict[str, list[Point]]] = {"per cent": {}, "points": {}}
    for row in each.evaluation:
        for name, one in _mapping(row, "tasks").items():
            x, y = number(row, "step"), number(one, "value") if isinstance(one, dict) else None
            if x is not None and y is not None:
                unit = "points" if name in IN_POINTS else "per cent"
                lines[unit].setdefault(f"{name} {one.get('figure', '')}".strip(), []).append((x, y))
    charts = []
    for unit, named in lines.items():
        drawn = [
            Series(name, tuple(found), place % 6 + 1, dots=len(found) <= 40)
            for place, (name, found) in enumerate(named.items())
        ]
        ends = (0.0, 100.0) if unit == "per cent" else None
        charts.append(line_chart(f"Tasks on the way, {unit}", drawn, y_range=ends, from_zero=True))
    return [chart for chart in charts if chart is not None]


def _shares(title: str, lines: list[Series]) -> Markup | None:
    return line_chart(title, lines, y_range=(0, 1), y_format=lambda y: f"{100 * y:.0f}%")


def _preference(each: Curves) -> Markup | None:
    """By how much better answers are ahead, of a stage that compares two."""
    lines = [*_smoothed("train", points(each.train, "margin"), 1)] if points(each.train, "margin") else []
    held_out = points(each.validation, "margin")
    if held_out:
        lines.append(Series("validation", held_out, 2, dots=len(held_out) <= 40))
    return line_chart("Margin of the chosen answer", lines) if lines else None


def code(row: Row) -> str | None:
    """Version and commit of a record: ``0.3.0, commit 1a2b3c4d5e6f, with changes``."""
    found = row.get("revision")
    parts = [str(row["pumice"])] if row.get("pumice") else []
    if isinstance(found, dict) and found.get("commit"):
        parts.append(f"commit {str(found['commit'])[:12]}")
        parts += ["with changes"] if found.get("changed") else []
    return ", ".join(parts) or None


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _state(stage: Row, group: str) -> Markup:
    # A tower that trains has a rest that stays frozen: the layers above the one that is read.
    states: list[Markup | str] = []
    some = [entry for entry in stage.get("entries") or {} if entry.startswith(f"{group}.")]
    for key, word in (("trainable", "trained"), ("frozen", "frozen")):
        counts = stage.get(key) or {}
        if group in counts:
            states += [" " if states else "", tag("span", word, class_=f"state {word}"), f"{counts[group]:,}"]
            if some and key == "trainable":
                states.append(f" ({', '.join(some)})")
    return tag("td", states) if states else tag("td", "not part of it", class_="quiet")


def _bar(share: float | None, largest: float) -> Markup:
    if share is None:
        return tag("span", "not recorded", class_="quiet")
    width = round(140 * share / largest) if largest else 0
    return tag("div", tag("i", style=f"width:{width}px"), tag("span", f"{100 * share:.1f}%"), class_="bar")


def _yaml_line(line: str) -> Markup:
    """Keys and comments in their colours; text inside quotes is no comment."""
    found = re.match(r"^(\s*(?:- )?)([\w.\-/]+)(:)(\s.*)?$", line)
    if line.lstrip().startswith("#"):
        return tag("span", line, class_="c")
    if not found:
        return escape(line)
    indent, key, colon, rest = found.groups()
    return join(indent, tag("span", key, class_="k"), colon, rest or "")


def _libraries(info: Row) -> str:
    names = ("python", "torch", "transformers")
    return ", ".join(f"{name} {info[name]}" for name in names if info.get(name))


def _total_time(run: RunFolder) -> str | None:
    return duration(sum(number(stage, "seconds") or 0.0 for stage in run.stages) or None)


def duration(seconds: float | None) -> str | None:
    """Seconds as 45 s, 3 min 20 s or 2 h 05 min."""
    if seconds is None:
        return None
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.0f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(created: Any) -> str | None:
    """ISO time without fractions of seconds."""
    return (
        re.sub(r"T(\d\d:\d\d)(:\d\d)?(\.\d+)?", r" \1", str(created)).replace("+00:00", " UTC")
        if created
        else None
    )


def _kept(row: Row) -> str:
    """The rows of a source's file; where a limit left some out, how many of them were used."""
    rows, kept = row.get("rows"), row.get("kept")
    return _count(rows) if kept == rows else f"{_count(kept)} of {_count(rows)} (limit)"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ("" if value is None else str(value))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
