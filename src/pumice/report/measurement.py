"""The parts of a run page that tell what came of it: headline figures, tables of scores, test pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import PIL.Image
import PIL.ImageOps

from pumice.evaluate import Scores
from pumice.evaluate.scores import Pope, Proportion, columns, variant_title
from pumice.report.charts import interval_plot, interval_scale
from pumice.report.collect import Row, RunFolder, choose, number
from pumice.report.html import Markup, tag
from pumice.report.sections import absent, scrolling, section

SIDE_BY_SIDE = ("blind", "aligned")
MAX_RAW_BYTES = 60_000
MAX_SIDE = 480
MAX_ANSWER = 280


def headline(run: RunFolder) -> Markup | None:
    """Up to four large figures; from the curves alone while nothing is measured."""
    scores = run.scores
    figures = _measured_figures(scores) if scores else _training_figures(run)
    if not figures:
        return None
    blocks = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", tag("div", value, tag("small", unit), class_="big"), tag("p", said)),
            class_="figure",
        )
        for name, value, unit, said in figures
    ]
    return tag("dl", blocks, class_="headline")


def scores_section(run: RunFolder) -> Markup:
    """Accuracy by type beside its baselines, then POPE."""
    if run.scores is None:
        return section("Scores", None, absent("Not measured yet: eval/scores.json is not in the folder."))
    scores = run.scores
    main, others = columns(scores)
    intro = (
        f"Share of right answers of the {variant_title(main)} model by question type, with its 95% Wilson "
        "interval. Blind: the picture replaced by plain grey. Wrong image: the picture of another question. "
        "Floor: the best that needs no binding, either the type's commonest answer or a guess among the "
        "values in the picture."
    )
    rows = [_score_row(kind, kind, scores, main, others) for kind in scores["variants"][main]["by_type"]]
    heads = [
        tag("th", "Question type", scope="col"),
        tag("th", interval_scale(), scope="col"),
        tag("th", variant_title(main), scope="col", class_="num"),
        tag("th", "95%", scope="col"),
        *(tag("th", name, scope="col", class_="num") for name in (*map(variant_title, others), "floor", "n")),
    ]
    total = _score_row("All questions", None, scores, main, others)
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows, total))
    at_floor = "\u2020 not above its floor by more than its interval."
    notes = tag("p", f"{at_floor} Intervals treat questions as independent.", class_="note")
    scrolled = scrolling(table, "Scores by question type")
    return section("Scores", intro, _plot_legend(main, others), scrolled, notes, _paired(scores))


def pope_section(run: RunFolder) -> Markup | None:
    """POPE's table; None where there are no such questions."""
    scores = run.scores
    if scores is None:
        return None
    main, others = columns(scores)
    settings = scores["variants"][main]["pope"]
    if not settings:
        return None
    names = ("accuracy", "precision", "recall", "said yes")
    heads = [
        tag("th", "Absent objects are", scope="col"),
        tag("th", f"{variant_title(main)}: F1", scope="col", class_="num"),
        tag("th", "95%", scope="col"),
        *(tag("th", name, scope="col", class_="num") for name in names),
        *(tag("th", f"{variant_title(name)}: F1", scope="col", class_="num") for name in others),
        tag("th", "n", scope="col", class_="num"),
    ]
    rows = [_pope_row(setting, row, scores, others) for setting, row in settings.items()]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    intro = (
        "Is the object there? What is asked for in vain is drawn at random, from the most frequent objects "
        "(popular), or is easily confused with what is there (adversarial), as the author of the questions "
        "chose it. By POPE's rule any answer without a no counts as yes, in this table alone. F1 with yes as "
        "the positive class and its 95% bootstrap interval, in per cent."
    )
    return section("Existence questions (POPE)", intro, scrolling(table, "POPE scores"))


def pictures_section(run: RunFolder) -> Markup:
    """Test pictures with question, truth and the variants' answers side by side."""
    title = "Test pictures"
    if run.scores is None or not run.predictions:
        return section(title, None, absent("There are no predictions yet."))
    main, _ = columns(run.scores)
    if main not in run.predictions:
        return section(title, None, absent(f"The predictions of {main} are not in the folder."))
    choice = choose(list(run.predictions[main].values()))
    if not choice.rows:
        return section(title, None, absent("No question has a picture."))
    root = run.path / run.scores["image_root"]
    shown = [name for name in (*SIDE_BY_SIDE, main) if name in run.predictions]
    cards = [_card(row, root, run, list(dict.fromkeys(shown)), main) for row in choice.rows]
    title = "Twelve test pictures" if len(choice.rows) == 12 else title
    return section(title, choice.how, tag("div", cards, class_="cards"))


