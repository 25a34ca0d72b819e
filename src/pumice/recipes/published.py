"""What a recipe may say of the published run that it follows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pumice.recipes.values import Count, Strict


class Published(Strict):
    """What a stage of a published run was, so that a plan can be held against it."""

    samples: Count = Field(description="Samples of one epoch.")
    images: Annotated[int, Field(ge=0)] = Field(description="Pictures of one epoch.")
    text_tokens: Annotated[float, Field(gt=0)] = Field(
        description="Tokens of a sample beside those of its pictures, on average, with the padding of the "
        "published code."
    )
    hardware: str = Field(min_length=1, description="A hardware's name, as pumice plan --hardware takes it.")
    devices: Count = Field(description="How many of them.")
    sharding: Literal["none", "grads", "full"] = Field(
        description="What was split over devices: nothing; gradients and optimiser states (ZeRO-2); weights "
        "too (ZeRO-3, FSDP)."
    )
    hours: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="How long it took there; null: not published."
    )
    source: str = Field(default="", description="Where these figures are from.")
