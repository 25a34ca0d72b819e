"""What somebody gets who sees and reads nothing: one answer to all questions, by the scorer's own rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pumice.evaluate.results import Baseline
from pumice.evaluate.samples import Sample
from pumice.evaluate.scored import score_texts, scores_json
from pumice.score import Result

COMMONEST = 3
"""True answers that are tried where a task names no guesses; scorers normalise, so the first need not win."""

Score = Callable[[Path], Result]


def chance(samples: Sequence[Sample], guesses: Sequence[str], score: Score) -> Baseline | None:
    """The best of the constant answers, and what a uniform guess gets where that can be told.

    Args:
        samples: the questions that were asked.
        guesses: answers that somebody without sight would give; the commonest true ones serve where there
            are none.
        score: from a file of answers to figures.

    Returns:
        None where there is nothing to guess: no guesses, and the truth is not told.

    Raises:
        DataError: as the scorer.
    """
    tried = tuple(guesses) or _commonest(samples)
    if not tried:
        return None
    found = {guess: score_texts(samples, [guess] * len(samples), score) for guess in tried}
    best = max(found, key=lambda guess: _figure(found[guess]))
    uniform = _uniform(list(found.values()), len(samples)) if guesses else None
    how = f'always "{best}"' + ("" if guesses else ", a commonest true answer")
    return Baseline(how=how, scores=scores_json(found[best]), uniform=uniform)


def _commonest(samples: Sequence[Sample]) -> tuple[str, ...]:
    counts = Counter(sample.truth for sample in samples if sample.truth)
    return tuple(truth for truth, _ in counts.most_common(COMMONEST))


def _figure(result: Result) -> float:
    return next(iter(result.metrics.values()))


def _uniform(results: Sequence[Result], asked: int) -> float | None:
    """The expected figure of a guess among a question's own options, each with the same chance.

    An option is a guess that the scorer can read: of a question with three options the letter D says
    nothing. It can be told where the figure is the mean over questions, one item a question: not of F1, of
    MME's points, or of a question that is right when all its rotations are.
    """
    first = results[0]
    names = [item.id for item in first.items]
    for result in results:
        scores = [item.score for item in result.items]
        if [item.id for item in result.items] != names or len(names) != asked:
            return None
        if abs(_figure(result) - 100 * sum(scores) / max(1, len(scores))) > 1e-6:
            return None
    total = 0.0
    for items in zip(*(result.items for result in results), strict=True):
        read = [item.score for item in items if item.parsed]
        total += sum(read) / len(read) if read else 0.0
    return 100 * total / len(names) if names else None
