"""The ways to write a row, each by its exact name: how it is read, and how a sample is written in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pumice.data.checks import bad
from pumice.data.draft import Draft
from pumice.data.forms import llava, messages, preference
from pumice.types import Image, Message, Sample, Text

Parse = Callable[[dict[str, Any], int, str, int | None], Draft]
"""Row, number, place for errors, how many pictures its container holds for it (None: not that kind)."""
Write = Callable[[Sample, Sequence[str]], dict[str, Any]]
"""Sample, and the names of its pictures."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a row."""

    name: str
    parse: Parse
    write: Write


FORMS = {
    form.name: form
    for form in (
        Form("llava", llava.parse, llava.write),
        Form("sharegpt", llava.parse_sharegpt, llava.write_sharegpt),
        Form("messages", messages.parse, messages.write),
        Form("preference", preference.parse, preference.write),
    )
}


def caption(text: str, number: int, where: str, given: int | None) -> Draft:
    """A caption that stands alone beside its picture, as in shards of captioned pictures."""
    if not text.strip():
        raise bad("the caption is empty", where, "write it, or remove the row")
    if given != 1:
        raise bad(f"a caption has {given} pictures", where, "put one picture beside it")
    messages = (Message("user", (Image(0),)), Message("assistant", (Text(text.strip()),)))
    return Draft(str(number), messages, (None,))


def form_of(row: dict[str, Any], where: str) -> Form:
    """The form of a row, told by its keys.

    ``messages`` is the messages form's alone, ``chosen`` the preference form's. ``conversations`` is LLaVA's
    where nothing else of the row or of its first turn is ShareGPT's own.

    Raises:
        DataError: it has the keys of none.
    """
    if "messages" in row:
        return FORMS["messages"]
    if preference.compares(row):
        return FORMS["preference"]
    if "conversations" in row or "items" in row:
        turns = row.get("conversations", row.get("items"))
        first = turns[0] if isinstance(turns, list) and turns and isinstance(turns[0], dict) else {}
        loose = {"items", "images", "videos", "system"} & row.keys() or {"role", "content"} & first.keys()
        return FORMS["sharegpt" if loose or first.get("from") in ("user", "assistant") else "llava"]
    keys = ", ".join(repr(key) for key in list(row)[:8]) or "none"
    raise bad(
        f"the row's format is not known: it has no conversations, items, messages or chosen "
        f"(its keys: {keys})",
        where,
        "write conversations, messages, or chosen and rejected; see docs/data.md",
    )


__all__ = ["FORMS", "Form", "caption", "form_of"]
