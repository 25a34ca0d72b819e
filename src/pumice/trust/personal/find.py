"""Where personal data stands in a text.

What has check digits is found wherever it stands; what has none needs a form that little else has (``+44 20
...``, ``(212) 664-7665``) or a word before it that says what it is ("phone", "BSN"). What is reserved for
examples (``example.org``, 555-0100, the card 4111 1111 1111 1111) is found and marked as such.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pumice.trust.personal import digits

KINDS = {
    "email": "e-mail address",
    "phone": "telephone number",
    "card": "payment card",
    "iban": "bank account (IBAN)",
    "us-ssn": "social security number, United States",
    "uk-nino": "national insurance number, United Kingdom",
    "de-steuer-id": "tax number, Germany",
    "fr-nir": "social security number, France",
    "es-dni": "identity number, Spain",
    "it-codice-fiscale": "tax code, Italy",
    "nl-bsn": "citizen number, Netherlands",
    "br-cpf": "taxpayer number, Brazil",
    "in-aadhaar": "Aadhaar number, India",
    "cn-resident": "resident number, China",
    "ip": "internet address",
    "address": "postal address",
}
"""Each kind by its name, and what it is."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Personal data in a text: its kind, where it begins and ends, and whether it is kept for examples."""

    kind: str
    start: int
    end: int
    example: bool = False


_EMAIL = re.compile(
    r"(?<![\w.+%/-])[\w][\w.+%-]{0,62}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?![\w@-])"
)
_NO_TOP = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "py", "js", "css", "html", "json", "md"})
"""Ends of files that look like domains: ``logo@2x.png``."""
_RESERVED = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.[a-z]{2,3}){0,2}$|"
    r"^(?:your|my|some|company|your-?company|my-?company|domain|your-?domain|website|email|mail|server)\.\w+$",
    re.I,
)

_LONG = re.compile(r"\d(?:[ \u00a0().,/\-]{0,3}\d){5}")
"""Six digits near each other: without them there is no number of a person."""
_CUE = re.compile(
    r"(?:\b(?:tele?(?:phone|fon|fono|f)?s?|phones?|mobile|mobil|cell(?:phone)?|fax|whats ?app|sms|handy|"
    r"rufnummer|portable|t[ée]l[ée]phone|m[óo]vil|celular|cellulare|hotline|contact)\b|"
    r"\b(?:call|text|dial|ring|reach)(?: (?:me|us|him|her|them|now|back|today))?(?= |:)|"
    r"电话|手机|電話|携帯)"
    r"(?:\W{1,3}(?:numbers?|no|nr|num|is|are|at|on|under|me|us|him|her))*[^\w\n]{0,4}$",
    re.I,
)
"""What says that a number is for calling, right before it."""
_YEARS = re.compile(r"(?:(?:19|20)\d\d\D*)+")
_LOOSE_PHONE = re.compile(r"(?<![\w.,/+\-])\(?\d(?:[ \u00a0()./\-]{0,2}\d){6,14}(?![\w/]|[.,\-:]\d)")
_PLUS_PHONE = re.compile(
    r"(?<![\w+.])(?:\+|00(?=[1-9]\d[ \-]))([1-9]\d{0,2})"
    r"(?:[ \u00a0./\-]{0,2}\(?\d{1,5}\)?){1,8}(?![\w]|[.,]\d)"
)
_CODES = {
    *(1, 7, 20, 27, 30, 31, 32, 33, 34, 36, 39, 40, 41, 43, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56),
    *(57, 58, 60, 61, 62, 63, 64, 65, 66, 81, 82, 84, 86, 90, 91, 92, 93, 94, 95, 98),
}
"""Countries' codes of one and two digits (ITU-T E.164)."""
_CODES_3 = re.compile(r"2[1-9]\d|3[578]\d|42[0-3]|5[09]\d|6[789]\d|8[0578]\d|9[679]\d")
_FORMS = re.compile(
    r"(?<![\w.,:/+\-])(?:"
    # North America: 212-664-7665, (212) 664-7665, 1-800-...
    r"(?P<us>(?:1[ .\-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}(?P<sep>[ .\-]))"
    r"[2-9]\d{2}(?(sep)(?P=sep)|[ .\-])\d{4})|"
    # United Kingdom: 020 7123 4567, 0161 496 1234, 07123 456789
    r"(?P<uk>\(?0(?:2\d\)? ?\d{4} \d{4}|1\d{2}\)? \d{3} \d{4}|1\d{3}\)? \d{5,6}|7\d{3} ?\d{3} ?\d{3}))|"
    # France: 01 23 45 67 89
    r"(?P<fr>0[1-79](?P<dot>[ .\-])\d{2}(?P=dot)\d{2}(?P=dot)\d{2}(?P=dot)\d{2})|"
    # Germany, Austria, the Netherlands: 030/1234567, 0171-1234567, 06-12345678
    r"(?P<de>\(?0[1-9]\d{0,4}\)?(?: ?[/\-] ?| (?=\d{6}))\d{3,8}(?:[ \-]\d{1,4})?)|"
    # Brazil: (11) 91234-5678
    r"(?P<br>\([1-9]\d\) ?9?\d{4}-\d{4})|"
    # Spain: 612 345 678 and 912 34 56 78
    r"(?P<es>[6789]\d{2} \d{2} \d{2} \d{2})"
    r")(?![\w/]|[.,\-]\d)"
)
_EXAMPLE_PHONE = re.compile(
    r"(?:\d{3}|^)55501\d\d$|(?:44|0)(?:207946|1632960|7700900|8081570|9098790)\d+$|1234567|(\d)\1{6}"
)
"""Kept for films and books by NANPA and Ofcom, and what nobody has."""

