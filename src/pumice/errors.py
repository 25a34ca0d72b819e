"""What can go wrong, as a tree.

    PumiceError                 anything a user can mend; the CLI prints it without a traceback
    +-- UsageError              a command or option that cannot be carried out as given
    +-- RecipeError             a recipe that is not well formed (unknown key, wrong type, bad value)
    +-- TemplateError           an unknown conversation template, or one that cannot render a message
    +-- DataError               a row of a data file that cannot be used
    |   +-- ImageError          an image file that is missing, corrupt, too large or of no known format
    |       +-- ImageFormatError    the last of these alone: it may be a video
    +-- CheckpointError         weights or configuration that do not fit
    +-- RunError                a run that cannot start, go on or be resumed
    |   +-- Interrupted         the user stopped a run; its state is saved
    +-- EndpointError           a server that was asked and did not answer as it should
    +-- MissingExtraError       an optional library is not installed

Every one of them says what happened, where, and what to do. Broken invariants are ``assert``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class PumiceError(Exception):
    """A failure that the user can mend.

    Args:
        what: what happened, as a sentence without a full stop.
        where: the file, row, key or option it happened at.
        remedy: what to do about it.
    """

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(what)

    @property
    def line(self) -> str:
        """What happened, and where, on one line."""
        return self.what + (f" ({self.where})" if self.where else "")

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  to do: {self.remedy}")
        return "\n".join(lines)


class UsageError(PumiceError):
    """A command or option that cannot be carried out as given."""


class RecipeError(PumiceError):
    """A recipe that is not well formed."""


class TemplateError(PumiceError):
    """An unknown conversation template, or one that cannot render a message."""


class DataError(PumiceError):
    """A row of a data file that cannot be used."""


class ImageError(DataError):
    """An image that is missing, corrupt, too large or of no known format."""


class ImageFormatError(ImageError):
    """A file that is no image of a known format."""


class CheckpointError(PumiceError):
    """Weights or configuration that do not fit."""


class RunError(PumiceError):
    """A run that cannot start, go on or be resumed."""


class Interrupted(RunError):
    """The user stopped a run; its state is saved."""


class EndpointError(PumiceError):
    """A server that could not be reached, refused, or gave no usable reply."""


class MissingExtraError(PumiceError):
    """An optional library is not installed."""


BEGUN = 3
"""So many choices that begin with a name are nearer than one that looks like it."""


def suggest(name: str, choices: Iterable[str], meanings: Mapping[str, str] | None = None) -> str:
    """One line that names the nearest choice, then all of them, with what they are where that is given."""
    ordered = sorted(choices)
    begun = [choice for choice in ordered if choice.lower().startswith(name.lower())] if len(name) > 2 else []
    close = difflib.get_close_matches(name.lower(), [one.lower() for one in ordered], n=1, cutoff=0.5)
    near = begun if 1 <= len(begun) <= BEGUN else [one for one in ordered if one.lower() in close]
    said = meanings or {}
    listing = ", ".join(f"{choice} ({said[choice]})" if choice in said else choice for choice in ordered)
    if not near:
        return f"choose one of: {listing}"
    return f"did you mean {' or '.join(map(repr, near))}? Choices: {listing}"
