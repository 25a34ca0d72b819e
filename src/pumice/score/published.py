"""Published figures, found again from published answers: ``make verify-published DATA=FOLDER``.

The folder holds other people's data and is no part of this program. Prints a table, and ends with 1 where a
figure differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import PumiceError
from pumice.score.inputs import Inputs
from pumice.score.result import Result
from pumice.score.tasks import score

MODEL = "llava-v1.5-13b"


@dataclass(frozen=True)
class Figure:
    """A published figure: what of a result it is, its value as printed, and who printed it."""

    what: str
    of: Callable[[Result], float]
    published: str
    source: str

    def found(self, result: Result) -> str:
        """The same figure of a result, with as many places as were published."""
        places = len(self.published.partition(".")[2])
        return f"{round(self.of(result), places):.{places}f}"


@dataclass(frozen=True)
class Case:
    """A scorer, its files inside the folder, and the figures that must come out."""

    task: str
    title: str
    inputs: Callable[[Path], Inputs]
    figures: tuple[Figure, ...]


def _right(result: Result) -> float:
    return sum(item.score for item in result.items)


def _metric(name: str, published: str, source: str) -> Figure:
    return Figure(name, lambda result: result.metrics[name], published, source)


def _group(name: str, metric: str, published: str, source: str) -> Figure:
    return Figure(f"{name} {metric}", lambda result: result.groups[name].metrics[metric], published, source)


def _pope(category: str, f1: str, n: int) -> Case:
    return Case(
        "pope",
        f"POPE {category}",
        lambda data: Inputs(
            data / "pope" / f"answers_{MODEL}_{category}.jsonl",
            data / "pope" / f"questions_{category}.jsonl",
            data / "pope" / f"coco_pope_{category}.json",
        ),
        (
            _metric("f1", f1, "LLaVA-1.5-13B"),
            Figure("questions", lambda result: float(result.n), str(n), "POPE"),
        ),
    )


def _bench(run: int, *figures: tuple[str, str]) -> Case:
    return Case(
        "llava-bench",
        f"LLaVA-Bench run {run}",
        lambda data: Inputs(reviews=(data / "llava-bench" / f"{MODEL}-eval{run}.jsonl",)),
        tuple(_metric(name, value, "LLaVA-1.5-13B") for name, value in figures),
    )


_ANALYSIS = Path("scienceqa") / f"{MODEL}_output.json"

CASES: tuple[Case, ...] = (
    Case(
        "scienceqa",
        "ScienceQA, LLaVA-1.5",
        lambda data: Inputs(data / _ANALYSIS),
        (
            _metric("accuracy", "74.39", "LLaVA-1.5-13B"),
            _metric("accuracy_img", "71.64", "LLaVA-1.5-13B"),
            _metric("accuracy_img", "71.6", "LLaVA-1.5, the paper"),
        ),
    ),
    Case(
        "scienceqa",
        "ScienceQA, LLaVA-1.0",
        lambda data: Inputs(data / "scienceqa" / "test_sqa_llava_13b_v0.json", labels=data / _ANALYSIS),
        (
            _metric("accuracy", "90.90", "LLaVA-1.0-13B"),
            Figure(
                "right answers", lambda result: sum(item.score for item in result.items), "3855", "its file"
            ),
        ),
    ),
    _pope("random", "87.14", 2910),
    _pope("popular", "86.25", 3000),
    _bench(1, ("overall", "72.8"), ("conv", "74.7"), ("detail", "52.7"), ("complex", "82.8")),
    _bench(2, ("overall", "72.7")),
    _bench(3, ("overall", "72.1")),
    Case(
        "mm-vet",
        "MM-Vet, three runs",
        lambda data: Inputs(grades=data / "mm-vet" / f"{MODEL}_gpt-4-grade-3runs.json"),
        (
            _metric("total", "36.3", "MM-Vet's own tool"),
            *(
                _group(f"run {number}", "score", value, "MM-Vet's own tool")
                for number, value in enumerate(("36.1", "36.5", "36.3"), 1)
            ),
        ),
    ),
)


def verify(data: Path, cases: Sequence[Case] = CASES) -> list[tuple[str, str, str, str, bool]]:
    """Every published figure with what is found: title and figure, source, published, found, the same.

    Raises:
        PumiceError: a file is missing or cannot be used.
    """
    rows = []
    for case in cases:
        result = score(case.task, case.inputs(data))
        for figure in case.figures:
            found = figure.found(result)
            rows.append(
                (
                    f"{case.title}: {figure.what}",
                    figure.source,
                    figure.published,
                    found,
                    found == figure.published,
                )
            )
    return rows


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit code: 0 where all figures are the same, 1 where not, 2 without a folder."""
    if len(arguments) != 1:
        print("usage: make verify-published DATA=FOLDER", file=sys.stderr)
        return 2
    try:
        rows = verify(Path(arguments[0]))
    except PumiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    heads = ("task", "source", "published", "found", "ok")
    lines = [heads, *((*row[:4], "ok" if row[4] else "DIFFERS") for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
    for line in lines:
        cells = [cell.rjust(width) if place in (2, 3) else cell.ljust(width)
                 for place, (cell, width) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
        print("  ".join(cells).rstrip())
    wrong = sum(not row[4] for row in rows)
    print(f"\n{len(rows) - wrong} of {len(rows)} figures are as published")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
