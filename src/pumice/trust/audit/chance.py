"""How likely a coincidence is: tails of the binomial distribution, corrected for how many were looked at."""

from __future__ import annotations

from math import exp, lgamma, log, log1p

LEVEL = 1e-3
"""Findings of a search have a corrected p-value up to this: one in a thousand clean searches finds."""


def log_tail(hits: int, tries: int, rate: float) -> float:
    """The logarithm of P(X >= hits) for X binomial of ``tries`` and ``rate``.

    For trials of unequal rates whose mean is ``rate`` this is an upper bound wherever hits > tries x rate + 1
    (Hoeffding, On the distribution of the number of successes in independent trials, 1956).
    """
    if hits <= 0:
        return 0.0
    if rate <= 0.0:
        return -float("inf")
    if rate >= 1.0:
        return 0.0
    terms = []
    for k in range(hits, tries + 1):
        ways = lgamma(tries + 1) - lgamma(k + 1) - lgamma(tries - k + 1)
        terms.append(ways + k * log(rate) + (tries - k) * log1p(-rate))
        if len(terms) > 1 and terms[-1] < terms[0] - 50:
            break
    top = max(terms)
    return min(0.0, top + log(sum(exp(term - top) for term in terms)))


def corrected(log_p: float, looks: int) -> float:
    """The p-value after Bonferroni's correction for so many looks, at most 1."""
    return exp(min(0.0, log_p + log(max(1, looks))))


def p_words(p: float) -> str:
    """A p-value as it is told."""
    return "p < 1e-300" if p < 1e-300 else f"p = {p:.1e}"
