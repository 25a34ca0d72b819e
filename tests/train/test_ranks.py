from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from pumice.recipes.load import dump_recipe
from pumice.train.parallel import ALONE, shares

from .conftest import Launch

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0}
GROUNDING = {"weight": 2.0, "center_word": "a", "position_words": ["b", "c", "d", "is"]}


@given(st.lists(st.integers(1, 99), min_size=1, max_size=20), st.integers(1, 5), st.integers(1, 4))
def test_every_row_has_one_place(costs: list[int], parts: int, world: int) -> None:
    """``costs`` are the tokens of each row."""
    rows = [(i,) for i in range(len(costs))]
    found = shares(rows, costs, parts, world)
    placed = sorted(row for part in found for own in part for row in own)
    assert placed == rows
    assert all(len(part) == world for part in found)
    for part in found:
        sizes = [len(own) for own in part]
        assert max(sizes) - min(sizes) <= 1
        assert sum(sizes) > 0


def test_ranks_have_alike_much_to_do() -> None:
    costs = [100, 90, 50, 40, 30, 20, 10, 60]
    (part,) = shares([(i,) for i in range(8)], costs, 1, 2)
    sums = [sum(costs[row[0]] for row in own) for own in part]
    assert abs(sums[0] - sums[1]) <= 10


def test_one_rank_takes_rows_in_order() -> None:
    rows = [(i,) for i in range(7)]
    found = shares(rows, [1] * 7, 3, 1)
    assert [own for part in found for own in part] == [rows[:3], rows[3:6], rows[6:]]


def test_alone_nothing_is_added_up() -> None:
    assert ALONE.total({"a": 2.0}) == {"a": 2.0}
    assert ALONE.any(True)
    assert not ALONE.any(False)


def stages(toy: Any) -> dict[str, list[dict[str, Any]]]:
    """Recipes whose mathematics must not depend on ranks, by name."""
    plain = toy.instruct(rows_per_step=8, row_length=64, steps=4)
    everything = ["connector", "language", "vision"]
    return {
        # Rows of eight, two of the samples without a picture: some ranks have none in their part.
        "whole": [{**plain, "validation": {**plain["validation"], "keep_best": True}}],
        "parts": [{**plain, "accumulation": 4}],
        "eight": [{**plain, "accumulation": 8}],
        "tower": [
            {
                **plain,
                "trainable": everything,
                "lr": {"connector": 0.01, "language": 0.003, "vision": 0.001},
                "activation_checkpointing": True,
            }
        ],
        # Some of each part, so that layers hold what trains beside what does not.
        "some": [
            {
                **plain,
                "trainable": ["connector", "vision.last-1", "language.layers.1.attention", "language.norms"],
                "lr": {"connector": 0.01, "language": 0.003, "vision": 0.001},
            }
        ],
        # A sample a step: one of them has no picture, and says nothing to the connector.
        "single": [{**plain, "rows_per_step": 1, "row_length": 44, "steps": 14}],
        "lora": [{**plain, "lora": LORA}],
        "qlora": [{**plain, "lora": {**LORA, "quantize": "nf4"}}],
        "half": [{**plain, "precision": "bf16"}],
        # Three rows for two ranks: one has none in its part.
        "prefer": [toy.prefer(name="instruct", rows_per_step=3, row_length=96, preference={"sft": 0.5})],
        "grounded": [toy.align(grounding=GROUNDING, rows_per_step=2, row_length=64, steps=2), plain],
    }


