"""What only a person can say of a model: the answers file of a card, and its template."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pumice.errors import DataError
from pumice.licences import read_licence, suggestion
from pumice.recipes.text import read_yaml
from pumice.recipes.values import Names, Strict

CARD_ANSWERS = "card.yaml"
"""In a run's folder: what a person says for its card."""


def _stripped(value: Any) -> Any:
    """Blank text is no answer."""
    return (value.strip() or None) if isinstance(value, str) else value


Said = Annotated[str | None, BeforeValidator(_stripped)]
Sayings = Annotated[dict[str, Said], BeforeValidator(lambda value: value or {})]


class Answers(Strict):
    """A card's answers; None is a blank."""

    license: Said = Field(default=None, description="The model's licence: an SPDX id, or LicenseRef-NAME.")
    language: Names = Field(default=(), description="Languages it answers in, as codes: [en, de].")
    summary: Said = Field(default=None, description="What it is, in a sentence or two.")
    intended_use: Said = Field(default=None, description="What it is for, and for whom.")
    out_of_scope: Said = Field(default=None, description="What it must not be used for.")
    limits: Said = Field(default=None, description="What it does badly, and what it is not known to do.")
    risks: Said = Field(default=None, description="Whom it may harm, and what was done about that.")
    contact: Said = Field(default=None, description="Who answers questions about it.")
    data: Sayings = Field(
        default_factory=dict, description="By a source's name, what it is: of whom, of what, collected how."
    )
    parts: Sayings = Field(
        default_factory=dict, description="By a part's name, its licence where the records tell none."
    )
    unknown_licences: Said = Field(default=None, description="Why rows without a known licence may be in it.")
    no_evaluation: Said = Field(default=None, description="Why nothing was measured.")
    power_watts: Annotated[float, Field(gt=0, strict=False)] | None = Field(
        default=None,
        description="What one device (a GPU with its share of the machine, or the machine) draws.",
    )
    grid: Annotated[float, Field(ge=0, strict=False)] | None = Field(
        default=None, description="Grams of CO2-equivalent for each kWh of electricity where it was trained."
    )


def read_answers(path: Path) -> Answers:
    """The answers of a file.

    Raises:
        DataError: it is missing.
        RecipeError: it is not YAML, or a key or value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the answers cannot be read ({getattr(error, 'strerror', None) or error})",
            where=str(path),
            remedy="pumice card RUN --template writes a file to fill in",
        ) from error
    value = read_yaml(text, str(path)).value
    try:
        return Answers.model_validate(value if value is not None else {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"{key}: {first['msg'][:1].lower()}{first['msg'][1:]}",
            where=str(path),
            remedy=f"the keys are {', '.join(Answers.model_fields)}",
        ) from error


@dataclass(frozen=True, slots=True)
class Blank:
    """Something that a card must say and nothing tells: what, and how to fill it."""

    what: str
    how: str


def template(asked: Iterable[str], sources: Iterable[str], parts: Iterable[str]) -> str:
    """An answers file to fill in.

    Args:
        asked: keys that this run needs besides those that every card needs.
        sources: names of its sources.
        parts: parts of the model whose licence nothing tells.
    """
    needed = set(asked)
    optional = {"unknown_licences", "no_evaluation", "power_watts", "grid", "data", "parts"}
    lines = ["# What only a person can say of this model. Fill it in; what stays empty fails.", ""]
    for key, field in Answers.model_fields.items():
        if key in optional and key not in needed:
            continue
        lines.append(f"# {field.description}")
        names = {"data": list(sources), "parts": list(parts)}.get(key)
        if names is not None:
            lines += [f"{key}:", *(f"  {name}:" for name in names), ""]
        else:
            lines += [f"{key}: []" if key == "language" else f"{key}:", ""]
    return "\n".join(lines)


def licence_blank(said: str | None, what: str, key: str) -> Blank | None:
    """The blank that a licence leaves which is not given or not known."""
    if said is None:
        return Blank(what, f"say {key} in the answers: an SPDX id, or LicenseRef-NAME")
    if not read_licence(said).known:
        return Blank(f"{what} ({said!r} names none that is known)", f"in {key}: {suggestion(said)}")
    return None
