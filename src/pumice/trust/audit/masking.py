"""Personal data as reports show it: recognisable to who knows it, useless to who does not."""

from __future__ import annotations

import re

_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")
_DIGITS = re.compile(r"(?<!\w)[+(]?\d(?:[ ().\-/]{0,2}\d){6,}(?!\w)")


def masked(text: str) -> str:
    """A text with mail addresses and long numbers masked.

    >>> masked("write to jane@example.org or call +44 20 7946 0958")
    'write to j***@e***.org or call +44 *** 58'
    """
    return _DIGITS.sub(
        lambda found: mask_number(found[0]), _EMAIL.sub(lambda found: mask_email(found[0]), text)
    )


def mask_email(value: str) -> str:
    """The first letters of name and domain, and the last part of the domain."""
    name, _, domain = value.rpartition("@")
    host, _, top = domain.rpartition(".")
    return f"{name[:1]}***@{host[:1]}***.{top}"


def mask_number(value: str) -> str:
    """The first three characters and the last two, of a number of any kind."""
    return f"{value[:3]} *** {value[-2:]}" if len(value) > 7 else "***"
