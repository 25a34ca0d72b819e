"""The blocks within a stage: rates, grounding, low-rank additions, validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pumice.recipes.values import Count, LayerNames, Name, Rate, Strict, Words, Words4


class LearningRates(Strict):
    """The peak learning rate of each part that trains."""

    connector: Rate | None = Field(default=None, description="Peak learning rate of the connector.")
    language: Rate | None = Field(default=None, description="Peak learning rate of the language model.")
    vision: Rate | None = Field(default=None, description="Peak learning rate of the vision tower.")


class Grounding(Strict):
    """Pull the feature at an object's centre towards the words for it (data with boxes only)."""

    weight: Annotated[float, Field(gt=0)] = Field(
        description="The weight of this loss beside the caption loss."
    )
    center_word: str | None = Field(
        default=None,
        min_length=1,
        description="A word added at the centre of every whole object, so that they can be counted.",
    )
    position_words: Words4 | None = Field(
        default=None,
        description="The words for left, right, top and bottom, blended in by where the centre of a "
        "patch's box lies, so that places can be read and compared.",
    )
    attributes: dict[Name, Words] = Field(
        default_factory=dict,
        description="Words of each attribute, such as colour: [red, blue]; validation reports, over all "
        "patches of the boxes whose phrase names one of them, how often the feature is nearest to that word.",
    )


class Lora(Strict):
    """Train low-rank additions to the language model's weights in place of the weights (PEFT)."""

    rank: Count = Field(default=128, description="The rank of each addition.")
    alpha: Annotated[float, Field(gt=0)] = Field(
        default=256.0, description="Each addition is scaled by alpha / rank."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.05, description="The share of its inputs that an addition does not see while training."
    )
    targets: LayerNames = Field(
        default=(),
        description="Which linear layers of the language model get one, by the last part of their names, "
        "such as q_proj; empty: all but the head.",
    )
    dora: bool = Field(default=False, description="Train magnitudes beside directions (DoRA).")
    quantize: Literal["nf4"] | None = Field(
        default=None,
        description="nf4: hold the frozen weights of those layers in 4 bits (QLoRA); null: as they are.",
    )
    double_quantization: bool = Field(
        default=True, description="With quantize: quantise the scales of its blocks, too."
    )


class Validation(Strict):
    """A loss on data that no stage trains on."""

    source: str = Field(description="The name of a source under data.")
    limit: Count | None = Field(default=None, description="Use only so many samples, chosen by the seed.")
    every: Count | None = Field(
        default=None, description="Every so many steps; the end of the stage is always measured."
    )
    keep_best: bool = Field(
        default=False,
        description="Keep the model of the lowest of these losses in stages/STAGE/best: a checkpoint, or the "
        "adapter in a stage with lora.",
    )
