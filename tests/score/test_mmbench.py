"""MMBench: its letters, its circular rule, and the tables for its server."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.score import Inputs, score, submit
from pumice.score.mmbench import mmbench_letter
from pumice.score.xlsx import column, write_xlsx

HEAD = [
    "index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category",
    "comment", "split",
]  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B. ", None),  # full stops are taken off first, then spaces, and "b." stands in no option
        ("B.", "B"),
        (".A.", "A"),
        ("The answer is c.", "C"),
        ("the answer is c", None),
        ("green", "C"),
        ("car", None),
        ("D", "A"),  # no option of its own, and the letter stands in "red car" alone
        ("a green car is there", None),
        ("x", None),
        ("", None),
    ],
)
def test_letters(raw: str, letter: str | None) -> None:
    assert mmbench_letter(raw, ["red car", "blue car", "green"]) == letter


def test_part_of_one_option_alone_is_its_letter() -> None:
    assert mmbench_letter("D", ["red", "blue"]) == "A"  # "d" is in "red" alone: the rule as it is
    assert mmbench_letter("C", ["cat", "dog"]) == "A"


def table(path: Path, rows: list[dict[str, Any]], head: list[str] = HEAD) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def question(
    index: int, answer: str, options: tuple[str, ...] = ("red", "blue"), **more: str
) -> dict[str, Any]:
    every = dict.fromkeys("ABCD", "") | dict(zip("ABCD", options, strict=False))
    base = {"index": index, "question": "Which?\nSay.", "hint": "nan", "answer": answer, "category": "colour",
            "l2-category": "perception", "image": "A" * 200_000, "source": "s", "comment": "",
            "split": "dev"}  # fmt: skip
    return base | every | more


def test_a_question_is_right_when_all_its_rotations_are(tmp_path: Path, answers: Any) -> None:
    rows = [question(1, "A"), question(2, "B"), question(1_000_001, "B"), question(1_000_002, "A")]
    asked = table(tmp_path / "dev.tsv", rows)
    result = score("mmbench", Inputs(answers({1: "A", 1_000_001: "B", 2: "B", 1_000_002: "B"}), asked))
    assert result.metrics == {"accuracy": 50, "vanilla": 100}
    assert result.n == 2
    assert result.counts["answers"] == 4
    assert result.groups["colour"].metrics["accuracy"] == 50
    assert result.groups["perception"].n == 2
    assert not result.notes


def test_without_rotations_it_is_plain_accuracy_and_says_so(tmp_path: Path, answers: Any) -> None:
    asked = table(tmp_path / "dev.tsv", [question(1, "A"), question(2, "B")])
    result = score("mmbench-cn", Inputs(answers({1: "A", 2: "neither"}), asked))
    assert result.metrics["accuracy"] == 50
    assert result.counts["unparsed"] == 1
    assert "the server asks a judge" in result.notes[0]
    assert "no rotations" in result.notes[1]


def rounds(texts: list[str]) -> list[dict[str, Any]]:
    """LLaVA's --all-rounds of question 1: options and letters turn by one each round."""
    options, letters = ["red", "blue", "green"], ["A", "B", "C"]
    found = []
    for number, text in enumerate(texts):
        turned = options[number:] + options[:number]
        found.append({"question_id": 1, "round_id": number, "text": text, "options": turned,
                      "option_char": letters[number:] + letters[:number]})  # fmt: skip
    return found


def test_the_letters_of_later_rounds_are_turned_back(tmp_path: Path, lines: Any) -> None:
    asked = table(tmp_path / "dev.tsv", [question(1, "B", ("red", "blue", "green"))])
    right = lines("a.jsonl", rounds(["B", "A", "blue"]))
    assert score("mmbench", Inputs(right, asked)).metrics["accuracy"] == 100
    wrong = lines("b.jsonl", rounds(["B", "B", "C"]))
    result = score("mmbench", Inputs(wrong, asked))
    assert result.metrics == {"accuracy": 0, "vanilla": 100}
    with pytest.raises(DataError, match="1 of 3 questions have no answer: 1#2"):
        score("mmbench", Inputs(lines("c.jsonl", rounds(["B", "A"])), asked))
    bare = [{"question_id": 1, "round_id": number, "text": "B"} for number in range(3)]
    with pytest.raises(DataError, match="does not tell its options"):
        score("mmbench", Inputs(lines("d.jsonl", bare), asked))


