"""What a text says of a licence: an id, a name, an address, or several of them joined.

``A OR B`` lets one choose, ``A AND B`` (``A; B``, ``A, B``, ``A + B``) binds to both. A remark in brackets
behind a name is left out, unless it names another licence, which then binds as well, or sounds like a limit
to use: then the whole is unknown.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache

from pumice.errors import suggest
from pumice.licences.known import (
    CC_KINDS,
    CC_VERSIONS,
    LICENCES,
    NAMES,
    NUMBERED,
    SETS,
    UNKNOWN,
    creative_commons,
)
from pumice.licences.licence import OWN, Licence

MOST = 300
"""Characters of a licence's name; more are its text, which is not read."""
SHOWN = 60
"""Of these, as many are shown of a name that is not known."""
_WORD = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+|\+\+")
_NOISE = frozenset(
    {
        *(
            "license",
            "licence",
            "licenses",
            "licences",
            "licensed",
            "licenseref",
            "ref",
            "under",
            "the",
            "terms",
        ),
        *("version", "v", "only", "or", "later", "international", "unported", "generic", "agreement", "use"),
        *("http", "https", "www", "org", "com", "html", "md", "txt", "deed", "en", "legalcode"),
        *("spdx", "opensource"),
    }
)
"""Words that tell no licence from another."""
_SAME = {
    "creativecommons": "cc",
    "attribution": "by",
    "noncommercial": "nc",
    "sharealike": "sa",
    "noderivatives": "nd",
    "noderivs": "nd",
    "noderivative": "nd",
}
_PAIRS = (
    ("creative commons", "cc"),
    ("non commercial", "nc"),
    ("share alike", "sa"),
    ("no derivatives", "nd"),
)
_PORTS = frozenset(
    {
        *(
            "igo",
            "us",
            "uk",
            "gb",
            "scotland",
            "de",
            "at",
            "ch",
            "fr",
            "it",
            "es",
            "pt",
            "nl",
            "pl",
            "cz",
            "gr",
        ),
        *("se", "no", "dk", "fi", "au", "nz", "ca", "mx", "br", "cn", "jp", "kr", "tw", "in", "za"),
    }
)
"""Places whose law a Creative Commons licence was written for."""
_EITHER = re.compile(r"\s+(?:OR|or)\s+|\s*\|\s*")
_BOTH = re.compile(r"\s*[;,]\s*|\s+(?:AND|and|\+|&)\s+")
_AGREED = re.compile(rf"{OWN}[A-Za-z0-9.-]+")
"""Terms of one's own, which SPDX lets anybody name: a policy may allow them by that name."""
_REMARK = re.compile(r"\s*\(([^()]*)\)\s*$")
_LIMIT = re.compile(
    r"\b(?:non|not|no|nc|nd|except\w*|exclu\w+|without|prohibit\w*|restrict\w*|limited|research|academic\w*"
    r"|educat\w+|personal|private|evaluation|noncommercial|noderivatives|noderivs)\b",
    re.IGNORECASE,
)
"""Words with which a remark may take back what the name before it grants."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text says.

    Attributes:
        text: as it was written; "" where nothing was.
        ways: one may choose between these; each is what binds together. Never empty: what cannot be told is
            ``UNKNOWN``.
        near: the licence that was probably meant, where the text names none.
    """

    text: str
    ways: tuple[tuple[Licence, ...], ...]
    near: str | None = None

    @property
    def known(self) -> bool:
        """Whether every part of it names terms that are known."""
        return all(one is not UNKNOWN for way in self.ways for one in way)

    @property
    def label(self) -> str:
        """The ids, as SPDX joins them; of what is not known ``unknown``, with the words in quotes."""
        if not self.known:
            return "unknown" if _says_nothing(self.text) else f"unknown ({self.text[:SHOWN]!r})"
        several = len(self.ways) > 1
        joined = [" AND ".join(short_id(one.id) for one in way) for way in self.ways]
        return " OR ".join(
            f"({text})" if several and len(way) > 1 else text
            for text, way in zip(joined, self.ways, strict=True)
        )

    @property
    def licences(self) -> tuple[Licence, ...]:
        """Every licence it names, each once."""
        return tuple(dict.fromkeys(one for way in self.ways for one in way))


@lru_cache(maxsize=65536)
def read_licence(text: str) -> Reading:
    """What a text (or one of COCO's numbers, written in digits) says; never an error."""
    text = " ".join(text.split())
    if not text:
        return Reading("", ((UNKNOWN,),))
    ways = _ways(text) if len(text) <= MOST else None
    if ways is None:
        return Reading(text[:MOST], ((UNKNOWN,),), _near(text))
    return Reading(text, ways)


def licence_named(name: str) -> Licence | None:
    """The one licence of that id, name or address; None where there is none, or several are named."""
    reading = read_licence(name)
    one = reading.licences
    if len(one) != 1 or (one[0] is UNKNOWN and not _says_nothing(name)):
        return None
    return one[0]


