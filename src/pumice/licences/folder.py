"""The licence of a checkpoint's folder, where its files tell it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from pumice.licences.known import UNKNOWN
from pumice.licences.licence import Licence
from pumice.licences.read import licence_named

CARD, CONFIG = "README.md", "config.json"
TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING", "NOTICE")
_HEAD = 600
"""Bytes of a licence's text in which its title stands."""
_MOST = 1 << 20
_FRONT = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_LINE = re.compile(r"^[\s#*-]*licen[cs]e[\s:*]+(.+)$", re.IGNORECASE | re.MULTILINE)
_TITLE_LINES = 4


def folder_licence(folder: Path) -> tuple[str, str] | None:
    """What a folder says its licence is, and the file that says so; None where none does.

    Looked at are the card's front matter (``license``, and ``license_name`` where that is ``other``) or,
    without one, its line ``Licence: NAME``; then ``license`` in config.json, and the title of the terms.
    """
    for file, said in ((CARD, _of_card(folder / CARD)), (CONFIG, _of_config(folder / CONFIG))):
        if said:
            return said, file
    for name in TEXTS:
        named = _titled(_read(folder / name, _HEAD))
        if named is not None:
            return named.id, name
    return None


def front_matter(text: str) -> dict[str, Any]:
    """The YAML block at the top of a card; empty where there is none, or none that can be read."""
    found = _FRONT.match(text)
    if found is None:
        return {}
    try:
        value = yaml.safe_load(found.group(1))
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def _of_card(path: Path) -> str:
    text = _read(path, _MOST)
    told = front_matter(text)
    if "license" not in told:
        return next((one for found in _LINE.finditer(text) if (one := _of_line(found.group(1)))), "")
    said = told.get("license")
    if said == "other":
        said = told.get("license_name", said)
    return _joined(said)


def _of_line(said: str) -> str:
    """The licence that a line of a card names, alone or before a comma or full stop."""
    for words in (said, said.partition(",")[0], said.partition(". ")[0]):
        if (named := licence_named(words.strip(" .*`"))) is not None and named is not UNKNOWN:
            return named.id
    return ""


def _of_config(path: Path) -> str:
    try:
        value = json.loads(_read(path, _MOST))
    except ValueError:
        return ""
    return _joined(value.get("license")) if isinstance(value, dict) else ""


def _joined(said: object) -> str:
    several = said if isinstance(said, list) else [said]
    return " AND ".join(one.strip() for one in several if isinstance(one, str) and one.strip())


def _titled(text: str) -> Licence | None:
    """The licence whose name is the title of a text, which may take several lines."""
    lines = [line.strip(" #*=-") for line in text.splitlines()]
    lines = [line for line in lines if line][:_TITLE_LINES]
    for count in range(len(lines), 0, -1):
        for words in (lines[:count], lines[count - 1 : count]):
            named = licence_named(" ".join(words).partition("http")[0])
            if named is not None and named is not UNKNOWN:
                return named
    return None


def _read(path: Path, most: int) -> str:
    try:
        with path.open("rb") as handle:
            return handle.read(most).decode("utf-8", "replace")
    except OSError:
        return ""
