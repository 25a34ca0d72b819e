"""LLaVA-1.5's instruction mixture from its ten public sources, one module each."""

from pumice.data.llava_mix.base import MixSource
from pumice.data.llava_mix.build import PUBLISHED, SOURCES, Built, build_mix

__all__ = ["PUBLISHED", "SOURCES", "Built", "MixSource", "build_mix"]
