"""evaluate/answers.py: rows that grow, survive a kill, and are never mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import DataError, RunError
from pumice.evaluate import answers
from pumice.evaluate.answers import AnswersFile, Said
from pumice.evaluate.asking import record_of
from pumice.evaluate.results import ANSWERS, RECORD, AnswersRecord
from pumice.evaluate.samples import Sample
from pumice.score.answers import read_answers

from .small_task import Telling, load, truly, write_task


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    return load(write_task(tmp_path / "data"), {}).samples


def record(samples: tuple[Sample, ...], folder: Path, **changes: Any) -> AnswersRecord:
    options: dict[str, Any] = {"max_new_tokens": 4, "choices": {"short": "yes"}, "limit": None}
    name, digest = changes.pop("name", "telling"), changes.pop("digest", "")
    who = Telling(truly, name, digest)
    who.settings |= changes.pop("settings", {})
    return record_of("pope", samples, folder, who, **(options | changes))


def some(file: AnswersFile, count: int) -> None:
    with file.writing() as add:
        for sample in file.left[:count]:
            add(sample, Said(sample.truth), 0.5)


def test_rows_are_what_the_scorers_read(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    file = AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples)
    some(file, 3)
    answers = read_answers(tmp_path / "out" / ANSWERS)
    assert {name: one.text for name, one in answers.items()} == {"0": "yes", "1": "no", "2": "yes"}
    assert file.seconds == 1.5
    again = AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples)
    assert [sample.id for sample in again.left] == ["q3", "q4", "q5", "q6", "q7"]


def test_a_row_that_was_cut_off_is_dropped_when_writing_goes_on(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    made = record(samples, tmp_path / "data")
    some(AnswersFile(tmp_path / "out", made, samples), 2)
    path = tmp_path / "out" / ANSWERS
    whole = path.read_bytes()
    path.write_bytes(whole + '{"question_id": 2, "text": "ü'.encode()[:-1])
    file = AnswersFile(tmp_path / "out", made, samples)
    assert len(file.rows) == 2
    assert path.read_bytes() != whole, "looking changes nothing: another process may be writing"
    some(file, 1)
    assert len(path.read_text("utf-8").splitlines()) == 3


def test_complete_answers_stand_in_the_order_of_the_questions(
    samples: tuple[Sample, ...], tmp_path: Path
) -> None:
    file = AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples)
    with file.writing() as add:
        for sample in reversed(file.left):
            add(sample, Said("x"), 0.0)
    file.finish()
    rows = [json.loads(line) for line in (tmp_path / "out" / ANSWERS).read_text("utf-8").splitlines()]
    assert [row["sample"] for row in rows] == [sample.id for sample in samples]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_new_tokens": 5}, "max_new_tokens is 4, now 5"),
        ({"settings": {"template": "v1"}}, "template is None, now 'v1'"),
        ({"settings": {"dtype": "bfloat16"}}, "dtype is not recorded, now 'bfloat16'"),
        ({"choices": {"short": "no"}}, "short is 'yes', now 'no'"),
        ({"name": "another"}, "model is 'telling' (local), now 'another' (local)"),
        ({"limit": 8}, "limit is None, now 8"),
        ({"blind": True}, "pictures is 'own', now 'grey'"),
    ],
)
def test_other_records_are_refused_by_the_key_that_differs(
    samples: tuple[Sample, ...], tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    some(AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples), 1)
    with pytest.raises(RunError) as caught:
        AnswersFile(tmp_path / "out", record(samples, tmp_path / "data", **changes), samples)
    assert said in str(caught.value)


def test_equal_weights_are_one_model_under_any_name(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    data = tmp_path / "data"
    some(AnswersFile(tmp_path / "out", record(samples, data, digest="abc"), samples), 1)
    AnswersFile(tmp_path / "out", record(samples, data, digest="abc", name="moved"), samples)
    with pytest.raises(RunError, match="of another model"):
        AnswersFile(tmp_path / "out", record(samples, data, digest="abd"), samples)


def test_other_questions_are_refused(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    some(AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples), 1)
    others = load(write_task(tmp_path / "more", 5), {}).samples[: len(samples)]
    (tmp_path / "more" / "0.png").write_bytes(b"other")
    with pytest.raises(RunError, match="to other questions"):
        AnswersFile(tmp_path / "out", record(others, tmp_path / "more"), others)


def test_data_may_be_moved_between_two_sittings(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    some(AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples), 1)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = load(tmp_path / "moved", {}).samples
    assert len(AnswersFile(tmp_path / "out", record(moved, tmp_path / "moved"), moved).rows) == 1


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"sample": "q0", "text": "no"}', "'q0' was answered before"),
        ('{"sample": "q99", "text": "no"}', "'q99', which is not asked"),
        ('{"sample": "q1"}', "no text"),
        ("{]", "not JSON"),
        ("[1]", "no text"),
    ],
)
def test_damaged_rows_name_their_line(
    samples: tuple[Sample, ...], tmp_path: Path, row: str, said: str
) -> None:
    made = record(samples, tmp_path / "data")
    some(AnswersFile(tmp_path / "out", made, samples), 1)
    with (tmp_path / "out" / ANSWERS).open("a", encoding="utf-8") as stream:
        stream.write(row + "\n")
    with pytest.raises(DataError) as caught:
        AnswersFile(tmp_path / "out", made, samples)
    assert said in str(caught.value)
    assert "line 2" in str(caught.value)


def test_answers_without_a_record_are_refused(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    made = record(samples, tmp_path / "data")
    some(AnswersFile(tmp_path / "out", made, samples), 1)
    (tmp_path / "out" / RECORD).unlink()
    with pytest.raises(RunError, match="without a record"):
        AnswersFile(tmp_path / "out", made, samples)
    (tmp_path / "out" / RECORD).write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="not a JSON object"):
        AnswersFile(tmp_path / "out", made, samples)


def test_two_processes_do_not_answer_into_one_file(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    made = record(samples, tmp_path / "data")
    first, second = (AnswersFile(tmp_path / "out", made, samples) for _ in range(2))
    with first.writing(), pytest.raises(RunError, match="another process"), second.writing():
        pass


def test_half_a_surrogate_is_kept_as_it_came(samples: tuple[Sample, ...], tmp_path: Path) -> None:
    """A server's JSON may hold one; it has no UTF-8, and must not end an evaluation."""
    file = AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples)
    with file.writing() as add:
        add(file.left[0], Said("half \ud83d \\ süß"), 0.5)
    again = AnswersFile(tmp_path / "out", record(samples, tmp_path / "data"), samples)
    assert again.text(samples[0]) == "half \ud83d \\ süß"


