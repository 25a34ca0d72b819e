"""A benchmark of one's own: a YAML file says the questions, their columns, the prompt and the scorer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pumice.errors import DataError, RecipeError, suggest
from pumice.evaluate.own_rows import Layout, read_own_rows
from pumice.evaluate.samples import Benchmark, Loaded, Scorer
from pumice.evaluate.tasks import TASKS
from pumice.evaluate.tasks.prompts import LETTER, SHORT
from pumice.recipes.fields import Key
from pumice.recipes.text import Document, read_yaml
from pumice.recipes.values import is_task_path
from pumice.score.rules import RULES, Rule, by_rule

ENDINGS = (".yaml", ".yml")
INSIDE = "task.yaml"
"""The file of a task that is given as a folder."""
SIDES = ("retrieval", "instructions", "reasoning", "domain", "fusion", "efficiency", "scaling")
"""The dimensions, whose results lie beside those of tasks."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TAKEN = re.compile(r".*\.(jsonl?|html|partial)|limit-\d+|blind")
"""Names that lie in a folder of results besides those of tasks."""
_SHORT = "{question}\n" + SHORT
PROMPTS = {
    "choice": "{question}\n{options}\n" + LETTER,
    "recall": "{question}",
}
"""What is asked unless the file says it, by scorer; the others ask for a short answer."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Columns(_Strict):
    """Which column of the questions has what."""

    question: str = "question"
    image: str | list[str] | None = "image"
    answer: str | list[str] = "answer"
    options: str | list[str] | None = None
    group: str | None = None
    id: str | None = None


class Own(_Strict):
    """What the file may say."""

    questions: str
    scorer: str
    name: str | None = None
    title: str | None = None
    images: str = "."
    prompt: str | None = None
    columns: Columns = Columns()
    max_new_tokens: int = Field(default=128, ge=1)


def is_own(word: str) -> bool:
    """Whether a word of ``--tasks`` is a file (or a folder with ``task.yaml``) and no benchmark's name."""
    return is_task_path(word) or (word not in TASKS and (Path(word) / INSIDE).is_file())


def read_own(path: Path) -> tuple[Benchmark, Path]:
    """A task of one's own, and the folder that its pictures are named by.

    Args:
        path: the YAML file, or a folder with ``task.yaml``.

    Raises:
        DataError: the file is missing or wrong; the line is named, and of a wrong name the nearest.
    """
    file = path / INSIDE if path.is_dir() else path
    own = _read(file)
    stem = path.name if path.is_dir() else file.stem
    name = own.name or re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64] or "own"
    if not _NAME.fullmatch(name) or name in TASKS or name in SIDES or _TAKEN.fullmatch(name):
        known = name in TASKS or name in SIDES
        taken = "is that of a file or folder of results" if _TAKEN.fullmatch(name) else ""
        why = "is a task of its own" if known else taken or "cannot be a folder's name"
        raise DataError(
            f"the name {name!r} {why}",
            where=str(file),
            remedy="write name: with small letters, digits and - as no other task is called, 64 at most",
        )
    images = file.parent / own.images
    # results name pictures by a folder that holds them all, and the page shows none from outside of it
    base = file.parent if images.resolve().is_relative_to(file.parent.resolve()) else images
    rule = RULES[own.scorer]
    layout = Layout(
        file.parent / own.questions, images, _prompt(own, file), rule,
        own.columns.question, _several(own.columns.image), _several(own.columns.answer),
        _several(own.columns.options), own.columns.group, own.columns.id,
    )  # fmt: skip
    benchmark = Benchmark(
        name, (own.questions,), partial(_load, name, own.title or name, layout), own.max_new_tokens
    )
    return benchmark, base


def _load(name: str, title: str, layout: Layout, folder: Path, choices: Mapping[str, str]) -> Loaded:
    from pumice.score import Inputs

    samples, truths = read_own_rows(layout)
    rule: Rule = layout.rule
    most = max((len(truth.options) for truth, _ in truths.values()), default=0)
    guesses = {"yes-no": ("Yes", "No"), "choice": tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:most])}
    return Loaded(
        name,
        samples,
        lambda answers: Inputs(answers),
        guesses.get(rule.name, ()),
        (f"questions of one's own, scored by {rule.name}: {rule.meaning}",),
        scorer=Scorer(title, partial(by_rule, name, rule, truths), rule.name),
    )


def _read(file: Path) -> Own:
    if not file.is_file():
        near = [str(one) for ending in ENDINGS for one in file.parent.glob(f"*{ending}")]
        raise DataError(
            "there is no such task file",
            where=str(file),
            remedy=suggest(str(file), near) if near else "check the path",
        )
    try:
        document = read_yaml(file.read_text(encoding="utf-8"), str(file))
    except (UnicodeDecodeError, RecipeError) as error:
        if isinstance(error, RecipeError):
            raise DataError(error.what, where=error.where, remedy=error.remedy) from error
        raise DataError("the file is no UTF-8", where=str(file), remedy="save it as UTF-8") from error
    if not isinstance(document.value, dict):
        raise DataError("the file holds no keys", where=str(file), remedy="see docs/evaluation-tasks.md")
    try:
        own = Own.model_validate(document.value)
    except ValidationError as error:
        raise _wrong(error, document, file) from error
    if own.scorer not in RULES:
        raise DataError(
            f"there is no scorer {own.scorer!r}",
            where=_place(file, document, ("scorer",)),
            remedy=suggest(own.scorer, RULES),
        )
    if (own.scorer == "choice") != (own.columns.options is not None):
        raise DataError(
            "the scorer choice needs the options of each question"
            if own.scorer == "choice"
            else f"the scorer {own.scorer} knows no options",
            where=_place(file, document, ("columns",)),
            remedy="say columns: options: with their column, or several; of the scorer choice alone",
        )
    return own


def _prompt(own: Own, file: Path) -> str:
    """The template; what stands in braces is checked when the columns are known."""
    prompt = PROMPTS.get(own.scorer, _SHORT) if own.prompt is None else own.prompt
    for needed in ("question", *(("options",) if own.scorer == "choice" else ())):
        if f"{{{needed}}}" not in prompt:
            raise DataError(
                f"the prompt has no {{{needed}}}",
                where=str(file),
                remedy=f"put {{{needed}}} where it belongs",
            )
    return prompt


def _several(value: str | list[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _wrong(error: ValidationError, document: Document, file: Path) -> DataError:
    """The first finding, with its line; a misspelt key before the one that is missing for it."""
    detail = min(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
    # behind the name of a key pydantic puts which of its types did not fit
    key: Key = tuple(part for part in detail["loc"] if part not in ("str", "list[str]"))
    where = _place(file, document, key)
    fields = Columns.model_fields if len(key) > 1 and key[0] == "columns" else Own.model_fields
    name = str(key[-1])
    if detail["type"] == "extra_forbidden":
        return DataError(f"there is no key {name!r}", where=where, remedy=suggest(name, fields))
    if detail["type"] == "missing":
        return DataError(f"the key {name!r} is missing", where=str(file), remedy=f"write {name}: ...")
    return DataError(f"{name}: {detail['msg'].lower()}", where=where, remedy="see docs/evaluation-tasks.md")


def _place(file: Path, document: Document, key: Key) -> str:
    line: Any = next(
        (document.lines[key[:i]] for i in range(len(key), 0, -1) if key[:i] in document.lines), None
    )
    return f"{file}, line {line}" if line else str(file)
