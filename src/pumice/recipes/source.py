"""What a recipe may say of a source of data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pumice.recipes.values import Count, LicenceText, PathText, Strict
from pumice.types import DataFormat


class Source(Strict):
    """One file (or folder) of samples and the folder its pictures are in."""

    file: PathText = Field(
        description="A data file: JSON or JSONL, parquet, a tar shard, a folder of either, or hub:ORG/NAME."
    )
    images: PathText | None = Field(
        default=None, description="The folder that image names are relative to; none for text-only data."
    )
    weight: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0, description="How often an epoch takes each sample: 2 is twice, 0.5 takes half of them."
    )
    limit: Count | None = Field(
        default=None, description="Use only so many samples of the file, chosen by the seed."
    )
    format: DataFormat | None = Field(
        default=None, description="What the file is; null tells it by its ending and its first row's keys."
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="A response-format prompt, put behind every question on a line of its own, such as "
        "Answer the question using a single word or phrase.",
    )
    licence: LicenceText | None = Field(
        default=None,
        description="The licence of rows that do not say theirs: an SPDX id, a name, or several joined by "
        "AND or OR.",
    )
    attribution: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Whom the notice names for rows that do not say it themselves."
    )
    url: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Where rows are from that do not say it themselves."
    )
    allow_bad: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Up to so many rows that cannot be used are left out and listed in refused.jsonl; more "
        "stop the run.",
    )
