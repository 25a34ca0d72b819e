"""The file that answers are written to as they come, and the record of what they belong to.

A row is on its way to the disk before the next question's is. A row that a kill cut off is dropped, so the
file never lies about what was answered. When all questions have answers, the rows are put in the order of
the questions: two runs that heard the same have the same answers in the same places.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from pumice.errors import DataError, PumiceError, RunError
from pumice.evaluate.results import ANSWERS, RECORD, REFUSED, AnswersRecord, encoded
from pumice.evaluate.samples import Sample
from pumice.files import lock, replacing, write_json

SAMPLE, SECONDS, PROBLEM = "sample", "seconds", "problem"
"""Keys of ours in a row, besides those of LLaVA's layout: which sample it answers; seconds since the answer
before it; why the question could not be put, where it could not."""
MOST_PROBLEMS = 0.1
"""Of a task's questions that could not be put: beyond, its figures would be of something else."""
REMEDY = "remove the folder, or measure into another one with --out"
WORDS = {
    "model": "of another model",
    "pictures": "with the pictures treated otherwise",
    "questions": "to other questions",
    "n": "to other questions",
    "task": "of another task",
    "limit": "to other questions (another --limit)",
    "format": "of another version of this program",
}


@dataclass(frozen=True, slots=True)
class Said:
    """What came back to one question.

    Attributes:
        text: the answer; empty where there is none.
        problem: why the question could not be put; it counts as answered with nothing.
        bad: why it has no answer at all: its picture cannot be decoded, or a file of answers lacks it.
    """

    text: str
    problem: str = ""
    bad: PumiceError | None = None


