from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.data.grounding import assign_regions
from pumice.types import IGNORE_INDEX, Encoded
from pumice.world import documents
from pumice.world.documents import Document, Writer, corpus, make_documents
from pumice.world.pretrain_lm import LanguagePlan
from pumice.world.samples import scene_regions
from pumice.world.scene import Scene
from pumice.world.tokenize import train_language_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_language_tokenizer(corpus(5, 150), LanguagePlan().vocabulary)


def test_documents_teach_answers_and_show_cells(tokenizer: Any, scenes: list[Scene]) -> None:
    plan = LanguagePlan()
    writer = Writer(tokenizer, plan)
    kinds = set()
    for scene in scenes[200:260]:
        listed = writer.listed(scene)
        assert listed.kind == "list"
        _, centers = assign_regions([r.box for r in scene_regions(scene)], plan.grid)
        shown, layout = np.unique(centers), writer.layout(scene)
        assert np.array_equal(listed.cells.words, layout.words[shown])
        assert np.array_equal(listed.cells.places, layout.places[shown])
        for document in (listed, writer.mixed(scene)):
            kinds.add(document.kind)
            encoded = document.encoded
            assert encoded.supervised > 0
            assert len(document.cells.words) == len(document.cells.places)
            # Cells stand exactly where <unk> does, and nothing there is supervised.
            places = np.flatnonzero(encoded.input_ids == tokenizer.unk_token_id)
            assert len(places) == len(document.cells.words)
            if len(places):
                start = encoded.image_spans[0].start
                assert places.tolist() == list(range(start, start + len(places)))
                assert (encoded.labels[places] == IGNORE_INDEX).all()
            if document.kind != "caption":
                assert encoded.branch_ids.max() == len(document.types)
    assert kinds == {"list", "text", "layout", "caption"}
    again = Writer(tokenizer, plan).mixed(scenes[200])
    assert np.array_equal(again.encoded.input_ids, writer.mixed(scenes[200]).encoded.input_ids)


def test_documents_are_the_same_however_many_are_asked_for(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(documents, "CHUNK", 4)
    plan, told = LanguagePlan(), []

    def written(count: int) -> list[Document]:
        told.clear()
        return make_documents(tmp_path, plan, "train", "list", count, 1, lambda *given: told.append(given))

    few = written(6)
    assert told == [(4, 6), (6, 6)]
    more = written(12)
    assert (len(few), len(more)) == (6, 12)
    for a, b in zip(few, more, strict=False):
        assert (a.kind, a.types, a.encoded.image_spans) == (b.kind, b.types, b.encoded.image_spans)
        assert all(np.array_equal(x, y) for x, y in zip(arrays(a.encoded), arrays(b.encoded), strict=True))
        assert np.array_equal(a.cells.words, b.cells.words)
        assert np.array_equal(a.cells.places, b.cells.places)
    assert len({document.encoded.input_ids.tobytes() for document in more}) == 12, "no scene twice"


def arrays(encoded: Encoded) -> list[Any]:
    return [encoded.input_ids, encoded.labels, encoded.position_ids, encoded.branch_ids]
