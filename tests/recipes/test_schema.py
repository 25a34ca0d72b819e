"""What a recipe may say, and the rules between its fields."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from pumice.recipes.schema import Recipe, Stage
from pumice.recipes.values import Problem

STAGE: dict[str, Any] = {
    "name": "align",
    "kind": "align",
    "sources": ["a"],
    "lr": {"connector": 1e-3},
    "steps": 10,
    "rows_per_step": 8,
}
RECIPE: dict[str, Any] = {
    "name": "r",
    "model": {"vision": "tower", "language": "lm", "template": "v1"},
    "data": {"a": {"file": "a.json"}, "b": {"file": "b.json"}},
    "stages": [STAGE],
}


def stage(**changes: Any) -> Stage:
    """The stage above with changes; a value of None takes the key out."""
    merged = {**copy.deepcopy(STAGE), **changes}
    return Stage.model_validate({key: value for key, value in merged.items() if value is not None})


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({**copy.deepcopy(RECIPE), **changes})


def problem(error: ValidationError) -> Problem:
    """The broken rule, where it is the only finding."""
    (detail,) = error.errors()
    found = detail["ctx"]["error"]
    assert isinstance(found, Problem)
    return found


def test_defaults_are_llavas() -> None:
    result = recipe()
    assert (result.model.connector, result.model.select_layer, result.model.select_feature) == (
        "mlp2x_gelu",
        -2,
        "patch",
    )
    first = result.stages[0]
    assert (first.schedule, first.warmup, first.weight_decay) == ("cosine", 0.03, 0.0)


def test_what_trains_by_kind() -> None:
    assert stage().trainable == ("connector",)
    assert stage(kind="instruct", lr={"connector": 1e-3, "language": 1e-4}).trainable == (
        "connector",
        "language",
    )
    assert stage(trainable=["vision"], lr={"vision": 1e-6}).trainable == ("vision",)


@pytest.mark.parametrize(
    ("changes", "says", "key"),
    [
        ({"epochs": 1}, "both epochs and steps", ("steps",)),
        ({"steps": None}, "neither epochs nor steps", ()),
        ({"rows_per_step": None}, "neither tokens_per_step nor rows_per_step", ()),
        ({"tokens_per_step": 2048}, "both tokens_per_step and rows_per_step", ("rows_per_step",)),
        ({"trainable": []}, "nothing trains", ("trainable",)),
        ({"trainable": ["connector", "connector"]}, "'connector' stands twice", ("trainable",)),
        ({"sources": ["a", "a"]}, "'a' stands twice", ("sources",)),
        ({"lr": {}}, "connector trains but has no learning rate", ("lr",)),
        (
            {"lr": {"connector": 1e-3, "vision": 1e-6}},
            "vision has a learning rate but is frozen",
            ("lr", "vision"),
        ),
        ({"rows_per_step": 8, "accumulation": 3}, "8 rows a step cannot be taken in 3", ("accumulation",)),
        (
            {"rows_per_step": None, "row_length": 512, "tokens_per_step": 1000},
            "1000 is no multiple of row_length 512",
            ("tokens_per_step",),
        ),
        ({"validation": {"source": "a"}}, "trains on its own validation data", ("validation", "source")),
        (
            {"kind": "instruct", "lr": {"connector": 1e-3, "language": 1e-4}, "grounding": {"weight": 1.0}},
            "grounding belongs to align stages",
            ("grounding",),
        ),
    ],
)
def test_rules_of_a_stage(changes: dict[str, Any], says: str, key: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        stage(**changes)
    found = problem(caught.value)
    assert says in found.what
    assert found.key == key
    assert found.remedy


def test_rows_from_tokens() -> None:
    assert stage(rows_per_step=None, tokens_per_step=4096, row_length=512).rows == 8
    assert stage(rows_per_step=6).rows == 6


@pytest.mark.parametrize(
    ("changes", "says", "key"),
    [
        ({"stages": [STAGE, STAGE]}, "two stages are named 'align'", ("stages", 1, "name")),
        ({"stages": [{**STAGE, "sources": ["c"]}]}, "no source 'c'", ("stages", 0, "sources", 0)),
        (
            {"stages": [{**STAGE, "validation": {"source": "c"}}]},
            "no source 'c'",
            ("stages", 0, "validation", "source"),
        ),
        (
            {
                "stages": [
                    {**STAGE, "validation": {"source": "b"}},
                    {**STAGE, "name": "more", "sources": ["b"]},
                ]
            },
            "'b' validates here and trains another stage",
            ("stages", 0, "validation", "source"),
        ),
        (
            {
                "stages": [{**STAGE, "kind": "instruct", "trainable": ["connector"]}],
                "evaluation": {"questions": "q"},
            },
            "'aligned' needs an align stage",
            ("evaluation", "variants"),
        ),
        ({"evaluation": {}}, "asks nothing", ("questions",)),
        ({"evaluation": {"tasks": ["pope"]}}, "tasks need their files", ("data",)),
        ({"evaluation": {"tasks": ["pope", "a.yaml"]}}, "tasks need their files", ("data",)),
        ({"evaluation": {"tasks": ["a.yaml", "b/c"], "data": "d"}}, "data is of benchmarks", ("data",)),
        (
            {"evaluation": {"tasks": ["pope"] * 2, "data": "d"}},
            "'pope' stands twice",
            ("tasks",),
        ),
        ({"evaluation": {"questions": "q", "data": "d"}}, "data is of tasks", ("data",)),
        (
            {"evaluation": {"questions": "q", "task_options": ["pope.x=y"]}},
            "task_options is of tasks",
            ("task_options",),
        ),
        (
            {"evaluation": {"tasks": ["pope"], "data": "d", "images": "i"}},
            "images are of questions",
            ("images",),
        ),
    ],
)
def test_rules_of_a_recipe(changes: dict[str, Any], says: str, key: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(**changes)
    found = problem(caught.value)
    assert says in found.what
    assert found.key == key


def test_tasks_alone_need_no_align_stage() -> None:
    found = recipe(
        stages=[{**STAGE, "kind": "instruct", "trainable": ["connector"]}],
        evaluation={"tasks": ["pope"], "data": "d"},
    )
    assert found.evaluation is not None
    assert found.evaluation.tasks == ("pope",)


@pytest.mark.parametrize("kind", ["linear", "identity", "mlp1x_gelu", "mlp2x_gelu", "mlp12x_gelu"])
def test_connectors(kind: str) -> None:
    assert recipe(model={**RECIPE["model"], "connector": kind}).model.connector == kind


@pytest.mark.parametrize("kind", ["mlp", "mlp0x_gelu", "mlp2x_relu", "mlp-1x_gelu", "Linear", ""])
def test_no_other_connectors(kind: str) -> None:
    with pytest.raises(ValidationError, match="there is no connector"):
        recipe(model={**RECIPE["model"], "connector": kind})


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "..", "-a", "a b"])
def test_names_are_folders_and_keys(name: str) -> None:
    with pytest.raises(ValidationError, match="cannot be a name"):
        stage(name=name)
    with pytest.raises(ValidationError, match="cannot be a name"):
        recipe(data={**RECIPE["data"], name: {"file": "x"}})


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": "10"},
        {"steps": 10.0},
        {"steps": True},
        {"steps": 0},
        {"branch_turns": 1},
        {"warmup": 1.0},
        {"betas": [0.9]},
        {"betas": [0.9, 1.0]},
        {"lr": {"connector": 0.0}},
        {"lr": {"connector": float("nan")}},
        {"lr": {"connector": float("inf")}},
        {"precision": "fp16"},
        {"trainable": ["connector", "tower"]},
        {"sources": []},
        {"sources": "a"},
        {"keep": 0},
    ],
)
def test_values_are_not_bent_to_fit(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        stage(**changes)


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        recipe().seed = 3


def test_stage_by_name() -> None:
    result = recipe()
    assert result.stage("align") is result.stages[0]
    assert result.aligned == "align"
    with pytest.raises(KeyError):
        result.stage("instruct")


PREFER: dict[str, Any] = {"kind": "prefer", "lr": {"connector": 1e-6, "language": 1e-6}}


def test_a_stage_that_prefers_is_dpo_unless_it_says_otherwise() -> None:
    chosen = stage(**PREFER)
    assert chosen.trainable == ("connector", "language")
    assert chosen.preference is not None
    assert chosen.preference.model_dump() == {
        "loss": "sigmoid",
        "beta": 0.1,
        "dpo": 1.0,
        "sft": 0.0,
        "label_smoothing": 0.0,
    }
    assert stage().preference is None


@pytest.mark.parametrize(
    ("changes", "key", "what"),
    [
        ({"preference": {"beta": 0.1}}, ("preference",), "belongs to prefer stages"),
        ({**PREFER, "branch_turns": True}, ("branch_turns",), "compares the last answers"),
        ({**PREFER, "too_long": "cut"}, ("too_long",), "would take away"),
        ({**PREFER, "preference": {"dpo": 0.0}}, ("dpo",), "nothing is learnt"),
        (
            {**PREFER, "preference": {"loss": "ipo", "label_smoothing": 0.1}},
            ("label_smoothing",),
            "ipo has no",
        ),
    ],
)
def test_preferences_that_mean_nothing_are_refused(
    changes: dict[str, Any], key: tuple[str, ...], what: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        stage(**changes)
    found = problem(caught.value)
    assert what in found.what
    assert found.key == key


@pytest.mark.parametrize(
    ("features", "trainable", "said"),
    [
        ({"keep": "disk"}, ["connector", "vision"], "of a frozen tower only"),
        ({"dtype": "fp8"}, ["connector", "vision"], "of a frozen tower only"),
        ({"folder": "x"}, ["connector"], "not kept in a folder"),
        ({"keep": "none", "budget_gb": 3.0}, ["connector"], "nothing to limit"),
        ({"keep": "disk", "budget_gb": 0.0}, ["connector"], "greater than 0"),
        ({"keep": "disc"}, ["connector"], "disk"),
    ],
)
def test_features_that_contradict_themselves_are_refused(
    features: dict[str, Any], trainable: list[str], said: str
) -> None:
    rates = dict.fromkeys(trainable, 1e-3)
    stage = {"name": "a", "kind": "align", "sources": ["x"], "steps": 1, "rows_per_step": 1}
    with pytest.raises(ValidationError, match=said):
        Stage.model_validate({**stage, "trainable": trainable, "lr": rates, "features": features})


def test_a_tower_that_trains_needs_no_word_of_features() -> None:
    stage = {"name": "a", "kind": "align", "sources": ["x"], "steps": 1, "rows_per_step": 1}
    trains = {"trainable": ["vision"], "lr": {"vision": 1e-3}}
    assert Stage.model_validate({**stage, **trains}).features.keep == "memory"
