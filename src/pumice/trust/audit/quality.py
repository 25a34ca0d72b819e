"""The check ``quality``: answers that teach nothing, or the wrong thing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pumice.text.leaks import LEAKS
from pumice.trust.audit.check import ROWS, Check, Finding, Need, Row, Severity
from pumice.trust.audit.words import plain
from pumice.trust.personal import masked

if TYPE_CHECKING:
    from pumice.trust.audit.seen import Seen

KINDS: dict[str, Severity] = {
    "empty": "serious",
    "encoding": "warning",
    "loop": "warning",
    "refusal": "warning",
    "leak": "warning",
    "echo": "note",
    "cut-off": "note",
}
"""Each kind and how bad it is."""

PERIOD = 12
"""Words of the longest stretch that is looked for again and again."""
TIMES, LOOP_WORDS = 6, 12
"""So often must it stand one behind the other, and be so many words in all."""
LONG = 30
"""Words from which an answer should end like a sentence."""
LEAK_LANGUAGES = ("en", "de", "fr", "es", "it", "pt")
"""In Chinese and Japanese the words of a leak are also those of everyday answers about pages and charts."""

_MOJIBAKE = re.compile(
    r"\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2[\u0080\u20ac][\u0080-\u00bf\u2018-\u2122\u0153\u0161]|"
    r"\u00ef\u00bb\u00bf|[\x00-\x08\x0b\x0e-\x1f]|[\ud800-\udfff]|&(?:amp|lt|gt|quot|nbsp|#\d+);(?:amp;)?"
)
"""U+FFFD, UTF-8 read as Latin-1 or Windows-1252, control characters, half pairs, HTML escapes."""
_HTML = re.compile(r"&\w+;|&#\d+;")
_CODE = re.compile(r"```|<[a-z]+[ />]|\b(?:html|xml|escape|entit)", re.I)
_AS_AI = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large language|language)\b(?: language)?(?: model| assistant)?"
    r"[^.!?\n]{0,40}\b(?:i|can ?not|can't|do not|don't|am|have|lack)\b|"
    r"\bi(?:'m| am) (?:just |only )?an? (?:ai|language model|artificial intelligence|text-based)\b|"
    r"\bals (?:ki|sprachmodell)\b|\ben tant qu'(?:ia|intelligence artificielle|mod[èe]le)\b|"
    r"\bcomo (?:una?|um|uma)? ?(?:ia|inteligencia artificial|intelig[êe]ncia artificial|modelo de l)\b|"
    r"作为(?:一个|一款|一名)?(?:人工智能|AI|语言模型)",
    re.I,
)
_SORRY = re.compile(
    r"^\W*(?:(?:i(?:'m| am) |we(?:'re| are) )?(?:so |very |truly )?sorry\b[^.!?;\n]{0,60}"
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:can ?not|can't|unable|not able|don't have|do not have|won't)\b|"
    r"(?:i(?:'m| am)|we(?:'re| are)) (?:unable|not able) to (?:assist|help|comply|provide|see|view|answer|"
    r"fulfil|access|identify|determine|process|generate)|"
    r"i (?:can ?not|can't|won't) (?:assist|help|comply|fulfil|see|view|access|provide|answer|process)\b)",
    re.I,
)
_MARK = re.compile(r"<image>|<video>")


@dataclass(frozen=True)
class Quality(Check):
    """Empty answers, refusals, broken text, loops, leaks of captions, answers that repeat the question."""

    name: ClassVar[str] = "quality"
    reads: ClassVar[frozenset[Need]] = frozenset({ROWS})
    version: ClassVar[int] = 2

    def row(self, row: Row) -> Any:
        found: list[list[str]] = []
        for asked, answer in row.pairs():
            for kind, what in faults(asked, answer, bool(row.sample.images)):
                if all(kind != one for one, _ in found):
                    found.append([kind, what])
        for _, text in row.texts():
            broken = _encoding(text)
            if broken and all(kind != "encoding" for kind, _ in found):
                found.append(["encoding", broken])
        return found or None

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        for number, said in seen.said(self, "rows"):
            for kind, what in said:
                yield Finding(self.name, kind, KINDS[kind], what, row=number)


def faults(asked: str, answer: str, sees: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with an answer: kinds of ``KINDS`` and sentences.

    Args:
        asked: its question; "" for none.
        answer: what is learnt.
        sees: whether a picture stands in the row.
    """
    words = plain(answer)
    if not words and not re.search(r"[^\W_]|[^\x00-\x7f]", answer):
        yield "empty", "an answer has no word" + (f": {answer.strip()[:20]!r}" if answer.strip() else "")
        return
    refusal = _AS_AI.search(answer[:400]) or _SORRY.search(answer)
    if refusal:
        yield "refusal", f"an answer says {_said(refusal[0])!r}"
    if sees and not refusal:
        for language in LEAK_LANGUAGES:
            leak = LEAKS[language].search(answer)
            if leak and leak[0].lower() not in asked.lower():
                yield "leak", f"an answer about a picture says {_said(leak[0])!r}"
                break
    again = loop(answer)
    if again is not None:
        told = loop(masked(answer)) or ("***", again[1])
        yield "loop", f"an answer says {_said(told[0])!r} {again[1]} times, one behind the other"
    own = words.split(" ")
    if len(own) >= 4 and words == plain(_MARK.sub(" ", asked)):
        yield "echo", "an answer is its question"
    if len(own) >= LONG and _stops_short(answer.rstrip()):
        yield (
            "cut-off",
            f"an answer of {len(own)} words ends with {_said(masked(answer[-400:].rstrip())[-24:])!r}",
        )


def _stops_short(answer: str) -> bool:
    """Whether a text ends inside a sentence; lists and poems end as they like."""
    return (
        re.search(r"[\w,]$", answer) is not None
        and re.search(r"[.!?。]\S*$", answer[-30:]) is None
        and "\n" not in answer[-60:]
    )


def loop(text: str) -> tuple[str, int] | None:
    """The stretch of up to ``PERIOD`` words that a text says most often in a row, and how often."""
    words = re.findall(r"\w+|\n", text)
    if len(words) < LOOP_WORDS:
        return None
    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word.lower(), len(known)) for word in words])
    best: tuple[str, int] | None = None
    for period in range(1, min(PERIOD, len(ids) // 2) + 1):
        same = ids[period:] == ids[:-period]
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.view(np.int8), [0]])))
        if not len(edges):
            continue
        lengths = edges[1::2] - edges[::2]
        longest = int(lengths.argmax())
        times = int(lengths[longest]) // period + 1
        start = int(edges[2 * longest])
        stretch = words[start : start + period]
        if times < TIMES or times * period < LOOP_WORDS or not any(word.isalpha() for word in stretch):
            continue
        if best is None or times > best[1]:
            best = " ".join(word for word in stretch if word != "\n"), times
    return best


def _encoding(text: str) -> str:
    """What is broken in a text's letters; "" for nothing."""
    if text.isascii() and "&" not in text and text.isprintable():
        return ""
    for match in _MOJIBAKE.finditer(text):
        if _HTML.fullmatch(match[0]) and _CODE.search(text):
            continue
        codes = " ".join(f"U+{ord(one):04X}" for one in match[0][:4])
        return f"its text holds {match[0]!r}" if _HTML.fullmatch(match[0]) else f"its text holds {codes}"
    return ""


def _said(text: str) -> str:
    text = masked(" ".join(text.split()))
    return text if len(text) <= 60 else text[:60] + "\u2026"
