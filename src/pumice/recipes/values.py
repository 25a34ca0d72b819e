"""The kinds of values that a recipe's fields take, and the rules that one value must keep."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pumice.errors import suggest
from pumice.licences import licence_named, read_licence, suggestion
from pumice.types import HUB

PartName = Literal["connector", "language", "vision"]
StageKind = Literal["align", "instruct", "prefer"]
Variant = Literal["tuned", "aligned", "blind", "wrong-image"]

EMBEDDED = "embedded:"
"""Prefix of a model part that ships inside the package, as in ``embedded:clip-tiny``."""

RANDOM = "random:"
"""Prefix of a tiny model part with random weights, as in ``random:llama``."""

PREFIXES = (EMBEDDED, RANDOM, HUB)
"""What a model part's name may begin with where it is no folder."""


class Problem(ValueError):
    """A rule between fields is broken: what, at which key below the model, and the remedy; ``unset`` where
    that may be to take the key away, for which a command line has a word of its own."""

    def __init__(
        self, what: str, remedy: str, key: tuple[str | int, ...] = (), *, unset: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy
        self.key = key
        self.unset = unset


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value):
        raise Problem(
            f"{value!r} cannot be a name", "use letters, digits, '-' and '_'; it names a folder and a key"
        )
    return value


def _check_recipe_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise Problem(
            f"{value!r} cannot be a name", "use letters, digits, '.', '-' and '_'; it names a folder"
        )
    return value


def _check_connector(value: str) -> str:
    # The grammar of LLaVA's mm_projector_type, less mlp0x_gelu, which would be `linear`.
    if value not in ("linear", "identity") and not re.fullmatch(r"mlp[1-9][0-9]*x_gelu", value):
        raise Problem(
            f"there is no connector {value!r}",
            suggest(value, ("linear", "identity", "mlp2x_gelu", "mlp3x_gelu")) + ", or any mlpNx_gelu",
        )
    return value


def _check_part(value: str) -> str:
    for prefix in PREFIXES:
        value_of = value.removeprefix(prefix)
        if not value_of:
            raise Problem(
                f"{value!r} names no model",
                f"give the folder of a checkpoint, {EMBEDDED}NAME for one that ships, {HUB}ORG/NAME for one "
                f"of the hub, or {RANDOM}NAME for a tiny one of random weights",
            )
    return value


def _check_grid(value: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]?x[1-9][0-9]?", value):
        raise Problem(f"{value!r} is no grid of tiles", "write columns x rows, such as 2x1")
    return value


def _check_folder(value: str) -> str:
    if not value:
        raise Problem("the path is empty", "give a path, or remove the key")
    return value


def _check_kept(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    task, _, figure = value.rpartition(".") if isinstance(value, str) else ("", "", "")
    if not task or not figure:
        raise Problem(
            f"{value!r} says no way to choose the best model",
            "write true for the lowest validation loss, false, or a task's figure as TASK.FIGURE (pope.f1)",
        )
    return value


def _check_licence(value: str) -> str:
    reading = read_licence(value)
    if not value.strip() or reading.near is not None:
        raise Problem(f"{value!r} is no licence that is known", suggestion(value))
    return value


def _check_licences(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if licence_named(name) is None:
            raise Problem(f"{name!r} names no one licence", suggestion(name))
    return value


def as_tuple(value: Any) -> Any:
    """YAML has lists only; frozen models hold tuples."""
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_check_name)]
RecipeName = Annotated[str, AfterValidator(_check_recipe_name)]
PathText = Annotated[str, AfterValidator(_check_folder)]
LicenceText = Annotated[str, AfterValidator(_check_licence)]
LicenceNames = Annotated[tuple[str, ...], BeforeValidator(as_tuple), AfterValidator(_check_licences)]
PartPath = Annotated[str, AfterValidator(_check_part)]
Connector = Annotated[str, AfterValidator(_check_connector)]
KeepBest = Annotated[bool | str, BeforeValidator(_check_kept)]
Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
PartPaths = Annotated[tuple[PartPath, ...], BeforeValidator(as_tuple)]
Grids = Annotated[tuple[Annotated[str, AfterValidator(_check_grid)], ...], BeforeValidator(as_tuple)]
Scales = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_tuple)]
LayerNames = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Words = Annotated[tuple[str, ...], Field(min_length=2), BeforeValidator(as_tuple)]
Words4 = Annotated[tuple[str, str, str, str], BeforeValidator(as_tuple)]
Variants = Annotated[tuple[Variant, ...], BeforeValidator(as_tuple)]
Betas = Annotated[
    tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]], BeforeValidator(as_tuple)
]


def is_task_path(word: str) -> bool:
    """Whether a word among tasks is the file or folder of one's own, and no benchmark's name."""
    return word.endswith((".yaml", ".yml")) or "/" in word or os.sep in word


def no_repeats(values: Iterable[str], key: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Problem(f"{value!r} stands twice in {key}", "name it once", (key,))
        seen.add(value)


class Strict(BaseModel):
    """The base of every block: strict types, no unknown keys, no change after loading."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
