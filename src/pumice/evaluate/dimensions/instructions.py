"""Whether answers have the form that was asked for, apart from whether they are right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pumice.errors import PumiceError
from pumice.evaluate.dimensions.asked import INTACT, Way, ask, fact, file_digest, predictions, read, some_of
from pumice.evaluate.dimensions.dimension import Dimension, Measured, Progress, Subject, Terms
from pumice.evaluate.dimensions.forms import check_form, form_asked, obeys, says
from pumice.evaluate.dimensions.intervals import group, share
from pumice.evaluate.results import PREDICTIONS, Scores, read_predictions
from pumice.score import TASKS

FORM = "form"


def measure(subject: Subject, folder: Path, out: Path, terms: Terms, progress: Progress) -> Measured:
    """Ask, then the share of answers with the form, with the truth, and with both; the first by task, too."""
    whole = read(folder, [FORM])
    for question in whole.questions:
        check_form(str(fact(question, FORM)), str(question.origin))
    questions = some_of(whole, terms.limit, terms.seed)
    raws = ask("instructions", questions, [Way(INTACT)], subject, out, terms, progress)[INTACT]
    asked = questions.questions
    forms = [str(fact(question, FORM)) for question in asked]
    obeyed = [obeys(form, raw) for form, raw in zip(forms, raws, strict=True)]
    right = [says(form, raw, q.answer) for form, raw, q in zip(forms, raws, asked, strict=True)]
    keys = [question.image for question in asked]
    columns = {
        "obeyed": obeyed,
        "right": right,
        "both": [a and b for a, b in zip(obeyed, right, strict=True)],
    }
    metrics: dict[str, float] = {}
    interval: dict[str, list[float]] = {}
    for name, values in columns.items():
        metrics[name], ends = share(keys, values)
        interval[name] = list(ends)
    groups: dict[str, Any] = {}
    for form in dict.fromkeys(forms):
        own = [place for place, each in enumerate(forms) if each == form]
        figures = {name: share([keys[p] for p in own], [v[p] for p in own])[0] for name, v in columns.items()}
        _, ends = share([keys[p] for p in own], [obeyed[p] for p in own])
        groups[form] = group(len(own), figures, ends)
    groups |= _tasks(out.parent)
    return Measured(
        Scores(metrics=metrics, interval=interval, n=len(asked), groups=groups, counts={}, notes=[]),
        len(asked),
        len(whole),
        None,
        (
            "obeyed: the form alone; right: the true words, whatever the form; both: both",
            "groups of tasks: answers to their questions, by the response-format prompt behind each",
        ),
        predictions(questions, raws, obeyed, forms),
    )


def _tasks(out: Path) -> dict[str, Any]:
    """The share of obedient answers to the questions of each task that was asked, form by form."""
    groups: dict[str, Any] = {}
    for name in TASKS:
        if not (out / name / PREDICTIONS).is_file():
            continue
        rows: dict[str, list[tuple[object, bool]]] = {}
        try:
            for number, row in enumerate(read_predictions(out / name)):
                form = form_asked(row["prompt"])
                if form is not None:
                    key = row["images"][0] if row["images"] else number
                    rows.setdefault(form, []).append((key, obeys(form, row["raw"])))
        except PumiceError:
            continue  # its own task tells of a file that cannot be read
        for form, found in rows.items():
            value, ends = share([key for key, _ in found], [own for _, own in found])
            groups[f"{name}: {form}"] = group(len(found), {"obeyed": value}, ends)
    return groups


INSTRUCTIONS = Dimension(
    "instructions",
    "Instruction following",
    "Share of answers that have the form asked for, such as a word, a letter, a number or a list.",
    "instructions",
    ('questions.jsonl: rows of docs/data.md with "facts": {"form": "word"}',),
    measure,
    lambda subject, folder: file_digest(folder),
)
