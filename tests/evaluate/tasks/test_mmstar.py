from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.evaluate.tasks.mmstar import load

from .official import cell, parquet, png, scored, shown


def row(index: int, answer: str) -> dict[str, Any]:
    return {
        "index": index,
        "question": "Which option describes the image?\nOptions: A: a cat, B: a dog ",
        "image": cell(index + 10),
        "answer": answer,
        "category": "coarse perception",
        "l2_category": "image scene and topic",
        "meta_info": {"source": "MMBench"},
    }


def test_prompts_pictures_and_scores(tmp_path: Path) -> None:
    path = parquet(tmp_path / "mmstar.parquet", [row(0, "A"), row(1, "B"), row(2, "A")])
    loaded = load(tmp_path, {})
    assert loaded.samples[0].text == (
        "Which option describes the image?\nOptions: A: a cat, B: a dog\n"
        "Answer with the option's letter from the given choices directly"
    )
    assert shown(loaded) == {str(index): [png(index + 10)] for index in range(3)}
    assert loaded.samples[0].group == "coarse perception"
    result = scored(loaded, tmp_path / "out")
    assert result.metrics["accuracy"] == 100
    assert set(result.groups) == {"coarse perception", "image scene and topic"}
    assert scored(loaded, tmp_path / "out", lambda truth: "C").metrics["accuracy"] == 0
    assert path.is_file()


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the files of mmstar are not there") as caught:
        load(tmp_path, {})
    assert "Lin-Chen/MMStar" in str(caught.value)
    path = parquet(tmp_path / "mmstar.parquet", [row(0, "A"), row(0, "B")])
    with pytest.raises(DataError, match="stands twice") as caught:
        load(tmp_path, {})
    assert caught.value.where == f"{path}, row 2"
    parquet(path, [{"index": 1, "image": cell(1)}])
    with pytest.raises(DataError, match="no column 'question'"):
        load(tmp_path, {})
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, {})