@pytest.fixture(scope="module")
def ran(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[int, Path]]:
    """The folders of all runs, by recipe and number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    found: dict[str, dict[int, Path]] = {}
    runs: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    for name, chosen in stages(toy).items():
        recipe = folder / f"{name}.yaml"
        recipe.write_text(dump_recipe(toy.make_recipe(data, *chosen)), "utf-8")
        for world in runs:
            target = folder / f"{name}-{world}"
            runs[world].append(
                {"recipe": str(recipe), "folder": str(target), "parts": str(parts.vision.parent)}
            )
            found.setdefault(name, {})[world] = target
    for world, wanted in runs.items():
        launch(world, wanted)
    return found


def numbers(toy: Any, folder: Path, stage: str = "instruct") -> list[float]:
    """All losses and norms of a stage."""
    rows = toy.metrics(folder, stage)
    return [row[key] for row in rows for key in ("loss", "grounding", "grad_norm") if key in row]


@pytest.mark.parametrize("name", ["whole", "parts", "tower", "some", "single", "lora", "prefer", "grounded"])
def test_two_ranks_compute_what_one_does(toy: Any, ran: Any, name: str) -> None:
    one, two = (numbers(toy, ran[name][world]) for world in (1, 2))
    assert len(one) > 5
    assert two == pytest.approx(one, rel=1e-4)
    weights = [load_file(ran[name][world] / "stages/instruct/model/model.safetensors") for world in (1, 2)]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=2e-4)


def test_a_step_has_no_picture_on_any_rank(toy: Any, ran: Any) -> None:
    """Not its last: what it does to the connector shows afterwards."""
    for world in (1, 2):
        rows = toy.metrics(ran["single"][world], "instruct")
        pictures = [row["images"] for row in rows if row["kind"] == "train"]
        assert 0 in pictures[1:-1]


@pytest.mark.parametrize("name", ["qlora", "half"])
def test_two_ranks_in_half_compute_nearly_what_one_does(toy: Any, ran: Any, name: str) -> None:
    """Layers are gathered in bfloat16, so that their norms, too, are rounded; nothing else differs."""
    one, two = (numbers(toy, ran[name][world]) for world in (1, 2))
    assert len(one) > 5
    assert two == pytest.approx(one, rel=1e-2)


def test_pairs_are_compared_as_on_one_rank(toy: Any, ran: Any) -> None:
    keys = ("margin", "accuracy", "chosen", "rejected", "sft", "dpo")
    one, two = (toy.metrics(ran["prefer"][world], "instruct") for world in (1, 2))
    assert [row["kind"] for row in two] == [row["kind"] for row in one]
    for ours, theirs in zip(one, two, strict=True):
        assert [theirs[key] for key in keys] == pytest.approx([ours[key] for key in keys], rel=1e-4, abs=1e-5)
    files = [load_file(ran["prefer"][world] / "stages/instruct/reference.safetensors") for world in (1, 2)]
    for name, value in files[0].items():
        torch.testing.assert_close(files[1][name], value, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_grounding_and_nearest_words_are_those_of_one_rank(toy: Any, ran: Any) -> None:
    one, two = (toy.metrics(ran["grounded"][world], "align") for world in (1, 2))
    assert [row["kind"] for row in two] == [row["kind"] for row in one]
    assert numbers(toy, ran["grounded"][2], "align") == pytest.approx(
        numbers(toy, ran["grounded"][1], "align"), rel=1e-4
    )


def test_one_by_eight_is_eight_by_one_is_two_ranks_by_four(toy: Any, ran: Any) -> None:
    eight_by_one = numbers(toy, ran["eight"][1])
    one_by_eight = numbers(toy, ran["whole"][1])
    two_by_four = numbers(toy, ran["parts"][2])
    assert eight_by_one == pytest.approx(one_by_eight, rel=1e-4)
    assert two_by_four == pytest.approx(one_by_eight, rel=1e-4)


def test_the_record_says_how_many(ran: Any) -> None:
    for world in (1, 2):
        record = json.loads((ran["whole"][world] / "run.json").read_text("utf-8"))
        assert (record["ranks"], record["status"]) == (world, "finished")


def test_the_best_model_is_kept_whole(ran: Any) -> None:
    weights = []
    for world in (1, 2):
        best = json.loads((ran["whole"][world] / "run.json").read_text("utf-8"))["best"]["instruct"]
        assert best["step"] == 4
        weights.append(load_file(ran["whole"][world] / best["model"] / "model.safetensors"))
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-3, atol=2e-4)


def test_a_state_moves_from_two_ranks_to_one_and_back(
    toy: Any, parts: Any, data: Path, launch: Launch, ran: Any, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(toy.make_recipe(data, *stages(toy)["whole"])), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    launch(2, [{**run, "stop": 2}])  # just after a validation
    state = tmp_path / "run/stages/instruct/state/step-000002"
    assert len(list(state.glob("*.safetensors"))) == 2
    launch(1, [{**run, "stop": 1, "resume": True}])
    assert [path.name for path in state.parent.iterdir()] == ["step-000003"]
    launch(2, [{**run, "resume": True}])
    whole = numbers(toy, ran["whole"][1])
    assert numbers(toy, tmp_path / "run") == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_damaged_file_of_one_rank_is_noticed_by_all(
    toy: Any, parts: Any, data: Path, launch: Launch, ran: Any, tmp_path: Path, world: int
) -> None:
    """Zeros in what the second rank wrote: all of them go back to the state before."""
    recipe = tmp_path / "recipe.yaml"
    (stage,) = stages(toy)["whole"]
    chosen = toy.make_recipe(data, {**stage, "keep": 2, "checkpoint_every": 1})
    recipe.write_text(dump_recipe(chosen), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    launch(2, [{**run, "stop": 2}])
    states = tmp_path / "run/stages/instruct/state"
    assert sorted(path.name for path in states.iterdir()) == ["step-000001", "step-000002"]
    file = states / "step-000002" / "shard-00002-model-00001-of-00001.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-2000] + bytes(2000))
    launch(world, [{**run, "resume": True}])
    assert numbers(toy, tmp_path / "run") == pytest.approx(numbers(toy, ran["whole"][1]), rel=1e-4)


@pytest.mark.slow
def test_each_rank_reads_its_share_of_pictures_once_and_finds_the_others(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path: Path
) -> None:
    features = {"keep": "disk", "dtype": "fp8"}
    stage = toy.instruct(rows_per_step=8, row_length=64, steps=4, features=features)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(toy.make_recipe(data, stage)), "utf-8")
    shared = {"recipe": str(recipe), "parts": str(parts.vision.parent)}
    names = {2: ("two/cold", "two/warm"), 1: ("one/cold", "two/alone")}
    for world, folders in names.items():
        launch(world, [{**shared, "folder": str(tmp_path / folder)} for folder in folders])
    made = {}
    for folder in ("one/cold", "two/cold", "two/warm", "two/alone"):
        (row,) = json.loads((tmp_path / folder / "run.json").read_text("utf-8"))["stages"]
        made[folder] = row["features"]["made"]
        assert row["features"]["views"] == 12
        assert 0.01 < row["features"]["error"] < 0.04
    assert made == {"one/cold": 12, "two/cold": 12, "two/warm": 0, "two/alone": 0}
    written = list((tmp_path / "two/.cache/features").glob("*/*.safetensors"))
    counts = [len(load_file(path)["keys"]) for path in written]
    assert sum(counts) == 12
    assert len(counts) == 2, "both ranks wrote"
    one, two = toy.metrics(tmp_path / "one/cold", "instruct"), toy.metrics(tmp_path / "two/cold", "instruct")
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    assert toy.metrics(tmp_path / "two/warm", "instruct") == two, "the same bits, made or found"
    assert toy.metrics(tmp_path / "two/alone", "instruct") == one, "whoever made them"


@pytest.mark.slow
def test_a_state_of_two_copies_goes_on_as_one_copy(
    toy: Any, parts: Any, data: Path, launch: Launch, ran: Any, tmp_path: Path
) -> None:
    """Four ranks, two of which share a copy of the weights; then all four do."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(toy.make_recipe(data, *stages(toy)["whole"])), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    launch(4, [{**run, "stop": 2, "split": 2}])
    launch(4, [{**run, "resume": True, "split": 4}])
    whole = numbers(toy, ran["whole"][1])
    assert numbers(toy, tmp_path / "run") == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_all_ranks_keep_the_model_of_the_best_figure_that_the_first_one_measures(
    toy: Any, parts: Any, data: Path, launch: Launch, tmp_path: Path
) -> None:
    (stage,) = stages(toy)["whole"]
    plain = toy.make_recipe(data, {**stage, "validation": {"source": "instruct_val"}})
    value = plain.model_dump(mode="json")
    value["stages"][0]["validation"] = {"keep_best": "pope.f1"}
    value["evaluation"] = {"tasks": ["pope"], "data": str(data), "every": 1}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(dump_recipe(type(plain).model_validate(value)), "utf-8")
    run = {"recipe": str(recipe), "folder": str(tmp_path / "run"), "parts": str(parts.vision.parent)}
    launch(2, [{**run, "figures": {"pope.f1": [50.0, 70.5, 70.5, 60.0]}}])
    record = json.loads((tmp_path / "run/run.json").read_text("utf-8"))["best"]["instruct"]
    place = "stages/instruct/best"
    assert record == {"step": 2, "figure": "pope.f1", "value": 70.5, "model": place}
    assert toy.weights(tmp_path / "run" / place) != toy.weights(tmp_path / "run/stages/instruct/model")
