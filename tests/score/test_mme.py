"""MME."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pumice.errors import DataError
from pumice.score import Inputs, score
from pumice.score.mme import both_of, interval, mme_answer


@pytest.mark.parametrize(
    ("raw", "given"),
    [
        ("Yes", "yes"),
        ("YES!", "yes"),
        (" yes", "yes"),
        ("No.", "no"),
        ("None", "no"),  # its first letters are no
        ("Not", "no"),
        ("I do", "other"),
        ("It is yes", "other"),  # only four characters are read
        ("", "other"),
    ],
)
def test_the_first_four_characters(raw: str, given: str) -> None:
    assert mme_answer(raw) == given


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Two pictures of existence in folders of their own, one of code_reasoning beside its text."""
    folder = tmp_path / "MME_Benchmark_release_version"
    inner = folder / "existence" / "questions_answers_YN"
    inner.mkdir(parents=True)
    (folder / "existence" / "images").mkdir()
    for name, words in (("0001", ("dog", "cat")), ("0002", ("car", "bus"))):
        (inner / f"{name}.txt").write_text(
            f"Is there a {words[0]} in this image? Please answer yes or no.\tYes\n"
            f"Is there a {words[1]} in this image? Please answer yes or no.\tNo\n"
        )
    (folder / "code_reasoning").mkdir()
    (folder / "code_reasoning" / "0020.txt").write_text(
        "Does it print 1?  Please answer yes or no.\tYes\nDoes it print 2?  Please answer yes or no.\tNo\n"
    )
    return folder


SHORT = "\nAnswer the question using a single word or phrase."


def said(texts: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    asked = {
        "existence/images/0001.jpg": ("Is there a dog in this image?", "Is there a cat in this image?"),
        "existence/images/0002.jpg": ("Is there a car in this image?", "Is there a bus in this image?"),
        "code_reasoning/0020.png": ("Does it print 1?", "Does it print 2?"),
    }
    return [
        {"question_id": id, "prompt": prompt + SHORT, "text": text}
        for id, prompts in asked.items()
        if id in texts
        for prompt, text in zip(prompts, texts[id], strict=True)
    ]


ALL = {
    "existence/images/0001.jpg": ("Yes", "No"),
    "existence/images/0002.jpg": ("Yes", "Yes"),
    "code_reasoning/0020.png": ("Maybe", "No"),
}


def test_points_per_category_and_their_sums(release: Path, lines: Any) -> None:
    result = score("mme", Inputs(lines("a.jsonl", said(ALL)), labels=release))
    assert result.metrics["existence"] == 75 + 50
    assert result.metrics["code_reasoning"] == 50 + 0
    assert (result.metrics["perception"], result.metrics["cognition"]) == (125, 50)
    assert result.groups["existence"].metrics == {"score": 125, "accuracy": 75, "accuracy_plus": 50}
    assert result.groups["existence"].n == 4
    assert result.counts["unparsed"] == 1
    assert "perception lacks count" in result.notes[0]
    low, high = result.intervals["perception"]
    assert 0 <= low <= 125 <= high <= 200
    assert set(result.intervals) == set(result.metrics)


def test_the_folder_of_the_official_tool(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "color.txt").write_text("a.jpg\tIs it red?\tYes\tYes\na.jpg\tIs it blue?\tNo\tno.\n")
    assert score("mme", Inputs(folder)).metrics == {"perception": 200, "color": 200}
    (folder / "color.txt").write_text("a.jpg\tIs it red?\tYes\n")
    with pytest.raises(DataError, match="3 fields") as caught:
        score("mme", Inputs(folder))
    assert str(caught.value.where).endswith("color.txt, line 1")


def test_a_picture_with_one_answer_is_left_out_whole(release: Path, lines: Any) -> None:
    few = lines("a.jsonl", said(ALL)[:3])
    with pytest.raises(DataError, match="3 of 6 questions have no answer"):
        score("mme", Inputs(few, labels=release))
    result = score("mme", Inputs(few, labels=release, missing="skip"))
    assert (result.n, result.metrics["existence"], result.counts["halves_left_out"]) == (2, 200, 1)
    wrong = score("mme", Inputs(few, labels=release, missing="wrong"))
    assert wrong.metrics["existence"] == 75 + 50
    assert wrong.metrics["cognition"] == 0


def test_a_text_file_that_was_cut_off_names_its_line(release: Path, lines: Any) -> None:
    file = release / "existence" / "questions_answers_YN" / "0002.txt"
    file.write_text("Is there a car in this image? Please answer yes or no.\tYes\nIs there a b")
    with pytest.raises(DataError, match="not a question, a tab") as caught:
        score("mme", Inputs(lines("a.jsonl", said(ALL)), labels=release))
    assert str(caught.value.where).endswith("0002.txt, line 2")
    file.write_text("Is there a car in this image? Please answer yes or no.\tYes\n")
    with pytest.raises(DataError, match="has 1 questions, not 2"):
        score("mme", Inputs(lines("a.jsonl", said(ALL)), labels=release))


def test_an_unknown_category_and_an_unknown_question(release: Path, lines: Any) -> None:
    rows = [*said(ALL), {"question_id": "existence/images/0001.jpg", "prompt": "Why?", "text": "Yes"}]
    with pytest.raises(DataError, match="1 answer to no question"):
        score("mme", Inputs(lines("a.jsonl", rows), labels=release))
    (release / "colour").mkdir()
    (release / "colour" / "1.txt").write_text("a\tYes\nb\tNo\n")
    with pytest.raises(DataError, match="no category 'colour'") as caught:
        score("mme", Inputs(lines("a.jsonl", said(ALL)), labels=release))
    assert "'color'" in str(caught.value.remedy)


def test_all_points_are_not_certain() -> None:
    full, none = both_of(np.ones((30, 2))), both_of(np.zeros((30, 2)))
    low, high = interval([full])
    assert high == 200
    assert 170 < low < 190
    both = interval([full, full])
    assert both[1] == 400
    assert both[0] > 2 * low, "twice as many pictures tell more"
    assert interval([none])[0] == 0
    assert 10 < interval([none])[1] < 30
    assert interval([full, none]) == (200, 200), "what is between is left to the bootstrap"