def suggestion(name: str) -> str:
    """What to write in the place of a name that is no licence's: the nearest, and the ways to name one."""
    near = read_licence(name).near
    ids = [short_id(one) for one in LICENCES]
    ways = "write an SPDX id (CC-BY-4.0, Apache-2.0), or one of Pumice's own"
    if near is not None:
        return f"did you mean {short_id(near)!r}? Else {ways}; see docs/licences.md"
    own = [one for one in ids if OWN + one in LICENCES]
    return f"{ways}: {suggest('', own).removeprefix('choose one of: ')}"


def short_id(id: str) -> str:
    """An id as people read it: Pumice's own ones without what SPDX puts before them."""
    return id.removeprefix(OWN) if id in LICENCES else id


def _says_nothing(text: str) -> bool:
    return not text or _names().get(_key(text)) is UNKNOWN


def _ways(text: str) -> tuple[tuple[Licence, ...], ...] | None:
    """The ways that a text offers; None where a part of it names nothing that is known."""
    text = text.strip()
    one = _one(text)
    if one is not None:
        return ((one,),)
    if (of := SETS.get(_key(text))) is not None:
        return _ways(of)
    if text.startswith("(") and _closes(text) == len(text) - 1:
        return _ways(text[1:-1])
    for pattern, join in ((_EITHER, _either), (_BOTH, _both)):
        pieces = _pieces(text, pattern)
        if len(pieces) > 1:
            found = [_ways(piece) for piece in pieces]
            return join([ways for ways in found if ways]) if all(found) else None
    remark = _REMARK.search(text)
    if remark is None or not (shorter := text[: remark.start()]):
        return None
    also = None if remark[1].strip().isdecimal() else _one(remark[1].strip())
    ways = _ways(shorter)
    if ways is None or (also is None and _LIMIT.search(remark[1])):
        return None
    return ways if also is None else _both([ways, ((also,),)])


def _either(found: list[tuple[tuple[Licence, ...], ...]]) -> tuple[tuple[Licence, ...], ...]:
    return tuple(dict.fromkeys(way for ways in found for way in ways))


def _both(found: list[tuple[tuple[Licence, ...], ...]]) -> tuple[tuple[Licence, ...], ...]:
    joined: tuple[tuple[Licence, ...], ...] = ((),)
    for ways in found:
        joined = tuple(dict.fromkeys(tuple(dict.fromkeys((*a, *b))) for a in joined for b in ways))
    return joined


def _pieces(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The text cut where the pattern stands outside of brackets."""
    pieces, start = [], 0
    for found in pattern.finditer(text):
        before = text[: found.start()]
        if before.count("(") == before.count(")"):
            pieces.append(text[start : found.start()])
            start = found.end()
    return [piece for piece in (*pieces, text[start:]) if piece.strip()]


def _closes(text: str) -> int:
    """Where the bracket that opens a text is closed."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return place
    return -1


def _one(text: str) -> Licence | None:
    if text.isdecimal() and len(text) < 3 and int(text) in NUMBERED:
        return _one(NUMBERED[int(text)])
    key = _key(text)
    found = _names().get(key) or _family(key.split())
    if found is None and _AGREED.fullmatch(text):
        return Licence(
            text, short_id(text), commercial="unclear", derivatives="unclear", remark="terms of one's own"
        )
    return found


def _key(text: str) -> str:
    """Words that tell a licence's name, however it is written: ``CC BY-NC 4.0`` is ``cc by nc 4``."""
    words = [_SAME.get(word, word) for word in _WORD.findall(text.casefold())]
    kept = [re.sub(r"(\.0)+$", "", word) for word in words if word not in _NOISE]
    key = f" {' '.join(kept)} "
    for pair, short in _PAIRS:
        key = key.replace(f" {pair} ", f" {short} ")
    return key.strip()


def _family(words: list[str]) -> Licence | None:
    """A licence of the Creative Commons family out of the words of its name."""
    if words[:1] == ["cc"]:
        words = words[1:]
    kind = []
    while words and words[0] in ("by", "nc", "sa", "nd"):
        kind.append(words.pop(0))
    version = ""
    if words and f"{words[0]}.0" in CC_VERSIONS:
        version = f"{words.pop(0)}.0"
    elif words and words[0] in CC_VERSIONS:
        version = words.pop(0)
    port = words.pop(0) if version and words and words[0] in _PORTS else ""
    named = "-".join(part for part in ("by", "nc", "sa", "nd") if part in kind)
    if words or named not in CC_KINDS or len(set(kind)) != len(kind):
        return None
    return creative_commons(named, version, port)


@lru_cache(maxsize=1)
def _names() -> dict[str, Licence]:
    names = {_key(name): licence for name, licence in NAMES}
    for licence in LICENCES.values():
        for name in (licence.id, licence.name, licence.url, licence.hub if licence.hub != "other" else ""):
            key = _key(name)
            if key:
                names.setdefault(key, licence)
    return names


def _near(text: str) -> str | None:
    known = {key: licence.id for key, licence in _names().items() if licence is not UNKNOWN}
    for kind in CC_KINDS:
        for version in ("", *CC_VERSIONS):
            licence = creative_commons(kind, version)
            known[_key(licence.id)] = known[licence.id.lower()] = licence.id
            known[licence.name.lower()] = licence.id
    for choices, said in ((known, text.lower()), (known, _key(text))):
        close = difflib.get_close_matches(said, choices, n=1, cutoff=0.75)
        if close:
            return known[close[0]]
    return None
