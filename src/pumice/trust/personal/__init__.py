"""Personal data in text: found by its form and its check digits, masked for reports; no model."""

from pumice.trust.personal.find import KINDS, Hit, find
from pumice.trust.personal.mask import mask, masked

__all__ = ["KINDS", "Hit", "find", "mask", "masked"]
