"""What in a file names somebody, and where else it stands.

The same finder decides which kept texts must go, cleans texts that come beside pictures, and looks through
what was written. So what is written is looked at by at least the rule that it was made by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pumice.image.dicom import library
from pumice.trust.dicom.names import spellings_of, words_of
from pumice.trust.dicom.profile import Options, action_of, clean_words, read_terms, rule_of

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

TEXT = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
"""Value representations of text that people write (PS3.5, 6.2)."""
_VALUES = frozenset({"AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT"})
WORD, VALUE, RAW = 3, 4, 6
"""Shortest word of a name, shortest other value, and shortest of either looked for among bare bytes."""
REMOVED = "[removed]"
_CLASSES = ("ClassUID", "CodingSchemeUID", "ContextUID", "MappingResourceUID", "TransferSyntaxUID")
_ENCODINGS = (
    "utf-8",
    "latin-1",
    "utf-16-le",
    "utf-16-be",
    "shift_jis",
    "iso2022_jp",
    "euc_kr",
    "gb18030",
    "cp1251",
)


@dataclass
class Identifiers:
    """What names somebody in one file.

    Attributes:
        found: each, in small letters, with the attribute that holds it.
        short: how many were too short to be looked for elsewhere.
    """

    found: dict[str, str] = field(default_factory=dict)
    short: int = 0

    def add(self, text: str, origin: str, least: int, *, name: bool = False) -> None:
        """One more, with spaces made single; a name counts though it is a word of pictures (Head, Early)."""
        words = " ".join(text.split()).lower()
        if not words:
            return
        if len(words) < (least if words.isascii() else 2):
            self.short += 1
        elif name or not _is_common(words):
            self.found.setdefault(words, origin)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        longest = sorted(self.found, key=len, reverse=True)
        if not longest:
            return None
        body = "|".join(r"\s+".join(map(re.escape, words.split(" "))) for words in longest)
        # Letters and digits beside it make it another word; in scripts without spaces they do not.
        return re.compile(rf"(?:(?<![A-Za-z0-9])(?:{body})(?![A-Za-z0-9]))", re.IGNORECASE)

    def origins(self, text: str) -> list[str]:
        """The attributes whose values stand in a text."""
        if self._pattern is None or not text:
            return []
        hits = (" ".join(hit.split()).lower() for hit in self._pattern.findall(text))
        return sorted({self.found.get(hit, "another attribute") for hit in hits})

    def without(self, text: str) -> tuple[str, int]:
        """A text with all of them struck out, and how many there were."""
        return (text, 0) if self._pattern is None else self._pattern.subn(REMOVED, text)

    def raw(self) -> list[Sought]:
        """Those that are long enough to be looked for among bytes, in every encoding."""
        out = []
        for words, origin in self.found.items():
            if len(words) < RAW and (words.isascii() or len(words) < RAW // 2):
                continue
            spelled = (words, words.upper(), words.title())
            forms = {one.encode(name).lower() for one in spelled for name in _ENCODINGS if _fits(one, name)}
            alone = len(words) < 2 * VALUE or words.isdigit()
            out.append(Sought(words, origin, tuple(sorted(forms)), alone))
        return out


@dataclass(frozen=True)
class Sought:
    """A value to be looked for among bytes.

    Attributes:
        words: the value.
        origin: the attribute that holds it.
        forms: its bytes in every encoding, ASCII in small letters.
        alone: whether letters or digits beside it make it another word; so it is with short ones and numbers.
    """

    words: str
    origin: str
    forms: tuple[bytes, ...]
    alone: bool

    def stands_in(self, lowered: bytes) -> bool:
        """Whether it is among bytes whose ASCII letters are small."""
        found = [form for form in self.forms if form in lowered]
        if not found or not self.alone:
            return bool(found)
        body = b"|".join(map(re.escape, found))
        return re.search(rb"(?<![A-Za-z0-9.])(?:" + body + rb")(?![A-Za-z0-9])", lowered) is not None


def collect(dataset: Dataset, options: Options) -> Identifiers:
    """All that names somebody among what will be removed or replaced, in sequences, too."""
    out = Identifiers()
    for element, origin in _walk(dataset):
        rule = None if element.tag.is_private else rule_of(element.tag)
        if rule is not None and action_of(rule, options)[0] == "K":
            continue
        if _is_name(element):
            for person in each_of(element.value):
                _add_name(out, str(person), origin)
        elif element.VR == "UI":
            if "uids" not in options.keep and not is_class(element.keyword):
                for uid in each_of(element.value):
                    if not is_registered(str(uid)):
                        out.add(str(uid), origin, 10)
        elif rule is None or rule.descriptor:
            continue  # private texts and descriptions are removed, and are no names by themselves
        elif element.VR in ("DA", "DT"):
            if options.dates != "keep" or "dates" not in rule.options:
                for day in each_of(element.value):
                    for form in _date_forms(str(day)):
                        out.add(form, origin, 8)
        elif element.VR in _VALUES:
            for value in each_of(element.value):
                out.add(str(value), origin, VALUE)
    return out


def is_registered(uid: str) -> bool:
    """Whether a UID is one of the standard's own. Anybody can write their beginning."""
    return uid in library().uid.UID_dictionary


