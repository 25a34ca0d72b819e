"""The losses of a tiny run: what data, packing, model, loss, clipping, rates and AdamW give together.

A change of any of them that is meant changes these numbers; one that is not meant must not.
"""

from __future__ import annotations

from typing import Any

import pytest

TRAIN = {
    "align": [5.7845936, 5.2397332, 4.9361191],
    "instruct": [5.8169044, 5.6958199, 4.5454949, 4.0908093, 3.7742115, 3.6711701],
}
VALIDATION = {
    "align": [5.8304043, 4.7432594],
    "instruct": [5.8023138, 4.5900779, 3.8431153, 3.6523857],
}
NORMS = {
    "align": [5.9080968, 2.9617913, 1.7344199],
    "instruct": [7.1035442, 11.4074144, 5.2200208, 4.5205460, 4.0856161, 3.4507337],
}


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_a_seeded_run_has_these_losses(toy: Any, whole: Any, stage: str) -> None:
    rows = toy.metrics(whole.folder, stage)
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["loss"] for row in train] == pytest.approx(TRAIN[stage], rel=1e-4)
    assert [row["grad_norm"] for row in train] == pytest.approx(NORMS[stage], rel=1e-3)
    held_out = [row["loss"] for row in rows if row["kind"] == "validation"]
    assert held_out == pytest.approx(VALIDATION[stage], rel=1e-4)
