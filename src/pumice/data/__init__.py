"""Data: files of many formats, mixtures, checks before a run, packing, the plan, batches; without torch."""

from pumice.data.collate import collate
from pumice.data.counting import count_tokens
from pumice.data.formats import FORMATS, detect_format
from pumice.data.index import open_table
from pumice.data.mixture import Mixture, Source, SourceSummary, read_mixture, summarise
from pumice.data.pack import pack
from pumice.data.plan import Plan, build_plan
from pumice.data.preflight import Preflight, check_images, preflight
from pumice.data.samples import Samples, images_at, pictures_of, read_samples
from pumice.data.table import SampleTable

__all__ = [
    "FORMATS",
    "Mixture",
    "Plan",
    "Preflight",
    "SampleTable",
    "Samples",
    "Source",
    "SourceSummary",
    "build_plan",
    "check_images",
    "collate",
    "count_tokens",
    "detect_format",
    "images_at",
    "open_table",
    "pack",
    "pictures_of",
    "preflight",
    "read_mixture",
    "read_samples",
    "summarise",
]