_CARD = re.compile(
    r"(?<![\w.,\-+/])[2-6]\d{3}"
    r"(?:(?P<sep>[ \-])\d{4,6}(?P=sep)\d{4,5}(?:(?P=sep)\d{1,4}){0,2}|\d{9,15})(?![\w]|[.,\-]\d)"
)
_TEST_CARDS = {
    *("4111111111111111", "4012888888881881", "4222222222222", "4242424242424242", "4000056655665556"),
    *("5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222", "378282246310005"),
    *("371449635398431", "6011111111111117", "6011000990139424", "3530111333300000", "3566002020360505"),
    *("30569309025904", "38520000023237", "4000000000000002"),
}
"""What payment services give out for trying."""
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_EXAMPLE_IBANS = {"DE89370400440532013000", "GB82WEST12345698765432", "FR1420041010050500013M02606"}
_EXAMPLE_IDS = {
    *("078051120", "219099999", "123456789", "111223333", "987654321"),
    *("AB123456C", "12345678Z", "00000000T"),
}

_Told = tuple[str, str, Callable[[str], bool]]
_IDS: tuple[_Told, ...] = (
    ("us-ssn", r"(?<![\w.\-])\d{3}([- ])\d{2}\1\d{4}(?![\w\-])", digits.ssn),
    ("uk-nino", r"\b[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", digits.nino),
    (
        "fr-nir",
        r"(?<![\w.,\-])[1278] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?![\w\-])",
        digits.nir,
    ),
    ("cn-resident", r"(?<![\w.,\-])[1-9]\d{16}[\dXx](?![\w\-])", digits.resident_id),
    (
        "de-steuer-id",
        r"(?<![\w.,\-+])[1-9]\d(?:( ?)\d{3}\1\d{3}\1\d{3})(?![\w\-]|[.,]\d)",
        digits.steuer_id,
    ),
    ("br-cpf", r"(?<![\w.,\-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w\-])", digits.cpf),
    ("in-aadhaar", r"(?<![\w.,\-])[2-9]\d{3}([ \-])\d{4}\1\d{4}(?![\w]|[ \-.,]\d)", digits.aadhaar),
    (
        "es-dni",
        r"(?<![\w.,\-])(?:\d{8}|[XYZ][ \-]?\d{7})[ \-]?[A-HJ-NP-TV-Z](?![\w\-])",
        digits.dni,
    ),
)
"""What is told by its form and check digits alone."""
_CUED: tuple[_Told, ...] = (
    (
        "nl-bsn",
        r"\b(?:BSN|burgerservicenummer|sofi-?nummer)\b\D{0,24}(\d{4}\.?\d{2}\.?\d{3})(?!\d)",
        digits.bsn,
    ),
    ("us-ssn", r"\b(?:SSN|social security(?: (?:number|no\.?|#))?)\b\D{0,16}(\d{9})(?!\d)", digits.ssn),
    ("br-cpf", r"\bCPF\b\D{0,16}(\d{11})(?!\d)", digits.cpf),
    ("in-aadhaar", r"\baadhaar\b\D{0,24}(\d{12})(?!\d)", digits.aadhaar),
)
"""What needs a word before it: one number of ten would pass its check by chance, or it has none."""
_TOLD = [(kind, re.compile(pattern, re.I), holds) for kind, pattern, holds in _CUED]
_TOLD += [(kind, re.compile(pattern), holds) for kind, pattern, holds in _IDS]
_CODICE = re.compile(r"(?<![A-Za-z0-9])[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?![A-Za-z0-9])", re.I)

_IPV4 = re.compile(r"(?<![\w.\-])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}(?![\w:])")
_VERSION = re.compile(r"(?:v|ver|version|release|firmware|section|chapter|figure|table|§)\.?\s*$", re.I)

