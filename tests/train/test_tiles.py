"""Pictures in tiles, several pictures and videos in training."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pumice.errors import CheckpointError, DataError, Interrupted, RunError
from pumice.forecast.load import views_of
from pumice.image import image_layout
from pumice.infer import Generator, Request
from pumice.model import VisionLanguageModel
from pumice.model.geometry import model_geometry
from pumice.model.save import load_model
from pumice.recipes.schema import Recipe
from pumice.train import pictures as gallery
from pumice.train.checkpoint import list_states
from pumice.train.keeping import kept_views
from pumice.train.losses import Context, stage_losses
from pumice.train.optim import build_optimizer, check_trainable, freeze
from pumice.train.parallel import ALONE
from pumice.train.pictures import Pictures
from pumice.train.prepare import prepare
from pumice.train.remember import Budget
from pumice.train.run import Parts
from pumice.train.start import starting_model
from pumice.types import Video, text_message

SIZES = ((20, 30), (48, 15), (16, 16), (40, 33), (90, 20), (31, 64))
ANYRES = {"aspect": "anyres"}
VIDEO = {"frames": 3, "aspect": "pad", "stride": 1}


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    wide, high = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8))


def chat(name: str, shown: dict[str, Any], count: int = 1, mark: str = "<image>") -> dict[str, Any]:
    turns = [f"{mark}\n" * count + "What colour ?", "It is red .", "How many ?", "a square"]
    speakers = ("human", "gpt") * 2
    talk = [{"from": by, "value": text} for by, text in zip(speakers, turns, strict=True)]
    return {"id": name, **shown, "conversations": talk}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of six shapes, alone and together, two videos, and text alone; read only."""
    folder = tmp_path_factory.mktemp("tiles")
    names = []
    for number, size in enumerate(SIZES):
        names.append(f"{number}.png")
        noise(size, number).save(folder / names[-1])
    for clip, frames in (("walk", 5), ("run", 2)):
        (folder / clip).mkdir()
        for frame in range(frames):
            noise((24, 20), 100 + frame).save(folder / clip / f"frame-{frame}.png")
    rows = [chat(f"one-{name}", {"image": name}) for name in names]
    rows.append(chat("two", {"image": names[:2]}, count=2))
    rows.append({"id": "text", "conversations": chat("", {}, count=0)["conversations"]})
    clips = [chat("walk", {"video": "walk"}), chat("both", {"video": ["run", "walk"]}, 2, "<video>")]
    for file, content in (
        ("stills.json", rows),
        ("clips.json", [*rows, *clips]),
        ("held.json", rows[::-1][:4]),
        ("text.json", [rows[-1]]),
    ):
        (folder / file).write_text(json.dumps(content), encoding="utf-8")
    return folder


def recipe_of(data: Path, *stages: dict[str, Any], **model: Any) -> Recipe:
    given = {"vision": "vision", "language": "language", "template": "tiny", "image": ANYRES, **model}
    value = {
        "name": "tiles",
        "seed": 3,
        "model": given,
        "data": {
            name: {"file": str(data / f"{name}.json"), "images": str(data)}
            for name in ("stills", "clips", "held", "text")
        },
        "stages": copy.deepcopy(stages),
    }
    return Recipe.model_validate(value)


def stage(name: str = "tune", kind: str = "instruct", **changes: Any) -> dict[str, Any]:
    rates = {"connector": 0.01} | ({"language": 0.003} if kind == "instruct" else {})
    return {
        "name": name,
        "kind": kind,
        "sources": ["stills"],
        "lr": rates,
        "steps": 4,
        "row_length": 256,
        "rows_per_step": 1,
        "precision": "fp32",
        **changes,
    }


class Prepared:
    """What ``train`` has in hand before the first step of a recipe's only stage."""

    def __init__(self, toy: Any, parts: Parts, recipe: Recipe) -> None:
        self.stage = recipe.stages[0]
        self.model, self.tokenizer, processor = starting_model(recipe, parts)
        self.geometry = model_geometry(self.model.config, self.model.tower, processor, self.stage.aspect)
        self.pictures = Pictures(self.geometry)
        self.ready = prepare(
            recipe, self.stage, self.model, self.tokenizer, self.pictures, toy.Watch(), Budget(1 << 20)
        )
        self.data = self.ready.data
        self.context = Context(self.stage, self.pictures, None)
        freeze(self.model, self.stage)

    def loss(self, rows: list[list[int]]) -> torch.Tensor:
        return stage_losses(self.model, self.data.batch(rows), self.data, self.context).text


