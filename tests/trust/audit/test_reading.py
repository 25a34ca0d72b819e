"""What a model makes of answers: the numbers are the model's own losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pumice.data import open_table
from pumice.data.mixture import Source
from pumice.model import load_model
from pumice.text.render import render
from pumice.trust.audit import Wishes, choose, open_material, run_audit
from pumice.trust.sight.reading import Reader
from pumice.types import IGNORE_INDEX
from pumice.world.embedded import resolve

from . import data


def test_each_answer_costs_what_the_models_loss_says(tmp_path: Path) -> None:
    for number in range(3):
        data.noise(tmp_path / f"{number}.png", number)
    rows = [
        data.row(f"r{n}", ("What is it?", "a small red circle"), ("Why?", "No"), image=f"{n}.png")
        for n in range(3)
    ]
    rows.append(data.row("words", ("How many?", "three")))
    table = open_table(str(data.write(tmp_path / "talk.json", rows)), tmp_path, "talk")
    checkpoint = load_model(resolve("tiny"))
    reader = Reader(checkpoint)
    samples = list(table)
    found = reader.read(samples)
    assert found.row_A.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert found.turn_A.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert (found.best_A >= found.own_A - 1e-4).all()
    assert np.isnan(found.other_AK[-1]).all()
    assert not np.isnan(found.other_AK[:-1]).any()
    assert not found.unread
    own, count = _loss(checkpoint, reader, samples[1])
    assert -found.own_A[2:4].sum() == pytest.approx(own, abs=1e-3)
    assert found.tokens_A[2:4].sum() == count
    # Of three pictures the two others of a row are the other two, in either order.
    others = [_loss(checkpoint, reader, _showing(samples[1], samples[row]))[0] for row in (0, 2)]
    assert sorted(-found.other_AK[2:4].sum(0)) == pytest.approx(sorted(others), abs=1e-3)


def _fields(sample: Any) -> dict[str, Any]:
    return {name: getattr(sample, name) for name in type(sample).__dataclass_fields__}


def _showing(sample: Any, other: Any) -> Any:
    return type(sample)(**{**_fields(sample), "images": other.images})


@torch.inference_mode()
def _loss(checkpoint: Any, reader: Reader, sample: Any) -> tuple[float, int]:
    shown = reader.pictures.lay_out(list(sample.images))
    encoded = render(
        sample.messages, reader.tokenizer, reader.template, branch_turns=True,
        image_lengths=[reader.pictures.tokens(one) for one in shown],
        image_token_id=checkpoint.model.config.image_token_id,
    )  # fmt: skip
    embeds = reader.pictures.embed(shown)
    ids, labels, places, branches = (
        torch.from_numpy(one)[None]
        for one in (encoded.input_ids, encoded.labels, encoded.position_ids, encoded.branch_ids)
    )
    spans = [(0, span.start, span.length) for span in encoded.image_spans]
    total, count = checkpoint.model.loss(
        ids, labels, places, torch.ones_like(ids), branches, spans,
        image_embeds_NPD=[embeds[one.key] for one in shown] or None,
    )  # fmt: skip
    assert count == int((labels != IGNORE_INDEX).sum())
    return float(total), count


def test_the_check_tells_rows_that_cannot_be_read(tmp_path: Path) -> None:
    data.noise(tmp_path / "0.png", 0)
    rows = [data.row(f"r{n}", ("What is it?", "Noise."), image=f"{n}.png") for n in range(2)]
    data.write(tmp_path / "talk.json", rows)
    material = open_material([Source("talk", tmp_path / "talk.json", tmp_path)])
    wishes = Wishes(model=resolve("tiny"))
    notes = tmp_path / "notes"
    done = run_audit(material, choose(["answers"]), wishes, out=tmp_path, notes=notes, workers=1)
    assert [(one.kind, one.row) for one in done.findings if one.kind == "unread"] == [("unread", 1)]
    data.noise(tmp_path / "1.png", 1)
    again = run_audit(material, choose(["answers"]), wishes, out=tmp_path, notes=notes, workers=1)
    assert "unread" not in {one.kind for one in again.findings}, "what is kept holds for these files alone"
