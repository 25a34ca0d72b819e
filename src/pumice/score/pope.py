"""POPE: is the object there? Yes is the positive class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from pumice.errors import DataError
from pumice.score.answers import Answer, counted, match, names, read_answers, row_id, said
from pumice.score.files import Row, read, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Floats, Group, Item, Result, flat, stratified, wilson, wilson_ends

FIGURES = ("f1", "accuracy", "precision", "recall", "yes_ratio")
NEITHER = ("yes_ratio",)
"""Of these, more is not better, and less is not."""
CATEGORIES = ("random", "popular", "adversarial")
PREFIX = "coco_pope_"
"""Begins the names of the official label files; the category follows."""
NUMBERED_FROM = {"adversarial": 0, "random": 10_000_000, "popular": 20_000_000}
"""What LLaVA's question file adds to a label's id, by category, in the order in which it asks them."""


def pope_answer(raw: str) -> Literal["yes", "no"]:
    """What an answer says, by POPE's own rule (evaluate.py of RUCAIBox/POPE, also LLaVA's eval_pope.py).

    The text up to the first full stop, without commas, is split at spaces; the words "No", "not" or
    "no" mean no, anything else yes. White space around the whole answer is not part of it.

    >>> pope_answer("No, there is none. Yes."), pope_answer("nothing"), pope_answer("")
    ('no', 'yes', 'yes')
    """
    words = raw.strip().split(".")[0].replace(",", "").split(" ")
    return "no" if any(word in ("No", "not", "no") for word in words) else "yes"


@dataclass(frozen=True, slots=True)
class PopeScore:
    """Counts of a yes/no task with yes as the positive class, and POPE's five figures, each 0..1.

    A ratio without a denominator is 0: no yes said, no precision.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def n(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def accuracy(self) -> float:
        return _ratio(self.true_positives + self.true_negatives, self.n)

    @property
    def precision(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        errors = self.false_positives + self.false_negatives
        return _ratio(2 * self.true_positives, 2 * self.true_positives + errors)

    @property
    def yes_ratio(self) -> float:
        return _ratio(self.true_positives + self.false_positives, self.n)


def pope_score(answers: Sequence[str], truths: Sequence[str]) -> PopeScore:
    """Counts raw ``answers`` (read by ``pope_answer``) against ``truths``, each "yes" or "no"."""
    assert len(answers) == len(truths), f"{len(answers)} answers for {len(truths)} truths"
    counts = {("yes", "yes"): 0, ("yes", "no"): 0, ("no", "yes"): 0, ("no", "no"): 0}
    for answer, truth in zip(answers, truths, strict=True):
        counts[pope_answer(answer), truth] += 1
    return PopeScore(counts["yes", "yes"], counts["yes", "no"], counts["no", "yes"], counts["no", "no"])


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True)
class Asked:
    """The labelled questions of one category: id and truth, in the order of the label file."""

    category: str
    ids: tuple[str, ...]
    truths: tuple[str, ...]


def pope(inputs: Inputs) -> Result:
    """The five figures per category, and their means over the categories, which is what papers report.

    A question without an answer that counts as wrong is read as the opposite of its truth.
    """
    questions = None if inputs.questions is None else read(inputs.questions, "question file")
    files = label_files(inputs.truth)
    read_in_order = None if questions is not None else read_answers(inputs.said)
    asked = None if read_in_order is None else _numbered(files, read_in_order)
    if asked is None:
        asked = [_asked(path, questions, read_in_order) for path in files]
    answers = read_in_order if read_in_order is not None else read_answers(inputs.said)
    answers, left = _of_categories(answers, questions, asked, whole=inputs.truth.is_dir())
    wanted = [name for one in asked for name in one.ids]
    scored = set(match(answers, wanted, inputs.missing, str(inputs.said)))
    items = [
        _item(name, truth, said(answers, name), one.category)
        for one in asked
        for name, truth in zip(one.ids, one.truths, strict=True)
        if name in scored
    ]
    return _result(items, [one.category for one in asked], left)


def label_files(path: Path) -> list[Path]:
    """The label files of a folder (``coco_pope_CATEGORY.json``), or the one file."""
    if not path.is_dir():
        return [path]
    found = sorted(path.glob(f"{PREFIX}*.json"), key=lambda file: (_order(file), file.name))
    if not found:
        raise DataError(
            f"the folder holds no {PREFIX}CATEGORY.json",
            where=str(path),
            remedy="give the folder output/coco of POPE, or one label file",
        )
    return found


def _order(file: Path) -> int:
    name = file.stem.removeprefix(PREFIX)
    return CATEGORIES.index(name) if name in CATEGORIES else len(CATEGORIES)


def _asked(path: Path, questions: Sequence[Row] | None, answers: Mapping[str, Answer] | None) -> Asked:
    """Finds the question of each label: the k-th of a category is the k-th of its file, and says the same."""
    labels, truths, category = _labels(path)
    if questions is None:
        assert answers is not None
        return Asked(category, _by_answers(labels, answers, path), tuple(truths))
    categories = {str(row.value.get("category", "")) for row in questions}
    if category not in categories:
        if len(categories) > 1:
            raise DataError(
                f"the labels are of no category of the questions ({', '.join(sorted(categories))})",
                where=str(path),
                remedy=f"name the file {PREFIX}CATEGORY.json, as it was published",
            )
        category = next(iter(categories))
    own = [row for row in questions if str(row.value.get("category", "")) == category]
    _same_length(labels, len(own), f"questions of the category {category!r}", path)
    for label, row in zip(labels, own, strict=True):
        _same_question(label, str(row.value.get("text", "")), row.where)
    return Asked(category, tuple(row_id(row) for row in own), tuple(truths))


def _labels(path: Path) -> tuple[list[Row], list[str], str]:
    """The rows of a label file, their truths, and the category that its name tells."""
    labels = read(path, "label file")
    truths = []
    for label in labels:
        truth = text_of(label.value, "label", label.where)
        if truth not in ("yes", "no"):
            raise DataError(f"the label is {truth!r}", where=label.where, remedy="a label is yes or no")
        truths.append(truth)
    return labels, truths, path.stem.removeprefix(PREFIX) if path.stem.startswith(PREFIX) else ""


def _numbered(files: Sequence[Path], answers: Mapping[str, Answer]) -> list[Asked] | None:
    """Without a question file: by the numbers that LLaVA gives; None where an answer has another id."""
    found = []
    for path in files:
        labels, truths, category = _labels(path)
        own = [label.value.get("question_id") for label in labels]
        if category not in NUMBERED_FROM or not all(isinstance(id, int) for id in own):
            return None
        ids = tuple(str(NUMBERED_FROM[category] + id) for id in own if isinstance(id, int))
        found.append((Asked(category, ids, tuple(truths)), labels))
    if not {name for one, _ in found for name in one.ids} >= set(answers):
        return None
    for one, labels in found:
        for name, label in zip(one.ids, labels, strict=True):
            if name in answers and "prompt" in answers[name].row:
                _same_question(label, str(answers[name].row["prompt"]), answers[name].where)
    return [one for one, _ in found]


def _by_answers(labels: Sequence[Row], answers: Mapping[str, Answer], path: Path) -> tuple[str, ...]:
    """Without a question file: labels and answers of the same ids, or else both in the same order."""
    ids = [str(label.value.get("question_id", "")) for label in labels]
    if set(ids) >= set(answers):
        return tuple(ids)
    _same_length(labels, len(answers), "answers", path)
    for label, answer in zip(labels, answers.values(), strict=True):
        if "prompt" in answer.row:
            _same_question(label, str(answer.row["prompt"]), answer.where)
    return tuple(answers)


def _same_length(labels: Sequence[Row], count: int, what: str, path: Path) -> None:
    if len(labels) != count:
        raise DataError(
            f"{counted(len(labels), 'label')} for {count:,} {what}",
            where=str(path),
            remedy="labels belong to questions by their order: take both files as they were published, whole",
        )


def _same_question(label: Row, text: str, where: str) -> None:
    own = label.value.get("text")
    if isinstance(own, str) and text and text.split("\n")[0].strip() != own.strip():
        raise DataError(
            f"the label is for {own!r}, the question is {text.split(chr(10))[0]!r}",
            where=f"{label.where}, and {where}",
            remedy="labels belong to questions by their order: take both files as they were published",
        )


def _of_categories(
    answers: dict[str, Answer], questions: Sequence[Row] | None, asked: Sequence[Asked], *, whole: bool
) -> tuple[dict[str, Answer], int]:
    """Without the answers to categories that have no label file; how many these are.

    Raises:
        DataError: they are of a folder, which should have all.
    """
    if questions is None:
        return answers, 0
    labelled = {name for one in asked for name in one.ids}
    others = {row_id(row) for row in questions} - labelled
    outside = [name for name in answers if name in others]
    if outside and whole:
        raise DataError(
            f"{counted(len(outside), 'answer')} in categories without labels: {names(outside)}",
            where=answers[outside[0]].where,
            remedy=f"put {PREFIX}CATEGORY.json of every category into the folder, or name one label file",
        )
    return {name: answer for name, answer in answers.items() if name not in others}, len(outside)


def _item(name: str, truth: str, text: str | None, category: str) -> Item:
    opposite = "no" if truth == "yes" else "yes"
    given = opposite if text is None else pope_answer(text)
    return Item(name, given, float(given == truth), (category,))


def cells(items: Sequence[Item]) -> Floats:
    """Per question one-hot TP, FP, FN, TN, ``(N, 4)``."""
    places = [
        (0 if item.parsed == "yes" else 3) if item.score else (1 if item.parsed == "yes" else 2)
        for item in items
    ]
    return np.eye(4)[places]


def mean_of_categories(each_RS: Floats) -> Floats:
    """What papers report, ``(R,)``, from a figure of each category."""
    return np.asarray(each_RS.mean(axis=1))


def figure(name: str, cells_R4: Floats) -> Floats:
    """One of the five figures of each row of cells, ``(R,)``, in per cent; cells are shares or counts."""
    return _figures(cells_R4)[name]


def _figures(cells_R4: Floats) -> dict[str, Floats]:
    tp, fp, fn, tn = (cells_R4[:, place] for place in range(4))

    def ratio(part: Floats, whole: Floats) -> Floats:
        return np.asarray(100 * np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))

    return {
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "accuracy": ratio(tp + tn, tp + fp + fn + tn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "yes_ratio": ratio(tp + fp, tp + fp + fn + tn),
    }


def _group(cells_N4: Floats) -> Group:
    figures = {name: float(value[0]) for name, value in _figures(cells_N4.mean(axis=0)[None]).items()}
    return Group(len(cells_N4), figures, interval("f1", [cells_N4]))


def interval(name: str, strata: Sequence[Floats]) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean over categories of a figure, in per cent.

    Where every category is at 0 or every one at 100, resamples are all alike and would claim to be certain:
    then it is Wilson's interval of the questions that the figure is a share of, all categories together. F1
    is no share. At 100 its lower end is what it would be if right answers were as rare as the lower end of
    accuracy says, among yes and no alike. At 0 its upper end is the same of recall's upper end.
    """
    found = stratified(strata, partial(figure, name), mean_of_categories)
    if not flat(found) or found[0] not in (0.0, 100.0):
        return found
    tp, fp, fn, tn = (int(count) for count in np.concatenate(list(strata)).sum(axis=0))
    if name == "f1":
        return f1_ends(tp, fp, fn, tn)
    part, whole = {
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "yes_ratio": (tp + fp, tp + fp + fn + tn),
    }[name]
    return wilson_ends(part, whole)


def f1_ends(tp: int, fp: int, fn: int, tn: int) -> tuple[float, float]:
    """The 95% interval of an F1 that is 0 or 100, in per cent, from its counts; see ``interval``."""
    assert not tp or not (fp or fn), "an F1 between"
    yes, no = tp + fn, fp + tn
    if tp:
        share = wilson(tp + tn, yes + no)[0]
        cells_14 = np.array([[yes * share, no * (1 - share), yes * (1 - share), no * share]])
        return float(figure("f1", cells_14)[0]), 100.0
    share = wilson(0, yes)[1]
    cells_14 = np.array([[yes * share, fp, yes * (1 - share), tn]], dtype=np.float64)
    return 0.0, float(figure("f1", cells_14)[0])


def _result(items: Sequence[Item], categories: Sequence[str], left: int) -> Result:
    strata = {name: cells([item for item in items if item.groups == (name,)]) for name in categories}
    strata = {name: own for name, own in strata.items() if len(own)}
    groups = {name: _group(own) for name, own in strata.items()}
    intervals = {name: interval(name, list(strata.values())) for name in FIGURES}
    metrics = {k: float(np.mean([group.metrics[k] for group in groups.values()])) for k in FIGURES}
    notes = ["figures of all are means over the categories"] if len(groups) > 1 else []
    if left:
        notes.append(f"{counted(left, 'answer')} to other categories left out: they have no labels here")
    if list(groups) == [""]:
        groups = {}
        items = [dataclasses.replace(item, groups=()) for item in items]
    return Result(
        "pope", len(items), metrics, intervals, groups,
        notes=tuple(notes), items=tuple(items), neither=NEITHER,
    )  # fmt: skip
