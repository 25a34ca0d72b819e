"""What a stage's ``trainable`` names: a part of the model, or some of one.

vision                       the whole part
vision.last-4, .first-2      so many of its layers, from the end or the start
language.layers.16-31        layers by number, from 0; .layers.31 is one, .layers all of them
language.norms               by kind, wherever they stand: see KINDS
language.last-8.attention    a kind, in some layers only
language./lm_head|wte/       parameters in whose names a regular expression is found
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, get_args

from pydantic import AfterValidator, BeforeValidator

from pumice.errors import suggest
from pumice.recipes.values import PartName, Problem, as_tuple

PART_NAMES: tuple[PartName, ...] = get_args(PartName)
KINDS = {
    "attention": "of layers, with its own norms",
    "embeddings": "what turns tokens or patches into vectors",
    "head": "of the language model",
    "mlp": "of layers",
    "norms": "inside layers and outside",
}
"""Kinds of parameters, and what they are."""

IN_LAYERS = ("attention", "mlp", "norms")
"""Those of which some stand in layers."""

_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_COUNTED = re.compile(r"(first|last)-([1-9]\d*)")
_WAYS = (*KINDS, "first-N", "last-N", "layers", "layers.A-B", "/PATTERN/")


@dataclass(frozen=True, slots=True)
class Selection:
    """One entry of ``trainable``; what is None does not choose.

    Attributes:
        text: as it was written.
        part: of which part of the model.
        layers: first and last layer (both included); (0, None) are all.
        counted: so many layers from the start, or (negative) from the end.
        kind: one of ``KINDS``.
        pattern: a regular expression that is searched in parameters' names.
    """

    text: str
    part: PartName
    layers: tuple[int, int | None] | None = None
    counted: int | None = None
    kind: str | None = None
    pattern: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole part is meant."""
        return self.text == self.part

    @property
    def by_layer(self) -> bool:
        """Whether only parameters of certain layers are meant."""
        return self.layers is not None or self.counted is not None


def read_selection(text: str) -> Selection:
    """An entry of ``trainable``.

    Raises:
        Problem: it names no part, or nothing that a part has.
    """
    name, dot, rest = text.partition(".")
    part = next((known for known in PART_NAMES if known == name), None)
    if part is None:
        raise Problem(f"{text!r} is none of the choices", suggest(name, PART_NAMES))
    if not dot:
        return Selection(text, part)
    if rest.startswith("/"):
        return Selection(text, part, pattern=_pattern(text, rest))
    if part == "connector":
        raise Problem(
            f"{text!r} is none of the choices: the connector has no layers or kinds to choose from",
            "write connector, or connector./PATTERN/ for parameters by their names",
        )
    words = rest.split(".")
    layers: tuple[int, int | None] | None = None
    counted: int | None = None
    if found := _COUNTED.fullmatch(words[0]):
        counted = int(found[2]) * (1 if found[1] == "first" else -1)
        words = words[1:]
    elif words[0] == "layers":
        layers, words = (0, None), words[1:]
        if words and (found := _RANGE.fullmatch(words[0])):
            first = int(found[1])
            layers, words = (first, int(found[2] or first)), words[1:]
            if int(found[2] or first) < first:
                raise Problem(f"{text!r} ends before it begins", "write the lower layer first")
    kind = words[0] if words else None
    if len(words) > 1 or (kind is not None and kind not in KINDS):
        unknown = words[-1] if kind in KINDS else str(kind)
        raise Problem(f"{text!r} is nothing that can train", f"{suggest(unknown, _WAYS)}; after {part}.")
    if kind is not None and kind not in IN_LAYERS and (layers, counted) != (None, None):
        raise Problem(
            f"{text!r} chooses nothing: {kind} are in no layer", f"write {part}.{kind}, beside the layers"
        )
    if kind == "head" and part == "vision":
        raise Problem("features are read below a vision tower's head", f"leave {text} out")
    return Selection(text, part, layers, counted, kind)


def _pattern(text: str, rest: str) -> str:
    pattern = rest[1:-1]
    if len(rest) < 3 or not rest.endswith("/"):
        raise Problem(f"{text!r} has no end or nothing in it", "write the pattern between two slashes")
    try:
        re.compile(pattern)
    except re.error as error:
        raise Problem(
            f"{pattern!r} is no regular expression ({error})", "mend it; . and + are special, \\. is a dot"
        ) from error
    return pattern


def check_selection(text: str) -> str:
    """The entry as it is; ``Problem`` where ``read_selection`` raises it."""
    read_selection(text)
    return text


Trainable = Annotated[tuple[Annotated[str, AfterValidator(check_selection)], ...], BeforeValidator(as_tuple)]
