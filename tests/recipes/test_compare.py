from __future__ import annotations

from pumice.recipes.compare import differences
from pumice.recipes.load import dump_recipe, load_recipe


def text(*changes: str) -> str:
    return dump_recipe(load_recipe("tiny", changes, variables={"data": "somewhere"}))


def test_equal_recipes_do_not_differ() -> None:
    assert differences(text(), text()) == ()


def test_stages_are_told_by_name_and_values_as_they_are_written() -> None:
    found = differences(text(), text("stages.instruct.lr.language=0.5", "seed=77", "name=other"))
    told = {difference.key: difference.values[-1] for difference in found}
    assert told == {"name": '"other"', "seed": "77", "stages.instruct.lr.language": "0.5"}
    assert str(next(d for d in found if d.key == "seed")).endswith(" -> 77")


def test_a_block_that_one_does_not_have() -> None:
    found = differences(text(), text("stages.instruct.lora.rank=4"), text())
    keys = {difference.key: difference.values for difference in found}
    assert keys["stages.instruct.lora.rank"] == ("absent", "4", "absent")
    assert "stages.instruct.lora" not in keys


def test_a_default_that_is_not_written_is_no_difference() -> None:
    lines = text().splitlines(keepends=True)
    older = "".join(line for line in lines if "stop_norm" not in line)
    assert older != text()
    assert differences(older, text()) == ()


def test_a_recipe_of_another_version_is_compared_as_it_stands() -> None:
    found = differences(text(), text() + "invented: 3\n")
    assert [(d.key, d.values) for d in found] == [("invented", ("absent", "3"))]
