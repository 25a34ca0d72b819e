"""Whose a row is: the keys by which sets of data say licence, author, origin, and how they are written.

Of keys with one meaning the first that says something counts. ``license`` may be COCO's number. Several
authors are joined by "; ", several licences by AND, since all of them bind.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import astuple
from typing import Any

from pumice.data.checks import bad
from pumice.data.rows import kind
from pumice.types import NO_RIGHTS, Rights

LICENCE_KEYS = ("license", "licence", "license_name", "license_url", "licence_url")
ATTRIBUTION_KEYS = ("attribution", "credit", "author", "authors", "creator", "citation")
URL_KEYS = ("url", "source_url")
DATASET_KEYS = ("source", "dataset", "data_source")
RIGHTS_KEYS = (*LICENCE_KEYS, *ATTRIBUTION_KEYS, *URL_KEYS, *DATASET_KEYS)
"""Every key that is read here; all are of every form (``draft.METADATA``)."""

WRITTEN_KEYS = (LICENCE_KEYS[0], ATTRIBUTION_KEYS[0], URL_KEYS[0], DATASET_KEYS[0])
"""Those that are written, in the order of the fields of ``Rights``."""

NAMED = ("id", "name", "title", "text", "url")
"""What an object in the place of a text may say, the first that is there."""
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)


def read_rights(row: Mapping[str, Any], where: str) -> Rights:
    """What a row says of itself.

    Raises:
        DataError: a value that is no text, whole number, list of texts, or object with a name. What names the
            data set counts where it is text: sets write other things under ``source``, too.
    """
    if not any(key in row for key in RIGHTS_KEYS):
        return NO_RIGHTS
    url = _first(row, URL_KEYS, "; ", where)
    dataset = next((row[key] for key in DATASET_KEYS if isinstance(row.get(key), str) and row[key]), "")
    if not url and _ADDRESS.fullmatch(dataset):
        url = dataset
    return Rights(
        _first(row, LICENCE_KEYS, " AND ", where), _first(row, ATTRIBUTION_KEYS, "; ", where), url, dataset
    )


def write_rights(rights: Rights) -> dict[str, str]:
    """The keys of a row that say so, none for what is not told."""
    pairs = zip(WRITTEN_KEYS, astuple(rights), strict=True)
    return {key: value for key, value in pairs if value}


def join_rights(several: Iterable[Rights]) -> Rights:
    """Those of a row that is made from several things: all licences bind, all authors are named."""
    columns = zip(*(astuple(rights) for rights in several), strict=True)
    joints = (" AND ", "; ", "; ", "; ")
    return Rights(
        *(
            joint.join(_bracketed(dict.fromkeys(filter(None, column)), joint))
            for joint, column in zip(joints, columns, strict=True)
        )
    )


def _bracketed(texts: Collection[str], joint: str) -> list[str]:
    """Texts that can be joined: a choice between licences is put into brackets."""
    return [f"({text})" if joint == " AND " and len(texts) > 1 and " OR " in text else text for text in texts]


def _first(row: Mapping[str, Any], keys: tuple[str, ...], joint: str, where: str) -> str:
    for key in keys:
        value = row.get(key)
        if value is not None and (text := _text(value, key, joint, where)):
            return text
    return ""


def _text(value: object, key: str, joint: str, where: str) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return joint.join(dict.fromkeys(filter(None, (_text(one, key, joint, where) for one in value))))
    if isinstance(value, dict):
        named = next((value[name] for name in NAMED if value.get(name) not in (None, "")), None)
        if isinstance(named, str | int) and not isinstance(named, bool):
            return _text(named, key, joint, where)
    raise bad(f"{key} is {kind(value)}", where, f"write {key} as text, or leave the key out")
