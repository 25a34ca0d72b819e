"""Right and wrong answers with their pictures, to look at."""

from __future__ import annotations

from collections.abc import Sequence

from pumice.evaluate.results import Prediction
from pumice.report.album import Album
from pumice.report.evaluated import RIGHT, UNREAD, WRONG, Shown
from pumice.report.html import Markup, tag

MAX_WORDS = 600
"""Characters of a prompt or an answer that are shown."""
MAX_NAME = 120
"""Characters of a name that are shown: a group's, a question's, a picture's."""
PICTURES = 2
"""Pictures of a question that are shown."""
MARKS = {"right": "\u2713 right", "wrong": "\u2717 wrong", "unparsed": "\u2717 unparsed"}
HOW = (
    f"At most {RIGHT} right and {WRONG} wrong answers, drawn by a hash of the question's id: groups in turn, "
    f"other pictures first. "
    f"Up to {UNREAD} of the wrong ones are such that could not be read."
)


def gallery(
    shown: Sequence[Shown], album: Album, names: Sequence[str], most: int = MAX_WORDS
) -> Markup | None:
    """Cards with buttons that filter them; without a script all cards are there and the buttons are not.

    Args:
        shown: the questions.
        album: their pictures.
        names: the models', the measured one first.
        most: characters of a prompt or an answer that are shown.
    """
    if not shown:
        return None
    groups = list(dict.fromkeys(_group(one) for one in shown if one.row["group"]))
    verdicts = [name for name in MARKS if any(one.verdict == name for one in shown)]
    bar = tag(
        "div",
        _buttons("verdict", verdicts, "Show"),
        _buttons("group", sorted(groups), "Group") if len(groups) > 1 else None,
        class_="filters",
        hidden=True,
    )
    cards = tag("div", [_card(one, album, names, most) for one in shown], class_="cards three")
    return tag("div", bar, cards, class_="gallery")


def _buttons(key: str, values: Sequence[str], name: str) -> Markup:
    buttons = [
        tag(
            "button", said, type="button", data_key=key, data_value=value, aria_pressed=str(not value).lower()
        )
        for value, said in (("", "all"), *((value, value) for value in values))
    ]
    return tag("div", tag("span", name, class_="small-caps"), buttons, role="group", aria_label=name)


def _group(one: Shown) -> str:
    """By which a card is filtered: a group's name, which may be long."""
    return one.row["group"][:MAX_NAME]


def _card(one: Shown, album: Album, names: Sequence[str], most: int) -> Markup:
    row = one.row
    pictures = [_picture(name, album) for name in row["images"][:PICTURES]]
    more = len(row["images"]) - PICTURES
    question, _, rest = row["prompt"].strip().partition("\n")
    answers = [_answer(names[0], row, most, main=True)]
    answers += [_answer(name, other, most) for name, other in zip(names[1:], one.others, strict=True)]
    if one.blind is not None:
        answers.append(_answer("blind", one.blind, most))
    truth = [("truth", row["truth"])] if row["truth"] else []
    lines = [
        tag("tr", tag("th", name, scope="row"), tag("td", cut(said, most), colspan=2), class_="truth")
        for name, said in truth
    ]
    kind = " \u00b7 ".join(part[:MAX_NAME] for part in (row["group"], row["id"]) if part)
    return tag(
        "article",
        tag("div", pictures, class_="pictures") if pictures else None,
        tag("p", f"and {more} more pictures", class_="kind") if more > 0 else None,
        tag("p", tag("bdi", kind), class_="kind"),
        tag("p", cut(question, most), class_="asked"),
        tag("p", cut(rest, most), class_="wanted") if rest.strip() else None,
        tag("table", tag("tbody", lines, answers)),
        class_="card",
        data_verdict=one.verdict,
        data_group=_group(one) or None,
    )


def _picture(name: str, album: Album) -> Markup:
    uri = album.uri(name)
    if uri is None:
        return tag("div", f"{name[:MAX_NAME]} cannot be shown", class_="no-picture")
    return tag("img", src=uri, alt=f"Picture {name[:MAX_NAME]}", loading="lazy")


def _answer(name: str, row: Prediction | None, most: int, *, main: bool = False) -> Markup:
    if row is None:
        cells = [tag("td", "not asked", colspan=2, class_="quiet")]
    else:
        score = row["score"]
        read = None
        if row["parsed"] is not None and not _alike(row["parsed"], row["raw"]):
            read = tag("p", "read as ", tag("b", cut(row["parsed"], most)), class_="read")
        cells = [
            tag("td", cut(row["raw"], most), read),
            tag("td", _verdict(score), class_=f"verdict {_class(score)}"),
        ]
    return tag("tr", tag("th", name, scope="row"), cells, class_="main" if main else None)


def _alike(parsed: str, raw: str) -> bool:
    """Whether an answer was read as what stands there."""
    return parsed.strip().lower() == raw.strip().rstrip(".").lower()


def _verdict(score: float | None) -> str:
    if score is None:
        return "no score"
    if score in (0, 1):
        return "\u2713" if score else "\u2717"
    return f"{score:.2g}"


def _class(score: float | None) -> str:
    return "" if score is None else "right" if score >= 0.5 else "wrong"


def cut(text: str, most: int = MAX_WORDS) -> Markup:
    """What somebody said, kept apart from the page's own text direction, without its end where it is long."""
    text = text.strip()
    if not text:
        return tag("span", "(empty)", class_="quiet")
    if len(text) > most:
        text = f"{text[:most]}\u2026 ({len(text):,} characters)"
    return tag("bdi", text)
