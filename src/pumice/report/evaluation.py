"""The evaluation page: one self-contained HTML file that shows what an evaluation of tasks has found."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from pumice.errors import UsageError
from pumice.evaluate.compare import compare
from pumice.evaluate.results import RESULTS
from pumice.evaluate.samples import Loaded
from pumice.evaluate.sides import read_side
from pumice.files import write_text
from pumice.report.album import Album
from pumice.report.evaluated import Evaluated, Shown, draw, named, read_evaluation
from pumice.report.examples import MAX_WORDS, PICTURES
from pumice.report.html import Markup, tag
from pumice.report.sections import scrolling, section
from pumice.report.standing import published_section, table_section
from pumice.report.task_section import task_section, waiting_row

PAGE = "index.html"
LIMIT = 10_000_000
"""Bytes of a page."""
ROOM = 7_000_000
"""Bytes that all pictures of a page may have together, as they stand in it; the rest is for words."""
MOST = 60_000
"""Bytes of one picture's JPEG, however much room there is."""
FEW_WORDS = 60
"""Characters of a prompt or an answer on a page that would be too large even without pictures."""
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; "
    "form-action 'none'"
)
"""Nothing may be fetched, and no script may run but the page's own, whatever answers contain."""


def is_evaluation(folder: Path) -> bool:
    """Whether ``pumice eval --tasks`` wrote the folder."""
    return (folder / RESULTS).is_file()


def write_evaluation_page(
    out_dir: Path,
    others: Sequence[Path] = (),
    *,
    page: Path | None = None,
    loaded: Mapping[str, Loaded] | None = None,
) -> Path:
    """Write the page of an evaluation and return its path.

    It can be written while the evaluation goes on: what has no figures yet is said to have none. It needs no
    network, has less than 10 MB, and is written whole or not at all.

    Args:
        out_dir: the folder of the evaluation: ``OUT`` of ``pumice eval --tasks``.
        others: evaluations of other models to stand beside it.
        page: where it goes; ``out_dir/index.html`` unless said.
        loaded: the questions of tasks, where they are at hand, for pictures that are no files in the task's
            folder; else the task's files are read again where such are shown.

    Raises:
        UsageError: a folder is none of an evaluation.
        DataError: a file of it is malformed, with the line.
    """
    for folder in (out_dir, *others):
        if not is_evaluation(folder):
            raise UsageError(
                f"the folder is no evaluation of tasks: it holds no {RESULTS}",
                where=str(folder),
                remedy="give a folder that pumice eval --tasks wrote",
            )
    page = page or out_dir / PAGE
    write_text(page, render_evaluation(out_dir, others, loaded))
    return page


def render_evaluation(
    out_dir: Path, others: Sequence[Path] = (), loaded: Mapping[str, Loaded] | None = None
) -> str:
    """The whole page as text; errors as ``write_evaluation_page``.

    Where words take more than is left for them, pictures make room, then long answers.
    """
    main, *rest = named([read_evaluation(folder) for folder in (out_dir, *others)])
    shown = {name: draw(name, main, rest) for name in main.scored}
    page = ""
    for room, most in ((ROOM, MAX_WORDS), (ROOM // 2, MAX_WORDS), (0, MAX_WORDS), (0, FEW_WORDS)):
        count = sum(min(PICTURES, len(one.row["images"])) for each in shown.values() for one in each)
        # base64 has four characters for three bytes
        each = min(MOST, int(room * 0.75 / max(1, count)))
        albums = {name: Album(found, each, (loaded or {}).get(name)) for name, found in main.scored.items()}
        page = _page(main, rest, shown, albums, most)
        if len(page.encode()) < LIMIT:
            break
    return page


def _page(
    main: Evaluated,
    rest: Sequence[Evaluated],
    shown: Mapping[str, Sequence[Shown]],
    albums: Mapping[str, Album],
    most: int,
) -> str:
    style = _file("style.css") + _file("evaluation.css")
    script = _file("evaluation.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    title = main.name if not rest else f"{main.name} and {len(rest)} more"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY.format(digest)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} \u00b7 Pumice evaluation"),
        tag("style", Markup(style)),
    )
    body = tag(
        "main",
        _header(main, rest),
        table_section(main, rest),
        published_section(main, rest),
        _differences(main, rest),
        _waiting(main),
        [
            task_section(result, shown[name], albums[name], main, rest, most)
            for name, result in main.scored.items()
        ],
        tag("footer", f"Written by Pumice {main.results['pumice']} from the files of this evaluation."),
        class_="page",
    )
    page = tag("html", head, tag("body", body, tag("script", Markup(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


def _file(name: str) -> str:
    return resources.files("pumice.report").joinpath(name).read_text(encoding="utf-8")


def _header(main: Evaluated, rest: Sequence[Evaluated]) -> Markup:
    brand = tag("p", tag("b", "pumice"), tag("span", "evaluation"), class_="brand")
    scored = len(main.scored)
    lead = f"{scored} of {len(main.results['tasks'])} tasks have figures."
    if rest:
        lead += f" Beside it: {', '.join(other.name for other in rest)}."
    record = main.results["model"]
    facts = {
        "Model": record["name"],
        "Kind": {"local": "local model", "endpoint": "endpoint", "file": "file of answers"}[record["kind"]],
        "Weights": record["digest"],
        "Date": main.results["date"].replace("T", " ").replace("+00:00", " UTC"),
    }
    rows = [
        tag("div", tag("dt", name), tag("dd", value), class_="wide" if name == "Weights" else None)
        for name, value in facts.items()
        if value
    ]
    return tag(
        "header",
        brand,
        tag("h1", main.name),
        tag("p", lead, class_="lead"),
        tag("dl", rows, class_="facts"),
    )


def _waiting(main: Evaluated) -> Markup | None:
    if not main.waiting:
        return None
    heads = [tag("th", name, scope="col") for name in ("Task", "State", "What is the matter", "What to do")]
    rows = [waiting_row(name, state) for name, state in main.waiting.items()]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    return section("Without figures", None, scrolling(table, "Tasks without figures"))


def _differences(main: Evaluated, rest: Sequence[Evaluated]) -> Markup | None:
    """What can be told of the others, where they were asked the same."""
    if not rest:
        return None
    content: list[Markup] = []
    for other in rest:
        try:
            (one,) = compare([read_side(main.path), read_side(other.path)], each=True)
        except UsageError as error:
            content.append(tag("p", f"{other.name}: {error.what}.", class_="absent"))
            continue
        lines = [
            tag("li", tag("b", f"{name}: "), task.verdict(main.name, other.name, one.tests))
            for name, task in one.tasks.items()
        ]
        lines += [
            tag("li", tag("b", f"{name}: "), f"not compared: {why}.", class_="quiet")
            for name, why in one.refused.items()
        ]
        content.append(tag("ul", lines, class_="verdicts"))
    intro = (
        "Question by question: paired bootstrap intervals, McNemar's exact test or the exchange test, Holm's "
        "correction over the tasks of each pair. pumice eval compare tells more."
    )
    return section("Differences", intro, *content)
