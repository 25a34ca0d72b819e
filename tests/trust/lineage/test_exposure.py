"""Which step shows a row first decides what is clean, to the step; and what a marker keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.data.seen import Seen, SeenColumns
from pumice.lineage.quarantine import QuarantinedError, check_quarantine, quarantine
from pumice.trust.lineage.exposure import Exposure, first_step, judge
from pumice.trust.lineage.found import Found, StageRows, Weights
from pumice.trust.lineage.purge import purges
from pumice.trust.lineage.retrain import clean_state

ROWS = [bytes([number]) * 16 for number in range(3)]


@pytest.fixture
def seen() -> Seen:
    """Three rows: shown in steps 2 and 4, in step 3, in none."""
    nothing = np.zeros(0, np.int32)
    return Seen(
        SeenColumns(
            row=np.frombuffer(b"".join(ROWS), np.uint8).reshape(-1, 16),
            number=np.arange(3, dtype=np.int64),
            origin=np.zeros(3, np.int32),
            source=np.zeros(3, np.int32),
            use_start=np.zeros(4, np.int64),
            uses=nothing,
            picture=np.zeros((0, 16), np.uint8),
            sample=np.arange(3, dtype=np.int32),
            step_start=np.array([0, 2, 3, 3], np.int64),
            steps=np.array([1, 3, 2], np.int32),
            files=np.frombuffer(b"talk.json", np.uint8),
            sources=np.frombuffer(b"talk", np.uint8),
        )
    )


def test_the_first_step_of_several_rows_counts(seen: Seen) -> None:
    assert first_step(seen, {ROWS[0]}) == (1, 2)
    assert first_step(seen, {ROWS[0], ROWS[1]}) == (2, 2)
    assert first_step(seen, {ROWS[1], ROWS[2]}) == (1, 3)
    assert first_step(seen, {ROWS[2]}) is None


@pytest.mark.parametrize(("step", "word"), [(1, "clean"), (2, "exposed"), (3, "exposed")])
def test_weights_are_clean_up_to_the_step_before(seen: Seen, tmp_path: Path, step: int, word: str) -> None:
    record: dict[str, Any] = {"kind": "state", "run": "r", "stage": "s", "step": step, "parents": {}}
    record["data"] = {"root": seen.root, "plan": "p"}
    (tmp_path / "stages/s").mkdir(parents=True)
    seen.save(tmp_path / "stages/s/rows.npz")
    stage = StageRows(tmp_path, "s", record)
    found = Found(stages={stage.key: stage})
    known = {stage.key: Exposure(stage, *(first_step(seen, {ROWS[0]}) or (0, 0)))}
    assert judge(found, Weights(tmp_path, record), {ROWS[0]}, known).word == word


def test_a_clean_state_is_none_that_saw_the_step(tmp_path: Path) -> None:
    for step in (2, 4, 5):
        (tmp_path / f"stages/s/state/step-{step:06d}").mkdir(parents=True)
    assert clean_state(tmp_path, "s", 4) == 4
    assert clean_state(tmp_path, "s", 3) == 2
    assert clean_state(tmp_path, "s", 1) is None


def test_a_marker_keeps_the_reasons_of_before(tmp_path: Path) -> None:
    assert quarantine(tmp_path, "one", {"erasure": "a"})
    assert not quarantine(tmp_path, "two", {"erasure": "b"})
    assert not quarantine(tmp_path, "two again", {"erasure": "b"})
    with pytest.raises(QuarantinedError, match="quarantined: one; two again"):
        check_quarantine(tmp_path)
    (tmp_path / "QUARANTINED.json").write_text("{")
    with pytest.raises(QuarantinedError, match="cannot be read"):
        check_quarantine(tmp_path)


def test_a_table_that_cannot_be_read_goes(tmp_path: Path) -> None:
    (tmp_path / "tables/one").mkdir(parents=True)
    (tmp_path / "tables/one/table.npz").write_bytes(b"torn")
    assert [one.place.name for one in purges([], {ROWS[0]}, [tmp_path], [])] == ["one"]