def test_a_split_without_answers_can_only_be_submitted(tmp_path: Path, answers: Any) -> None:
    row = question(1, "A")
    del row["answer"]
    asked = table(tmp_path / "test.tsv", [row], [key for key in HEAD if key != "answer"])
    with pytest.raises(DataError, match="no answers") as caught:
        score("mmbench", Inputs(answers({1: "A"}), asked))
    assert "--submission" in str(caught.value.remedy)


def test_a_table_that_was_cut_off_names_the_line(tmp_path: Path, answers: Any) -> None:
    asked = table(tmp_path / "dev.tsv", [question(1, "A"), question(2, "B")])
    asked.write_text(asked.read_text()[:-150_000])
    with pytest.raises(DataError, match="fields, the head 14") as caught:
        score("mmbench", Inputs(answers({1: "A", 2: "B"}), asked))
    assert str(caught.value.where).endswith("dev.tsv, line 4")  # the first question has two lines


def cells(path: Path) -> list[list[str]]:
    with zipfile.ZipFile(path) as archive:
        sheet = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    return [["".join(cell.itertext()) for cell in row] for row in sheet[0]]


def test_the_spreadsheet_for_the_server(tmp_path: Path, answers: Any) -> None:
    asked = table(tmp_path / "dev.tsv", [question(1, "A"), question(2, "B", ("x<y & z", "blue"))])
    given = answers({1: "A", 2: "=1+1"})
    target = tmp_path / "upload.xlsx"
    assert submit("mmbench", Inputs(given, asked), target) == 2
    rows = cells(target)
    assert rows[0] == ["index", "question", "A", "B", "C", "D", "prediction", "answer", "split"]
    assert rows[1] == ["1", "Which?\nSay.", "red", "blue", "A", "A", "dev"]  # empty cells are left out
    assert rows[2][-3:] == ["=1+1", "B", "dev"]
    with zipfile.ZipFile(target) as archive:
        assert archive.testzip() is None
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
        assert '<c r="A2"><v>1</v></c>' in sheet
        assert '<c r="G3" t="inlineStr"><is><t xml:space="preserve">=1+1</t></is></c>' in sheet
    again = tmp_path / "again.xlsx"
    submit("mmbench", Inputs(given, asked), again)
    assert again.read_bytes() == target.read_bytes()


def test_the_same_as_text_and_no_other_ending(tmp_path: Path, answers: Any) -> None:
    asked = table(tmp_path / "dev.tsv", [question(1, "A")])
    given = answers({1: "A"})
    submit("mmbench-cn", Inputs(given, asked), tmp_path / "upload.tsv")
    with (tmp_path / "upload.tsv").open(newline="") as file:
        assert list(csv.reader(file, delimiter="\t"))[1] == [
            "1",
            "Which?\nSay.",
            "red",
            "blue",
            "",
            "",
            "A",
            "A",
            "dev",
        ]
    with pytest.raises(UsageError, match="no \\.json"):
        submit("mmbench", Inputs(given, asked), tmp_path / "upload.json")


def test_columns_and_characters_that_xml_cannot_hold(tmp_path: Path) -> None:
    assert [column(number) for number in (0, 25, 26, 51, 52, 701, 702)] == [
        "A",
        "Z",
        "AA",
        "AZ",
        "BA",
        "ZZ",
        "AAA",
    ]
    write_xlsx(tmp_path / "x.xlsx", ["a"], [["x\x00y\x0bz"]])
    assert cells(tmp_path / "x.xlsx") == [["a"], ["xyz"]]
