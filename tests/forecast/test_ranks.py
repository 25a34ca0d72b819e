"""What ranks that do not exist would hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from pumice.cost.hardware import get_hardware
from pumice.errors import RunError, UsageError
from pumice.forecast import Options
from pumice.forecast.ranks import Cluster, Counted, Job, assumed_load, check_ranks, count_ranks
from pumice.forecast.run import forecast
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes import load_recipe
from pumice.recipes.schema import Lora, Model, Recipe

SEVENTY = "hub:meta-llama/Llama-2-70b-hf"


def nowhere(name: str, kind: str) -> Path | None:
    return None


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("llava-1.5-7b", variables={"data": "nowhere"})


def seventy(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"language": SEVENTY})})


def counted(recipe: Recipe, cluster: Cluster, **changes: Any) -> Counted:
    stage = recipe.stages[1].model_copy(update=changes)
    return count_ranks(Job(recipe.model, {}, stage, cluster, half=True))


def params(model: Model) -> tuple[int, int]:
    """Parameters of the tower, and of all else."""
    sizes = model_shape(plan_model(model, nowhere).model).params
    return sizes["vision"], sizes["connector"] + sizes["language"]


@pytest.mark.parametrize("cluster", [Cluster(8, 8), Cluster(64, 8), Cluster(64, 8, 64), Cluster(512, 8, 32)])
def test_a_copy_is_the_whole_model(recipe: Recipe, cluster: Cluster) -> None:
    found = counted(recipe, cluster)
    tower, rest = params(recipe.model)
    sharing = cluster.split or 8
    assert len(found.held) == sharing
    assert found.whole == 4 * (tower + rest)
    assert sum(one.weights for one in found.held) == 4 * (rest + sharing * tower)
    assert sum(one.optimizer for one in found.held) == 8 * rest
    assert found.worst == found.held[0]
    assert not dist.is_initialized()


def test_seventy_billion_on_512(recipe: Recipe) -> None:
    found = counted(seventy(recipe), Cluster(512, 8, 512))
    tower, rest = params(seventy(recipe).model)
    assert len(found.held) == 512
    assert sum(one.weights for one in found.held) == 4 * (rest + 512 * tower)
    shares = {one.weights + one.padding for one in found.held}
    assert len(shares) == 1
    assert found.worst.optimizer == pytest.approx(8 * rest / 512, rel=1e-3)


@pytest.mark.parametrize("quantize", [None, "nf4"])
def test_additions_train_in_place_of_the_language_model(recipe: Recipe, quantize: Any) -> None:
    lora = Lora(quantize=quantize)
    found = counted(recipe, Cluster(8, 8), lora=lora)
    planned = plan_model(recipe.model, nowhere)
    shape, additions = model_shape(planned.model), additions_of(planned.model.lm, lora)
    trained = shape.params["connector"] + additions.params
    assert sum(one.optimizer for one in found.held) == 8 * trained
    head = shape.language.head
    plain = shape.params["language"] - additions.covered - head
    half, whole = head, 4.0 * shape.params["vision"]
    if additions.bits is None:  # frozen linear layers are held in bfloat16
        half += additions.covered
    else:  # numbers of 4 bits are not split
        whole += additions.covered * additions.bits / 8
    wanted = 8 * whole + 4 * (plain + trained) + 2 * half
    assert sum(one.weights for one in found.held) == pytest.approx(wanted, rel=1e-3)


def told(recipe: Recipe, **options: Any) -> list[dict[str, Any]]:
    given = Options(data=False, ranks=True, **options)
    return [stage.summary["ranks"] for stage in forecast(recipe, nowhere, given).stages]


@pytest.mark.slow
def test_what_does_not_fit_is_said_with_what_would(recipe: Recipe) -> None:
    card = get_hardware("h100")
    align, instruct = told(seventy(recipe), devices=64, hardware=card)
    assert align["fits"]
    assert not instruct["fits"]
    assert instruct["all"] == instruct["worst"]["all"] + sum(
        instruct[part] for part in ("activations", "logits", "overhead")
    )
    words = {one["words"]: one["bytes"] for one in instruct["would_fit"]}
    assert any("LoRA" in word for word in words)
    assert all(size <= instruct["device"] for size in words.values())
    wide = next(word for word in words if word.startswith("--split"))
    (again,) = told(
        seventy(recipe).model_copy(update={"stages": recipe.stages[1:]}),
        devices=64,
        hardware=card,
        split=int(wide.split()[1]),
    )
    assert again["fits"]
    assert again["all"] == words[wide]
    assert (again["split"], again["copies"]) == (int(wide.split()[1]), 64 // int(wide.split()[1]))


def test_ranks_are_of_whole_nodes_and_of_known_devices(recipe: Recipe) -> None:
    with pytest.raises(UsageError, match="nodes of 8"):
        Cluster(12, 8).check()
    with pytest.raises(UsageError, match="one device"):
        Cluster(1, 1).check()
    with pytest.raises(RunError, match="--split"):
        Cluster(16, 8, 5).check()
    with pytest.raises(UsageError, match="--sharding"):
        check_ranks(recipe, Options(sharding="grads"))
    bare = recipe.model_copy(update={"published": {}})
    with pytest.raises(UsageError, match="--hardware"):
        check_ranks(bare, Options())


def test_rows_nobody_read_are_full(recipe: Recipe) -> None:
    stage = recipe.stages[1]
    filled = assumed_load(stage, recipe.published["instruct"], image_tokens=576, tiles=1)
    alone = assumed_load(stage, None, image_tokens=576, tiles=1)
    # 370 tokens of text, and 576 of a picture in 94% of the samples, 128 of them.
    assert filled.rows == 57
    assert alone.rows == 128
    assert filled.row == alone.row == filled.logits_per_row == 2048
    assert alone.images_per_step == 128 * 3
    rows = assumed_load(
        stage.model_copy(update={"samples_per_step": None, "rows_per_step": 6}),
        None,
        image_tokens=576,
        tiles=1,
    )
    assert rows.rows == 6
    assert dataclasses.asdict(rows)["steps"] == 1
