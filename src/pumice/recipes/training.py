"""The blocks within a stage: rates, grounding, low-rank additions, preferences, validation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pumice.recipes.values import Count, KeepBest, LayerNames, Name, Problem, Rate, Strict, Words, Words4


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


class Preference(Strict):
    """How a stage of kind prefer weighs two answers to one question (DPO)."""

    loss: Literal["sigmoid", "ipo"] = Field(
        default="sigmoid",
        description="sigmoid: DPO's logistic loss of the margin; ipo: the squared distance of the margin per "
        "token from 1 / (2 beta).",
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        default=0.1, description="How dear it is to leave the model that the stage begins with."
    )
    dpo: Annotated[float, Field(ge=0)] = Field(
        default=1.0, description="The weight of that loss (dpo_alpha in LLaVA-NeXT)."
    )
    sft: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="The weight of the chosen answers' own loss per token beside it (gamma in LLaVA-NeXT).",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        default=0.0, description="With sigmoid: the share of pairs that are taken to be the wrong way round."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.loss == "ipo" and self.label_smoothing:
            raise Problem(
                "ipo has no label smoothing", "set it to 0, or loss to sigmoid", ("label_smoothing",)
            )
        if not self.dpo and not self.sft:
            raise Problem("dpo and sft are both 0, so nothing is learnt", "raise one of them", ("dpo",))
        return self


class Validation(Strict):
    """A loss on data that no stage trains on, and which model of a stage is kept as its best."""

    source: str | None = Field(
        default=None,
        description="The name of a source under data; null: none, and keep_best is a task's figure.",
    )
    limit: Count | None = Field(default=None, description="Use only so many samples, chosen by the seed.")
    every: Count | None = Field(
        default=None, description="Every so many steps; the end of the stage is always measured."
    )
    keep_best: KeepBest = Field(
        default=False,
        description="true: keep the model of the lowest of these losses in stages/STAGE/best, a checkpoint "
        "or, in a stage with lora, an adapter. TASK.FIGURE, such as pope.f1: that of the best figure of a "
        "task that is asked on the way (evaluation.tasks and every).",
    )

    @property
    def figure(self) -> str | None:
        """By which figure of a task the best model is chosen, ``TASK.FIGURE``; None where by none."""
        return self.keep_best if isinstance(self.keep_best, str) else None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source is not None:
            return self
        if self.figure is None:
            raise Problem(
                "the validation has no data",
                "name a source under data; only keep_best by a task's figure does without",
                ("source",),
            )
        for name, value in (("limit", self.limit), ("every", self.every)):
            if value is not None:
                raise Problem(f"{name} is of a source, and there is none", f"leave {name} out", (name,))
        return self