def is_class(keyword: str) -> bool:
    """Whether a UID stands for a kind of things and not for one of them."""
    return keyword.endswith(_CLASSES) and "DeviceClass" not in keyword


def _walk(dataset: Dataset, path: str = "") -> Iterator[tuple[DataElement, str]]:
    """Every element with its place: ``(0040,0275)>(0040,0007)``."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception:  # a value that cannot be read is removed later, and has nothing to look for
            continue
        place = f"{path}{place_of(tag)}"
        yield element, place
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _walk(item, f"{place}>")


def each_of(value: Any) -> list[Any]:
    """The values of an attribute that has one, several, or none."""
    if value is None or value == "":
        return []
    single = isinstance(value, str | bytes) or not hasattr(value, "__iter__") or hasattr(value, "family_name")
    return [value] if single else list(value)


def place_of(tag: Any) -> str:
    """``(0010,0010)``."""
    return f"({int(tag) >> 16:04X},{int(tag) & 0xFFFF:04X})"


def _is_name(element: DataElement) -> bool:
    """Whether it is a person's name by its kind, or by the dictionary where the file writes another kind."""
    if element.VR == "PN":
        return True
    named = library().datadict.DicomDictionary.get(int(element.tag))
    return named is not None and named[0] == "PN" and element.VR in TEXT


def _add_name(out: Identifiers, name: str, origin: str) -> None:
    """The words of a person's name, and how else they may be written."""
    for word in words_of(name):
        out.add(word, origin, WORD, name=True)
    parts, forms = spellings_of(name)
    for among, is_name in ((parts, True), (forms, False)):
        for word in among:
            if len(word) >= (WORD if word.isascii() else 2):
                out.add(word, origin, WORD, name=is_name)


def _date_forms(text: str) -> list[str]:
    found = re.match(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})", text)
    if found is None:
        return []
    y, m, d = found.groups()
    return [f"{y}{m}{d}", f"{y}-{m}-{d}", f"{y}.{m}.{d}", f"{d}.{m}.{y}", f"{d}/{m}/{y}", f"{m}/{d}/{y}"]


def _is_common(words: str) -> bool:
    """Whether it is made of words that describe pictures: a station called CT, a department called Chest."""
    return (
        clean_words(words, _terms()) == " ".join(re.findall(r"[^\W\d_]+", words))
        and words.replace(" ", "").isalpha()
    )


_kept_terms: list[frozenset[str]] = []


def _terms() -> frozenset[str]:
    if not _kept_terms:
        _kept_terms.append(read_terms())
    return _kept_terms[0]


def _fits(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
