"""Personal data of nobody: well-formed values in the ways in which people write them, inside sentences.

Check digits are right where a number has any, since a check that trusts them must find these. Names and
numbers are drawn; cards begin like real ones, telephone numbers as the plans of their countries have them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

_One = TypeVar("_One")

FIRST = (
    "Maria",
    "John",
    "Anna",
    "Pedro",
    "Wei",
    "Fatima",
    "Lukas",
    "Sofia",
    "Omar",
    "Claire",
    "Ivan",
    "Grace",
)
LAST = ("Silva", "Baker", "Novak", "Garcia", "Chen", "Haddad", "Weber", "Rossi", "Dubois", "Okafor", "Berg")
DOMAINS = ("mailbox.org", "gmx.de", "fastmail.com", "uni-hof.de", "posteo.net", "acme-labs.co.uk", "web.it")

Made = tuple[str, str]
"""What it is, and the value."""


def email(rng: np.random.Generator) -> Made:
    first, last = _pick(rng, FIRST).lower(), _pick(rng, LAST).lower()
    ways = (f"{first}.{last}", f"{first[0]}{last}", f"{last}_{first}", f"{first}{int(rng.integers(10, 99))}")
    tag = "+photos" if rng.random() < 0.15 else ""
    return "e-mail", f"{_pick(rng, ways)}{tag}@{_pick(rng, DOMAINS)}"


def phone(rng: np.random.Generator) -> Made:
    d = _digits
    ways = (
        f"+1 ({rng.integers(201, 989)}) {rng.integers(200, 999)}-{d(rng, 4)}",
        f"{rng.integers(201, 989)}-{rng.integers(200, 999)}-{d(rng, 4)}",
        f"({rng.integers(201, 989)}) {rng.integers(200, 999)}-{d(rng, 4)}",
        f"+44 20 7{d(rng, 3)} {d(rng, 4)}",
        f"+49 30 {rng.integers(20, 99)}{d(rng, 6)}",
        f"+49 (0)171 {rng.integers(2, 9)}{d(rng, 6)}",
        f"+33 6 {d(rng, 2)} {d(rng, 2)} {d(rng, 2)} {d(rng, 2)}",
        f"06 {d(rng, 2)} {d(rng, 2)} {d(rng, 2)} {d(rng, 2)}",
        f"+86 13{d(rng, 1)} {d(rng, 4)} {d(rng, 4)}",
        f"+91 9{d(rng, 4)} {d(rng, 5)}",
        f"+55 11 9{d(rng, 4)}-{d(rng, 4)}",
    )
    return "telephone", _pick(rng, ways)


def card(rng: np.random.Generator) -> Made:
    amex = rng.random() < 0.2
    head = "37" if amex else _pick(rng, ("4", "51", "52", "55", "4"))
    body = head + _digits(rng, (14 if amex else 15) - len(head))
    number = body + _luhn(body)
    cuts = (4, 10, 15) if amex else (4, 8, 12, 16)
    mark = _pick(rng, (" ", "-", ""))
    return "card", mark.join(number[a:b] for a, b in zip((0, *cuts), cuts, strict=False))


def iban(rng: np.random.Generator) -> Made:
    country, length = _pick(rng, (("DE", 18), ("FR", 23), ("ES", 20), ("NL", 14), ("GB", 18)))
    if country == "NL":
        body = _pick(rng, ("ABNA", "INGB", "RABO")) + _digits(rng, 10)
    elif country == "GB":
        body = _pick(rng, ("NWBK", "BARC", "LOYD")) + _digits(rng, 14)
    else:
        body = _digits(rng, length)
    moved = "".join(str(int(one, 36)) for one in f"{body}{country}00")
    whole = f"{country}{98 - int(moved) % 97:02d}{body}"
    spaced = " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))
    return "IBAN", spaced if rng.random() < 0.6 else whole


def national_id(rng: np.random.Generator) -> Made:
    makers = (_ssn, _dni, _nino, _cpf, _nir, _cn)
    return "national id", makers[int(rng.integers(len(makers)))](rng)


def address(rng: np.random.Generator) -> Made:
    if rng.random() < 0.7:
        first = _pick(rng, ("83", "91", "145", "185", "203", "62"))
        return "IP address", ".".join([first, *(str(rng.integers(1, 255)) for _ in range(3))])
    groups = [f"{rng.integers(4096, 65535):x}" for _ in range(6)]
    return "IP address", "2a02:" + ":".join([*groups, f"{rng.integers(1, 65535):x}"])


MAKERS: tuple[Callable[[np.random.Generator], Made], ...] = (email, phone, card, iban, national_id, address)

SENTENCES = {
    "e-mail": (
        "Write to {} for the full picture.", "My address is {}, please answer there.",
        "Sent by {} last week.", "Questions go to {}.",
    ),
    "telephone": (
        "You can reach me at {}.", "Call {} before noon.", "Her number is {}.", "Tel. {}, ask for {name}.",
    ),
    "card": (
        "I paid with {} at the counter.", "Card number {}, valid until 09/28.", "Please charge {}.",
    ),
    "IBAN": ("Send the money to {}.", "My account: {}.", "The invoice names {} as the account."),
    "national id": ("My id number is {}.", "The form says {} below the name.", "{name}, {}, signed it."),
    "IP address": ("The camera answers at {}.", "Uploaded from {}.", "The login came from {}."),
}  # fmt: skip


def sentence(rng: np.random.Generator) -> tuple[str, str, str]:
    """A sentence with personal data in it: what kind it is, the value, the sentence."""
    kind, value = MAKERS[int(rng.integers(len(MAKERS)))](rng)
    words = _pick(rng, SENTENCES[kind])
    name = f"{_pick(rng, FIRST)} {_pick(rng, LAST)}"
    return kind, value, words.replace("{name}", name).replace("{}", value)


def _ssn(rng: np.random.Generator) -> str:
    return f"{rng.integers(1, 665):03d}-{rng.integers(1, 99):02d}-{rng.integers(1, 9999):04d}"


def _dni(rng: np.random.Generator) -> str:
    number = int(rng.integers(10_000_000, 99_999_999))
    return f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"


def _nino(rng: np.random.Generator) -> str:
    first, second = _pick(rng, tuple("ABCEGHJKLMNPRSTWXYZ")), _pick(rng, tuple("ABCEGHJKLMNPRSTWXYZ"))
    while first + second in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
        second = _pick(rng, tuple("ABCEGHJ"))
    pairs = [_digits(rng, 2) for _ in range(3)]
    return f"{first}{second} {pairs[0]} {pairs[1]} {pairs[2]} {_pick(rng, tuple('ABCD'))}"


def _cpf(rng: np.random.Generator) -> str:
    digits = [int(one) for one in _digits(rng, 9)]
    for length in (10, 11):
        rest = sum(d * w for d, w in zip(digits, range(length, 1, -1), strict=True)) * 10 % 11
        digits.append(rest % 10)
    text = "".join(map(str, digits))
    return f"{text[:3]}.{text[3:6]}.{text[6:9]}-{text[9:]}"


def _nir(rng: np.random.Generator) -> str:
    month, place = f"{rng.integers(1, 13):02d}", f"{rng.integers(1, 95):02d}"
    body = f"{rng.integers(1, 3)}{rng.integers(40, 99)}{month}{place}{_digits(rng, 3)}{_digits(rng, 3)}"
    key = f"{97 - int(body) % 97:02d}"
    return f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:13]} {key}"


def _cn(rng: np.random.Generator) -> str:
    place = _pick(rng, ("110101", "310104", "440305", "510107"))
    day = f"{rng.integers(1955, 2004)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    body = f"{place}{day}{rng.integers(1, 999):03d}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def _luhn(body: str) -> str:
    doubled = [int(one) * (2 - place % 2) for place, one in enumerate(reversed(body))]
    return str(-sum(one - 9 if one > 9 else one for one in doubled) % 10)


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(str(one) for one in rng.integers(0, 10, count))


def _pick(rng: np.random.Generator, choices: Sequence[_One]) -> _One:
    return choices[int(rng.integers(len(choices)))]