def test_a_record_never_stands_beside_what_an_earlier_file_said(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(digest: str) -> AnswersFile:
        kind = record(samples, tmp_path / "data")
        model = {"kind": "file", "name": "somebody", "digest": digest}
        return AnswersFile(tmp_path / "out", AnswersRecord(**{**kind, "model": model}), samples)  # type: ignore[typeddict-item]

    some(of("a"), len(samples))
    beside: list[bytes] = []
    monkeypatch.setattr(
        answers, "write_json", lambda *_: beside.append((tmp_path / "out" / ANSWERS).read_bytes())
    )
    some(of("b"), 1)
    assert beside == [b""], "a kill in between must not leave old answers under the new record"


def test_answers_outlive_a_kill_while_refused_questions_are_put_again(
    samples: tuple[Sample, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, own = tmp_path / "out", record(samples, tmp_path / "data")
    with AnswersFile(out, own, samples).writing() as add:
        for number, sample in enumerate(samples):
            add(sample, Said("", "refused") if number < 2 else Said("paid for"), 0.5)
    whole = (out / ANSWERS).read_bytes()

    def killed(row: Any) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(answers, "encoded", killed)
        with pytest.raises(KeyboardInterrupt):
            some(AnswersFile(out, own, samples), 1)
    assert (out / ANSWERS).read_bytes() == whole
    again = AnswersFile(out, own, samples)
    some(again, 2)
    assert again.complete
    assert AnswersFile(out, own, samples).complete
