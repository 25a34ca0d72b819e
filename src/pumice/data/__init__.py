"""Data: LLaVA files, mixtures, checks before a run, packing, the plan, batches; without torch."""

from pumice.data.collate import collate
from pumice.data.llava_json import read_samples
from pumice.data.mixture import Mixture, Source, SourceSummary, read_mixture, summarise
from pumice.data.pack import pack
from pumice.data.plan import Plan, build_plan
from pumice.data.preflight import Preflight, check_images, count_tokens, preflight

__all__ = [
    "Mixture",
    "Plan",
    "Preflight",
    "Source",
    "SourceSummary",
    "build_plan",
    "check_images",
    "collate",
    "count_tokens",
    "pack",
    "preflight",
    "read_mixture",
    "read_samples",
    "summarise",
]
