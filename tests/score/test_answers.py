"""Answer files: what is read, and every way in which one can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError
from pumice.score.answers import match, names, read_answers
from pumice.score.files import is_object, object_rows, read, rows_or_under


def test_names_of_keys_by_precedence(lines: Any) -> None:
    rows = [
        {"question_id": 1, "prompt": "?", "text": "a"},
        {"question_id": 2, "text": "the question", "raw": "b"},  # rows of pumice eval
        {"questionId": "3", "prediction": "c"},
        {"id": "x/4", "response": "d"},
        {"question_id": 5, "answer": ""},
    ]
    found = read_answers(lines("a.jsonl", rows))
    assert {name: answer.text for name, answer in found.items()} == {
        "1": "a",
        "2": "b",
        "3": "c",
        "x/4": "d",
        "5": "",
    }
    assert str(found["2"].where).endswith("a.jsonl, line 2")


def test_a_list_over_many_lines_names_lines_too(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"question_id": 1, "text": "a"}, {"question_id": 2, "text": 7}], indent=1))
    with pytest.raises(DataError, match="text of question 2 is a number") as caught:
        read_answers(path)
    assert str(caught.value.where) == f"{path}, line 6"


@pytest.mark.parametrize(
    ("content", "what", "line"),
    [
        ('{"question_id": 1, "text": "a"}\n{"question_id": 2, "te', "breaks off", 2),
        ('{"question_id": 1, "text": "a"}\n\n{"question_id": 2 "text": "b"}\n{}\n', "not JSON", 3),
        ('{"question_id": 1, "text": "a"}\n[1]\n', "a list, not an object", 2),
        ('{"question_id": 1}\n', "question 1 has no answer", 1),
        ('{"text": "a"}\n', "names no question", 1),
        ('{"question_id": true, "text": "a"}\n', "question_id is true or false", 1),
        ('{"question_id": 1, "text": null}\n', "text of question 1 is null", 1),
        ('[\n{"question_id": 1, "text": "a"},\n{"question_id": 2, "te', "breaks off", 3),
        ('[\n{"question_id": 1, "text": "a"},\n{"question_id" 2}\n]', "not JSON", 3),
    ],
)
def test_what_is_wrong_with_a_line(tmp_path: Path, content: str, what: str, line: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match=what) as caught:
        read_answers(path)
    assert str(caught.value.where) == f"{path}, line {line}"
    assert caught.value.remedy


def test_no_file_an_empty_one_and_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text("")
    with pytest.raises(DataError, match="there is no answer file") as caught:
        read_answers(tmp_path / "answer.jsonl")
    assert "'answers.jsonl'" in str(caught.value.remedy)
    with pytest.raises(DataError, match="no rows"):
        read_answers(tmp_path / "answers.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"question_id": 1, "text": "é"}\n'.encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_answers(tmp_path / "latin.jsonl")


def test_two_answers_to_a_question_name_both_lines(lines: Any) -> None:
    rows = [
        {"question_id": 1, "text": "a"},
        {"question_id": "1", "text": "b"},
        {"question_id": 1, "text": "c"},
    ]
    with pytest.raises(
        DataError, match=r"2 questions answered twice; the first is '1', answered before in .*line 1"
    ) as caught:
        read_answers(lines("a.jsonl", rows))
    assert str(caught.value.where).endswith("a.jsonl, line 2")


def test_matching(answers: Any) -> None:
    found = read_answers(answers({1: "a", 3: "c"}))
    assert match(found, ["3", "1"], "error", "f") == ["3", "1"]
    assert match(found, ["1", "2", "3"], "skip", "f") == ["1", "3"]
    assert match(found, ["1", "2", "3"], "wrong", "f") == ["1", "2", "3"]
    with pytest.raises(DataError, match="6 of 8 questions have no answer: 2, 4, 5, 6, 7 and 1 more"):
        match(found, [str(n) for n in range(1, 9)], "error", "f")
    with pytest.raises(DataError, match="1 answer to no question of the file: 3") as caught:
        match(found, ["1"], "skip", "f")
    assert str(caught.value.where).endswith("line 2")
    with pytest.raises(DataError, match="2 of 2 questions have no answer"):
        match({}, ["1", "2"], "skip", "f")  # nothing to score is no score


def test_names_are_few() -> None:
    assert names(str(n) for n in range(7)) == "0, 1, 2, 3, 4 and 2 more"


def test_rows_of_one_object_of_a_list_and_of_lines(tmp_path: Path, lines: Any) -> None:
    path = tmp_path / "o.json"
    path.write_text('{"info": {}, "data": [{"a": 1}, {"a": 2}]}')
    assert [row.value for row in rows_or_under(path, "data", "file")] == [{"a": 1}, {"a": 2}]
    path.write_text('[{"a": 1}]')
    assert [row.value for row in rows_or_under(path, "data", "file")] == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert not is_object(path, "file")
    assert len(rows_or_under(path, "data", "file")) == 2


def test_parquet_rows(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"index": [0, 1], "answer": ["A", "B"]}), tmp_path / "m.parquet")
    rows = read(tmp_path / "m.parquet", "question file")
    assert rows[1].value == {"index": 1, "answer": "B"}
    assert rows[1].where.endswith("m.parquet, row 2")


def test_objects_inside_an_object_have_lines(whole: Any) -> None:
    path = whole("o.json", {"info": [1, 2], "data": [{"a": 1}, {"a": 2}, 3]})
    rows = object_rows(path, "data", "file")
    lines = path.read_text().splitlines()
    for number in range(2):
        name, row = next(rows)
        assert name == str(number)
        line = int(row.where.split("line ")[1].split(" ")[0])
        assert lines[line - 1].strip() == "{"
        assert lines[line].strip() == f'"a": {number + 1}'
    with pytest.raises(DataError, match="a number, not an object") as caught:
        next(rows)
    assert str(caught.value.where).endswith("o.json, line 13 ('2')")
    assert lines[12].strip() == "3"
