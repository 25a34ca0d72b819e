"""The lines that LLaVA's protocol puts behind a question."""

from __future__ import annotations

from collections.abc import Sequence

from pumice.score.choice import ALPHABET
from pumice.text.prompts import LETTER, LETTER_CN, OCR, SHORT, UNANSWERABLE, YES_NO


def short(question: str) -> str:
    """A question that is answered by a word or a phrase."""
    return f"{question}\n{SHORT}"


def lettered(question: str, options: Sequence[str]) -> str:
    """A question with its options, ``A. ...`` on a line each."""
    lines = [f"{letter}. {option}" for letter, option in zip(ALPHABET, options, strict=False)]
    return "\n".join([question, *lines])


__all__ = ["LETTER", "LETTER_CN", "OCR", "SHORT", "UNANSWERABLE", "YES_NO", "lettered", "short"]
