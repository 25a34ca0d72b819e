"""evaluate/scored.py: which of the scorer's items is which question's."""

from __future__ import annotations

from pathlib import Path

from pumice.evaluate.samples import Sample, Stored
from pumice.evaluate.scored import item_of, predictions
from pumice.score import Item, Result


def test_the_orders_of_a_question_share_its_item(tmp_path: Path) -> None:
    item = Item("7", "A B", 0.0)
    items = {"7": item, "x: y": Item("x: y", "no", 1.0)}
    orders = [Sample(name, "?", (), {"question_id": own}) for name, own in (("7", 7), ("7#1000007", 1000007))]
    assert [item_of(sample, items) for sample in orders] == [item, item]
    assert item_of(Sample("q", "?", (), {"question_id": 7}), items) == item
    assert item_of(Sample("q", "?", (), {"question_id": 8}), items) is None
    named = Sample(
        "x: y", "?", (Stored("row 3", bytes), tmp_path / "out" / "a.png"), {"question_id": "a.png"}
    )
    result = Result("mme", 1, {"perception": 1.0}, items=(items["x: y"],))
    (row,) = predictions([named], lambda sample: "No.", result, tmp_path / "data")
    assert row["images"] == ["row 3", (tmp_path / "out" / "a.png").as_posix()]
    assert (row["question_id"], row["raw"], row["parsed"], row["score"]) == ("a.png", "No.", "no", 1.0)
