"""What a recipe may say of the features of a frozen vision tower."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pumice.recipes.values import PathText, Problem, Strict

Keep = Literal["memory", "disk", "none"]
FeatureType = Literal["fp32", "bf16", "fp8"]


class Features(Strict):
    """What becomes of a picture's features once a frozen tower has made them."""

    keep: Keep = Field(
        default="memory",
        description="memory: keep the features of a frozen tower while those of the stage fit; disk: write "
        "them once into a folder that runs share, and read them from there; none: make them again each time.",
    )
    dtype: FeatureType = Field(
        default="fp32",
        description="The numbers in which features are kept and learnt from: bf16 takes half the room of "
        "fp32; fp8 (e4m3, a scale a token) a quarter, and is about 2.5% off.",
    )
    budget_gb: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="GB (10^9 bytes) that they may take. memory: of this stage; what does not fit is made "
        "again each time. disk: of the whole folder; the longest unused go first, and a stage that does not "
        "fit is refused before the first step. null: 2.15 in memory, 20 on disk.",
    )
    folder: PathText | None = Field(
        default=None,
        description="With disk: where they are, such as a fast local disk; null: .cache/features beside the "
        "runs.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folder is not None and self.keep != "disk":
            raise Problem(
                f"features are not kept in a folder (keep is {self.keep})",
                "set keep to disk, or remove folder",
                ("folder",),
            )
        if self.budget_gb is not None and self.keep == "none":
            raise Problem(
                "no features are kept, so there is nothing to limit",
                "set keep to memory or disk, or remove budget_gb",
                ("budget_gb",),
            )
        return self

    @property
    def budget(self) -> int | None:
        """``budget_gb`` in bytes; None where it is left to the program."""
        return None if self.budget_gb is None else round(self.budget_gb * 1e9)
