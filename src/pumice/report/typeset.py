"""A table as text for a paper: CSV for programs, Markdown, and LaTeX with the rules of booktabs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " ", "\r": " ",
})  # fmt: skip
_MARKDOWN = str.maketrans({
    "\\": "\\\\", "|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "[": r"\[", "$": r"\$", "<": "&lt;",
    "\n": " ", "\r": " ",
})  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column: its head, and whether numbers stand in it."""

    head: str
    numbers: bool = True


@dataclass(frozen=True)
class Sheet:
    """A table twice: as it is printed, and as rows of plain values for programs.

    Attributes:
        columns: of the printed table.
        rows: its cells, as many as there are columns; a number is already rounded, an empty cell says that
            nothing is known.
        records: the same and more, unrounded, by name; all have the same keys.
        caption: what a reader must know to read it.
    """

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[str]]
    records: Sequence[Mapping[str, Any]]
    caption: str


def as_csv(sheet: Sheet) -> str:
    """The records with a head (RFC 4180); None is an empty field, and yes and no are 1 and 0."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.records[0] if sheet.records else [])
    for record in sheet.records:
        writer.writerow([int(one) if isinstance(one, bool) else one for one in record.values()])
    return text.getvalue()


def as_markdown(sheet: Sheet) -> str:
    """A table of pipes, as GitHub reads it, and the caption below."""
    heads = [column.head.translate(_MARKDOWN) for column in sheet.columns]
    rules = ["---:" if column.numbers else "---" for column in sheet.columns]
    rows = [
        [cell if column.numbers else cell.translate(_MARKDOWN) for column, cell in _cells(sheet, row)]
        for row in sheet.rows
    ]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]
    return "\n".join([*lines, "", sheet.caption.translate(_MARKDOWN), ""])


def as_latex(sheet: Sheet) -> str:
    """A ``table`` with a ``tabular`` of booktabs in it; whatever models and files are called is escaped."""
    align = "".join("r" if column.numbers else "l" for column in sheet.columns)
    heads = [latex(column.head) for column in sheet.columns]
    rows = [
        # in mathematics a space is none
        [
            f"${cell.replace(' ', chr(92) + ' ')}$" if column.numbers and cell else latex(cell)
            for column, cell in _cells(sheet, row)
        ]
        for row in sheet.rows
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{align}}}",
            r"\toprule",
            rf"{' & '.join(heads)} \\",
            r"\midrule",
            *(rf"{' & '.join(cells)} \\" for cells in rows),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{latex(sheet.caption)}}}",
            r"\end{table}",
            "",
        ]
    )


def latex(text: str) -> str:
    r"""Words as LaTeX prints them.

    >>> latex("50% of a_b & {c}")
    '50\\% of a\\_b \\& \\{c\\}'
    """
    return text.translate(_LATEX)


def _cells(sheet: Sheet, row: Sequence[str]) -> list[tuple[Column, str]]:
    return list(zip(sheet.columns, row, strict=True))


FORMATS: Mapping[str, Callable[[Sheet], str]] = {"csv": as_csv, "latex": as_latex, "markdown": as_markdown}
"""By the name that ``--format`` takes."""
