"""Lists of rows that their authors published as a pickle, read without unpickling.

A pickle is a program, and loading one runs it. Of plain data that program only makes lists, dictionaries,
text and numbers. Here its instructions are taken apart (``pickletools``) and those few carried out; any
other ends the reading. Nothing is imported or called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pumice.data.rows import as_object
from pumice.errors import DataError
from pumice.score.files import Row

_MARK = object()
_TEXT = frozenset({
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
})  # fmt: skip
_NUMBER = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"})
_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_IDLE = frozenset({"PROTO", "FRAME"})
_PUT = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GET = frozenset({"GET", "BINGET", "LONG_BINGET"})


def read_plain(path: Path) -> Iterator[Row]:
    """The rows of a pickled list of dictionaries.

    Raises:
        DataError: the file cannot be read, breaks off, or holds anything but plain data.
    """
    try:
        value = _run(path.read_bytes(), path)
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        # What pickletools and a stack that does not fit raise.
        raise DataError(
            f"the pickled file cannot be read ({error})",
            where=str(path),
            remedy="it may have been cut off: fetch it again, or take LLaVA-Med's test.json",
        ) from error
    if not isinstance(value, list):
        raise DataError(
            "the pickled file holds no list of rows",
            where=str(path),
            remedy="check that it is the right file",
        )
    for number, row in enumerate(value, 1):
        where = f"{path}, row {number}"
        yield Row(as_object(row, where), where)


def _run(data: bytes, path: Path) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for operation, argument, place in pickletools.genops(data):
        name = operation.name
        if name in _TEXT or name in _NUMBER:
            stack.append(argument)
        elif name in _CONSTANT:
            stack.append(_CONSTANT[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in _PUT:
            memo[int(argument or 0)] = stack[-1]
        elif name in _GET:
            stack.append(memo[int(argument or 0)])
        elif name == "STOP":
            return stack.pop()
        elif name not in _IDLE and not _built(name, stack):
            raise DataError(
                f"the pickled file does more than hold plain data ({name} at byte {place})",
                where=str(path),
                remedy="it is not read, for it could run any program; take LLaVA-Med's test.json",
            )
    raise ValueError("it has no end")


def _built(name: str, stack: list[Any]) -> bool:
    """Make or fill a list or a dictionary on the stack; whether the instruction does that."""
    if name in ("EMPTY_LIST", "EMPTY_DICT"):
        stack.append([] if name == "EMPTY_LIST" else {})
    elif name in ("LIST", "DICT"):
        items = _since_mark(stack)
        stack.append(items if name == "LIST" else _pairs(items))
    elif name == "APPENDS":
        items = _since_mark(stack)
        stack[-1].extend(items)
    elif name == "SETITEMS":
        items = _since_mark(stack)
        stack[-1].update(_pairs(items))
    elif name == "APPEND":
        item = stack.pop()
        stack[-1].append(item)
    elif name == "SETITEM":
        value, key = stack.pop(), stack.pop()
        stack[-1][key] = value
    else:
        return False
    return True


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (top := stack.pop()) is not _MARK:
        items.append(top)
    return items[::-1]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