class AnswersFile:
    """The answers of one task in a folder.

    Args:
        folder: where they are or will be; made when the first answer is written.
        record: what they belong to.
        samples: the questions.

    Raises:
        RunError: the folder holds answers of another record; the key that differs is named.
        DataError: a row is damaged, or answers no question.
    """

    def __init__(self, folder: Path, record: AnswersRecord, samples: Sequence[Sample]) -> None:
        self.folder, self.record = folder, record
        self.path = folder / ANSWERS
        self.samples = {sample.id: sample for sample in samples}
        assert len(self.samples) == len(samples), "two samples of one id"
        self.rows: dict[str, dict[str, Any]] = {}
        self.left_out: dict[str, str] = {}
        """Questions that have no answer and are not to get one, and why."""
        self.replaced: dict[str, str] | None = None
        """The answers of an earlier file of answers, which this one stands in place of."""
        self._again = False
        self._check(mend=False)

    @property
    def left(self) -> list[Sample]:
        """The questions without an answer, in their order."""
        return [
            sample
            for name, sample in self.samples.items()
            if name not in self.rows and name not in self.left_out
        ]

    @property
    def complete(self) -> bool:
        """Whether every question has its answer, or was left out."""
        return not self.left

    @property
    def answered(self) -> tuple[Sample, ...]:
        """The questions that have an answer, in their order."""
        return tuple(sample for name, sample in self.samples.items() if name in self.rows)

    @property
    def seconds(self) -> float:
        """How long answering took, all sittings together."""
        return sum(float(row.get(SECONDS, 0.0)) for row in self.rows.values())

    @property
    def problems(self) -> list[str]:
        """The ids of questions that could not be put."""
        return [name for name, row in self.rows.items() if row.get(PROBLEM)]

    def text(self, sample: Sample) -> str:
        """What was said to a question; nothing where it was left out."""
        row = self.rows.get(sample.id)
        return "" if row is None else cast(str, row["text"])

    @property
    def refused_before(self) -> list[Sample]:
        """The questions that an earlier sitting left out, as its list of them says."""
        path = self.folder / REFUSED
        if not path.is_file():
            return []
        names = [_refused(line) for line in path.read_text("utf-8").splitlines()]
        return [self.samples[name] for name in names if name in self.samples and name not in self.rows]

    def leave_out(self, sample: Sample, why: str) -> None:
        """Ask a question no more; ``finish`` lists it."""
        self.left_out[sample.id] = why

    def changes(self) -> str:
        """What became of the answers of an earlier file; empty where there was none, or none differs."""
        if self.replaced is None or not self.complete:
            return ""
        now = {name: str(row["text"]) for name, row in self.rows.items()}
        both = now.keys() & self.replaced.keys()
        counts = {
            "differ": sum(now[name] != self.replaced[name] for name in both),
            "are new": len(now) - len(both),
            "are gone": len(self.replaced) - len(both),
        }
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"another file of answers than before: {told or 'none of the answers differs'}"

    @contextmanager
    def writing(self) -> Iterator[Callable[[Sample, Said, float], None]]:
        """A function that adds an answer, with the seconds that it took.

        Raises:
            RunError: another process is answering into this file.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as open_files:
            stream = open_files.enter_context(self._held())
            # Somebody may have answered between the first look and the lock. Behind it, a row without its
            # end is nobody's any more.
            self._check(mend=True)
            if self._again:
                # Rows that are to be answered again go, the others never: they are in one of the two files.
                # The record comes behind, for it would call what an earlier file said this one's.
                self._write_rows()
                stream = open_files.enter_context(self._held())
            write_json(self.folder / RECORD, self.record)

            def add(sample: Sample, said: Said, seconds: float) -> None:
                row = {**sample.row, "text": said.text, SAMPLE: sample.id, SECONDS: round(seconds, 3)}
                row |= {PROBLEM: said.problem} if said.problem else {}
                stream.write(encoded(row))
                stream.flush()
                self.rows[sample.id] = row

            yield add

    def finish(self) -> None:
        """Put the rows in the order of the questions, when all are there, and list what was left out."""
        assert self.complete
        self._list_refused()
        order = [name for name in self.samples if name in self.rows]
        if list(self.rows) == order:
            return
        self.rows = {name: self.rows[name] for name in order}
        self._write_rows()

    @contextmanager
    def _held(self) -> Iterator[BinaryIO]:
        """The file, to add to, while no other process does.

        Raises:
            RunError: another one does.
        """
        with self.path.open("ab") as stream:
            if lock(stream) is False:
                raise RunError(
                    "another process is answering these questions",
                    where=str(self.path),
                    remedy="wait for it, or measure into another folder with --out",
                )
            yield stream

    def _write_rows(self) -> None:
        """The rows as a new file in place of the one that is there."""
        with replacing(self.path) as partial, partial.open("wb") as file:
            for row in self.rows.values():
                file.write(encoded(row))
            file.flush()
            os.fsync(file.fileno())

    def _check(self, *, mend: bool) -> None:
        """Compare the record with the one that is there, and read the answers."""
        self.rows = {}
        self._again = False
        if not self.path.exists() or self.path.stat().st_size == 0:
            return  # a record without answers binds nobody: it is of a measurement that never began
        place = self.folder / RECORD
        if not place.exists():
            raise RunError(
                "there are answers without a record of what they belong to",
                where=str(self.path),
                remedy=f"{REMEDY} (the record would be {RECORD})",
            )
        found = _read_record(place)
        if _same_teller(found, self.record) and dict(found) != dict(self.record):
            # Answers of a file are lost to nobody: those of the file as it is now stand in their place.
            if self.replaced is None:
                self.replaced = {
                    str(row[SAMPLE]): str(row["text"])
                    for row in (_row(line, str(self.path)) for line in _whole_lines(self.path, mend=False))
                }
            self._again = True
            return
        check_record(found, self.record, self.path)
        for number, line in enumerate(_whole_lines(self.path, mend=mend), 1):
            where = f"{self.path}, line {number}"
            row = _row(line, where)
            name = row[SAMPLE]
            if name not in self.samples:
                raise _damaged(f"it answers {name!r}, which is not asked", where)
            if name in self.rows:
                raise _damaged(f"{name!r} was answered before", where)
            self.rows[name] = row
        if len(self.problems) > MOST_PROBLEMS * len(self.samples):
            # So many have no figures, and are of no use: they are put again, with the cause mended.
            self.rows = {name: row for name, row in self.rows.items() if not row.get(PROBLEM)}
            self._again = True

    def _list_refused(self) -> None:
        path = self.folder / REFUSED
        if not self.left_out:
            path.unlink(missing_ok=True)
            return
        with replacing(path) as partial, partial.open("wb") as file:
            for name, why in self.left_out.items():
                asked = self.samples[name].row.get("question_id", name)
                file.write(encoded({SAMPLE: name, "question_id": asked, "why": why}))


def _refused(line: str) -> str:
    try:
        return str(json.loads(line)[SAMPLE])
    except (ValueError, KeyError, TypeError):
        return ""  # the list is for people; who broke it is asked again


def _same_teller(found: Mapping[str, Any], wanted: AnswersRecord) -> bool:
    """Whether both are answers of a file, to one task and by one name."""
    model = found.get("model")
    return (
        isinstance(model, dict)
        and model.get("kind") == wanted["model"]["kind"] == "file"
        and model.get("name") == wanted["model"]["name"]
        and found.get("task") == wanted["task"]
    )


def check_record(found: Mapping[str, Any], wanted: AnswersRecord, path: Path) -> None:
    """Refuse answers of another record.

    Raises:
        RunError: it names the key that differs, with both values.
    """
    for key, value in wanted.items():
        made: Any = found.get(key)
        if key == "model":
            if _same_model(made, wanted):
                continue
        elif isinstance(value, dict) and isinstance(made, dict):
            # the one setting that differs says more than all of them
            for name in {**value, **made}:
                if name not in value or name not in made or made[name] != value[name]:
                    there = f"{made[name]!r}" if name in made else "not recorded"
                    what = f"the folder holds answers made with another {name}"
                    raise RunError(
                        what, where=f"{path}: {name} is {there}, now {value.get(name)!r}", remedy=REMEDY
                    )
            continue
        if made != value:
            words = WORDS.get(key, f"made with another {key}")
            raise RunError(
                f"the folder holds answers {words}",
                where=f"{path}: {key} is {_short(made)}, now {_short(value)}",
                remedy=REMEDY,
            )


def _same_model(made: Any, wanted: AnswersRecord) -> bool:
    """Equal weights are one model, wherever they lie; without a digest the name decides."""
    if not isinstance(made, dict) or made.get("kind") != wanted["model"]["kind"]:
        return False
    key = "digest" if wanted["model"]["digest"] else "name"
    return bool(made.get(key) == cast("dict[str, Any]", wanted["model"])[key])


def _short(value: Any) -> str:
    if isinstance(value, dict) and "name" in value:
        return f"{value['name']!r} ({str(value.get('digest', ''))[:12] or value.get('kind')})"
    return f"{value[:12]!r}" if isinstance(value, str) and len(value) == 64 else repr(value)


def _whole_lines(path: Path, *, mend: bool) -> list[str]:
    """The lines of a file without a last one that was cut off; ``mend`` removes it from the file."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if mend and len(whole) < len(content):
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    try:
        return whole.decode("utf-8").split("\n")[:-1]
    except UnicodeDecodeError as error:
        raise _damaged(f"the file is not UTF-8 ({error})", str(path)) from error


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise _damaged("it is not JSON", where) from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str) or SAMPLE not in row:
        raise _damaged(f"it has no text, or no {SAMPLE}", where)
    return row


def _damaged(what: str, where: str) -> DataError:
    return DataError(f"an answer cannot be used: {what}", where=where, remedy=REMEDY)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the record cannot be read ({error})", where=str(path), remedy=REMEDY) from error
    if not isinstance(content, dict):
        raise DataError("the record is not a JSON object", where=str(path), remedy=REMEDY)
    return content
