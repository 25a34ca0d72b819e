"""Personal data as reports show it: recognisable to who knows it, useless to who does not."""

from __future__ import annotations

from pumice.trust.personal.find import find


def masked(text: str) -> str:
    """A text with everything masked that ``find`` finds.

    >>> masked("write to jane@uni.edu or call +44 20 7123 4567")
    'write to j***@u***.edu or call +44***67'
    """
    parts, at = [], 0
    for hit in find(text):
        parts += [text[at : hit.start], mask(hit.kind, text[hit.start : hit.end])]
        at = hit.end
    return "".join([*parts, text[at:]])


def mask(kind: str, value: str) -> str:
    """A value of a kind: of mail, first letters and the last part of the domain; of others, both ends."""
    if kind == "email":
        name, _, domain = value.rpartition("@")
        host, _, top = domain.rpartition(".")
        return f"{name[:1]}***@{host[:1]}***.{top}"
    if kind == "address":
        return f"{value[:2]}***"
    if kind == "ip":
        return value[:2] + "***"
    return f"{value[:3]}***{value[-2:]}" if len(value) > 8 else "***"