class TestCounts:
    @pytest.mark.parametrize("multi", ["pad", "same"])
    @pytest.mark.parametrize("aspect", [None, "pad"])
    def test_before_the_first_step_are_those_of_the_batches(
        self, toy: Any, parts: Any, data: Path, multi: str, aspect: str | None
    ) -> None:
        image = {**ANYRES, "multi_image": multi}
        changes = {"sources": ["clips"], "aspect": aspect}
        here = Prepared(toy, parts, recipe_of(data, stage(**changes), image=image, video=VIDEO))
        plan = here.ready.plan
        for step in range(len(plan)):
            batch = here.data.batch(plan.steps[step])
            lengths = sum(len(here.data.encode(here.data.samples[i])) for i in batch.samples)
            assert int((batch.segment_ids > 0).sum()) == lengths
            views = here.data.views(batch)  # compares each layout with its span
            features = here.pictures.features(here.model, views)
            embeds = here.model.lay_out(features, [view.layout for view in views])
            assert [len(one) for one in embeds] == [image.length for image in batch.images]

    def test_each_picture_is_laid_out_by_its_own_size(self, toy: Any, parts: Any, data: Path) -> None:
        here = Prepared(toy, parts, recipe_of(data, stage()))
        lengths = [here.data.encode(sample).image_spans for sample in here.data.samples]
        alone = [spans[0].length for spans in lengths[: len(SIZES)]]
        assert alone == [image_layout(size, here.geometry.settings).tokens for size in SIZES]
        assert len(set(alone)) > 3
        square = 4 + 1  # of several pictures each is one square, and the newline
        assert [span.length for span in lengths[len(SIZES)]] == [square, square]

    def test_one_picture_has_features_for_each_way_it_is_shown(
        self, toy: Any, parts: Any, data: Path
    ) -> None:
        here = Prepared(toy, parts, recipe_of(data, stage()))
        single, together = here.data.samples[0], here.data.samples[len(SIZES)]
        assert single.images[0] == together.images[0]
        views = here.pictures.views(single.images)[0], here.pictures.views(together.images)[0]
        here.pictures.prepare(here.model, views, lambda *row: None)
        tiles = here.pictures.features(here.model, views)
        assert len(tiles) == views[0].layout.tiles + 1 > 2

    def test_a_sample_longer_than_a_row_names_its_real_length(self, toy: Any, parts: Any, data: Path) -> None:
        with pytest.raises(DataError, match=r"tokens") as caught:
            Prepared(toy, parts, recipe_of(data, stage(row_length=30)))
        assert "stills.json, row 0" in str(caught.value)

    def test_turns_that_are_cut_take_their_pictures_but_not_the_layout_with_them(
        self, toy: Any, parts: Any, data: Path, tmp_path: Path
    ) -> None:
        """The first picture of two is a square, also where the second was cut off with its turn."""
        shutil.copytree(data, tmp_path / "data")
        row = chat("x", {"image": ["0.png", "1.png"]})
        row["conversations"][2]["value"] = "<image>\n" + "How many ? " * 20
        (tmp_path / "data" / "stills.json").write_text(json.dumps([row]))
        here = Prepared(toy, parts, recipe_of(tmp_path / "data", stage(row_length=40, too_long="cut")))
        batch = here.data.batch([[0]])
        assert [image.length for image in batch.images] == [5]
        assert [view.layout.tiles for view in here.data.views(batch)] == [1]


