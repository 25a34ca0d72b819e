"""Names that other programs have for keys and values of a recipe, where a recipe or a change uses them."""

from __future__ import annotations

import pytest

from pumice.errors import RecipeError
from pumice.recipes import load_recipe, near_fields, recipe_fields
from pumice.recipes.aliases import KEYS, VALUES
from pumice.recipes.fields import annotation_at, kind_of


def remedy(*changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe("tiny", changes)
    return str(caught.value.remedy)


def test_every_alias_leads_to_a_key_that_there_is_and_is_none_itself() -> None:
    keys = {doc.key for doc in recipe_fields()}
    last = {key.rpartition(".")[2] for key in keys}
    for name, (ours, told) in KEYS.items():
        assert set(ours) <= keys, name
        assert ours or told, name
        assert name not in last, f"{name} is a key of a recipe"


def test_every_value_of_others_leads_to_a_choice() -> None:
    for name, values in VALUES.items():
        place = {"quantize": ("lora", "quantize")}.get(name, (name,))
        choices = kind_of(annotation_at(("stages", 0, *place))).replace(", or null", "")
        assert set(values.values()) <= set(choices.removeprefix("one of: ").split(", ")), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.instruct.lora={r: 8}", "here that is stages.instruct.lora.rank"),
        ("stages.instruct.lora.target_modules=q_proj", "stages.instruct.lora.targets"),
        ("stages.instruct.learning_rate=1e-4", "stages.instruct.lr.language"),
        ("gradient_accumulation_steps=4", "stages.NAME.accumulation"),
        ("stages.instruct.per-device-train-batch-size=4", "stages.instruct.samples_per_step"),
        ("stages.instruct.num_train_epochs=1", "stages.instruct.epochs"),
        ("stages.instruct.load_in_4bit=true", "stages.instruct.lora.quantize"),
        ("report_to=wandb", "--log"),
        ("deepspeed=zero3.json", "torchrun"),
        ("stages.instruct.attention=flash_attention_2", "here that is varlen"),
        ("stages.instruct.optimizer=adamw_torch", "here that is adamw;"),
    ],
)
def test_a_name_of_another_program_is_translated(change: str, said: str) -> None:
    assert said in remedy(change)


def test_the_reference_of_keys_knows_the_same_names() -> None:
    assert near_fields("learning_rate") == ("stages.NAME.lr.language", "stages.NAME.lr.connector")
    assert near_fields("target_modules") == ("stages.NAME.lora.targets",)


def test_a_rate_in_the_place_of_the_rates_names_the_parts_that_train() -> None:
    told = remedy("stages.instruct.lr=1e-4")
    assert told == "write stages.instruct.lr.connector=0.0001 and stages.instruct.lr.language=0.0001"
    assert remedy("stages.align.lr=0.5") == "write stages.align.lr.connector=0.5"


def test_what_takes_a_key_away_is_told_as_a_command_line_writes_it() -> None:
    change = "stages.instruct.trainable=[connector]"
    assert "stages.instruct.lr.language=null" in remedy(change)
    changed = load_recipe("tiny", [change, "stages.instruct.lr.language=null"])
    assert changed.stages[-1].lr.language is None


@pytest.mark.parametrize("change", ["evaluation=None", "stages.instruct.checkpoint_every=none"])
def test_none_is_written_null(change: str) -> None:
    assert remedy(change) == "write null"
