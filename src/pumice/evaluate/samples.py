"""What a benchmark's task hands to a model, and what its scorer needs back.

A task reads the files of a benchmark as their authors publish them and makes a ``Sample`` of every question.
Whoever answers sees text and pictures alone. Answers go to a file of rows that ``pumice.score`` reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pumice.score import Inputs, Result


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture inside another file: a row of a table, say. It is read when it is needed.

    Attributes:
        name: what it is called, the same in every run, and no other picture of its task.
        read: its bytes, as a picture's file would hold them.
        mark: changes where the bytes did, as a file's size does, and is known without reading them; empty
            where nothing of the kind is.
    """

    name: str
    read: Callable[[], bytes] = field(compare=False, repr=False)
    mark: str = field(default="", compare=False)


Picture = Path | Stored


@dataclass(frozen=True, slots=True)
class Sample:
    """One question as it is put to a model.

    Attributes:
        id: no other sample of the task has it, and it stays the same from run to run. The scorer's ``Item``
            of it has the same; of several rounds of one question, the id up to the first ``#``.
        text: the whole prompt, with LLaVA's instruction for short answers where its authors give one; the
            pictures come before it.
        images: in their order; none for a question on text alone.
        row: what an answer's row has besides ``text``: ``question_id``, ``prompt`` and so on, JSON values.
        truth: the right answer, for people to read; empty where the files do not tell.
        group: its category or type; empty where there is none.
        where: file and row that it was read from, for errors; empty where nobody noted it.
    """

    id: str
    text: str
    images: tuple[Picture, ...]
    row: Mapping[str, Any]
    truth: str = ""
    group: str = ""
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Scorer:
    """Scores a task that ``pumice.score`` does not know.

    Attributes:
        title: the task's name for people.
        score: from the inputs that ``Loaded.inputs`` gives to figures, an item for each question with the
            sample's id; the first figure is the one that is reported.
        rule: how the first figure is made of the items, so that ``pumice eval compare`` can make it again:
            "mean" of their scores in per cent, or a name of ``pumice.score.rules.RULES``.
    """

    title: str
    score: Callable[[Inputs], Result]
    rule: str = "mean"


@dataclass(frozen=True)
class Loaded:
    """The questions of a task, ready to be asked and scored.

    Attributes:
        task: its name, as ``pumice.score`` has it.
        samples: in the order in which they are asked: neighbours share a picture.
        inputs: from the file of answers to what ``pumice.score`` reads. For a judged task the file is the
            judge's: its reviews or grades.
        guesses: answers that somebody who sees nothing would give, the same to every question ("yes" and
            "no", the letters); where there are none, the commonest true answers serve.
        notes: what a reader of the figures must know of how it was asked.
        scored: whether the files tell the truth. Where they do not, ``inputs`` is for ``pumice.score.submit``
            alone: only the benchmark's server can score this split.
        scorer: scores the task where ``pumice.score`` has none of its name.
    """

    task: str
    samples: tuple[Sample, ...]
    inputs: Callable[[Path], Inputs]
    guesses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scored: bool = True
    scorer: Scorer | None = None


@dataclass(frozen=True)
class Choice:
    """An option of a task, set by ``--set TASK.NAME=VALUE``: one of ``values``, the first unless said."""

    name: str
    values: tuple[str, ...]
    meaning: str


@dataclass(frozen=True)
class Benchmark:
    """A task that a model can be asked.

    Attributes:
        name: as ``pumice.score`` has it; its files lie in ``DIR/NAME``.
        files: what must lie there, and where its authors publish it, for people.
        load: from the folder and the choices to the questions. DataError names the file (and row) that is
            missing or wrong.
        max_new_tokens: the longest answer that LLaVA's evaluation allows.
        choices: its options.
        judge: ``llava-bench`` or ``mm-vet`` where a judge reads the answers; else empty.
    """

    name: str
    files: tuple[str, ...]
    load: Callable[[Path, Mapping[str, str]], Loaded]
    max_new_tokens: int = 128
    choices: tuple[Choice, ...] = ()
    judge: str = ""


def ordered(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples with those of one picture side by side, otherwise in their order."""
    groups: dict[tuple[str, ...], list[Sample]] = {}
    for sample in samples:
        key = tuple(image.name if isinstance(image, Stored) else str(image) for image in sample.images)
        groups.setdefault(key or ("", sample.id), []).append(sample)
    return tuple(sample for group in groups.values() for sample in group)