def picture_uri(root: Path, relative: str) -> str | None:
    """A picture as a data URI, made small where the file is large; None where it cannot be shown.

    A path that leads out of ``root`` is not followed: the page may be given away.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        return None
    try:
        with PIL.Image.open(path) as opened:
            kind = (opened.format or "").lower()
            if kind in ("png", "jpeg") and path.stat().st_size <= MAX_RAW_BYTES:
                return _data_uri(kind, path.read_bytes())
            small = PIL.ImageOps.exif_transpose(opened).convert("RGB")
            small.thumbnail((MAX_SIDE, MAX_SIDE))
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return _data_uri("jpeg", buffer.getvalue())


def _measured_figures(scores: Scores) -> list[tuple[str, str, str, str]]:
    main, others = columns(scores)
    whole = scores["variants"][main]["overall"]
    figures = [
        (
            "Right answers, all questions",
            _percent(whole["value"]),
            "%",
            f"95% interval {_ends(whole)}; floor {_percent(scores['floor_overall'])}%",
        )
    ]
    for other, name in (("blind", "Over the blind model"), ("aligned", "Over alignment alone")):
        paired = scores["paired"].get(f"{main} vs {other}")
        if other in others and paired:
            theirs = scores["variants"][other]["overall"]
            said = f"{other} has {_percent(theirs['value'])}% on the same questions, {_p(paired['p'])}"
            figures.append((name, _points(paired["difference"]), "pt", said))
    pope = scores["variants"][main]["pope"]
    if pope:
        first = next(iter(pope))
        beside = ", ".join(
            f"{name} {_percent(row['f1'])}" for name, row in pope.items() if name not in (first, "overall")
        )
        said = f"95% interval {_ends(pope[first])}" + (f"; {beside}" if beside else "")
        figures.append((f"POPE F1, {first}", _percent(pope[first]["f1"]), "%", said))
    return figures


def _training_figures(run: RunFolder) -> list[tuple[str, str, str, str]]:
    figures: list[tuple[str, str, str, str]] = []
    for each in run.curves[-2:]:
        for rows, word in ((each.validation, "validation"), (each.train, "train")):
            loss = number(rows[-1], "loss") if rows else None
            if loss is not None:
                step = rows[-1].get("step")
                figures.append((f"{each.stage}: {word} loss", f"{loss:.3f}", "", f"at step {step}"))
    return figures


def _score_row(name: str, kind: str | None, scores: Scores, main: str, others: list[str]) -> Markup:
    """A row of the table; ``kind`` None is the total."""

    def of(variant: str) -> Proportion:
        scored = scores["variants"][variant]
        return scored["overall"] if kind is None else scored["by_type"][kind]

    value = of(main)
    floor = scores["floor_overall"] if kind is None else scores["floors"][kind]["floor"]
    marks = [("floor", floor)] + [
        (other, of(other)["value"]) for other in ("blind", "aligned") if other in others
    ]
    beside = ", ".join(f"{mark} {_percent(share)}%" for mark, share in marks)
    label = (
        f"{name}: {variant_title(main)} {_percent(value['value'])}% (95% interval {_ends(value)}), {beside}"
    )
    plot = interval_plot(value["value"], value["low"], value["high"], marks, label)
    style = "num main at-floor" if value["low"] <= floor else "num main"
    return tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", plot),
        tag("td", _percent(value["value"]), class_=style),
        tag("td", _ends(value), class_="ends"),
        [tag("td", _percent(of(other)["value"]), class_="num") for other in others],
        tag("td", _percent(floor), class_="num"),
        tag("td", f"{value['n']:,}", class_="num quiet"),
        class_="total" if kind is None else None,
    )


def _pope_row(setting: str, row: Pope, scores: Scores, others: list[str]) -> Markup:
    values = (row["accuracy"], row["precision"], row["recall"], row["yes_ratio"])
    return tag(
        "tr",
        tag("th", "all three" if setting == "overall" else setting, scope="row"),
        tag("td", _percent(row["f1"]), class_="num main"),
        tag("td", _ends(row), class_="ends"),
        [tag("td", _percent(value), class_="num") for value in values],
        [
            tag("td", _percent(scores["variants"][other]["pope"][setting]["f1"]), class_="num")
            for other in others
        ],
        tag("td", f"{row['n']:,}", class_="num quiet"),
        class_="total" if setting == "overall" else None,
    )


def _plot_legend(main: str, others: list[str]) -> Markup:
    def key(drawing: Markup, words: str) -> Markup:
        return tag(
            "span", tag("svg", drawing, width=22, height=14, viewBox="0 0 22 14", aria_hidden="true"), words
        )

    whisker = tag("line", x1=2, x2=20, y1=7, y2=7, class_="whisker")
    keys = [
        key(
            Markup(whisker + tag("circle", cx=11, cy=7, r=4.6, class_="mark-main")),
            f"{variant_title(main)}, 95% interval",
        )
    ]
    for other in ("aligned", "blind"):
        if other in others:
            keys.append(key(tag("circle", cx=11, cy=7, r=3.6, class_=f"mark-{other}"), other))
    keys.append(key(tag("line", x1=11, x2=11, y1=1, y2=13, class_="mark-floor"), "floor"))
    return tag("div", keys, class_="plot-legend")


def _paired(scores: Scores) -> Markup | None:
    """The paired tests as a small table; None with one variant only."""
    rows: list[Markup] = []
    for pair in scores["paired"].values():
        cells = [_points(pair["difference"]), f"{pair['only_a']:,}", f"{pair['only_b']:,}", _p(pair["p"])]
        name = f"{variant_title(pair['a'])} against {variant_title(pair['b'])}"
        rows.append(
            tag("tr", tag("th", name, scope="row"), [tag("td", cell, class_="num") for cell in cells])
        )
    if not rows:
        return None
    names = ("difference, points", "right for the first alone", "for the second alone", "McNemar, exact")
    heads = [tag("th", name, scope="col", class_="num") for name in names]
    head = tag("thead", tag("tr", tag("th", "On the same questions", scope="col"), heads))
    table = tag("table", head, tag("tbody", rows), class_="paired")
    return scrolling(table, "Paired tests")


def _card(row: Row, root: Path, run: RunFolder, shown: list[str], main: str) -> Markup:
    uri = picture_uri(root, str(row["image"]))
    if uri:
        picture = tag("img", src=uri, alt=f"Test picture {row['image']}", loading="lazy")
    else:
        picture = tag("div", f"{row['image']} cannot be shown", class_="no-picture")
    answers = [
        _answer_row(name, run.predictions[name].get(str(row["question_id"])), name == main) for name in shown
    ]
    # the line that asks for a form of answer is not the question
    question, _, wanted = str(row["text"]).strip().partition("\n")
    truth = tag(
        "tr", tag("th", "truth", scope="row"), tag("td", _words(row["answer"]), colspan=2), class_="truth"
    )
    return tag(
        "article",
        picture,
        tag("p", str(row["type"]), class_="kind"),
        tag("p", tag("bdi", question), class_="asked"),
        tag("p", tag("bdi", wanted), class_="wanted") if wanted else None,
        tag("table", tag("tbody", truth, answers)),
        class_="card",
    )


def _answer_row(name: str, row: Row | None, is_main: bool) -> Markup:
    if row is None:
        said, verdict = tag("td", "not asked", colspan=2, class_="quiet"), None
    else:
        said = tag("td", _words(row["raw"]))
        word = "right" if row["correct"] else "wrong"
        mark = "\u2713 " if row["correct"] else "\u2717 "
        verdict = tag("td", mark + word, class_=f"verdict {word}")
    return tag(
        "tr", tag("th", variant_title(name), scope="row"), said, verdict, class_="main" if is_main else None
    )


def _words(value: object) -> Markup:
    """What was said, kept apart from the page's own text direction; nothing said is said so."""
    text = str(value)
    if not text.strip():
        return tag("span", "(empty)", class_="quiet")
    if len(text) > MAX_ANSWER:
        text = f"{text[:MAX_ANSWER]}\u2026 ({len(text):,} characters)"
    return tag("bdi", text)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def _ends(row: Proportion | Pope) -> str:
    return f"{_percent(row['low'])}\u2013{_percent(row['high'])}"


def _p(value: float) -> str:
    return "p\u00a0<\u00a00.001" if value < 0.001 else f"p\u00a0=\u00a0{value:.3f}"
