"""A model card out of a run's records, and whether one that was written still agrees with them.

A card is Hugging Face's: a YAML block, then Markdown. Its last line holds what it was made with, so that
``check`` needs nothing but the card and the records. Sections of other headings are a person's and may stand
between.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pumice.errors import DataError
from pumice.evaluate.scores import columns
from pumice.licences import OWN, front_matter, read_licence
from pumice.report.card.answers import Answers, Blank, licence_blank, template
from pumice.report.card.facts import Facts, gather
from pumice.report.card.sections import SECTIONS, Draft, scored
from pumice.types import HUB

FORMAT = "pumice card"
_INPUTS = re.compile(r"^<!-- pumice card (\{.*\}) -->$", re.MULTILINE)
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
HUB_LANGUAGE_TAG = "image-text-to-text"
LINES = 6
"""Lines of a section that differ and are shown."""


@dataclass(frozen=True)
class Card:
    """A card as text, and what it lacks; with blanks it is not to be written."""

    text: str
    blanks: tuple[Blank, ...]


def make_card(facts: Facts, answers: Answers) -> Card:
    """The card of a run.

    Args:
        facts: its records.
        answers: what a person says.
    """
    draft = Draft(facts, answers)
    front = _front(draft)
    lines = ["---", yaml.safe_dump(front, sort_keys=False, allow_unicode=True, width=100).rstrip(), "---", ""]
    lines += [f"# {_title(facts)}", ""]
    for heading, section in SECTIONS.items():
        lines += [f"## {heading}", "", *section(draft), ""]
    inputs = json.dumps(_inputs(facts, answers), sort_keys=True).replace(">", "\\u003e")  # ends no comment
    lines.append(f"<!-- {FORMAT} {inputs} -->")
    return Card("\n".join(lines) + "\n", tuple(draft.blanks))


def answers_template(facts: Facts) -> str:
    """An answers file with the blanks of this run."""
    asked = {"data"}
    unnamed = [part for part, told in facts.parts.items() if not read_licence(told.get("licence", "")).known]
    asked |= {"parts"} if unnamed else set()
    labels = [read_licence(counts[0][1]["said"]) for counts in facts.licences().values()]
    asked |= {"unknown_licences"} if not all(one.known for one in labels) else set()
    asked |= {"no_evaluation"} if facts.run.scores is None and not scored(facts, dimensions=False) else set()
    asked |= {"grid"} | (
        {"power_watts"} if any("energy" not in stage for stage in facts.run.stages) else set()
    )
    return template(asked, facts.sources, unnamed)


def check_card(path: Path, run: Path) -> list[str]:
    """What in a card does not agree with the records any more, as sentences with the lines that differ.

    Raises:
        DataError: the file is no card that was written here, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the card cannot be read ({getattr(error, 'strerror', None) or error})",
            where=str(path),
            remedy="name the README.md that pumice card wrote",
        ) from error
    found = _INPUTS.findall(text)
    try:
        inputs = json.loads(found[-1])
        answers = Answers.model_validate(inputs["answers"])
        evaluations = [Path(place) for place in inputs["evaluations"]]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the file is no card that pumice card wrote: its last line, which says what it was made with, is "
            "missing or damaged",
            where=str(path),
            remedy="write it again: pumice card RUN --out FILE",
        ) from error
    facts = gather(run, evaluations)
    again = make_card(facts, answers).text
    problems = _differences(text, again)
    if inputs["records"] != _inputs(facts, answers)["records"] and not problems:
        problems.append("the records changed since the card was written, though not in what it says")
    return problems


def _differences(was: str, now: str) -> list[str]:
    before, after = _cut(was), _cut(now)
    problems = []
    for heading, lines in after.items():
        if heading not in before:
            problems.append(f"{heading}: the section is missing")
        elif before[heading] != lines:
            changed = [
                line
                for line in difflib.unified_diff(before[heading], lines, "card", "records", lineterm="", n=0)
                if line[:1] in "+-" and not line.startswith(("+++", "---"))
            ]
            shown = "\n    ".join(changed[:LINES])
            more = f"\n    and {len(changed) - LINES:,} lines more" if len(changed) > LINES else ""
            problems.append(f"{heading} (- the card, + the records):\n    {shown}{more}")
    return problems


