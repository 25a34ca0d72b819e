"""MME: its folders in both layouts, and LLaVA's question file."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.errors import DataError

from .conftest import Ask, Put, pixel, scored

SHORT = "\nAnswer the question using a single word or phrase."
RELEASE = "MME_Benchmark_release_version"


@pytest.fixture
def folder(put: Put) -> None:
    # one category with folders of its own, one without, as in the release; one has two spaces before "Please"
    put(
        f"{RELEASE}/artwork/questions_answers_YN/14777.txt",
        "Does this artwork belong to the type of religious? Please answer yes or no.\tYes\n"
        "Does this artwork belong to the type of historical?  Please answer yes or no.\tNo\n",
    )
    put(f"{RELEASE}/artwork/images/14777.jpg")
    put(
        f"{RELEASE}/code_reasoning/0020.txt",
        "Is a python code shown in the picture? Please answer yes or no.\tYes\n"
        "Is a c++ code shown in the picture? Please answer yes or no.\tNo",
    )
    put(f"{RELEASE}/code_reasoning/0020.png", pixel(form="PNG"))


@pytest.mark.usefixtures("folder")
def test_prompts_and_points(ask: Ask, tmp_path: Path) -> None:
    loaded = ask("mme")
    assert [sample.text for sample in loaded.samples] == [
        f"Does this artwork belong to the type of religious?{SHORT}",
        f"Does this artwork belong to the type of historical?{SHORT}",
        f"Is a python code shown in the picture?{SHORT}",
        f"Is a c++ code shown in the picture?{SHORT}",
    ]
    first, last = loaded.samples[0], loaded.samples[3]
    assert first.id == "artwork/14777: Does this artwork belong to the type of religious?"
    assert first.row == {
        "question_id": "artwork/images/14777.jpg",
        "prompt": first.text,
        "category": "artwork",
    }
    assert last.row["question_id"] == "code_reasoning/0020.png"
    assert (last.truth, last.group) == ("No", "code_reasoning")
    assert last.images == (tmp_path / f"data/{RELEASE}/code_reasoning/0020.png",)
    result = scored(loaded, tmp_path)
    assert (result.metrics["perception"], result.metrics["cognition"], result.n) == (200, 200, 4)
    result = scored(loaded, tmp_path, lambda sample: "No" if sample.truth == "Yes" else "Yes")
    assert (result.metrics["perception"], result.metrics["cognition"]) == (0, 0)


@pytest.mark.usefixtures("folder")
def test_llavas_file_says_prompts_and_order(ask: Ask, put: Put, tmp_path: Path) -> None:
    rows = [
        {"question_id": image, "image": image, "text": f"{text}{SHORT}", "category": image.split("/")[0]}
        for image, text in (
            ("code_reasoning/0020.png", "Is a python code shown in the picture?"),
            ("code_reasoning/0020.png", "Is a c++ code shown in the picture?"),
            ("artwork/images/14777.jpg", "Does this artwork belong to the type of religious?"),
            ("artwork/images/14777.jpg", "Does this artwork belong to the type of historical?"),
        )
    ]
    own = {sample.id: sample for sample in ask("mme").samples}
    put("llava_mme.jsonl", rows, lines=True)
    loaded = ask("mme")
    assert [sample.group for sample in loaded.samples] == ["code_reasoning"] * 2 + ["artwork"] * 2
    assert {sample.id: sample for sample in loaded.samples} == own
    assert scored(loaded, tmp_path).metrics["perception"] == 200
    put("llava_mme.jsonl", rows[:3], lines=True)
    with pytest.raises(DataError, match="1 question of the official file without a row here: artwork/14777"):
        ask("mme")
    put("llava_mme.jsonl", [*rows, rows[0]], lines=True)
    with pytest.raises(DataError, match="the question stands twice, before in"):
        ask("mme")
    put("llava_mme.jsonl", [{**rows[0], "text": f"Is it?{SHORT}"}], lines=True)
    with pytest.raises(DataError, match="is not in the official file") as caught:
        ask("mme")
    assert "llava_mme.jsonl, line 1" in str(caught.value.where)


@pytest.mark.usefixtures("folder")
def test_errors_name_file_and_row(ask: Ask, put: Put, tmp_path: Path) -> None:
    (tmp_path / f"data/{RELEASE}/artwork/images/14777.jpg").unlink()
    with pytest.raises(DataError, match="pictures are missing or empty: 1 of 2") as caught:
        ask("mme")
    assert "14777.txt, line 1" in str(caught.value.where)
    put(f"{RELEASE}/code_reasoning/0020.txt", "Is it? Please answer yes or no.\tYes\n")
    with pytest.raises(DataError, match="the picture has 1 questions, not 2"):
        ask("mme")
    put(f"{RELEASE}/code_reasoning/0020.txt", "Is it? Please answer yes or no.\tYes\nIs it not?\n")
    with pytest.raises(DataError, match="the line is not a question, a tab, and Yes or No") as caught:
        ask("mme")
    assert "0020.txt, line 2" in str(caught.value.where)


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put("llava_mme.jsonl", [{}], lines=True)
    with pytest.raises(DataError, match=f"mme lacks {RELEASE}") as caught:
        ask("mme")
    assert "github.com/BradyFU/Awesome-Multimodal-Large-Language-Models" in str(caught.value.remedy)
