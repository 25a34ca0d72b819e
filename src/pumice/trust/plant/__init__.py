"""`pumice data plant`: faults put into a copy of data, and the truth about them, to measure an audit with."""

from pumice.trust.plant.fault import KINDS, Kind, Planted
from pumice.trust.plant.run import TRUTH, Planting, plant

__all__ = ["KINDS", "TRUTH", "Kind", "Planted", "Planting", "plant"]
