"""The page of an audit: what each check found and how often, and some findings of each kind."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pumice.errors import ImageError
from pumice.files import write_text
from pumice.image.decode import decode_small
from pumice.image.source import open_picture
from pumice.report.html import Child, Markup, join, tag
from pumice.report.page import POLICY
from pumice.report.record import read_record
from pumice.trust.audit.run import FINDINGS, RECORD
from pumice.types import ImageRef, Still
from pumice.words import counted

PAGE = "index.html"
SIDE, QUALITY = 160, 70
"""Pixels of a thumbnail's shorter side at least, and its quality as JPEG."""
MOST = 200
"""Thumbnails of a page: some 2 MB."""
WORDS = {"note": "open", "warning": "open", "serious": "bad"}
"""How the page marks a severity."""


def write_audit_page(folder: Path) -> Path:
    """Render ``audit.json`` of a folder as ``index.html``, and return where it is.

    Raises:
        DataError: there is no such record, or it cannot be read.
    """
    record = read_record(folder / RECORD, "the audit", "pumice data audit")
    page = folder / PAGE
    write_text(page, f"<!doctype html>\n{render_audit(record)}\n")
    return page


def render_audit(record: Mapping[str, Any]) -> Markup:
    """The page."""
    style = files("pumice.report").joinpath("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "Audit \u00b7 Pumice"),
        tag("style", Markup(style)),
    )
    pictures = _Pictures()
    body = (
        tag("h1", "Audit"),
        tag("p", _lead(record), class_="lead"),
        _section("What was found", _table_of_checks(record)),
        _not_run(record),
        [_check(entry, pictures) for entry in record["checks"] if entry["findings"]],
        _section("What was looked at", _sources(record)),
        tag(
            "footer",
            f"Written by Pumice {record['pumice']}. All findings are in {FINDINGS}, beside this page. "
            + ("" if record["values_shown"] else "Personal data is masked here and there."),
        ),
    )
    return tag("html", head, tag("body", tag("main", *body, class_="page")), lang="en")


def _lead(record: Mapping[str, Any]) -> str:
    severities = ", ".join(f"{count:,} {name}" for name, count in reversed(record["severities"].items()))
    return (
        f"{counted(record['rows'], 'row')} and {counted(record['pictures'], 'picture')} of "
        f"{counted(len(record['sources']), 'file')}. Findings: {severities or 'none'}."
    )


def _section(title: str, *inside: Child) -> Markup:
    return tag("section", tag("header", tag("h2", title)), *inside)


def _table_of_checks(record: Mapping[str, Any]) -> Markup:
    lines = []
    for entry in record["checks"]:
        lines.append(
            tag(
                "tr",
                tag("th", entry["check"], " ", tag("span", entry["about"], class_="quiet")),
                tag("td", f"{entry['findings']:,}", class_="num main"),
                tag("td", f"{entry['rows']:,}", class_="num"),
                tag("td", f"{100 * entry['row_rate']:.2f}%", class_="num"),
                tag("td", f"{entry['pictures']:,}", class_="num"),
                tag("td", f"{100 * entry['picture_rate']:.2f}%", class_="num"),
            )
        )
        for kind, figures in entry["kinds"].items():
            lines.append(
                tag(
                    "tr",
                    tag(
                        "td", kind, " ", [_mark(name, count) for name, count in figures["severities"].items()]
                    ),
                    tag("td", f"{figures['findings']:,}", class_="num"),
                    tag("td", f"{figures['rows']:,}", class_="num"),
                    tag("td"),
                    tag("td"),
                    tag("td"),
                )
            )
    return _table(("check", "findings", "rows", "of all", "pictures", "of all"), lines)


def _mark(severity: str, count: int) -> Markup:
    return tag("span", f"{severity} {count:,}", class_=f"status {WORDS[severity]}")


def _not_run(record: Mapping[str, Any]) -> Markup | None:
    if not record["not_run"]:
        return None
    items = [tag("li", tag("strong", one["check"]), f": {one['why']}") for one in record["not_run"]]
    return _section("What did not run", tag("ul", items))


def _check(entry: Mapping[str, Any], pictures: _Pictures) -> Markup:
    kinds = [
        tag(
            "div",
            tag("h3", f"{kind} ({figures['findings']:,})"),
            tag("div", [_sample(line, pictures) for line in figures["samples"]], class_="cards"),
            class_="stage",
        )
        for kind, figures in entry["kinds"].items()
    ]
    return _section(entry["check"], tag("p", f"{entry['about']}."), kinds)


def _sample(line: Mapping[str, Any], pictures: _Pictures) -> Markup:
    place = "" if line["row"] is None else f"{Path(line['file']).name}, row {line['row']}"
    more = f" and {counted(len(line['also']), 'more row')}" if line["also"] else ""
    score = "" if line["score"] is None else f" \u00b7 {line['score']:.3g}"
    return tag(
        "div",
        pictures.shown(line.get("still")),
        tag("p", f"{line['severity']}{score}", class_="kind"),
        tag("p", line["what"], class_="asked"),
        [
            tag("p", tag("strong", name), text, class_="wanted")
            for pair in line.get("pairs", ())
            for name, text in zip(("Q ", "A "), pair, strict=True)
            if text.strip()
        ],
        tag("p", place, f" ({line['id']})" if line["id"] else "", more, class_="path"),
        class_="card",
    )


def _sources(record: Mapping[str, Any]) -> Markup:
    lines = [
        tag(
            "tr",
            tag("th", one["name"]),
            tag("td", tag("code", one["file"]), class_="path"),
            tag("td", f"{one['looked_at']:,} of {one['rows']:,}", class_="num"),
            tag("td", tag("code", (one["sha256"] or "")[:16])),
        )
        for one in record["sources"]
    ]
    videos = counted(record["videos"], "video") + " not looked at." if record["videos"] else None
    return join(
        _table(("source", "file", "rows looked at", "SHA-256 begins"), lines),
        tag("p", videos, class_="note") if videos else None,
    )


def _table(heads: tuple[str, ...], lines: list[Markup]) -> Markup:
    head = tag("thead", tag("tr", [tag("th", one) for one in heads]))
    return tag("div", tag("table", head, tag("tbody", lines)), class_="scroll")


class _Pictures:
    """Thumbnails inside the page, until it has enough of them."""

    def __init__(self) -> None:
        self.left = MOST

    def shown(self, place: Mapping[str, Any] | None) -> Markup | None:
        """A picture; words where it cannot be shown; nothing where there is none."""
        if place is None:
            return None
        if self.left <= 0:
            return tag("div", "left out: the page has enough pictures", class_="no-picture")
        file = Path(place["file"])
        still: Still = file
        if "offset" in place:
            still = ImageRef(file, place["offset"], place["length"], place["name"])
        try:
            with open_picture(still) as stream:
                image = decode_small(stream.read(), str(still), SIDE).image
        except ImageError as error:
            return tag("div", error.what, class_="no-picture")
        image.thumbnail((2 * SIDE, 2 * SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        self.left -= 1
        data = base64.b64encode(buffer.getvalue()).decode("ascii")
        return tag("img", src=f"data:image/jpeg;base64,{data}", alt=place.get("name", file.name))
