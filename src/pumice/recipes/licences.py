"""What a recipe may say of the licences of its data."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pumice.licences import Policy, make_policy
from pumice.recipes.values import LicenceNames, Problem, Strict, no_repeats


class Licences(Strict):
    """What the licences of all rows must permit: training and export are refused where they do not."""

    purpose: Literal["commercial", "research", "private"] | None = Field(
        default=None,
        description="What the model serves. commercial: rows must permit it, and sharing what is made from "
        "them; research: the latter; private: nothing is shared.",
    )
    allow: LicenceNames = Field(
        default=(),
        description="Licences that pass whatever the purpose; without a purpose, no others do. CC-BY means "
        "every version.",
    )
    forbid: LicenceNames = Field(default=(), description="Licences that never pass.")
    unknown: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="Whether rows whose licence nobody knows are refused, or told of and used.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.allow, "allow")
        no_repeats(self.forbid, "forbid")
        policy = self.policy
        for place, (name, licence) in enumerate(zip(self.allow, policy.allow, strict=True)):
            if licence in policy.forbid:
                raise Problem(f"{name!r} is allowed and forbidden", "keep one of the two", ("allow", place))
        return self

    @property
    def policy(self) -> Policy:
        """The policy that it states."""
        return make_policy(self.purpose, self.allow, self.forbid, self.unknown)
