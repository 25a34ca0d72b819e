"""Check digits: whether a number can be what it looks like.

Each function takes the number without blanks and separators, letters in capitals, of the right length.
"""

from __future__ import annotations

import datetime
from collections import Counter


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B: payment cards."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),
    (51, 55, frozenset({16})),
    (2221, 2720, frozenset({16})),
    (34, 34, frozenset({15})),
    (37, 37, frozenset({15})),
    (6011, 6011, frozenset({16})),
    (644, 659, frozenset({16})),
    (3528, 3589, frozenset({16})),
    (300, 305, frozenset({14})),
    (36, 36, frozenset({14})),
    (38, 39, frozenset({14})),
    (62, 62, frozenset({16, 17, 18, 19})),
)
"""First digits of the networks' cards, from and to, and how long their numbers are."""


def card(number: str) -> bool:
    """A payment card's number: its network's first digits and length, and Luhn's sum."""
    known = any(
        first <= int(number[: len(str(first))]) <= last and len(number) in lengths
        for first, last, lengths in _ISSUERS
    )
    return known and len(set(number)) > 1 and luhn(number)


IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an account number by country (SWIFT's IBAN registry)."""


def iban(number: str) -> bool:
    """An international bank account number: its country's length, and 1 modulo 97 (ISO 13616)."""
    if IBAN_LENGTHS.get(number[:2]) != len(number):
        return False
    return int("".join(str(int(one, 36)) for one in number[4:] + number[:4])) % 97 == 1


def ssn(number: str) -> bool:
    """A social security number of the United States, 9 digits: no check digit, but ranges never given."""
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def nino(number: str) -> bool:
    """A national insurance number of the United Kingdom: two letters that are in use, 6 digits, A to D."""
    first, second = number[0], number[1]
    return (
        number[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")
        and first not in "DFIQUV"
        and second not in "DFIOQUV"
    )


def steuer_id(number: str) -> bool:
    """A German tax number of a person, 11 digits: ISO 7064 modulo 11,10, and one digit that comes again."""
    counts = Counter(number[:10])
    if number[0] == "0" or sorted(counts.values(), reverse=True)[:2] not in ([2, 1], [3, 1]):
        return False
    rest = 10
    for digit in number[:10]:
        rest = (int(digit) + rest) % 10 or 10
        rest = rest * 2 % 11
    return (11 - rest) % 10 == int(number[10])


def nir(number: str) -> bool:
    """A French social security number, 15 characters: sex, year, month, place, 97 less the rest by 97."""
    month = int(number[3:5])
    if number[0] not in "1278" or not (1 <= month <= 12 or month == 20 or 30 <= month <= 42 or month >= 50):
        return False
    if number[5:7] in ("00", "96"):
        return False
    body = number[:13].replace("2A", "19").replace("2B", "18")
    return body.isdigit() and 97 - int(body) % 97 == int(number[13:])


_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def dni(number: str) -> bool:
    """A Spanish identity number (8 digits) or foreigner's (X, Y or Z and 7), with its letter."""
    digits = str("XYZ".find(number[0])) + number[1:8] if number[0] in "XYZ" else number[:8]
    return _DNI[int(digits) % 23] == number[8]


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8,
         12, 14, 16, 10, 22, 25, 24, 23],
        strict=True,
    )
)  # fmt: skip


def codice_fiscale(number: str) -> bool:
    """An Italian tax code, 16 characters (decree of 23 December 1976, articles 2 to 9)."""
    total = 0
    for place, one in enumerate(number[:15]):
        total += _ODD[one] if place % 2 == 0 else int(one) if one.isdigit() else ord(one) - ord("A")
    return chr(ord("A") + total % 26) == number[15]


def bsn(number: str) -> bool:
    """A Dutch citizen service number, 9 digits: the sum with weights 9 to 2 and -1 divides by 11."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(int(digit) * weight for digit, weight in zip(number, weights, strict=True))
    return total % 11 == 0 and int(number) > 0


def cpf(number: str) -> bool:
    """A Brazilian taxpayer number, 11 digits, two of them check digits modulo 11."""
    if len(set(number)) == 1:
        return False
    for length in (9, 10):
        total = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(number[:length]))
        if total * 10 % 11 % 10 != int(number[length]):
            return False
    return True


_D5 = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 0, 6, 7, 8, 9, 5), (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7), (4, 0, 1, 2, 3, 9, 5, 6, 7, 8), (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2), (7, 6, 5, 9, 8, 2, 1, 0, 4, 3), (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)  # fmt: skip
_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def verhoeff(number: str) -> bool:
    """J. Verhoeff's check of 1969, over the symmetries of a pentagon."""
    rest = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit)
        for _ in range(place % 8):
            value = _TURN[value]
        rest = _D5[rest][value]
    return rest == 0


def aadhaar(number: str) -> bool:
    """An Indian Aadhaar number, 12 digits, the first 2 to 9."""
    return number[0] >= "2" and len(set(number)) > 1 and verhoeff(number)


def resident_id(number: str) -> bool:
    """A Chinese resident's number, 18 characters: province, date of birth, ISO 7064 modulo 11-2."""
    try:
        born = datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    if not (11 <= int(number[:2]) <= 91 and 1900 <= born.year <= 2100):
        return False
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17]
