"""Tables for papers: numbers with n and interval, and names that cannot break the table."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from pumice.evaluate.compare import compare
from pumice.evaluate.sides import read_side
from pumice.report.evaluated import named, read_evaluation
from pumice.report.papers import comparison_sheet, figures_sheet
from pumice.report.typeset import as_csv, as_latex, as_markdown

from ..evaluate.results_made import evaluation, gqa, prediction, task_result

HOSTILE = r"a_b & 50% {x} \input|#1"
BREAKING = "a|b\r\nc $x$"


def pope(folder: Path, model: str, value: float = 80.125) -> Path:
    result = task_result("pope", "f1", value, 3, asked=3, total=9)
    result["scores"]["groups"] = {"random": {"f1": 81.5, "n": 2, "interval": [70, 90]}}
    blind = {"how": "grey", "scores": {**result["scores"], "metrics": {"f1": 66.666}}, "uniform": None}
    result["baselines"]["blind"] = blind  # type: ignore[typeddict-item]
    return evaluation(folder, {"pope": (result, [prediction("1", 1.0)])}, model)


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_figures_of_one_model(tmp_path: Path) -> None:
    sheet = figures_sheet([read_evaluation(pope(tmp_path / "a", HOSTILE))])
    whole, group = records(as_csv(sheet))
    assert (whole["model"], whole["value"], whole["low"], whole["n"], whole["blind"], whole["chance"]) == (
        HOSTILE, "80.125", "78.125", "3", "66.666", "",
    )  # fmt: skip
    assert (group["group"], group["value"], group["high"], group["n"]) == ("random", "81.5", "90", "2")
    text = as_latex(sheet)
    assert r"POPE & F1 & $80.12$ & $[78.12,\ 82.12]$ & $66.67$ & $3$ \\" in text
    assert r"a\_b \& 50\% \{x\} \textbackslash{}input\textbar{}\#1" in text
    assert r"pope (3 of 9 questions)" in text
    assert [text.count(word) for word in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    marked = as_markdown(sheet)
    assert "| POPE | F1 | 80.12 | [78.12, 82.12] | 66.67 | 3 |" in marked


def test_every_row_of_latex_has_as_many_cells_as_the_table_has_columns(tmp_path: Path) -> None:
    models = named(
        [read_evaluation(pope(tmp_path / name, "m", value)) for name, value in (("a", 1), ("b", 2))]
    )
    both = figures_sheet([*models, read_evaluation(gqa(tmp_path / "c", [True]))])
    for text in (as_latex(both), as_latex(compared(tmp_path, [True, False], [True, True]))):
        align = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
        assert align is not None
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {len(align[1])}
    assert len(both.rows) == 2
    assert r"$1.00\ [-1.00,\ 3.00]$" in as_latex(both), "a plain space would be none in mathematics"
    assert both.rows[1][-2:] == ["100.00 [98.00, 102.00]", "1"]
    assert both.rows[1][2] == ""
    # the space before a bracket is lost inside a formula
    assert r"$100.00\ [98.00,\ 102.00]$" in as_latex(both)


def compared(folder: Path, *answers: list[bool]) -> Any:
    sides = [read_side(gqa(folder / f"side{i}", right)) for i, right in enumerate(answers)]
    return comparison_sheet(compare(sides))


def test_a_comparison(tmp_path: Path) -> None:
    sheet = compared(tmp_path, [True] * 60 + [False] * 40, [True] * 90 + [False] * 10)
    (row,) = records(as_csv(sheet))
    assert (row["value_a"], row["value_b"], row["difference"], row["n"], row["told"]) == (
        "60.0", "90.0", "30.0", "100", "1",
    )  # fmt: skip
    (cells,) = sheet.rows
    assert cells[:3] == ["GQA", "accuracy", "60.00"]
    assert cells[-4] == "+30.00"
    assert cells[-2] == "<0.001"
    assert "$<0.001$" in as_latex(sheet)
    assert f"A: {tmp_path / 'side0'}" in sheet.caption


def test_several_sides_are_named_by_letters(tmp_path: Path) -> None:
    sheet = compared(tmp_path, [True, False], [True, True], [False, False])
    assert [row[0] for row in sheet.rows] == ["B", "C"]
    assert sheet.columns[-2].head == "p, Holm"
    assert as_markdown(sheet).count("\n| ") == 3


def test_no_name_breaks_a_row(tmp_path: Path) -> None:
    both = [read_evaluation(pope(tmp_path / name, BREAKING + name)) for name in ("a", "b")]
    head, *_ = as_markdown(figures_sheet(both)).split("\n")
    assert r"a\|b  c \$x\$a" in head
    assert "\r" not in as_latex(figures_sheet(both))
