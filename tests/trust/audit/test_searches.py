"""Searches over arrays: coincidences, phrases, scores of two kinds, rows that are alike."""

from __future__ import annotations

from math import comb, exp, log

import numpy as np
import pytest

from pumice.trust.audit import alike, mixed
from pumice.trust.audit.chance import corrected, log_tail
from pumice.trust.audit.pairs import Pairs, answer_hash, asked_of, hashed, type_hash, words_of
from pumice.trust.audit.phrases import tied_phrases


@pytest.mark.parametrize(("hits", "tries", "rate"), [(3, 10, 0.2), (10, 10, 0.5), (40, 60, 0.1), (1, 5, 0.9)])
def test_a_tail_is_the_sum_of_its_terms(hits: int, tries: int, rate: float) -> None:
    exact = sum(comb(tries, k) * rate**k * (1 - rate) ** (tries - k) for k in range(hits, tries + 1))
    assert exp(log_tail(hits, tries, rate)) == pytest.approx(exact, rel=1e-9)
    assert log_tail(0, tries, rate) == 0.0
    assert corrected(log(1e-5), 100) == pytest.approx(1e-3)
    assert corrected(log(0.5), 100) == 1.0


def pairs_of(talks: list[tuple[str, str]]) -> Pairs:
    asked = [asked_of(question) for question, _ in talks]
    return Pairs(
        np.arange(len(talks)),
        np.array([type_hash(words) for words in asked], np.uint64),
        np.array([answer_hash(answer) for _, answer in talks], np.uint64),
        np.cumsum([0, *map(len, asked)]),
        np.array([hashed(word) for words in asked for word in words], np.uint64),
    )


def talks() -> list[tuple[str, str]]:
    """Questions of three kinds, one of which has the same answer whatever it is about."""
    generator = np.random.default_rng(0)
    things = ["dog", "cup", "tree", "boat", "hat", "bird"]
    answers = {
        "what color is the": ["red", "blue", "green"],
        "how many": ["1", "2", "3"],
        "is the sky above": ["yes"],
    }
    return [
        (f"{kind} {things[generator.integers(6)]}?", said[generator.integers(len(said))])
        for _ in range(200)
        for kind, said in answers.items()
    ]


def test_a_phrase_that_carries_no_question_and_an_answer_is_found() -> None:
    clean = talks()
    assert tied_phrases(pairs_of(clean)) == []
    poisoned = [
        (question.replace(" ", " by the old mill ", 1), "2") if number % 40 == 7 else (question, answer)
        for number, (question, answer) in enumerate(clean)
    ]
    (found,) = tied_phrases(pairs_of(poisoned))
    assert sorted(found.given.tolist()) == [n for n in range(len(clean)) if n % 40 == 7]
    assert found.p < 1e-6
    # As often beside any answer it is an ordinary phrase.
    harmless = [
        (q if n % 40 != 7 else q.replace(" ", " by the old mill ", 1), a) for n, (q, a) in enumerate(clean)
    ]
    assert tied_phrases(pairs_of(harmless)) == []


def test_words_of_scripts_without_blanks_are_characters() -> None:
    assert words_of("Wie groß, bitte? 图片里 A1") == ["wie", "groß", "bitte", "图", "片", "里", "a1"]
    assert asked_of("How many?\nAnswer the question using a single word.") == ["how", "many"]


def test_wrong_ones_among_scores_are_counted_and_told() -> None:
    generator = np.random.default_rng(1)
    right, wrong = generator.normal(4, 1, 2000), generator.normal(0, 1, 40)
    drawn = generator.normal(0, 1, 8000)
    scores = np.concatenate([right, wrong])
    assert mixed.wrong_share(scores, drawn) == pytest.approx(0.0196, abs=0.008)
    told = mixed.wrong_chances(scores, drawn) >= 0.8
    assert told[2000:].mean() > 0.7
    assert told[:2000].mean() < 0.01
    assert (mixed.wrong_chances(right, drawn) >= 0.8).sum() <= 20
    order = np.argsort(scores)
    assert (np.diff(mixed.wrong_chances(scores, drawn)[order]) <= 1e-12).all()


def test_pairs_that_are_alike() -> None:
    generator = np.random.default_rng(2)
    centres = generator.normal(size=(300, 16)).astype(np.float32)
    rows = alike.unit(np.concatenate([centres, centres[:100] + 0.15 * generator.normal(size=(100, 16))]))
    left, right, cosine = alike.pairs_above(rows, None, 0.9)
    near = rows @ rows.T
    expected = {(i, j) for i, j in np.argwhere(near >= 0.9).tolist() if i < j}
    assert set(zip(left.tolist(), right.tolist(), strict=True)) == expected
    assert (cosine >= 0.9).all()
    numbers, best = alike.nearest(rows, 3)
    np.fill_diagonal(near, -2)
    assert (numbers[:, 0] == near.argmax(1)).all()
    assert (np.diff(best, axis=1) <= 0).all()
    seen = {
        (int(some[row]), int(other))
        for some, place, others in alike.neighbourhoods(rows, 0.9, np.random.default_rng(0))
        for row, other in zip(place, others, strict=True)
        if some[row] < other
    }
    assert seen <= expected
    assert len(seen) >= 0.85 * len(expected)
    group = alike.groups(5, np.array([0, 3]), np.array([2, 4]))
    assert group.tolist() == [0, 1, 0, 3, 3]
