"""Model cards, from a run's records and a person's answers; what nothing tells is a blank, and fails."""

from pumice.report.card.answers import CARD_ANSWERS, Answers, Blank, read_answers
from pumice.report.card.facts import Facts, gather
from pumice.report.card.write import Card, answers_template, blank_lines, check_card, make_card

__all__ = [
    "CARD_ANSWERS",
    "Answers",
    "Blank",
    "Card",
    "Facts",
    "answers_template",
    "blank_lines",
    "check_card",
    "gather",
    "make_card",
    "read_answers",
]
