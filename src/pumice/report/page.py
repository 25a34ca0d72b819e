"""The run page: one self-contained HTML file that shows what a run folder holds. It computes nothing."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pumice.files import write_text
from pumice.report import measurement, sections
from pumice.report.collect import RunFolder, collect
from pumice.report.html import Markup, tag
from pumice.report.sessions import sessions

# Nothing may be fetched and nothing may run, whatever the answers contain.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def write_report(run_dir: Path) -> Path:
    """Renders runs/NAME/report.html from the folder's files and returns its path.

    The page needs no network and no script. What the folder does not hold yet is shown as missing, so
    it can be rendered during a run. It is written whole or not at all.

    Raises:
        UsageError: there is no such folder, or it is no run's; nothing is written.
        DataError: a file of the folder is malformed, with file and row.
    """
    page = render(collect(run_dir))
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def render(run: RunFolder) -> str:
    """The whole page as text."""
    style = resources.files("pumice.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.name} \u00b7 Pumice run"),
        tag("style", Markup(style)),
    )
    main = tag(
        "main",
        sections.header(run),
        measurement.headline(run),
        measurement.scores_section(run),
        measurement.pope_section(run),
        measurement.pictures_section(run),
        sections.curves(run),
        sections.trained(run),
        sections.mixture(run),
        sessions(run),
        sections.recipe(run),
        sections.lineage(run),
        tag("footer", f"Written by Pumice {run.info.get('pumice', '')} from the files of this run folder."),
        class_="page",
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', main), lang='en')}\n"
