"""What a recipe may say of a stage."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pumice.recipes.features import Features
from pumice.recipes.trained import Selection, Trainable, read_selection
from pumice.recipes.training import Grounding, LearningRates, Lora, Preference, Validation
from pumice.recipes.values import (
    Betas,
    Count,
    Name,
    Names,
    PartName,
    Problem,
    StageKind,
    Strict,
    no_repeats,
)

DEFAULT_TRAINABLE: dict[StageKind, tuple[PartName, ...]] = {
    "align": ("connector",),
    "instruct": ("connector", "language"),
    "prefer": ("connector", "language"),
}
"""What trains in a stage that does not say (LLaVA 1.5: the projector; the projector and the LM)."""

EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("epochs", "steps"),
    ("tokens_per_step", "rows_per_step", "samples_per_step"),
)
"""Groups of stage fields of which exactly one is set; an override of one unsets the others."""


class Stage(Strict):
    """One pass of training, from the model that the stage before it left."""

    name: Name = Field(description="Names the stage's folder, and the stage in overrides.")
    kind: StageKind = Field(
        description="align: captions teach the connector; instruct: conversations; prefer: pairs of answers, "
        "one better than the other."
    )
    sources: Names = Field(
        min_length=1, description="The data it trains on: names of sources, mixed by their weights."
    )
    trainable: Trainable = Field(
        default=(),
        description="What trains; everything else is frozen: connector, language, vision, or some of a part: "
        "vision.last-4 (layers), language.layers.16-31, language.norms (attention, embeddings, head, mlp), "
        "language.last-8.attention, language./PATTERN/ (a regular expression over parameters' names). Left "
        "out: connector for align, connector and language for instruct and prefer.",
    )
    lr: LearningRates = Field(description="A peak learning rate for each part that trains, and no other.")
    lora: Lora | None = Field(
        default=None,
        description="Train additions of low rank to the language model (LoRA, DoRA, QLoRA); null: its own "
        "weights.",
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="AdamW's weight decay on matrices."
    )
    betas: Betas = Field(default=(0.9, 0.999), description="AdamW's two averages.")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        default="adamw",
        description="adamw, or adamw_8bit: its averages in 8 bits, about 2 bytes for each parameter that "
        "trains instead of 8. The result differs a little.",
    )
    offload: Literal["none", "optimizer", "all"] = Field(
        default="none",
        description="What lies in host memory and not on the GPU. optimizer: AdamW's averages; all: weights "
        "and gradients too, several GPUs only. On a CPU it changes nothing.",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="How learning rates fall from their peak to 0 at the last step, or do not.",
    )
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.03, description="The share of steps over which learning rates rise from 0."
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=1.0, description="Gradients longer than this are cut to it; null leaves them."
    )
    stop_norm: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Stop the run, naming the step's samples, when a gradient is longer than this before it "
        "is cut; null: only when it is not finite.",
    )
    epochs: Count | None = Field(
        default=None, description="How often to go through the sources. Exactly one of epochs and steps."
    )
    steps: Count | None = Field(
        default=None, description="How many optimiser steps. Exactly one of epochs and steps."
    )
    most_steps: Count | None = Field(
        default=None,
        description="Stop after so many steps, whatever epochs or steps say: a trial, whose rates fall to 0 "
        "within it (pumice train --steps N sets it in all stages).",
    )
    row_length: Count = Field(
        default=2048, description="Tokens of a packed row: the longest sample that fits, pictures included."
    )
    rows_per_step: Count | None = Field(
        default=None,
        description="Packed rows of one optimiser step over all devices. Exactly one of rows_per_step, "
        "tokens_per_step and samples_per_step.",
    )
    tokens_per_step: Count | None = Field(
        default=None, description="The same in tokens: a multiple of row_length. Exactly one of the three."
    )
    samples_per_step: Count | None = Field(
        default=None,
        description="The same in samples, as published recipes count their batches; they are packed into as "
        "few rows as they fit in. Exactly one of the three.",
    )
    accumulation: Count = Field(
        default=1, description="Take a step's rows in so many parts, to save memory; the result is the same."
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="auto", description="fp32, bf16 autocast, or auto: bf16 where the device is faster with it."
    )
    attention: Literal["auto", "sdpa", "eager", "flex", "varlen"] = Field(
        default="auto",
        description="How the language model attends over packed rows: auto chooses by device, precision and "
        "rows; flex is FlexAttention and varlen FlashAttention over sequences (GPUs); sdpa and eager take a "
        "dense mask.",
    )
    activation_checkpointing: bool = Field(
        default=False,
        description="Keep one activation a layer and compute the rest again in the backward pass: less "
        "memory, about a third more arithmetic, the same result.",
    )
    compile: bool = Field(
        default=False,
        description="Compile the layers with torch.compile: a minute or more before the first step, faster "
        "ones after. Needs a C++ compiler. The result differs by rounding.",
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="A template for this stage alone, such as plain; null: the model's.",
    )
    aspect: Literal["crop", "pad", "squash"] | None = Field(
        default=None,
        description="How pictures become single squares in this stage alone, without tiles and newlines; "
        "null: as model.image says. LLaVA 1.5 aligns on crops and instructs on padded pictures.",
    )
    too_long: Literal["refuse", "cut"] = Field(
        default="refuse",
        description="What happens to a sample longer than row_length. refuse: an error before the first "
        "step; cut: whole turns are left out from the end, never a part of one and never an image.",
    )
    branch_turns: bool = Field(
        default=False,
        description="Questions about one picture that do not build on each other see the picture and "
        "themselves only; one reading of the picture serves them all.",
    )
    grounding: Grounding | None = Field(
        default=None, description="align only: also pull features at boxes towards the words for them."
    )
    preference: Preference | None = Field(
        default=None,
        description="prefer only: the loss of two answers to one question; left out: DPO with beta 0.1.",
    )
    features: Features = Field(
        default=Features(),
        description="Whether the features of a frozen vision tower are kept, where, and in which numbers.",
    )
    validation: Validation | None = Field(
        default=None, description="Measure the loss on other data as it trains."
    )
    checkpoint_every: Count | None = Field(
        default=None,
        description="Save a resumable state every so many steps; the end of the stage is always saved.",
    )
    keep: Count = Field(
        default=2,
        description="How many resumable states to keep, the newest; with 1, a damaged one costs the stage.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_trainable(cls, value: Any) -> Any:
        if (
            isinstance(value, dict)
            and value.get("trainable") is None
            and value.get("kind") in DEFAULT_TRAINABLE
        ):
            return {**value, "trainable": DEFAULT_TRAINABLE[value["kind"]]}
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_preference(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("kind") == "prefer" and value.get("preference") is None:
            return {**value, "preference": {}}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.sources, "sources")
        no_repeats(self.trainable, "trainable")
        if not self.trainable:
            raise Problem("nothing trains in this stage", "name at least one part", ("trainable",))
        self._check_selections()
        self._check_rates()
        for group in EXCLUSIVE:
            given = [key for key in group if getattr(self, key) is not None]
            choices = f"{', '.join(group[:-1])} and {group[-1]}"
            if len(given) > 1:
                raise Problem(
                    f"both {given[0]} and {given[1]} are set", f"keep one of {choices}", (given[1],)
                )
            if not given:
                raise Problem(f"neither {' nor '.join(group)} is set", f"set one of {choices}")
        self._check_rows()
        if self.lora is not None and "language" not in self.parts:
            raise Problem(
                "lora is for the language model, which is frozen in this stage",
                "add language to trainable, or remove lora",
                ("lora",),
                unset=True,
            )
        if self.offload == "all" and self.lora is not None and self.lora.quantize is not None:
            raise Problem(
                "offload all takes apart all weights, and those of 4 bits stay whole on each device",
                "choose offload optimizer, or leave lora.quantize out",
                ("offload",),
            )
        if self.grounding is not None and self.kind != "align":
            raise Problem(
                f"grounding belongs to align stages, and this one is {self.kind}",
                "remove it",
                ("grounding",),
                unset=True,
            )
        self._check_preference()
        self._check_features()
        if self.validation is not None and self.validation.source in self.sources:
            raise Problem(
                f"the stage trains on its own validation data, {self.validation.source!r}",
                "validate on a source that no stage trains on",
                ("validation", "source"),
            )
        return self

    def _check_preference(self) -> None:
        if self.preference is None:
            return
        if self.kind != "prefer":
            raise Problem(
                f"preference belongs to prefer stages, and this one is {self.kind}",
                "remove it",
                ("preference",),
                unset=True,
            )
        if self.branch_turns:
            raise Problem(
                "a prefer stage compares the last answers, and each has a branch already",
                "remove branch_turns",
                ("branch_turns",),
            )
        if self.too_long == "cut":
            raise Problem(
                "a prefer stage compares the last answers, which cutting turns from the end would take away",
                "set too_long to refuse, and raise row_length or remove the rows that are named",
                ("too_long",),
            )

    def _check_selections(self) -> None:
        for one in self.selections:
            if one.whole:
                continue
            if one.part in self.trainable:
                raise Problem(
                    f"{one.part} trains whole, {one.text} with it", "keep one of the two", ("trainable",)
                )
            if one.part == "language" and self.lora is not None:
                raise Problem(
                    f"lora trains additions in the place of the language model's weights, and {one.text} are "
                    "some of these",
                    "write language, and choose layers with lora.targets; or remove lora",
                    ("trainable",),
                )

    def _check_features(self) -> None:
        asked = (
            self.features.keep == "disk",
            self.features.dtype != "fp32",
            self.features.budget_gb is not None,
        )
        if "vision" in self.parts and any(asked):
            raise Problem(
                "features can be kept of a frozen tower only, and vision trains in this stage",
                "remove features, or take vision out of trainable",
                ("features",),
            )

    def _check_rates(self) -> None:
        for part in ("connector", "language", "vision"):
            rate = getattr(self.lr, part)
            if part in self.parts and rate is None:
                raise Problem(f"{part} trains but has no learning rate", f"set lr.{part}", ("lr",))
            if part not in self.parts and rate is not None:
                raise Problem(
                    f"{part} has a learning rate but is frozen",
                    f"add {part} to trainable, or remove lr.{part}",
                    ("lr", part),
                    unset=True,
                )

    def _check_rows(self) -> None:
        tokens = self.tokens_per_step
        if tokens is not None and tokens % self.row_length:
            lower = max(tokens // self.row_length, 1) * self.row_length
            raise Problem(
                f"tokens_per_step {tokens} is no multiple of row_length {self.row_length}",
                f"the nearest that fit are {lower} and {lower + self.row_length}",
                ("tokens_per_step",),
            )
        if self.rows is not None and self.rows % self.accumulation:
            raise Problem(
                f"{self.rows} rows a step cannot be taken in {self.accumulation} equal parts",
                "make accumulation a divisor of the rows of a step",
                ("accumulation",),
            )

    @property
    def selections(self) -> tuple[Selection, ...]:
        """``trainable``, read."""
        return tuple(read_selection(text) for text in self.trainable)

    @property
    def dense(self) -> bool:
        """Whether attention takes a dense mask, and so computes what nobody sees."""
        return self.attention in ("sdpa", "eager")

    @property
    def parts(self) -> tuple[PartName, ...]:
        """The parts of the model of which all or some trains, each once."""
        return tuple(dict.fromkeys(one.part for one in self.selections))

    @property
    def rows(self) -> int | None:
        """Packed rows of one optimiser step, over all devices and accumulation parts; None where a step is
        a number of samples."""
        if self.tokens_per_step is not None:
            return self.tokens_per_step // self.row_length
        return self.rows_per_step