class TestPacking:
    def test_packed_rows_have_the_loss_and_gradients_of_single_ones(
        self, toy: Any, parts: Any, data: Path
    ) -> None:
        found = []
        for rows in ([[0, 1, 9, 6], [2, 7, 3, 8]], [[i] for i in (0, 1, 9, 6, 2, 7, 3, 8)]):
            here = Prepared(toy, parts, recipe_of(data, stage(sources=["clips"]), video=VIDEO))
            loss = here.loss(rows)
            torch.autograd.backward(loss)
            gradients = {
                name: parameter.grad
                for name, parameter in here.model.named_parameters()
                if parameter.grad is not None
            }
            found.append((loss.detach(), gradients))
        (one, of_one), (other, of_other) = found
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
        assert of_one.keys() == of_other.keys()
        assert "image_newline" in of_one
        for name, gradient in of_one.items():
            torch.testing.assert_close(gradient, of_other[name], rtol=1e-4, atol=1e-5, msg=name)

    def test_a_tower_that_trains_learns_from_every_tile(self, toy: Any, parts: Any, data: Path) -> None:
        rates = {"connector": 0.01, "language": 0.003, "vision": 0.001}
        trainable = ["connector", "language", "vision"]
        here = Prepared(toy, parts, recipe_of(data, stage(lr=rates, trainable=trainable)))
        frozen = Prepared(toy, parts, recipe_of(data, stage()))
        torch.testing.assert_close(here.loss([[0, 3]]), frozen.loss([[0, 3]]))
        here.loss([[3]]).backward()  # type: ignore[no-untyped-call]
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in here.model.tower.parameters())


class TestNewline:
    def test_it_is_the_connectors(self, toy: Any, parts: Any, data: Path) -> None:
        here = Prepared(toy, parts, recipe_of(data, stage(weight_decay=0.1)))
        model = here.model
        assert model.image_newline is not None
        (group,) = [
            group
            for group in build_optimizer(model, here.stage).param_groups
            if any(p is model.image_newline for p in group["params"])
        ]
        assert (group["part"], group["weight_decay"], group["peak"]) == ("connector", 0.0, 0.01)
        own = sum(p.numel() for p in model.connector.parameters()) + model.image_newline.numel()
        assert freeze(model, here.stage).trainable["connector"] == own

    @pytest.mark.parametrize(
        "changes",
        [{"aspect": "crop"}, {"trainable": ["language"], "lr": {"language": 0.01}}],
    )
    def test_it_rests_where_no_picture_has_it_or_the_connector_is_frozen(
        self, toy: Any, parts: Any, data: Path, changes: dict[str, Any]
    ) -> None:
        here = Prepared(toy, parts, recipe_of(data, stage(**changes)))
        assert here.model.image_newline is not None
        assert not here.model.image_newline.requires_grad
        assert here.model.image_newline.numel() not in (
            0,
            freeze(here.model, here.stage).trainable.get("connector"),
        )

    def test_an_identity_connector_can_train_through_it_alone(self, data: Path, parts: Any) -> None:
        recipe = recipe_of(data, stage())
        model = starting_model(recipe, parts).model
        model.connector = torch.nn.Identity()
        check_trainable(model, recipe.stages[0])
        model.image_newline = None
        with pytest.raises(RunError, match="connector has no parameters"):
            check_trainable(model, recipe.stages[0])

    def test_it_moves_is_saved_and_stands_in_states(
        self, toy: Any, parts: Any, data: Path, tmp_path: Path
    ) -> None:
        recipe = recipe_of(data, stage(checkpoint_every=2))
        start = starting_model(recipe, parts).model.image_newline
        seen: list[dict[str, torch.Tensor]] = []

        def after(row: dict[str, Any]) -> None:
            if row["step"] == 4:
                state = list_states(tmp_path / "run" / "stages" / "tune" / "state")[-1]
                seen.append(toy.saved_weights(state.folder))

        end = toy.run(recipe, tmp_path / "run", parts, toy.Watch(after))
        assert start is not None
        assert seen[0]["connector.image_newline"].shape == start.shape
        trained = load_model(end).model.image_newline
        assert not torch.equal(trained, start)
        assert not torch.equal(trained, seen[0]["connector.image_newline"])