_STREET = re.compile(
    r"(?<![\w.])\d{1,5}[A-Za-z]?,? (?:[NSEW]\.? )?(?:[A-Z0-9][\w'.-]* ){1,4}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Square|Sq|Place|Pl|Way|Terrace|"
    r"Parkway|Pkwy|Highway|Hwy|Close|Crescent)\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|#)\.? ?\w+)?[,\n] ?(?:[A-Z][\w'.-]*[ ,]{1,2}){1,4}"
    r"(?:[A-Z]{2},? \d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})\b"
)
_STRASSE = re.compile(
    r"\b[A-ZÄÖÜ][\w\u00c0-\u024f.-]*"
    r"(?:stra(?:ß|ss)e|str\.|weg|platz|allee|gasse|ufer|ring|[ -](?:Straße|Str\.|Weg|Platz|Allee))"
    r" \d{1,4} ?[a-z]?,? ?\n?(?:D-)?\d{5} [A-ZÄÖÜ][\w\u00c0-\u024f-]+"
)
_SEPARATORS = re.compile(r"[\s.\-/()\u00a0]")


def find(text: str) -> list[Hit]:
    """All personal data of a text in its order, none inside another; the surest kind keeps its place."""
    found: list[Hit] = []
    if "@" in text:
        found += _emails(text)
    found += _internet(text)
    if _LONG.search(text):
        found += _numbers(text)
    if _CODICE.search(text):
        found += [
            Hit("it-codice-fiscale", *match.span())
            for match in _CODICE.finditer(text)
            if digits.codice_fiscale(match[0].upper())
        ]
    for pattern in (_STREET, _STRASSE):
        found += [Hit("address", *match.span()) for match in pattern.finditer(text)]
    return _apart(found)


def _apart(found: list[Hit]) -> list[Hit]:
    """Of hits that overlap the first found, in the order of the text."""
    kept: list[Hit] = []
    for hit in found:
        if all(hit.end <= other.start or hit.start >= other.end for other in kept):
            kept.append(hit)
    return sorted(kept, key=lambda hit: hit.start)


def _emails(text: str) -> Iterator[Hit]:
    for match in _EMAIL.finditer(text):
        domain = match[0].rpartition("@")[2].lower()
        if domain.rpartition(".")[2] not in _NO_TOP:
            yield Hit("email", *match.span(), example=_RESERVED.search(domain) is not None)


def _numbers(text: str) -> Iterator[Hit]:
    for match in _IBAN.finditer(text):
        # What follows an account number may look like more of it.
        length = digits.IBAN_LENGTHS.get(match[0][:2], 0)
        end, seen = match.start(), 0
        while end < match.end() and seen < length:
            seen += text[end] != " "
            end += 1
        number = text[match.start() : end].replace(" ", "")
        if digits.iban(number) and not text[end : end + 1].isalnum():
            yield Hit("iban", match.start(), end, number in _EXAMPLE_IBANS)
    for match in _CARD.finditer(text):
        number = _SEPARATORS.sub("", match[0])
        if digits.card(number):
            yield Hit("card", *match.span(), number in _TEST_CARDS)
    for kind, pattern, holds in _TOLD:
        for match in pattern.finditer(text):
            place = 1 if pattern.flags & re.I else 0
            number = _SEPARATORS.sub("", match[place]).upper()
            if holds(number):
                yield Hit(kind, *match.span(place), number in _EXAMPLE_IDS)
    yield from _phones(text)


def _phones(text: str) -> Iterator[Hit]:
    for match in _PLUS_PHONE.finditer(text):
        number = re.sub(r"\D", "", match[0])
        number = number.removeprefix("00") if match[0].startswith("00") else number
        coded = {int(number[:1]), int(number[:2])} & _CODES or _CODES_3.match(number)
        if coded and 8 <= len(number) <= 15:
            yield _phone(match.start(), match.end(), number)
    for match in _FORMS.finditer(text):
        number = re.sub(r"\D", "", match[0])
        if not _is_sum(text, match.start(), match.end()) and not number.endswith("00000"):
            yield _phone(match.start(), match.end(), number)
    for match in _LOOSE_PHONE.finditer(text):
        number = re.sub(r"\D", "", match[0])
        years = _YEARS.fullmatch(match[0]) is not None
        if not years and _CUE.search(text, max(match.start() - 48, 0), match.start()):
            yield _phone(match.start(), match.end(), number)


def _phone(start: int, end: int, number: str) -> Hit:
    return Hit("phone", start, end, _EXAMPLE_PHONE.search(number) is not None)


def _is_sum(text: str, start: int, end: int) -> bool:
    """Whether a number stands in a formula: beside =, a unit of money, or a percent sign."""
    return text[max(start - 2, 0) : start].strip().endswith(("=", "$", "€", "£", "*", "^")) or text[
        end : end + 2
    ].strip().startswith(("=", "%", "*", "€"))


def _internet(text: str) -> Iterator[Hit]:
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            try:
                address = ipaddress.IPv4Address(match[0])
            except ValueError:
                continue
            if _VERSION.search(text[max(match.start() - 10, 0) : match.start()]) or max(address.packed) < 20:
                continue
            yield Hit("ip", *match.span(), example=not address.is_global)
    if text.count(":") >= 3:
        for match in _IPV6.finditer(text):
            try:
                six = ipaddress.IPv6Address(match[0])
            except ValueError:
                continue
            yield Hit("ip", *match.span(), example=not six.is_global)