def _cut(text: str) -> dict[str, list[str]]:
    """The lines of each section by its heading; the YAML block as one of its own."""
    text = _INPUTS.sub("", text)
    front = yaml.safe_dump(front_matter(text), sort_keys=True, allow_unicode=True, width=100)
    found = {"the YAML block": front.splitlines()}
    heads = list(_HEADING.finditer(text))
    for here, after in zip(heads, [*heads[1:], None], strict=True):
        body = text[here.end() : None if after is None else after.start()]
        found[here.group(1).strip()] = [line.rstrip() for line in body.strip().splitlines()]
    return found


def _title(facts: Facts) -> str:
    return str(facts.run.info.get("name", facts.run.name))


def _inputs(facts: Facts, answers: Answers) -> dict[str, Any]:
    """What a card is made with: answers, evaluations, and digests of the records."""
    records = {}
    for name in ("run.json", "mixture.json", "recipe.yaml", "eval/scores.json", "eval/results.json"):
        path = facts.run.path / name
        if path.is_file():
            records[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    own = facts.run.path / "eval"
    said = answers.model_dump(mode="json", exclude_defaults=True)
    return {
        "version": 1,
        "answers": said,
        "evaluations": [str(one.path) for one in facts.evaluations if one.path != own],
        "records": records,
    }


def _front(draft: Draft) -> dict[str, Any]:
    """The YAML block, as the hub reads it."""
    facts, answers = draft.facts, draft.answers
    front: dict[str, Any] = {}
    blank = licence_blank(answers.license, "the model's licence", "license")
    if blank is not None:
        draft.blanks.append(blank)
    elif answers.license is not None:
        front |= _licence(answers.license)
    if not answers.language:
        draft.lacks("the languages that the model answers in", "say language in the answers, as codes: [en]")
    front["language"] = list(answers.language)
    front["library_name"] = "transformers"
    front["pipeline_tag"] = HUB_LANGUAGE_TAG
    bases = [str(told["name"]) for told in facts.parts.values()]
    named = [name.removeprefix(HUB) for name in bases if name.startswith(HUB)]
    front |= {"base_model": named} if named else {}
    files = dict.fromkeys(str(source.file) for source in facts.recipe.data.values())
    sets = [
        "/".join(one.removeprefix(HUB).partition("@")[0].split("/")[:2])
        for one in files
        if one.startswith(HUB)
    ]
    front |= {"datasets": list(dict.fromkeys(sets))} if sets else {}
    front["tags"] = ["llava", "vision-language", "pumice"]
    index = _index(facts)
    front |= {"model-index": [{"name": _title(facts), "results": index}]} if index else {}
    return front


def _licence(said: str) -> dict[str, str]:
    """The hub's name of a licence; of one it has no name for, name and address."""
    reading = read_licence(said)
    one = reading.licences[0]
    if len(reading.licences) == 1 and one.hub != "other":
        return {"license": one.hub}
    link = {"license_link": one.url} if len(reading.licences) == 1 and one.url else {}
    name = one.id.removeprefix(OWN) if len(reading.licences) == 1 else reading.label
    return {"license": "other", "license_name": name, **link}


def _index(facts: Facts) -> list[dict[str, Any]]:
    """Evaluation results, as the hub's model-index has them."""
    found = []
    scores = facts.run.scores
    if scores is not None:
        overall = scores["variants"][columns(scores)[0]]["overall"]
        found.append(_result("Questions of the recipe", "questions", "accuracy", 100 * overall["value"]))
    for one in scored(facts, dimensions=False):
        value = one["scores"]["metrics"].get(one["figure"])
        if value is not None:
            found.append(_result(one["title"], one["task"], one["figure"], value))
    return found


def _result(title: str, name: str, figure: str, value: float) -> dict[str, Any]:
    return {
        "task": {"type": HUB_LANGUAGE_TAG},
        "dataset": {"name": title, "type": name},
        "metrics": [{"type": figure, "value": round(value, 2)}],
    }


def blank_lines(blanks: Sequence[Blank]) -> list[str]:
    """Each blank once, with how to fill it."""
    told: Mapping[Blank, None] = dict.fromkeys(blanks)
    return [f"{blank.what}\n      to do: {blank.how}" for blank in told]
