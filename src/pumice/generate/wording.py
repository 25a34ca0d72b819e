"""Words by which a teacher gives itself away, and words that ask the same."""

from __future__ import annotations

import re

from pumice.text.leaks import LEAKS

_OF_TEACHERS = re.compile(
    r"\b((the|these|given|provided) (\w+ )?(notes|annotations?|coordinates|data|metadata)|its coordinates|"
    r"(given|provided) (information|text|sentences|context|descriptions?)|"
    r"(as per|judging (by|from)|based on|according to) (the|its|this|these|those) "
    r"(\w+ )?(descriptions?|text|information|notes|sentences|coordinates|labels)|annotations? lists?|"
    r"as (stated|noted|mentioned|described|indicated|listed) (above|below|in)|(was|were|been) provided|"
    r"(object list|lists? of (objects|things)|(region|box) labels?)|(the|given) input|"
    r"access to the (image|picture|photo)|text (\w+ )?(says|mentions|states|describes|tells) (us|that)|"
    r"(is|are|was|were) (not|never) (\w+ )?(mentioned|specified|stated)|could not see the picture)",
    re.I,
)
"""Of English ones; in other people's data some of these are harmless."""
_SORRY = {
    "en": r"\b(i('m| am) (so |very )?sorry|sorry,? (but )?i\b|i('m| am) (unable|not able) to|"
    r"i (can ?not|can't|could not|won't) (help|assist|answer|provide|comply|fulfill|identify)|"
    r"without (seeing|access to) the (image|picture|photo))",
    "de": r"(tut mir leid|ich kann (dabei|das|diese frage) nicht)",
    "fr": r"(je suis désolée?|je ne peux pas (répondre|aider|voir))",
    "es": r"(lo siento|no puedo (responder|ayudar|ver))",
    "it": r"(mi dispiace|non posso (rispondere|aiutare|vedere))",
    "pt": r"(sinto muito|desculpe|não posso (responder|ajudar|ver))",
    "zh": r"(抱歉|对不起|我无法|我不能)",
    "ja": r"(申し訳|ごめんなさい|お答えできません)",
}
_REFUSALS = {code: re.compile(pattern, re.I) for code, pattern in _SORRY.items()}
LEAD = re.compile(
    r"^(tell me|(can|could) (you|one) (please )?(tell|say)( me)?|please tell me|i wonder)\W+", re.I
)
"""What people say before a question."""
SAME_WORDS = tuple(
    (re.compile(words), same)
    for words, same in (
        (r"what(?: is|'s) the (?:total )?number of", "how many"),
        (r"(?:which|what) colou?r (?:has|does|is|are)", "what color"),
        (r"what(?: is|'s) the colou?r of", "what color"),
        (r"which colou?r", "what color"),
    )
)
"""Ways to ask the same, and the one by which they are compared."""


def leak_in(text: str, language: str) -> str | None:
    """Words that speak of notes, captions or coordinates, or of not seeing the picture."""
    found = LEAKS[language].search(text)
    if found is None and language == "en":
        found = _OF_TEACHERS.search(text)
    return found[0] if found else None


def refusal_in(text: str, language: str) -> str | None:
    """Words by which an answer is none."""
    found = _REFUSALS[language].search(text)
    return found[0] if found else None
