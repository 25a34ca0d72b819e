from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.report import collect
from pumice.report.collect import choose


def rows(count: int, wrong: int, kinds: int = 3) -> list[dict[str, Any]]:
    return [
        {"question_id": i, "image": f"{i // 2}.png", "type": f"t{i % kinds}", "correct": i >= wrong}
        for i in range(count)
    ]


def test_a_choice_spreads_over_types_and_pictures() -> None:
    chosen = choose(rows(300, 60)).rows
    assert len(chosen) == 12
    assert len({row["image"] for row in chosen}) == 12
    assert sorted(row["type"] for row in chosen) == ["t0"] * 4 + ["t1"] * 4 + ["t2"] * 4


def test_mistakes_are_shown_by_their_share_and_never_hidden() -> None:
    def mistakes(count: int, wrong: int) -> int:
        return sum(not row["correct"] for row in choose(rows(count, wrong)).rows)

    assert mistakes(300, 150) == 6
    assert mistakes(300, 6) == 3
    assert mistakes(300, 2) == 1, "two mistakes about one picture: it is shown once"
    assert mistakes(300, 0) == 0
    assert mistakes(300, 300) == 12


def test_a_choice_depends_on_ids_alone() -> None:
    given = rows(100, 20)
    assert choose(given[::-1]).rows == choose(given).rows
    assert [row["question_id"] for row in choose(given).rows] != sorted(row["question_id"] for row in given)[
        :12
    ]


def test_few_or_no_pictures() -> None:
    assert len(choose(rows(6, 1)).rows) == 3
    assert choose([]).rows == ()
    assert choose([{"question_id": 1, "image": None, "type": "t", "correct": True}]).rows == ()


def test_a_run_in_progress_names_what_is_missing(make_run: Callable[..., Path]) -> None:
    folder = make_run(pictures=6, steps=40)
    assert collect(folder).missing == ()
    (folder / "eval" / "scores.json").unlink()
    (folder / "mixture.json").unlink()
    metrics = folder / "stages" / "instruct" / "metrics.jsonl"
    before = collect(folder).curves[1].train
    metrics.write_text(metrics.read_text() + '{"kind": "train", "st')
    run = collect(folder)
    assert [name.split()[0] for name in run.missing] == ["mixture.json", "eval/scores.json"]
    assert [each.stage for each in run.curves] == ["align", "instruct"]
    assert run.curves[1].train == before, "a row that is being written is left out"
    assert run.predictions == {}


def test_malformed_files_are_named_with_their_row(make_run: Callable[..., Path]) -> None:
    folder = make_run(pictures=6, steps=40)
    metrics = folder / "stages" / "align" / "metrics.jsonl"
    good = metrics.read_text()
    metrics.write_text(good.split("\n")[0] + "\noops\n")
    with pytest.raises(DataError) as caught:
        collect(folder)
    assert caught.value.where == f"{metrics}, row 1"
    metrics.write_text(good)
    predictions = folder / "eval" / "predictions-tuned.jsonl"
    predictions.write_text(json.dumps({"question_id": 1}) + "\n")
    with pytest.raises(DataError, match="lacks answer"):
        collect(folder)
    (folder / "run.json").write_text("[]")
    with pytest.raises(DataError, match="not a JSON object"):
        collect(folder)
    with pytest.raises(UsageError, match="no such run"):
        collect(folder / "none")
    (folder / "run.json").unlink()
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        collect(folder)
