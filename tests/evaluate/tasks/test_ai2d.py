from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from pumice.errors import DataError
from pumice.evaluate.samples import Stored
from pumice.evaluate.tasks.ai2d import draw_letters, load

from .official import cell, parquet, pictures, png, scored, shown, whole

LAST = "\nAnswer with the option's letter from the given choices directly."


def question(id: str, answer: int, abc: bool = False) -> dict[str, Any]:
    texts = ["A", "B", "C", "D"] if abc else ["sun", "moon", "earth", "rain"]
    return {"abcLabel": abc, "answerTexts": texts, "correctAnswer": answer, "questionId": id}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    own = tmp_path / "ai2d"
    pictures(own / "images", {"0.png": 1, "7.png": 2, "9.png": 3})
    whole(
        own / "questions" / "0.png.json",
        {
            "imageName": "0.png",
            "questions": {"What shines?": question("0.png-0", 0), "Wet?": question("0.png-1", 3)},
        },
    )
    whole(
        own / "questions" / "7.png.json",
        {"imageName": "7.png", "questions": {"Which letter?": question("7.png-0", 2, abc=True)}},
    )
    whole(
        own / "annotations" / "7.png.json",
        {"text": {"T0": {"rectangle": [[0, 0], [3, 2]], "replacementText": "B", "value": "moon"}}},
    )
    whole(
        own / "questions" / "9.png.json",
        {"imageName": "9.png", "questions": {"Train?": question("9.png-0", 0)}},
    )
    (own / "ai2d_test_ids.csv").write_text("0\n7\n11\n")
    return own


def test_the_authors_archive(archive: Path, tmp_path: Path) -> None:
    loaded = load(archive, {})
    texts = {sample.id: sample.text for sample in loaded.samples}
    assert set(texts) == {"0.png-0", "0.png-1", "7.png-0"}, "the test set alone"
    assert texts["0.png-0"] == "What shines?\nA. sun\nB. moon\nC. earth\nD. rain" + LAST
    assert [sample.truth for sample in loaded.samples] == ["A", "D", "C"]
    assert shown(loaded)["0.png-1"] == [png(1)]
    assert scored(loaded, tmp_path / "out").metrics["accuracy"] == 100
    assert scored(loaded, tmp_path / "out", lambda truth: "no idea").metrics["accuracy"] == 0


def test_texts_give_way_to_letters_where_a_question_asks_for_them(archive: Path) -> None:
    loaded = load(archive, {})
    drawn = loaded.samples[-1].images[0]
    assert isinstance(drawn, Stored)
    picture = np.asarray(PIL.Image.open(io.BytesIO(drawn.read())))
    assert picture.shape == (3, 4, 3)
    assert "replaced by letters here, as the annotations say, for 1 question;" in " ".join(loaded.notes)
    # Pictures that were made elsewhere serve as they are.
    pictures(archive / "abc_images", {"7.png": 77})
    ready = load(archive, {})
    assert shown(ready)["7.png-0"] == [png(77)]
    assert not any("replaced" in note for note in ready.notes)


def test_a_letter_stands_in_the_middle_of_its_white_box(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    PIL.Image.new("RGB", (200, 100), "green").save(path)
    picture = np.asarray(PIL.Image.open(io.BytesIO(draw_letters(path, [(110, 80, 50, 20, "H")]))))
    inside, around = picture[20:81, 50:111], np.ones((100, 200), bool)
    around[20:81, 50:111] = False
    assert (picture[around] == (0, 128, 0)).all()
    dark = np.argwhere(inside.sum(2) < 300)
    assert (inside[0] == 255).all()
    assert dark.size
    assert np.abs((dark.min(0) + dark.max(0)) / 2 - (30, 30)).max() <= 3, "centred"
    assert np.ptp(dark, axis=0).max() >= 35, "as large as fits"


def test_the_hubs_rows_are_numbered(tmp_path: Path) -> None:
    rows = [
        {"question": "What shines?", "options": ["sun", "moon"], "answer": "0", "image": cell(1)},
        {"question": "What shines?", "options": ["sun", "moon"], "answer": "1", "image": cell(2)},
    ]
    parquet(tmp_path / "ai2d" / "data" / "test-00000-of-00001.parquet", rows)
    loaded = load(tmp_path / "ai2d", {})
    assert shown(loaded) == {"0": [png(1)], "1": [png(2)]}
    assert loaded.samples[1].text == "What shines?\nA. sun\nB. moon" + LAST
    assert scored(loaded, tmp_path / "out").metrics["accuracy"] == 100


def test_errors(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the files of ai2d are not there") as caught:
        load(tmp_path / "gone", {})
    assert "beside it there is: ai2d" in str(caught.value)
    file = archive / "questions" / "0.png.json"
    whole(file, {"questions": {"Which?": question("0.png-0", 4)}})
    with pytest.raises(DataError, match="the answer is '4' of 4 options") as caught:
        load(archive, {})
    assert caught.value.where == f"{file}, line 3 ('Which?')"
    whole(file, {"questions": {"Which?": question("7.png-0", 1)}})
    with pytest.raises(DataError, match=r"'7\.png-0' stands twice"):
        load(archive, {})
    whole(file, {"questions": {"Which?": question("0.png-0", 1)}})
    (archive / "images" / "0.png").unlink()
    with pytest.raises(DataError, match="missing or empty: 1 of 2") as caught:
        load(archive, {})
    assert "images/0.png" in str(caught.value)
    (archive / "annotations" / "7.png.json").unlink()
    with pytest.raises(DataError, match="there is no annotation file"):
        load(archive, {})
    (archive / "ai2d_test_ids.csv").write_text("id\n")
    with pytest.raises(DataError, match="names no picture"):
        load(archive, {})
    (archive / "ai2d_test_ids.csv").unlink()
    with pytest.raises(DataError, match="not there") as caught:
        load(archive, {})
    assert "ai2d_test_ids.csv" in str(caught.value)
