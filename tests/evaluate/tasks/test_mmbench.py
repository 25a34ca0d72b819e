"""MMBench and MMBench-CN: tables with pictures, rounds, rotations in the table, tests without truth."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pumice.errors import DataError, UsageError
from pumice.evaluate.samples import Stored
from pumice.score import submit

from .conftest import Ask, Put, answered, pixel, scored

LETTER = "Answer with the option's letter from the given choices directly."
LETTER_CN = "请直接回答选项字母。"
HEAD = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source",
        "l2-category", "comment", "split")  # fmt: skip
DEV = "mmbench_dev_20230712.tsv"


def picture(shade: int) -> str:
    return base64.b64encode(pixel(shade)).decode()


def row(index: int, question: str, options: list[str], answer: str, **more: str) -> dict[str, str]:
    filled = dict(zip("ABCD", [*options, "", "", "", ""], strict=False))
    return dict.fromkeys(HEAD, "") | filled | {
        "index": str(index), "question": question, "answer": answer, "category": "colour",
        "image": picture(index % 1_000_000), "l2-category": "perception", "split": "dev", **more,
    }  # fmt: skip


def table(rows: list[dict[str, str]], head: tuple[str, ...] = HEAD) -> str:
    lines = ["\t".join(head), *("\t".join(each[key] for key in head) for each in rows)]
    return "\n".join(lines) + "\n"


ROWS = [
    row(241, "Which is blue?", ["red", "blue", "green", "grey"], "B", hint="Look at the sky."),
    row(252, "Is it day?", ["yes", "no"], "A"),
]
FIRST = "Look at the sky.\nWhich is blue?\nA. red\nB. blue\nC. green\nD. grey"


def test_prompts_and_scores(ask: Ask, put: Put, tmp_path: Path) -> None:
    put(DEV, table(ROWS))
    loaded = ask("mmbench")
    first, second = loaded.samples
    assert first.text == f"{FIRST}\n{LETTER}"
    assert first.row == {
        "question_id": 241,
        "round_id": 0,
        "prompt": FIRST,
        "options": ["red", "blue", "green", "grey"],
        "option_char": ["A", "B", "C", "D"],
    }
    assert (first.id, first.truth, first.group) == ("241", "B", "colour")
    assert second.text == f"Is it day?\nA. yes\nB. no\n{LETTER}"
    stored = first.images[0]
    assert isinstance(stored, Stored)
    assert stored.read() == pixel(241)
    assert stored.name == "241.jpg"
    assert loaded.notes == (f"the questions of {DEV}",)
    assert loaded.guesses == ("A", "B", "C", "D")
    assert scored(loaded, tmp_path).metrics["accuracy"] == 100
    assert scored(loaded, tmp_path, lambda sample: "AB"[sample.truth == "A"]).metrics["accuracy"] == 0


def test_all_rounds_turn_the_options_as_llava_does(ask: Ask, put: Put, tmp_path: Path) -> None:
    put(DEV, table(ROWS))
    loaded = ask("mmbench", rounds="all")
    assert [sample.id for sample in loaded.samples] == [
        "241", "241#round1", "241#round2", "241#round3", "252", "252#round1",
    ]  # fmt: skip
    second = loaded.samples[1]
    assert second.text == (f"Look at the sky.\nWhich is blue?\nA. blue\nB. green\nC. grey\nD. red\n{LETTER}")
    assert second.row["options"] == ["blue", "green", "grey", "red"]
    assert second.row["option_char"] == ["B", "C", "D", "A"]
    assert second.row["round_id"] == 1
    assert [sample.truth for sample in loaded.samples] == ["B", "A", "D", "C", "A", "B"]
    result = scored(loaded, tmp_path)
    assert (result.metrics["accuracy"], result.n, result.counts["answers"]) == (100, 2, 6)
    assert not result.notes
    # always A: right in one round of each question, so never in all
    assert scored(loaded, tmp_path, lambda _: "A").metrics["accuracy"] == 0


def test_rotations_of_the_table_share_a_picture_and_a_question(ask: Ask, put: Put, tmp_path: Path) -> None:
    turned = row(1_000_252, "Is it day?", ["no", "yes"], "B", image="252")
    put(DEV, table([*ROWS, turned]))
    loaded = ask("mmbench")
    assert [sample.id for sample in loaded.samples] == ["241", "252", "252#1000252"]
    one, other = (sample.images[0] for sample in loaded.samples[1:])
    assert one == other
    assert isinstance(other, Stored)
    assert other.read() == pixel(252)
    assert loaded.samples[2].row["question_id"] == 1_000_252
    result = scored(loaded, tmp_path)
    assert (result.metrics["accuracy"], result.n) == (100, 2)
    with pytest.raises(UsageError, match="in all orders already") as caught:
        ask("mmbench", rounds="all")
    assert caught.value.where == "--set mmbench.rounds=all"


def test_chinese_has_its_own_line(ask: Ask, put: Put) -> None:
    put("mmbench_dev_cn_20231003.tsv", table([row(7, "哪个是蓝色?", ["红", "蓝"], "B")]))
    assert ask("mmbench-cn").samples[0].text == f"哪个是蓝色?\nA. 红\nB. 蓝\n{LETTER_CN}"
    assert ask("mmbench-cn", lang="en").samples[0].text.endswith(f"\n{LETTER}")
    put(DEV, table(ROWS))
    assert ask("mmbench", lang="cn").samples[1].text == f"Is it day?\nA. yes\nB. no\n{LETTER_CN}"


def test_a_test_table_gives_a_submission_alone(ask: Ask, put: Put, tmp_path: Path) -> None:
    head = tuple(key for key in HEAD if key != "answer")
    put("mmbench_test_20230712.tsv", table(ROWS, head))
    loaded = ask("mmbench")
    assert not loaded.scored
    assert "only the benchmark's server scores" in loaded.notes[1]
    assert [sample.truth for sample in loaded.samples] == ["", ""]
    upload = tmp_path / "upload.tsv"
    assert submit("mmbench", loaded.inputs(answered(loaded, tmp_path, lambda _: "A")), upload) == 2
    assert "prediction" in upload.read_text()
    put(DEV, table(ROWS))
    assert ask("mmbench").scored
    assert not ask("mmbench", split="test").scored


def test_errors_name_file_and_row(ask: Ask, put: Put) -> None:
    put(DEV, table([row(1, "?", ["a"], "A"), row(2, "?", ["a"], "A", image="@@@")]))
    with pytest.raises(DataError, match="the picture is no base64") as caught:
        ask("mmbench")
    assert f"{DEV}, line 3" in str(caught.value.where)
    put(DEV, table([row(1, "?", ["a"], "A", image="")]))
    with pytest.raises(DataError, match="the row has no picture"):
        ask("mmbench")
    put(DEV, table([row(1, "?", ["a", "b"], "C")]))
    with pytest.raises(DataError, match="the answer is 'C' of 2 options"):
        ask("mmbench")
    put(DEV, table([row(1, "?", [], "A")]))
    with pytest.raises(DataError, match="the question has no options"):
        ask("mmbench")
    put(DEV, table(ROWS)[:-60])
    with pytest.raises(DataError, match=r"the row has \d+ fields, the head 14") as caught:
        ask("mmbench")
    assert f"{DEV}, line 3" in str(caught.value.where)


def test_missing_files_are_listed(ask: Ask, put: Put) -> None:
    put("other.tsv", "")
    with pytest.raises(DataError, match="mmbench lacks mmbench_dev_20230712") as caught:
        ask("mmbench")
    assert "missing  mmbench_dev_20230712.tsv (MMBench, github.com/open-compass/MMBench" in str(
        caught.value.remedy
    )
    with pytest.raises(DataError, match="mmbench-cn lacks mmbench_test_cn_20231003"):
        ask("mmbench-cn", split="test")
