"""The scores as tables for a terminal of 100 columns."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from pumice.evaluate.scores import Proportion, Scores, columns, variant_title


def scores_table(scores: Scores) -> Table:
    """Accuracy by question type: the measured variant with its 95% interval, the others, the floor, n.

    "floor" is the best that needs no binding: the type's commonest answer, or a guess among the values
    that are present. It leaves out POPE's precision and recall: see ``pope_table``.
    """
    main, others = columns(scores)
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        title="Exact match by question type, %",
        title_justify="left",
        title_style="bold",
        caption=f"{scores['questions']:,} questions, {scores['pictures']:,} pictures, 95% Wilson intervals\n"
        "floor: commonest answer, or a guess among what is present",
        caption_justify="left",
        caption_style="dim",
    )
    table.add_column("type", no_wrap=True, max_width=26, overflow="ellipsis")
    table.add_column(variant_title(main), justify="right", no_wrap=True)
    table.add_column("95%", justify="left", no_wrap=True, style="dim", header_style="dim bold")
    for name in (*others, "floor"):
        table.add_column(variant_title(name), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True, style="dim", header_style="dim bold")
    measured = scores["variants"][main]
    for kind, value in measured["by_type"].items():
        beside = [scores["variants"][name]["by_type"][kind]["value"] for name in others]
        table.add_row(kind, *_cells(value, beside, scores["floors"][kind]["floor"]))
    table.add_section()
    beside = [scores["variants"][name]["overall"]["value"] for name in others]
    cells = _cells(measured["overall"], beside, scores["floor_overall"])
    table.add_row("all", *cells, style="bold")
    return table


def pope_table(scores: Scores) -> Table | None:
    """POPE's figures of the measured variant per setting, the others' F1 beside; None without them."""
    main, others = columns(scores)
    if not scores["variants"][main]["pope"]:
        return None
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        title="POPE: is the object there? %",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("setting", no_wrap=True)
    table.add_column("F1", justify="right", no_wrap=True)
    table.add_column("95%", no_wrap=True, style="dim", header_style="dim bold")
    for name in ("accuracy", "precision", "recall", "yes"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in others:
        table.add_column(f"F1 {variant_title(name)}", justify="right")
    table.add_column("n", justify="right", no_wrap=True, style="dim", header_style="dim bold")
    for setting, row in scores["variants"][main]["pope"].items():
        if setting == "overall":
            table.add_section()
        table.add_row(
            "all" if setting == "overall" else setting,
            Text(percent(row["f1"]), "bold"),
            interval(row["low"], row["high"]),
            *(percent(row[key]) for key in ("accuracy", "precision", "recall", "yes_ratio")),
            *(percent(scores["variants"][name]["pope"][setting]["f1"]) for name in others),
            f"{row['n']:,}",
        )
    return table


def percent(value: float) -> str:
    """A share as per cent with one place."""
    return f"{100 * value:.1f}"


def interval(low: float, high: float) -> str:
    """The ends of an interval as per cent."""
    return f"{100 * low:.1f}–{100 * high:.1f}"  # noqa: RUF001 - the dash of ranges


def _cells(value: Proportion, beside: list[float], floor: float) -> list[Text | str]:
    # a figure within its floor's reach says nothing about sight: it is marked
    style = "green" if value["low"] > floor else "yellow"
    return [
        Text(percent(value["value"]), f"bold {style}"),
        interval(value["low"], value["high"]),
        *(percent(other) for other in beside),
        percent(floor),
        f"{value['n']:,}",
    ]
