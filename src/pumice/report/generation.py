"""The page of a generation: what was written of each kind, what was rejected and why, samples of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pumice.files import write_text
from pumice.generate.write import RECORD
from pumice.report.html import Child, Markup, join, tag
from pumice.report.record import read_record
from pumice.types import PLACEHOLDER

PAGE = "report.html"
SAMPLES = """
.sample { margin: 14px 0 20px; padding-left: 14px; border-left: 2px solid var(--rule); font-size: 14px; }
.sample p { margin: 3px 0; white-space: pre-line; }
.sample code { color: var(--soft); font-size: 12px; }
"""
ABOUT = {
    "refused": "the server or the teacher would not write it",
    "format": "not in the form that was asked for, or too few turns",
    "cut": "cut off at the longest length",
    "length": "too short or too long",
    "language": "in another language",
    "leak": "speaks of captions, notes or coordinates, or of not seeing the picture",
    "repeated": "asks what was asked before",
    "balance": "right, and one yes or no too many",
    "grounding": "the scene does not bear it out",
    "agreement": "the second pass said no",
}


def write_generation_page(folder: Path) -> Path:
    """Render ``generation.json`` of a folder as ``report.html``, and return where it is.

    Raises:
        DataError: there is no such record, or it cannot be read.
    """
    record = read_record(folder / RECORD, "the generation", "pumice generate")
    page = folder / PAGE
    write_text(page, "<!doctype html>\n" + render_generation(record) + "\n")
    return page


def render_generation(record: Mapping[str, Any]) -> Markup:
    """The page."""
    style = files("pumice.report").joinpath("style.css").read_text("utf-8")
    good = [_samples(name, rows, _sample) for name, rows in sorted(record["samples"].items())]
    bad = [
        _samples(f"{check}: {ABOUT[check]}", rows, _refused)
        for check, rows in record["rejected_samples"].items()
    ]
    body = (
        tag("h1", "Generated data"),
        tag("p", _lead(record), class_="lead"),
        _section("What was written", _kinds(record)),
        _section("What was rejected", _rejected(record)),
        _section("Samples", good or tag("p", "There are none.")),
        _section("Samples of what was rejected", bad or tag("p", "Nothing was.")),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width"),
        tag("title", "Generated data"),
        tag("style", Markup(style + SAMPLES)),
    )
    return tag("html", head, tag("body", tag("main", *body, class_="page")), lang="en")


def _section(title: str, *inside: Child) -> Markup:
    return tag("section", tag("header", tag("h2", title)), *inside)


def _samples(title: str, rows: list[dict[str, Any]], shown: Callable[[Mapping[str, Any]], Markup]) -> Markup:
    return tag("div", tag("h3", title), [shown(row) for row in rows], class_="paired")


def _lead(record: Mapping[str, Any]) -> str:
    rows = sum(kind["rows"] for kind in record["kinds"].values())
    turns = sum(kind["turns"] for kind in record["kinds"].values())
    teachers = " and ".join(
        one["model"] + (f" ({one['host']})" if one["host"] else "") for one in record["teachers"]
    )
    tokens = record["tokens"]
    cost = f", cost {record['cost']:.4g} by the prices given" if record["cost"] else ""
    state = "" if record["complete"] else " It is not complete: some replies are still missing."
    return (
        f"{rows:,} rows with {turns:,} answers about {record['scenes']['number']:,} scenes, written by "
        f"{teachers}: {record['requests']['replies']:,} replies, {tokens['prompt_tokens']:,} tokens sent, "
        f"{tokens['completion_tokens']:,} received{cost}.{state}"
    )


def _kinds(record: Mapping[str, Any]) -> Markup:
    heads = (
        "kind",
        "jobs",
        "rows",
        "answers",
        "words an answer",
        "kept of turns",
        "came to nothing",
        "pending",
    )
    lines = []
    for name, kind in record["kinds"].items():
        bad = sum(kind["rejected"].values())
        mean = f"{kind['words'] / kind['turns']:.1f}" if kind["turns"] else ""
        share = f"{100 * kind['turns'] / (kind['turns'] + bad):.1f}%" if kind["turns"] + bad else ""
        cells = (kind["jobs"], kind["rows"], kind["turns"], mean, share, kind["empty"], kind["pending"])
        lines.append(
            tag(
                "tr",
                tag("th", name),
                [tag("td", f"{one:,}" if isinstance(one, int) else one) for one in cells],
            )
        )
    passed = ", ".join(f"{name} {count:,}" for name, count in record["passed_over"].items())
    note = f"Scenes that have nothing of what a kind is made from: {passed}." if passed else None
    return join(_table(heads, lines), tag("p", note, class_="note") if note else None)


def _rejected(record: Mapping[str, Any]) -> Markup:
    checks = [check for check in ABOUT if any(check in kind["rejected"] for kind in record["kinds"].values())]
    if not checks:
        return tag("p", "Nothing was.")
    lines = [
        tag(
            "tr",
            tag("th", name),
            [tag("td", f"{count:,}" if (count := kind["rejected"].get(check)) else "") for check in checks],
        )
        for name, kind in record["kinds"].items()
    ]
    meanings = [tag("li", f"{check}: {ABOUT[check]}") for check in checks]
    return join(_table(("kind", *checks), lines), tag("ul", meanings))


def _table(heads: tuple[str, ...], lines: list[Markup]) -> Markup:
    head = tag("thead", tag("tr", [tag("th", one) for one in heads]))
    return tag("div", tag("table", head, tag("tbody", lines)), class_="scroll")


def _sample(row: Mapping[str, Any]) -> Markup:
    names = row["image"] if isinstance(row["image"], str) else ", ".join(row["image"])
    turns = [
        tag(
            "p",
            tag("strong", "Q " if turn["from"] == "human" else "A "),
            turn["value"].replace(PLACEHOLDER, "").strip(),
        )
        for turn in row["conversations"]
    ]
    return tag("div", tag("p", tag("code", names)), turns, class_="sample")


def _refused(row: Mapping[str, Any]) -> Markup:
    said = (
        (tag("p", tag("strong", "Q "), row["question"]), tag("p", tag("strong", "A "), row["answer"]))
        if "question" in row
        else tag("p", row["reply"])
    )
    return tag("div", tag("p", tag("code", row["id"]), f" {row['reason']}"), said, class_="sample")