class TestResume:
    @pytest.mark.parametrize("room", ["all", "align", "none"])
    @pytest.mark.parametrize("asked", [3, 7])
    def test_a_stopped_run_ends_bit_for_bit_like_one_that_was_not(
        self,
        toy: Any,
        parts: Any,
        data: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        room: str,
        asked: int,
    ) -> None:
        """With a tower whose features depend, far more than any kernel's, on chunk and place."""
        encode = VisionLanguageModel.encode_tower

        def rough(model: VisionLanguageModel, pixels: Any) -> Any:
            features = encode(model, pixels)
            return features + 0.02 * len(features) + 0.05 * torch.arange(len(features))[:, None, None]

        monkeypatch.setattr(VisionLanguageModel, "encode_tower", rough)
        monkeypatch.setattr(gallery, "CHUNK", 5)
        monkeypatch.setattr(
            gallery, "FEATURE_BYTES", {"all": 10**6, "align": 12 * 4 * 24 * 4, "none": 0}[room]
        )
        validation = {"source": "held", "every": 2}
        stages = (
            stage("align", "align", sources=["clips"], aspect="pad", steps=4, epochs=None),
            stage(steps=5, sources=["clips"], validation=validation, checkpoint_every=2),
        )
        recipe = recipe_of(data, *stages, video=VIDEO)
        kept: list[int] = []
        prepare = gallery.Pictures.prepare

        def told(pictures: Any, model: Any, views: Any, progress: Any) -> None:
            kept.append(sum(view.layout.tiles for view in views))
            prepare(pictures, model, views, progress)

        monkeypatch.setattr(gallery.Pictures, "prepare", told)
        whole = toy.run(recipe, tmp_path / "whole", parts)
        # Six pictures and twice three frames as squares; tiled they are many more.
        assert len(kept) == {"all": 2, "align": 1, "none": 0}[room]
        assert all(tiles <= 12 for tiles in kept[:1])
        assert all(tiles > 24 for tiles in kept[1:])
        calls = 0

        def stop() -> bool:
            nonlocal calls
            calls += 1
            return calls == asked

        with pytest.raises(Interrupted):
            toy.run(recipe, tmp_path / "run", parts, stop=stop)
        again = toy.run(recipe, tmp_path / "run", parts, resume=True)
        assert toy.weights(whole) == toy.weights(again)
        for name in ("align", "tune"):
            assert toy.metrics(tmp_path / "run", name) == toy.metrics(tmp_path / "whole", name)

    def test_features_kept_or_not_give_one_result(
        self, toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = recipe_of(data, stage(sources=["clips"]), video=VIDEO)
        kept = toy.run(recipe, tmp_path / "kept", parts)
        monkeypatch.setattr(gallery, "FEATURE_BYTES", 0)
        monkeypatch.setattr(gallery.Pictures, "prepare", lambda *given: pytest.fail("features were kept"))
        fresh = toy.run(recipe, tmp_path / "fresh", parts)
        assert toy.weights(kept) == toy.weights(fresh)


def test_a_view_of_more_tiles_than_a_chunk_goes_through_in_pieces(
    toy: Any, parts: Any, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = {**VIDEO, "frames": 11}
    here = Prepared(toy, parts, recipe_of(data, stage(sources=["clips"]), video=video))
    views = [view for i in (0, 8, 2) for view in here.pictures.views(here.data.samples[i].images)]
    counts = [view.layout.tiles for view in views]
    encode, sizes = here.model.encode_tower, []
    monkeypatch.setattr(here.model, "encode_tower", lambda x: (sizes.append(len(x)), encode(x))[1])
    monkeypatch.setattr(gallery, "CPU_TILES", 64)
    whole = here.pictures.features(here.model, views)
    assert sum(counts) == len(whole)
    assert sizes == [-(-sum(counts) // 4) * 4]
    sizes.clear()
    monkeypatch.setattr(gallery, "CPU_TILES", 8)
    assert torch.equal(here.pictures.features(here.model, views), whole)
    assert max(sizes) == 8
    sizes.clear()
    monkeypatch.setattr(gallery, "CHUNK", 4)
    here.pictures.prepare(here.model, views, lambda *row: None)
    assert torch.equal(here.pictures.features(here.model, views), whole)
    assert sizes == [4] * sum(-(-count // 4) for count in counts)


class TestVideos:
    def test_a_video_trains_and_its_tokens_are_the_layouts(
        self, toy: Any, parts: Any, data: Path, tmp_path: Path
    ) -> None:
        recipe = recipe_of(data, stage(sources=["clips"], steps=6, rows_per_step=2), video=VIDEO)
        here = Prepared(toy, parts, recipe)
        walk, both = here.data.samples[8], here.data.samples[9]
        assert walk.images == (Video(data / "walk"),)
        assert [span.length for span in here.data.encode(walk).image_spans] == [3 * 4]
        assert [span.length for span in here.data.encode(both).image_spans] == [12, 12]
        end = toy.run(recipe, tmp_path / "run", parts)
        losses = [r["loss"] for r in toy.metrics(tmp_path / "run", "tune") if r["kind"] == "train"]
        assert losses[-1] < losses[0]
        assert load_model(end).model.config.video == here.model.config.video
        card = (end / "README.md").read_text()
        assert "video" in card
        assert "shows several pictures" in card

    def test_a_video_file_trains(self, toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
        av = pytest.importorskip("av")
        with av.open(str(tmp_path / "walk.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
            for number in range(8):
                for packet in stream.encode(av.VideoFrame.from_image(noise((32, 16), number))):
                    container.mux(packet)
            for packet in stream.encode():
                container.mux(packet)
        (tmp_path / "clips.json").write_text(json.dumps([chat("file", {"video": "walk.mp4"})]))
        video = {**VIDEO, "frames": 4, "fps": 5.0}
        recipe = recipe_of(tmp_path, stage(sources=["clips"], steps=2), video=video)
        here = Prepared(toy, parts, recipe)
        assert [span.length for span in here.data.encode(here.data.samples[0]).image_spans] == [4 * 4]
        toy.run(recipe, tmp_path / "run", parts)

    def test_a_model_that_knows_none_says_what_to_do(self, toy: Any, parts: Any, data: Path) -> None:
        with pytest.raises(DataError, match="knows no video") as caught:
            Prepared(toy, parts, recipe_of(data, stage(sources=["clips"])))
        assert "clips.json, row 8" in str(caught.value)
        assert "model.video" in str(caught.value)

    def test_a_frame_that_is_damaged_is_found_before_the_first_step(
        self, toy: Any, parts: Any, data: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(data, tmp_path / "data")
        (tmp_path / "data" / "walk" / "frame-4.png").write_bytes(b"\x89PNG no")
        with pytest.raises(DataError, match=r"frame-4.png") as caught:
            Prepared(toy, parts, recipe_of(tmp_path / "data", stage(sources=["clips"]), video=VIDEO))
        assert "clips.json, row 8" in str(caught.value)

    def test_single_squares_take_videos_without_newlines(self, toy: Any, parts: Any, data: Path) -> None:
        image = {"aspect": "pad"}
        here = Prepared(toy, parts, recipe_of(data, stage(sources=["clips"]), image=image, video=VIDEO))
        assert [span.length for span in here.data.encode(here.data.samples[8]).image_spans] == [12]
        with pytest.raises(CheckpointError, match="image_newline by grid"):
            starting_model(recipe_of(data, stage(), image=image, video={**VIDEO, "newline": "grid"}), parts)

    def test_grounding_is_refused(self, toy: Any, parts: Any, data: Path) -> None:
        grounded = stage("g", "align", sources=["clips"], aspect="pad", grounding={"weight": 1.0})
        with pytest.raises(DataError, match="is a video") as caught:
            Prepared(toy, parts, recipe_of(data, grounded, video=VIDEO))
        assert "row 8" in str(caught.value)


def test_grounding_wants_squares_and_has_them_under_a_stages_aspect(toy: Any, parts: Any, data: Path) -> None:
    grounded = stage("g", "align", grounding={"weight": 1.0})
    with pytest.raises(DataError, match="cuts pictures into tiles"):
        Prepared(toy, parts, recipe_of(data, grounded))
    Prepared(toy, parts, recipe_of(data, {**grounded, "aspect": "pad"}))


@pytest.fixture(scope="module")
def tiled(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_of(data, stage(steps=1), video=VIDEO)
    end: Path = toy.run(recipe, tmp_path_factory.mktemp("tiled") / "run", parts)
    return end


@pytest.fixture(scope="module")
def single(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_of(data, stage(steps=1), image={"aspect": "crop"})
    end: Path = toy.run(recipe, tmp_path_factory.mktemp("single") / "run", parts)
    return end


class TestCheckpoint:
    """A recipe that goes on from a whole model."""

    def go_on(self, data: Path, folder: Path, **model: Any) -> Any:
        given = {"vision": None, "language": None, "template": None, "image": None, "checkpoint": "x"}
        return starting_model(recipe_of(data, stage(), **{**given, **model}), Parts(checkpoint=folder))

    def test_what_a_recipe_does_not_say_stays(self, data: Path, tiled: Path) -> None:
        before = load_model(tiled)
        after = self.go_on(data, tiled)
        assert after.model.config == before.model.config
        assert after.model.config.tiled
        assert after.model.config.video is not None
        assert torch.equal(after.model.image_newline, before.model.image_newline)

    def test_its_tiles_may_become_squares(self, data: Path, tiled: Path) -> None:
        model, _, processor = self.go_on(data, tiled, image={"aspect": "pad"})
        assert (model.config.tiled, model.config.newline, processor.mode) == (False, False, "pad")
        assert model.image_newline is None
        assert model_geometry(model.config, model.tower, processor).fixed

    def test_its_squares_may_become_tiles(self, data: Path, single: Path) -> None:
        model = self.go_on(data, single, image={**ANYRES, "grids": ["2x1", "1x2"]}).model
        assert model.config.pinpoints == ((32, 16), (16, 32))
        again = self.go_on(data, single, image=ANYRES).model
        assert torch.equal(model.image_newline, again.image_newline), "drawn by the seed"
        assert float(model.image_newline.detach().abs().max()) > 0

    def test_tiles_that_stay_tiles_keep_the_newline_that_was_learnt(self, data: Path, tiled: Path) -> None:
        before = load_model(tiled).model
        after = self.go_on(data, tiled, image={**ANYRES, "max_tiles": 2}).model
        assert after.config.aspect == "anyres_max_2"
        assert torch.equal(after.image_newline, before.image_newline)

    def test_video_may_be_taught(self, data: Path, single: Path) -> None:
        model = self.go_on(data, single, video={"frames": 8}).model
        assert model.config.video is not None
        assert model.config.video.frames == 8


@pytest.fixture(scope="module")
def trained(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of tiles after a few steps; read only."""
    recipe = recipe_of(data, stage(steps=12), image={**ANYRES, "multi_image": "same"})
    end: Path = toy.run(recipe, tmp_path_factory.mktemp("trained") / "run", parts)
    return end


@torch.no_grad()
@pytest.mark.parametrize("number", range(len(SIZES)))
def test_transformers_has_the_ids_pixels_and_logits_of_a_trained_model(
    toy: Any, parts: Any, data: Path, trained: Path, number: int
) -> None:
    """What a row of training is here, transformers makes of the same picture and words."""
    reference, info = LlavaNextForConditionalGeneration.from_pretrained(
        trained, dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    processor = AutoProcessor.from_pretrained(trained)
    given = {"vision": None, "language": None, "template": None, "image": None, "checkpoint": "x"}
    here = Prepared(toy, Parts(checkpoint=trained), recipe_of(data, stage(), **given))
    sample = here.data.samples[number]
    encoded = here.data.encode(sample)
    view = here.pictures.views(sample.images)[0]
    content = [{"type": "image"}, {"type": "text", "text": "\nWhat colour ?"}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    for role, text in (("assistant", "It is red ."), ("user", "How many ?"), ("assistant", "a square")):
        messages.append({"role": role, "content": [{"type": "text", "text": text}]})
    theirs = processor(
        images=Image.open(data / f"{number}.png"),
        text=processor.apply_chat_template(messages),
        return_tensors="pt",
        add_special_tokens=False,
    )
    assert theirs["input_ids"][0].tolist() == encoded.input_ids.tolist()
    torch.testing.assert_close(theirs["pixel_values"][0], here.pictures.pixels([view]), rtol=0, atol=1e-5)
    embeds = here.model.lay_out(here.pictures.features(here.model, [view]), [view.layout])
    (span,) = encoded.image_spans
    ids = torch.from_numpy(encoded.input_ids)[None]
    rows = here.model.embed(ids, embeds, [(0, span.start, span.length)])
    mask = torch.ones(1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    ours = here.model.logits(here.model.hidden(rows, torch.arange(ids.shape[1])[None], mask))
    torch.testing.assert_close(ours, reference(**theirs).logits, rtol=0, atol=1e-5)


PLAIN = """
import json, sys
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration
folder, images, prompts = sys.argv[1], sys.argv[2].split(","), json.loads(sys.argv[3])
torch.set_num_threads(1)
model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
processor = AutoProcessor.from_pretrained(folder)
found = []
for path, prompt in zip(images, prompts):
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    given = processor(images=Image.open(path), text=text, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**given, do_sample=False, max_new_tokens=12)
    found.append([given["input_ids"][0].tolist(), out[0, given["input_ids"].shape[1]:].tolist()])
assert "pumice" not in sys.modules
print(json.dumps(found))
"""


def test_a_trained_model_answers_alike_where_there_is_no_pumice(data: Path, trained: Path) -> None:
    """A process of its own, with transformers alone: the same prompt and the same greedy answer."""
    names = [f"{number}.png" for number in range(len(SIZES))]
    prompts = ["\nWhat colour ?", "\nHow many ?"] * 3
    words = [trained, ",".join(str(data / name) for name in names), json.dumps(prompts)]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=clean,
        cwd=data,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    generator = Generator(*load_model(trained))
    requests = [
        Request((text_message("user", prompt.strip(), images=[0]),), (data / name,), max_new_tokens=12)
        for name, prompt in zip(names, prompts, strict=True)
    ]
    for (prompt, answer), ours in zip(theirs, generator.generate(requests), strict=True):
        assert (ours.prompt_tokens, list(ours.token_ids)) == (len(prompt), answer)
    assert {len(ours.token_ids) for ours in generator.generate(requests)} != {1}


@pytest.mark.parametrize("dtype", ["fp32", "fp8"])
def test_tiles_and_frames_on_disk_are_those_in_memory(
    toy: Any, parts: Any, data: Path, tmp_path: Path, dtype: str
) -> None:
    """A picture in tiles, the same one as a square beside another, and frames of videos."""
    found, told = {}, {}
    for name, keep in (("memory", "memory"), ("disk", "disk"), ("again", "disk")):
        watch = toy.Watch()
        own = stage(sources=["clips"], validation={"source": "held"}, features={"keep": keep, "dtype": dtype})
        found[name] = toy.run(recipe_of(data, own, video=VIDEO), tmp_path / name, parts, watch)
        (summary,) = watch.stages
        told[name] = summary["features"]
    assert len({toy.weights(final) for final in found.values()}) == 1
    assert told["memory"]["made"] == told["memory"]["views"] == told["disk"]["views"]
    assert 0 < told["disk"]["made"] <= told["disk"]["views"]
    assert told["again"]["made"] == 0
    frame = data / "walk" / "frame-0.png"
    shutil.copytree(data, tmp_path / "data")
    noise((24, 20), 77).save(tmp_path / "data" / "walk" / frame.name)
    watch = toy.Watch()
    own = stage(sources=["clips"], validation={"source": "held"}, features={"keep": "disk", "dtype": dtype})
    toy.run(recipe_of(tmp_path / "data", own, video=VIDEO), tmp_path / "changed", parts, watch)
    assert watch.stages[0]["features"]["made"] == 1


@pytest.mark.parametrize("multi", ["pad", "same"])
def test_what_the_plan_counts_is_what_training_keeps(toy: Any, parts: Any, data: Path, multi: str) -> None:
    image = {**ANYRES, "multi_image": multi}
    own = stage(sources=["clips"], steps=None, epochs=1)
    here = Prepared(toy, parts, recipe_of(data, own, image=image, video=VIDEO))
    kept = kept_views(here.ready, here.pictures, here.model, here.stage, ALONE)
    assert kept is not None
    shown = {
        picture: here.pictures.extent(picture) for sample in here.data.samples for picture in sample.images
    }
    counted = views_of([(here.data.samples, shown)], here.geometry)
    assert counted == (len(kept), sum(view.layout.tiles for view in kept))
