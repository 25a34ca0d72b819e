"""Numbers of a comparison as sentences and tables have them."""

from __future__ import annotations

from pumice.score.result import flat


def points(value: float, *, signed: bool = False) -> str:
    """A figure or a difference as it is read: the same two places in sentences and in tables.

    >>> points(-2.05), points(2.049, signed=True)
    ('-2.05', '+2.05')
    """
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def ends_text(interval: tuple[float, float], between: str, *, signed: bool = False) -> str:
    """The ends of an interval; where all resamples are alike, they say nothing of how sure a figure is.

    >>> ends_text((-1.0, 2.5), " to ", signed=True), ends_text((100.0, 100.0), ", ")
    ('-1.00 to +2.50', 'no spread')
    """
    if flat(interval):
        return "no spread"
    return between.join(points(end, signed=signed) for end in interval)


def p_text(p: float) -> str:
    """A p value as it is read."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
