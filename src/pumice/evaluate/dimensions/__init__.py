"""Dimensions: sides of a model that no single benchmark shows, each with figures, intervals and chance."""

from pumice.evaluate.dimensions.dimension import Dimension, Measured, Subject, Terms
from pumice.evaluate.dimensions.measure import ALL, DIMENSIONS, check_all, chosen, measure_all

__all__ = [
    "ALL",
    "DIMENSIONS",
    "Dimension",
    "Measured",
    "Subject",
    "Terms",
    "check_all",
    "chosen",
    "measure_all",
]
