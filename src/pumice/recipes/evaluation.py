"""What a recipe may say of its measurement."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pumice.recipes.values import Count, PathText, Strict, Variants, no_repeats


class Evaluation(Strict):
    """What is measured once the last stage is done, and by choice on the way."""

    questions: PathText = Field(description="JSONL of questions with answers.")
    images: PathText | None = Field(default=None, description="The folder that image names are relative to.")
    limit: Count | None = Field(default=None, description="Ask only the first so many questions.")
    variants: Variants = Field(
        default=("tuned", "aligned", "blind", "wrong-image"),
        min_length=1,
        description="Who answers: tuned, the finished model; aligned, the model after the last align stage; "
        "blind, the finished one without the picture; wrong-image, the finished one with another picture.",
    )
    max_new_tokens: Count = Field(default=64, description="The longest answer, in tokens.")

    every: Count | None = Field(
        default=None,
        description="Also ask the model in training every so many steps of a stage; null: at the end only.",
    )
    every_limit: Count = Field(
        default=200, description="With every: how many of the questions are asked on the way, the first ones."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.variants, "variants")
        return self
