"""What a recipe may say of its model: the parts it is built from, or the whole one it starts from."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pumice.recipes.image import ImageOptions, VideoOptions
from pumice.recipes.values import Connector, PartPath, PartPaths, Problem, Scales, Strict

NEW_MODEL: dict[str, Any] = {
    "connector": "mlp2x_gelu",
    "select_layer": -2,
    "select_feature": "patch",
    "image": {},
}
"""What a new model has where the recipe does not say; a checkpoint brings its own."""


class Model(Strict):
    """The parts the model is built from, or the whole model it starts from."""

    vision: PartPath | None = Field(
        default=None,
        description="The vision tower: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose tower is taken, hub:ORG/NAME, embedded:NAME or random:NAME. Needed unless "
        "checkpoint is given.",
    )
    more_vision: PartPaths = Field(
        default=(),
        description="Further towers, read at once with the first: features are brought to its grid and "
        "joined along the channels. transformers has no place for such a model; pumice.load reads it.",
    )
    scales: Scales = Field(
        default=(),
        description="Read the one tower at these sizes in pixels (S2), the first its own, the others "
        "multiples of it; empty: at its own size alone.",
    )
    language: PartPath | None = Field(
        default=None,
        description="The language model: a folder in transformers' layout, a model that Pumice saved (any "
        "LLaVA folder), whose language model is taken, hub:ORG/NAME, embedded:NAME or random:NAME. The "
        "connector is new in any case, even where vision names the same model. Needed unless checkpoint is "
        "given.",
    )
    checkpoint: PartPath | None = Field(
        default=None,
        description="A whole LLaVA to go on from, connector included, in place of vision and language: a "
        "folder in any layout, hub:ORG/NAME, or embedded:NAME.",
    )
    connector: Connector | None = Field(
        default=None,
        description="What joins them: linear, mlp2x_gelu (any mlpNx_gelu), or identity. Left out: "
        "mlp2x_gelu. A checkpoint has its own.",
    )
    select_layer: int | None = Field(
        default=None,
        description="Which of the tower's hidden states are the features; negative counts from the end. "
        "Left out: -2. A checkpoint has its own.",
    )
    select_feature: Literal["patch", "cls_patch"] | None = Field(
        default=None,
        description="patch: without the class token; cls_patch: with it. Left out: patch. A checkpoint has "
        "its own.",
    )
    template: str | None = Field(
        default=None,
        min_length=1,
        description="The conversation template of the finished model, by its exact name. A checkpoint has "
        "its own, which this replaces.",
    )
    image: ImageOptions | None = Field(
        default=None,
        description="How pictures are prepared. Left out: pad. A checkpoint has its own, which this "
        "replaces.",
    )
    video: VideoOptions | None = Field(
        default=None,
        description="How videos are prepared; null: as the checkpoint does, and a new model knows none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("checkpoint") is not None:
            return value
        given = {key: item for key, item in value.items() if item is not None}
        return {**value, **NEW_MODEL, **{key: item for key, item in given.items() if key in NEW_MODEL}}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.checkpoint is not None:
            for name in ("vision", "language", "connector", "select_layer", "select_feature"):
                if getattr(self, name) is not None:
                    raise Problem(
                        f"both checkpoint and {name} are set, and a checkpoint has its own {name}",
                        f"remove {name}, or name vision and language in place of checkpoint",
                        (name,),
                    )
            for name in ("more_vision", "scales"):
                if getattr(self, name):
                    raise Problem(
                        f"{name} builds a new model, and checkpoint is one", f"remove {name}", (name,)
                    )
            return self
        for name in ("vision", "language", "template"):
            if getattr(self, name) is None:
                raise Problem(
                    f"the key 'model.{name}' is missing",
                    "add it; it takes text (or name a whole model as checkpoint)",
                    (name,),
                )
        if self.more_vision and self.scales:
            raise Problem("several towers are read at one scale", "remove scales or more_vision", ("scales",))
        return self
