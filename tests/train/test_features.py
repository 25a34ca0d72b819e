"""Features of a frozen tower on disk: found, made, damaged, changed, and the same bits always."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pumice.errors import DataError, ImageError, Interrupted, RecipeError, RunError
from pumice.model import VisionLanguageModel
from pumice.train import keeping, shelf
from pumice.train import pictures as gallery
from pumice.train.run import Parts

from ..model.parts import make_vision


def stages(toy: Any, dtype: str = "fp32", keep: str = "disk", **more: Any) -> list[dict[str, Any]]:
    features = {"keep": keep, "dtype": dtype, **more}
    return [toy.align(features=features), toy.instruct(features=features)]


def told(watch: Any) -> list[dict[str, Any]]:
    return [summary["features"] for summary in watch.stages]


def run(toy: Any, data: Path, folder: Path, parts: Parts, *own: dict[str, Any], **options: Any) -> Any:
    """The weights of a run's last stage, and what its watch saw."""
    watch = toy.Watch()
    final = toy.run(toy.make_recipe(data, *own), folder, parts, watch, **options)
    return toy.weights(final), watch


def shards(folder: Path) -> list[Path]:
    return sorted((folder.parent / ".cache" / "features").glob("*/*.safetensors"))


@pytest.fixture(scope="module")
def cold(toy: Any, data: Path, parts: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By dtype, a run that began without a cache: its folder, weights and watch; read only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = {}
    for dtype in ("fp32", "bf16", "fp8"):
        folder = tmp_path_factory.mktemp("cold") / "run"
        found[dtype] = folder, *run(toy, data, folder, parts, *stages(toy, dtype))
    torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp8"])
def test_every_picture_is_read_once(cold: Any, dtype: str) -> None:
    folder, _, watch = cold[dtype]
    first, second = told(watch)
    assert (first["views"], first["made"]) == (12, 12)
    # Both stages show the same pictures under one aspect.
    assert (second["views"], second["made"]) == (12, 0)
    written = sum(path.stat().st_size for path in shards(folder))
    assert first["bytes"] == second["bytes"]
    assert first["bytes"] - shelf.HEAD_BYTES < written <= first["bytes"]
    low, high = {"fp32": (0, 0), "bf16": (5e-4, 4e-3), "fp8": (0.01, 0.04)}[dtype]
    assert low <= first["error"] <= high
    assert first["error"] == second["error"]
    record = json.loads((folder / "run.json").read_text("utf-8"))
    assert [row["features"] for row in record["stages"]] == told(watch)
    assert not list((folder.parent / ".cache/features/in-use").iterdir()), "nothing is in use any more"


@pytest.mark.slow
def test_on_one_thread_features_on_disk_are_those_in_memory(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path
) -> None:
    for dtype in ("fp32", "bf16", "fp8"):
        memory, watch = run(toy, data, tmp_path / dtype, parts, *stages(toy, dtype, "memory"))
        assert memory == cold[dtype][1]
        assert told(watch)[0]["error"] == pytest.approx(told(cold[dtype][2])[0]["error"])
        none, watch = run(toy, data, tmp_path / f"{dtype}-none", parts, *stages(toy, dtype, "none"))
        assert none == memory, "kept or not"
        assert told(watch) == [{"keep": "none", "dtype": dtype, "seconds": 0.0}] * 2
    assert len({cold[dtype][1] for dtype in cold}) == 3


@pytest.mark.parametrize("dtype", ["fp32", "fp8"])
def test_a_warm_start_gives_the_bits_of_a_cold_one(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weights, _ = cold[dtype]
    shutil.copytree(folder.parent / ".cache", tmp_path / ".cache")
    decoded: list[Any] = []
    for module in (gallery, sys.modules["pumice.data.preflight"]):
        monkeypatch.setattr(module, "open_image", lambda *words, **more: decoded.append(words))
    warm, watch = run(toy, data, tmp_path / "run", parts, *stages(toy, dtype))
    assert [row["made"] for row in told(watch)] == [0, 0]
    assert decoded == []
    assert warm == weights
    assert watch.notices == []


def test_other_seeds_and_stages_find_what_was_made(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path
) -> None:
    shutil.copytree(cold["fp32"][0].parent / ".cache", tmp_path / ".cache")
    watch = toy.Watch()
    toy.run(toy.make_recipe(data, stages(toy)[1], seed=8), tmp_path / "run", parts, watch)
    assert told(watch)[0]["made"] == 0


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
def test_a_resumed_run_ends_alike_with_a_warm_and_a_cold_cache(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, emptied: bool, dtype: str
) -> None:
    steps = itertools.count()
    with pytest.raises(Interrupted, match="in stage 'instruct'"):
        run(toy, data, tmp_path / "run", parts, *stages(toy, dtype), stop=lambda: next(steps) == 6)
    if emptied:
        shutil.rmtree(tmp_path / ".cache")
    weights, watch = run(toy, data, tmp_path / "run", parts, *stages(toy, dtype), resume=True)
    assert [row["made"] for row in told(watch)] == [12 if emptied else 0]
    assert weights == cold[dtype][1]
    assert toy.metrics(tmp_path / "run", "instruct") == toy.metrics(cold[dtype][0], "instruct")


def test_company_changes_no_bit_however_a_tower_rounds(
    toy: Any, data: Path, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tower whose features depend on the size of a chunk and on the place in it: a run that finds some
    of its pictures, one that finds all, and one that finds none end alike."""
    encode = VisionLanguageModel.encode_tower

    def rough(model: VisionLanguageModel, pixels: Any) -> Any:
        features = encode(model, pixels)
        return features + 0.02 * len(features) + 0.05 * torch.arange(len(features))[:, None, None]

    monkeypatch.setattr(VisionLanguageModel, "encode_tower", rough)
    one = [toy.instruct(features={"keep": "disk"})]
    none, _ = run(toy, data, tmp_path / "none" / "run", parts, *one)
    short = [toy.align(features={"keep": "disk"}, steps=1, row_length=24, validation=None)]
    _, before = run(toy, data, tmp_path / "some" / "before", parts, *short)
    some, watch = run(toy, data, tmp_path / "some" / "run", parts, *one)
    assert 0 < told(before)[0]["made"] < 12
    assert told(watch)[0]["made"] == 12 - told(before)[0]["made"]
    every, watch = run(toy, data, tmp_path / "some" / "again", parts, *one)
    assert told(watch)[0]["made"] == 0
    assert none == some == every


class TestMisses:
    """What another picture, tower, preparation or number makes anew."""

    @pytest.fixture
    def place(self, cold: Any, data: Path, tmp_path: Path) -> Path:
        shutil.copytree(cold["fp32"][0].parent / ".cache", tmp_path / ".cache")
        shutil.copytree(data, tmp_path / "data")
        return tmp_path

    def made(self, toy: Any, place: Path, parts: Any, *own: dict[str, Any]) -> int:
        _, watch = run(toy, place / "data", place / "run", parts, *(own or stages(toy)[:1]))
        found: int = told(watch)[0]["made"]
        return found

    def test_the_same_bytes_elsewhere_are_found(self, toy: Any, place: Path, parts: Any) -> None:
        assert self.made(toy, place, parts) == 0

    def test_other_bytes_in_the_same_place_are_not(self, toy: Any, place: Path, parts: Any) -> None:
        picture = place / "data" / "0.png"
        image = Image.open(picture)
        image.putpixel((0, 0), (1, 2, 3))
        image.save(picture)
        assert self.made(toy, place, parts) == 1

    def test_another_tower_finds_nothing(self, toy: Any, place: Path, parts: Any) -> None:
        other = Parts(make_vision(place / "vision", seed=5), parts.language)
        assert self.made(toy, place, other) == 12
        assert len(list((place / ".cache/features").glob("*/about.json"))) == 2

    def test_other_numbers_find_nothing(self, toy: Any, place: Path, parts: Any) -> None:
        assert self.made(toy, place, parts, stages(toy, "bf16")[0]) == 12

    def test_another_precision_finds_nothing(self, toy: Any, place: Path, parts: Any) -> None:
        made = []
        for how in ("fp32", "bf16"):
            stage = {**stages(toy)[0], "precision": how}
            _, watch = run(toy, place / "data", place / how, parts, stage)
            made.append(told(watch)[0]["made"])
        assert sorted(made) == [0, 12], "one of them is what was made before"

    def test_another_way_to_a_square_finds_nothing(self, toy: Any, place: Path, parts: Any) -> None:
        assert self.made(toy, place, parts, {**stages(toy)[0], "aspect": "squash"}) == 12

    def test_another_number_of_threads_finds_nothing(self, toy: Any, place: Path, parts: Any) -> None:
        torch.set_num_threads(2)
        try:
            assert self.made(toy, place, parts) == 12
        finally:
            torch.set_num_threads(1)

    def test_a_tower_that_trained_in_between_is_another(self, toy: Any, place: Path, parts: Any) -> None:
        trained = toy.instruct(
            name="all", trainable=["connector", "vision"], lr={"connector": 0.01, "vision": 0.01}, steps=1
        )
        before, after = stages(toy)
        _, watch = run(toy, place / "data", place / "run", parts, before, trained, after)
        assert [row.get("made") for row in told(watch)] == [0, None, 12]
        assert told(watch)[1]["keep"] == "none"


@pytest.mark.parametrize("way", ["cut", "empty", "noise", "head", "gone", "half"])
def test_a_damaged_file_is_made_again_and_never_used(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, way: str
) -> None:
    shutil.copytree(cold["bf16"][0].parent / ".cache", tmp_path / ".cache")
    (file,) = shards(tmp_path / "run")
    content = file.read_bytes()
    if way == "gone":
        file.unlink()
    elif way == "half":  # a writer that was killed on the way
        file.rename(file.with_name(f"{file.name}.12.partial"))
    else:
        middle = len(content) - 2000
        file.write_bytes(
            {
                "cut": content[:middle],
                "empty": b"",
                "noise": content[:middle] + bytes(b ^ 1 for b in content[middle:]),
                "head": content[:9] + b"!" + content[10:],
            }[way]
        )
    weights, watch = run(toy, data, tmp_path / "run", parts, *stages(toy, "bf16"))
    assert weights == cold["bf16"][1]
    if way in ("gone", "half"):
        assert watch.notices == []
    else:
        assert any("made again" in text and ".safetensors" in text for text in watch.notices)
    again, watch = run(toy, data, tmp_path / "again", parts, *stages(toy, "bf16"))
    assert again == weights
    assert [row["made"] for row in told(watch)] == [0, 0], "it was mended"
    assert watch.notices == []


def test_features_that_are_damaged_or_taken_away_while_a_stage_trains(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "SHARD_BYTES", 1000)  # two pictures a file
    monkeypatch.setattr(shelf, "OPEN_FILES", 1)
    watch = toy.Watch()

    def after(row: dict[str, Any]) -> None:
        if (row["stage"], row["step"]) == ("instruct", 2):
            first, second, *_ = shards(tmp_path / "run")
            first.unlink()
            content = second.read_bytes()
            second.write_bytes(content[:-100] + bytes(100))

    watch.after = after
    final = toy.run(toy.make_recipe(data, *stages(toy)), tmp_path / "run", parts, watch)
    assert toy.weights(final) == cold["fp32"][1]
    assert len(shards(tmp_path / "run")) > 3


class TestRoom:
    def test_too_small_a_budget_is_said_before_anything_is_written(
        self, toy: Any, data: Path, parts: Any, tmp_path: Path
    ) -> None:
        need = 12 * (4 * 24 * 4 + shelf.ENTRY_BYTES) + shelf.HEAD_BYTES
        own = stages(toy, budget_gb=(need - 1) / 1e9)
        with pytest.raises(RecipeError, match=r"12 pictures take 6.21e-06 GB on disk in fp32") as caught:
            run(toy, data, tmp_path / "run", parts, *own)
        assert caught.value.where == "stages.align.features.budget_gb"
        assert "bf16 (3.9e-06 GB)" in str(caught.value.remedy)
        assert not (tmp_path / "run").exists()
        assert not (tmp_path / ".cache" / "features").exists()
        proposed = float(str(caught.value.remedy).split("budget_gb=")[1].split(",")[0])
        assert proposed * 1e9 >= need
        run(toy, data, tmp_path / "run", parts, *stages(toy, budget_gb=proposed)[:1])

    def test_a_full_disk_is_said_before_anything_is_written(
        self, toy: Any, data: Path, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 0))
        with pytest.raises(RunError, match="0 GB are free"):
            run(toy, data, tmp_path / "run", parts, *stages(toy))

    def test_older_features_make_room_and_the_runs_own_stay(
        self, toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shelf, "SHARD_BYTES", 1000)
        budget = 12_000
        first, _ = run(toy, data, tmp_path / "a", parts, *stages(toy, budget_gb=budget / 1e9))
        old = shards(tmp_path / "a")
        other = Parts(make_vision(tmp_path / "vision", seed=5), parts.language)
        _, watch = run(toy, data, tmp_path / "b", other, *stages(toy, budget_gb=budget / 1e9))
        left = shards(tmp_path / "a")
        assert [row["made"] for row in told(watch)] == [12, 0]
        assert set(old) - set(left)
        assert sum(path.stat().st_size for path in left) <= budget
        again, watch = run(toy, data, tmp_path / "c", parts, *stages(toy, budget_gb=budget / 1e9))
        assert told(watch)[0]["made"] > 0
        assert again == first == cold["fp32"][1]

    def test_what_finds_no_room_is_made_each_time_and_said_once(
        self, toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shelf, "SHARD_BYTES", 1000)
        monkeypatch.setattr(keeping, "check_room", lambda *words: None)
        monkeypatch.setattr("pumice.train.run.check_room", lambda *words: None)
        weights, watch = run(toy, data, tmp_path / "run", parts, *stages(toy, budget_gb=6e-6))
        assert weights == cold["fp32"][1]
        assert len(watch.notices) == 2, "once a stage"
        assert all("made again each time" in text for text in watch.notices)

    def test_a_folder_of_ones_own(self, toy: Any, data: Path, parts: Any, tmp_path: Path) -> None:
        own = stages(toy, folder=str(tmp_path / "fast"))[:1]
        run(toy, data, tmp_path / "run", parts, *own)
        assert list((tmp_path / "fast").glob("*/*.safetensors"))
        assert not (tmp_path / ".cache" / "features").exists()


def test_bad_pictures_are_all_named_and_the_run_goes_on_when_they_are_mended(
    toy: Any, data: Path, parts: Any, cold: Any, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    for number in (1, 3):
        whole = (data / f"{number}.png").read_bytes()
        (tmp_path / "data" / f"{number}.png").write_bytes(whole[: len(whole) - 30])
    with pytest.raises(DataError, match="images cannot be used") as caught:
        run(toy, tmp_path / "data", tmp_path / "run", parts, stages(toy)[0])
    for number in (1, 3):
        assert f"{number}.png" in str(caught.value)
        shutil.copy(data / f"{number}.png", tmp_path / "data")
    weights, _ = run(toy, tmp_path / "data", tmp_path / "run", parts, stages(toy)[0], resume=True)
    whole, _ = run(toy, data, tmp_path / "other", parts, stages(toy)[0])
    assert weights == whole


def test_rows_that_may_be_bad_are_left_out_as_ever(toy: Any, data: Path, parts: Any, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "1.png").write_bytes((data / "1.png").read_bytes()[:-30])
    value = toy.make_recipe(tmp_path / "data", stages(toy)[0]).model_dump(mode="json")
    value["data"]["align"]["allow_bad"] = 1
    watch = toy.Watch()
    toy.run(type(toy.make_recipe(data)).model_validate(value), tmp_path / "run", parts, watch)
    assert told(watch)[0]["views"] == 11


def test_a_picture_that_changes_under_the_run_is_no_feature(
    toy: Any, data: Path, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data, tmp_path / "data")
    from pumice.train.shelved import Shelved

    fill = Shelved._fill

    def late(self: Any, *words: Any) -> None:
        shutil.copy(data / "2.png", tmp_path / "data" / "0.png")
        fill(self, *words)

    monkeypatch.setattr(Shelved, "_fill", late)
    with pytest.raises(ImageError, match="changed since the run looked"):
        run(toy, tmp_path / "data", tmp_path / "run", parts, stages(toy)[0])
    assert not shards(tmp_path / "run")
