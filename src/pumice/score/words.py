"""The two answer processors of VQA: the submission's (EvalAI, as in M4C) and the evaluation's own.

Both are kept with their quirks, because published numbers were made with them:

- "none" is the number 0; numbers go to ten only.
- A full stop is taken out unless a digit follows: "a.b" is "ab", "3.5" stays. The flags' place is taken by
  ``re.UNICODE``, which is 32, so only the first 32 full stops of an answer are.
- A mark of punctuation is deleted where a space stands beside any of its kind, or where a comma stands
  between digits, and is a space elsewhere: "red-blue" is "red blue", "red - blue" is "red  blue".
- Articles go wherever they stand, so the answer "a" is empty.
- Contractions get the apostrophe that was left out; "somebody'd" loses its own.

Sources: facebookresearch/mmf (pythia), haotian-liu/LLaVA m4c_evaluator.py, GT-Vision-Lab/VQA vqaEval.py.
"""

from __future__ import annotations

import re

_COUNTS = "zero one two three four five six seven eight nine ten"
NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_COUNTS.split())}
ARTICLES = frozenset({"a", "an", "the"})
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
STOPS = 32
"""Full stops that are taken out at most."""

_STOP = re.compile(r"\.(?!\d)")
_COMMA = re.compile(r"\d,\d")

_CONTRACTED = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's
isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've
shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd
there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've
when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all
you'd you'll you're you've
"""
_TWICE = """
couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've someone'd've
something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
"""


def _contractions() -> dict[str, str]:
    """Each misspelling: all apostrophes but one are there. Words are lower case when they are looked up."""
    table = {word.replace("'", ""): word for word in _CONTRACTED.split()}
    for word in _TWICE.split():
        places = [place for place, letter in enumerate(word) if letter == "'"]
        table |= {word[:place] + word[place + 1 :]: word for place in places}
    return table | {"somebody'd": "somebodyd"}


CONTRACTIONS = _contractions()


def process_punctuation(text: str) -> str:
    """Marks of punctuation deleted or made spaces, full stops deleted, as the module says."""
    result = text
    comma = _COMMA.search(text) is not None
    for mark in PUNCTUATION:
        alone = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if alone or comma else " ")
    return _STOP.sub("", result, count=STOPS)


def process_digit_article(text: str) -> str:
    """Lower case, number words as digits, articles gone, contractions mended, one space between words."""
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def submission_answer(text: str) -> str:
    """An answer as LLaVA submits it (EvalAI's processor): what VQAv2, VizWiz and TextVQA are scored with.

    >>> submission_answer("None."), submission_answer("a.b"), submission_answer("It's the Dog's, two")
    ('0', 'ab', "it 's dog 's 2")
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    return process_digit_article(process_punctuation(text))


def evaluation_answer(text: str) -> str:
    """An answer as VQA's own evaluation compares it: commas, question marks and possessives are its marks'.

    >>> evaluation_answer("1,000 dogs?"), evaluation_answer("It's red")
    ('1000 dogs', "it's red")
    """
    return process_digit_article(process_punctuation(one_line(text)))


def one_line(text: str) -> str:
    """Line ends and tabs as spaces, none at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()
