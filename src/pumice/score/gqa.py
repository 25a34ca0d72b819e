"""GQA: one short answer, the same or not."""

from __future__ import annotations

import json
from pathlib import Path

from pumice.files import write_text
from pumice.score.answers import match, read_answers, said
from pumice.score.files import need, object_rows, text_of
from pumice.score.inputs import Inputs
from pumice.score.result import Item, Result, mean_interval, means, percent

SEMANTIC = {"attr": "attribute", "cat": "category", "global": "scene", "obj": "object", "rel": "relation"}


def gqa_answer(text: str) -> str:
    """An answer as LLaVA hands it to GQA's evaluation: full stops at its end taken off, then lower case.

    Nothing else is: white space at its end keeps a full stop, and an answer with an article is wrong.
    """
    return text.rstrip(".").lower()


def gqa(inputs: Inputs) -> Result:
    """Accuracy over the balanced questions (eval.py of GQA), open and binary ones apart, and by type.

    Consistency, validity and plausibility need all questions and the choices file; LLaVA reports none.
    """
    answers = read_answers(inputs.said)
    rows = dict(object_rows(inputs.asked, "", "question file"))
    unbalanced = {name for name, row in rows.items() if row.value.get("isBalanced") is False}
    items: list[Item] = []
    for name in match(answers, rows, inputs.missing, str(inputs.said)):
        if name in unbalanced:
            continue
        row, text = rows[name], said(answers, name)
        given = "" if text is None else gqa_answer(text)
        correct = text is not None and given == text_of(row.value, "answer", row.where)
        types = need(row.value, "types", row.where)
        structural, semantic = need(types, "structural", row.where), need(types, "semantic", row.where)
        form = "open" if structural == "query" else "binary"
        items.append(Item(name, given, float(correct), (form, structural, SEMANTIC.get(semantic, semantic))))
    result = means("gqa", items)
    forms = {
        form: [item.score for item in items if item.groups[0] == form]
        for form in ("binary", "open")
        if form in result.groups
    }
    return Result(
        "gqa",
        result.n,
        {**result.metrics, **{form: percent(scores) for form, scores in forms.items()}},
        {**result.intervals, **{form: mean_interval(scores) for form, scores in forms.items()}},
        {name: group for name, group in result.groups.items() if name not in forms},
        {"unbalanced": len(unbalanced & set(answers))} if unbalanced else {},
        items=result.items,
    )


def submit_gqa(inputs: Inputs, target: Path) -> int:
    """Write the predictions file of GQA's own evaluation and server."""
    answers = read_answers(inputs.said)
    asked = [name for name, _ in object_rows(inputs.asked, "", "question file")]
    found = [
        {"questionId": name, "prediction": gqa_answer(said(answers, name) or "")}
        for name in match(answers, asked, inputs.missing, str(inputs.said))
    ]
    write_text(target, json.dumps(found))
    return len(found)
