"""Recipes: what a run is, in one YAML file that is checked before anything starts."""

from __future__ import annotations

from pumice.recipes.change import Change
from pumice.recipes.fields import FieldDoc, find_fields, near_fields, recipe_fields
from pumice.recipes.load import (
    VARIABLES,
    WORLD,
    dump_recipe,
    load_recipe,
    recipe_names,
    recipe_text,
    variables_in,
)
from pumice.recipes.schema import (
    Evaluation,
    Grounding,
    LearningRates,
    Model,
    Published,
    Recipe,
    Source,
    Stage,
    Validation,
)
from pumice.recipes.values import EMBEDDED, PartName, StageKind, Variant

__all__ = [
    "EMBEDDED",
    "VARIABLES",
    "WORLD",
    "Change",
    "Evaluation",
    "FieldDoc",
    "Grounding",
    "LearningRates",
    "Model",
    "PartName",
    "Published",
    "Recipe",
    "Source",
    "Stage",
    "StageKind",
    "Validation",
    "Variant",
    "dump_recipe",
    "find_fields",
    "load_recipe",
    "near_fields",
    "recipe_fields",
    "recipe_names",
    "recipe_text",
    "variables_in",
]
