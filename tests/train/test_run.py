"""A run from its first check to its last model, killed, stopped and resumed on the way."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from pumice.errors import DataError, Interrupted, RecipeError, RunError
from pumice.image import video
from pumice.model import VisionLanguageModel
from pumice.model.save import load_model
from pumice.recipes.load import dump_recipe
from pumice.train import pictures as gallery
from pumice.train import prepare as preparing
from pumice.train import run as runs
from pumice.train.checkpoint import list_states
from pumice.train.run import Parts

from ..model.parts import make_vision


def same_run(toy: Any, one: Path, other: Path) -> None:
    """Weights of every stage and all metrics are the same to the last bit."""
    for stage in ("align", "instruct"):
        assert toy.metrics(one, stage) == toy.metrics(other, stage)
        model = Path("stages") / stage / "model"
        assert toy.weights(one / model) == toy.weights(other / model)


def test_a_run_tells_the_whole_story(toy: Any, whole: Any) -> None:
    record = json.loads((whole.folder / "run.json").read_text("utf-8"))
    assert record["status"] == "finished"
    assert whole.folder / record["final"] == whole.model
    assert [row["name"] for row in record["stages"]] == ["align", "instruct"]
    assert [row["steps"] for row in record["stages"]] == [3, 6]
    mixture = json.loads((whole.folder / "mixture.json").read_text("utf-8"))
    assert [(row["stage"], row["samples"], row["images"]) for row in mixture] == [
        ("align", 8, 8),
        ("instruct", 10, 8),
    ]
    for row in mixture:
        in_file = len(json.loads(Path(row["file"]).read_text("utf-8")))
        assert (row["rows"], row["kept"]) == (in_file, in_file)
    assert [row for summary in whole.watch.stages for row in summary["sources"]] == mixture
    rows = toy.metrics(whole.folder, "instruct")
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [0, 2, 4, 6]
    plan = json.loads((whole.folder / "stages" / "instruct" / "plan.json").read_text("utf-8"))
    assert [row["supervised"] for row in train] == plan["supervised"]
    assert [row["tokens"] for row in train] == plan["tokens"]
    assert [row["step"] for row in whole.watch.rows] == [1, 2, 3, 1, 2, 3, 4, 5, 6]
    assert whole.watch.saved[-1] == whole.model


def test_the_loss_falls(toy: Any, whole: Any) -> None:
    held_out = [row["loss"] for row in toy.metrics(whole.folder, "instruct") if row["kind"] == "validation"]
    assert held_out[-1] < held_out[0] - 0.3


def test_killed_in_stage_2_and_resumed_is_bit_identical(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    words = [sys.executable, toy.__file__, folder, parts.vision.parent, data, "instruct", "5"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    # Step 5 was done, but the state is that of step 4, or of 2 where the kill came before 4 was on disk; the
    # metrics know more than the state does.
    state = list_states(folder / "stages" / "instruct" / "state")[-1]  # killed while 2 made room for 4
    assert state.step in (2, 4)
    assert toy.metrics(folder, "instruct")[-1]["step"] == 5
    assert not (folder / "stages" / "instruct" / "model").exists()
    watch = toy.Watch()
    toy.run(toy.make_recipe(data), folder, parts, watch, resume=True)
    assert [row["step"] for row in watch.rows] == list(range(state.step + 1, 7))
    same_run(toy, folder, whole.folder)
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "finished"


@pytest.mark.parametrize(("stage", "asked"), [("align", 1), ("align", 3), ("instruct", 8)])
def test_stopped_and_resumed_is_bit_identical(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, stage: str, asked: int
) -> None:
    """Also before the very first step, and between two states."""
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == asked

    recipe = toy.make_recipe(data)
    with pytest.raises(Interrupted, match=f"in stage '{stage}'") as caught:
        toy.run(recipe, tmp_path / "run", parts, stop=stop)
    assert "--resume" in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "interrupted"
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", whole.folder)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ({}, {}, ["align", "instruct"]),
        ({"validation": None}, {}, ["align", "instruct"]),
        ({"steps": 1, "row_length": 24, "validation": None}, {}, ["align"]),
        ({}, {"steps": 1, "rows_per_step": 1, "row_length": 96, "validation": None}, ["instruct"]),
        ({"validation": None}, {"validation": None}, []),
    ],
)
def test_a_resumed_run_sees_the_same_features_whatever_a_tower_rounds(
    toy: Any,
    parts: Any,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, Any],
    second: dict[str, Any],
    kept: list[str],
) -> None:
    """With a tower whose features depend, far more than any kernel's, on the number of pictures in a chunk
    and on a picture's place there; some stages keep features and others do not."""
    encode = VisionLanguageModel.encode_tower

    def rough(model: VisionLanguageModel, pixels: Any) -> Any:
        features = encode(model, pixels)
        return features + 0.02 * len(features) + 0.05 * torch.arange(len(features))[:, None, None]

    monkeypatch.setattr(VisionLanguageModel, "encode_tower", rough)
    monkeypatch.setattr(gallery, "CHUNK", 5)
    size = 4 * 24 * 4  # patches, width, bytes of a float32
    monkeypatch.setattr(gallery, "FEATURE_BYTES", {2: 12, 1: 6, 0: 0}[len(kept)] * size)
    stages = toy.align(**first), toy.instruct(**second)
    prepared: list[str] = []
    prepare = gallery.Pictures.prepare

    def told(pictures: Any, model: Any, paths: Any, progress: Any) -> int:
        language = next(model.lm.parameters()).requires_grad
        prepared.append("instruct" if language else "align")
        return prepare(pictures, model, paths, progress)

    monkeypatch.setattr(gallery.Pictures, "prepare", told)
    recipe = toy.make_recipe(data, *stages)
    toy.run(recipe, tmp_path / "whole", parts)
    assert prepared == kept
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        return calls == stages[0]["steps"] + 1

    with pytest.raises(Interrupted, match="in stage 'instruct'"):
        toy.run(recipe, tmp_path / "run", parts, stop=stop)
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", tmp_path / "whole")


def test_a_finished_run_is_resumed_without_a_step(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(whole.folder, folder)
    watch = toy.Watch()
    toy.run(toy.make_recipe(data), folder, parts, watch, resume=True)
    assert watch.rows == []
    same_run(toy, folder, whole.folder)


def test_one_seed_one_result_another_seed_another(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    toy.run(toy.make_recipe(data), tmp_path / "same", parts)
    same_run(toy, tmp_path / "same", whole.folder)
    other = toy.run(toy.make_recipe(data, toy.align(steps=1), seed=4), tmp_path / "other", parts)
    mine = toy.run(toy.make_recipe(data, toy.align(steps=1), seed=3), tmp_path / "mine", parts)
    assert toy.weights(other) != toy.weights(mine)


def changed(before: Path, after: Path) -> set[str]:
    """The parts of which any tensor differs."""
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    assert old.keys() == new.keys()
    heads = {
        "vision_tower": "vision",
        "multi_modal_projector": "connector",
        "language_model": "language",
        "lm_head": "language",
    }
    names = {key: next(part for head, part in heads.items() if head in key) for key in old}
    return {names[key] for key in old if old[key].numpy().tobytes() != new[key].numpy().tobytes()}


def test_exactly_the_declared_parts_train(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    one = {"steps": 1, "validation": None, "checkpoint_every": None, "schedule": "constant"}
    connector, language, vision = {"connector": 0.01}, {"language": 0.01}, {"vision": 0.01}
    stages = [
        toy.align(**one, name="a"),
        toy.instruct(**one, name="b"),
        toy.instruct(**one, name="c", trainable=["language"], lr=language),
        toy.instruct(**one, name="d", trainable=["vision"], lr=vision),
        toy.instruct(
            **one, name="e", trainable=["connector", "language", "vision"], lr=connector | language | vision
        ),
        toy.align(**one, name="f"),
    ]
    watch = toy.Watch()
    toy.run(toy.make_recipe(data, *stages), tmp_path / "run", parts, watch)
    models = [tmp_path / "run" / "stages" / name / "model" for name in "abcdef"]
    found = [changed(old, new) for old, new in itertools.pairwise(models)]
    assert found == [
        {"connector", "language"},
        {"language"},
        {"vision"},
        {"connector", "language", "vision"},
        {"connector"},
    ]
    model, _, _ = load_model(models[0])
    sizes = {
        "connector": sum(p.numel() for p in model.connector.parameters()),
        "language": sum(p.numel() for p in model.lm.parameters()),
        "vision": sum(p.numel() for p in model.tower.parameters()),
    }
    # Layer -2 is read: nothing depends on the last layer, nor on the norm behind it.
    above = {name: p for name, p in model.tower.named_parameters() if "layers.2." in name or "post_" in name}
    idle = sum(p.numel() for p in above.values())
    assert idle
    for stage, summary in zip(stages, watch.stages, strict=True):
        trains = set(stage["lr"])
        unread = {"vision": idle} if "vision" in trains else {}
        assert summary["trainable"] == {k: n - unread.get(k, 0) for k, n in sizes.items() if k in trains}
        assert summary["frozen"] == {k: n for k, n in sizes.items() if k not in trains} | unread
    old, new = (load_file(models[number] / "model.safetensors") for number in (2, 3))
    moved = {key for key in old if not old[key].equal(new[key])}
    assert {key.split("vision_model.")[-1] for key in moved} == {
        name.removeprefix("model.").removeprefix("vision_model.")
        for name, _ in model.tower.named_parameters()
        if name not in above
    }


def test_the_untouched_parts_are_those_of_the_checkpoints(whole: Any, parts: Any) -> None:
    """Alignment leaves the tower and the language model as they came."""
    saved = load_file(whole.folder / "stages" / "align" / "model" / "model.safetensors")
    came = load_file(parts.language / "model.safetensors")
    layer = "model.layers.1.mlp.down_proj.weight"
    mine = [v for k, v in saved.items() if k.endswith("layers.1.mlp.down_proj.weight") and "language" in k]
    assert [m.numpy().tobytes() for m in mine] == [came[layer].numpy().tobytes()]


def test_transformers_computes_the_same_logits(whole: Any, data: Path) -> None:
    import torch
    from PIL import Image
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    processor = AutoProcessor.from_pretrained(whole.model)
    theirs = LlavaForConditionalGeneration.from_pretrained(whole.model, dtype=torch.float32).eval()
    ours, tokenizer, own = load_model(whole.model)
    picture = Image.open(data / "3.png").convert("RGB")
    inputs = processor(images=picture, text="<image>\nWhat colour is the square ?", return_tensors="pt")
    with torch.no_grad():
        wanted = theirs(**inputs).logits
        pixels = torch.from_numpy(own(picture))[None]
        torch.testing.assert_close(pixels, inputs["pixel_values"].float(), atol=1e-5, rtol=0)
        ids = inputs["input_ids"]
        start = int((ids[0] == ours.config.image_token_id).nonzero()[0])
        features = ours.project(ours.encode_tower(pixels))
        embeds = ours.embed(ids, features, [(0, start, ours.config.image_seq_length)])
        length = ids.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).tril()[None]
        found = ours.logits(ours.hidden(embeds, torch.arange(length)[None], mask))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert processor.tokenizer.get_vocab() == tokenizer.get_vocab()


def test_a_folder_that_is_in_use_is_refused(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(data)
    before = toy.weights(whole.model)
    with pytest.raises(RunError, match="holds a run"):
        toy.run(recipe, whole.folder, parts)
    with pytest.raises(RunError, match="another recipe") as caught:
        toy.run(toy.make_recipe(data, seed=9), whole.folder, parts, resume=True)
    assert f"--name whole --runs {whole.folder.parent} --resume" in str(caught.value)
    assert "seed: 3 -> 9\n" in str(caught.value)
    assert toy.weights(whole.model) == before
    with pytest.raises(RunError, match="no run to resume"):
        toy.run(recipe, tmp_path / "absent", parts, resume=True)
    assert not (tmp_path / "absent").exists()
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    for resume in (False, True):
        with pytest.raises(RunError, match="other files"):
            toy.run(recipe, tmp_path, parts, resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def _edited(toy: Any, data: Path, folder: Path, edit: Any) -> Path:
    """A copy of the data in which ``edit`` changed the last conversation with a picture."""
    shutil.copytree(data, folder)
    rows = json.loads((folder / "instruct.json").read_text("utf-8"))
    edit(rows[7])
    toy.write_rows(folder / "instruct.json", rows)
    return folder


BAD = {
    "missing picture": (lambda row: row.update(image="nowhere.png"), "nowhere.png"),
    "two answers in a row": (lambda row: row["conversations"].insert(0, {"from": "gpt", "value": "a"}), "7"),
    "row too long": (lambda row: row["conversations"][1].update(value="a b c d " * 80), "7"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_of_any_stage_stops_a_run_before_it_writes(
    toy: Any, parts: Any, data: Path, tmp_path: Path, what: str
) -> None:
    edit, named = BAD[what]
    bad = _edited(toy, data, tmp_path / "data", edit)
    with pytest.raises(DataError) as caught:
        toy.run(toy.make_recipe(bad), tmp_path / "run", parts)
    assert named in str(caught.value)
    assert "instruct.json" in str(caught.value)
    assert not (tmp_path / "run").exists()


GROUNDING = {"weight": 1.0, "attributes": {"colour": ["red", "blue"]}}


def test_a_phrase_that_fits_no_cell_stops_a_run_before_it_writes(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    rows = json.loads((data / "align.json").read_text("utf-8"))
    rows[5]["regions"][0]["phrase"] = "red square " * 8
    toy.write_rows(tmp_path / "data" / "align.json", rows)
    recipe = toy.make_recipe(tmp_path / "data", toy.align(grounding=GROUNDING))
    with pytest.raises(DataError, match="cell holds") as caught:
        toy.run(recipe, tmp_path / "run", parts)
    assert "align.json, row 5" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "grounding",
    [
        {"weight": 1.0, "attributes": {"colour": ["red", "ultramarine"]}},
        {"weight": 1.0, "position_words": ["red", "blue", "square", "ultramarine"]},
        {"weight": 1.0, "center_word": "ultramarine"},
    ],
)
def test_words_of_several_tokens_cannot_be_told_apart_and_are_refused(
    toy: Any, parts: Any, data: Path, tmp_path: Path, grounding: dict[str, Any]
) -> None:
    recipe = toy.make_recipe(data, toy.align(grounding=grounding))
    with pytest.raises(RecipeError, match=r"'ultramarine' is \d+ tokens"):
        toy.run(recipe, tmp_path / "run", parts)
    assert not (tmp_path / "run").exists()


def test_connector_only_training_without_a_picture_is_refused(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    rows = json.loads((data / "instruct.json").read_text("utf-8"))
    toy.write_rows(tmp_path / "data" / "align.json", [row for row in rows if "image" not in row])
    with pytest.raises(DataError, match="picture"):
        toy.run(toy.make_recipe(tmp_path / "data", toy.align(template="tiny")), tmp_path / "run", parts)


def test_a_part_that_cannot_train_stops_a_run_before_it_writes(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    recipe = toy.make_recipe(data)
    # Of equal width, so that `identity` joins them.
    width = json.loads((parts.language / "config.json").read_text("utf-8"))["hidden_size"]
    vision = make_vision(tmp_path / "vision", width=width)
    model = recipe.model.model_copy(update={"connector": "identity"})
    with pytest.raises(RunError, match="connector has no parameters"):
        toy.run(recipe.model_copy(update={"model": model}), tmp_path / "run", Parts(vision, parts.language))
    assert not (tmp_path / "run").exists()


def test_too_long_samples_are_cut_to_whole_turns_and_told(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """A long conversation loses its last turns, and the picture they show; refused without the policy."""
    shutil.copytree(data, tmp_path / "data")
    long = {
        "id": "long",
        "image": ["0.png", "3.png"],
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "a red square"},
            {"from": "human", "value": "<image>\nAnd this? " + "red square " * 60},
            {"from": "gpt", "value": "a blue square"},
        ],
    }
    rows = json.loads((data / "instruct.json").read_text("utf-8"))
    toy.write_rows(tmp_path / "data" / "instruct.json", [long, *rows[:3]])
    stage = {"row_length": 96, "steps": 2, "rows_per_step": 4, "validation": None}
    recipe = toy.make_recipe(tmp_path / "data", toy.instruct(**stage))
    with pytest.raises(DataError, match="may have 96"):
        toy.run(recipe, tmp_path / "run", parts)
    watch = toy.Watch()
    recipe = toy.make_recipe(tmp_path / "data", toy.instruct(**stage, too_long="cut"))
    toy.run(recipe, tmp_path / "run", parts, watch)
    assert watch.stages[0]["cut"] == 1
    assert {row["images"] for row in watch.rows} == {1 + sum("image" in row for row in rows[:3])}


def test_stages_prepare_pictures_in_their_own_way(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage sees its own squares; what is saved is prepared as the model says."""
    seen: list[str] = []
    real = gallery.Pictures.pixels

    def pixels(self: Any, paths: Any) -> Any:
        seen.append(self.geometry.processor.mode)
        return real(self, paths)

    monkeypatch.setattr(gallery.Pictures, "pixels", pixels)
    stages = (toy.align(aspect="crop", steps=1, validation=None), toy.instruct(steps=1, validation=None))
    recipe = toy.make_recipe(data, *stages)
    assert recipe.model.image.aspect == "pad"
    toy.run(recipe, tmp_path / "run", parts)
    assert list(dict.fromkeys(seen)) == ["crop", "pad"]
    for stage in ("align", "instruct"):
        assert load_model(tmp_path / "run" / "stages" / stage / "model")[2].mode == "pad"


@pytest.mark.parametrize(
    ("of_source", "of_stage", "kept"), [(2, None, 2), (2, 3, 2), (3, 2, 2), (None, 1, 1)]
)
def test_validation_takes_the_smaller_of_both_limits(
    toy: Any, parts: Any, data: Path, tmp_path: Path, of_source: int | None, of_stage: int | None, kept: int
) -> None:
    stage = toy.align(validation={"source": "align_val", "limit": of_stage}, steps=1)
    recipe = toy.make_recipe(data, stage)
    source = recipe.data["align_val"].model_copy(update={"limit": of_source})
    recipe = recipe.model_copy(update={"data": {**recipe.data, "align_val": source}})
    watch = toy.Watch()
    toy.run(recipe, tmp_path / "run", parts, watch)
    (row,) = watch.stages[0]["validation"]
    assert (row["kept"], row["rows"] > kept) == (kept, True)


def test_text_rows_train_beside_pictures(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Alone in a step, they move the language model where it trains and nothing where it does not."""
    rows = json.loads((data / "instruct.json").read_text("utf-8"))
    shutil.copytree(data, tmp_path / "data")
    toy.write_rows(tmp_path / "data" / "instruct.json", [rows[0], *rows[-2:]])
    stage = {"steps": 3, "rows_per_step": 1, "row_length": 64, "validation": None}
    frozen = {"trainable": ["connector"], "lr": {"connector": 0.01}, "name": "frozen"}
    watch = toy.Watch()
    recipe = toy.make_recipe(tmp_path / "data", toy.instruct(**stage, **frozen), toy.instruct(**stage))
    toy.run(recipe, tmp_path / "run", parts, watch)
    still = [row["grad_norm"] for row in watch.rows[:3] if not row["images"]]
    moved = [row["grad_norm"] for row in watch.rows[3:] if not row["images"]]
    assert still
    assert still == [0.0] * len(still)
    assert moved
    assert all(norm > 0 for norm in moved)


def test_a_stop_in_the_middle_says_how_many_steps_are_lost(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    class Cut(toy.Watch):  # type: ignore[misc, name-defined]
        def on_step(self, row: dict[str, Any]) -> None:
            super().on_step(row)
            if row["step"] == 1:
                raise KeyboardInterrupt

    said = "stopped at once in stage 'align': nothing but its start is saved, and 1 step after it must be"
    with pytest.raises(Interrupted, match=said):
        toy.run(toy.make_recipe(data), tmp_path / "run", parts, Cut())
    toy.run(toy.make_recipe(data), tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", whole.folder)


def test_resuming_with_other_data_is_refused(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """Data of the stage that goes on as well as of one that is finished."""
    shutil.copytree(data, tmp_path / "data")
    recipe = toy.make_recipe(tmp_path / "data")
    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "run", parts, stop=lambda: (tmp_path / "run/stages/instruct").exists())
    mixture = (tmp_path / "run" / "mixture.json").read_bytes()
    for name in ("instruct", "align"):
        original = (data / f"{name}.json").read_text("utf-8")
        (tmp_path / "data" / f"{name}.json").write_text(original.replace("blue", "red"), encoding="utf-8")
        with pytest.raises(RunError, match="other data") as caught:
            toy.run(recipe, tmp_path / "run", parts, resume=True)
        assert f"stages{os.sep}{name}" in str(caught.value)
        assert (tmp_path / "run" / "mixture.json").read_bytes() == mixture
        (tmp_path / "data" / f"{name}.json").write_text(original, encoding="utf-8")
    toy.run(recipe, tmp_path / "run", parts, resume=True)


def test_a_full_disk_keeps_the_last_state_and_says_what_to_do(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.train import checkpoint

    def full(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def after(row: dict[str, Any]) -> None:
        if (row["stage"], row["step"]) == ("instruct", 3):
            monkeypatch.setattr(checkpoint, "save_file", full)

    with pytest.raises(RunError, match="No space left") as caught:
        toy.run(toy.make_recipe(data), tmp_path / "run", parts, toy.Watch(after))
    assert "make room" in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))["status"] == "failed"
    monkeypatch.undo()
    states = tmp_path / "run" / "stages" / "instruct" / "state"
    assert [path.name for path in states.iterdir()] == ["step-000002"]
    toy.run(toy.make_recipe(data), tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", whole.folder)


def test_a_disk_that_is_full_from_the_start_stops_before_the_first_step(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.train import checkpoint

    def full(tensors: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    watch = toy.Watch()
    with pytest.raises(RunError, match="after step 0"):
        toy.run(toy.make_recipe(data), tmp_path / "run", parts, watch)
    assert watch.rows == []


def test_a_disk_that_is_full_when_the_model_is_saved_loses_no_step(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any, **options: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(runs, "save_model", full)
    with pytest.raises(RunError, match="No space left") as caught:
        toy.run(toy.make_recipe(data), tmp_path / "run", parts)
    assert "make room" in str(caught.value)
    monkeypatch.undo()
    watch = toy.Watch()
    toy.run(toy.make_recipe(data), tmp_path / "run", parts, watch, resume=True)
    assert [row["stage"] for row in watch.rows] == ["instruct"] * 6
    same_run(toy, tmp_path / "run", whole.folder)


def test_a_run_that_was_killed_in_its_first_instant_starts_again(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """Its own first files are no obstacle; a recipe that is not its own stays untouched."""
    recipe = toy.make_recipe(data, toy.align(steps=1))
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text("mine: true\n", encoding="utf-8")
    with pytest.raises(RunError, match="other files"):
        toy.run(recipe, folder, parts)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    (folder / "mixture.json").write_text("[]", encoding="utf-8")
    (folder / "run.json.partial").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="no run to resume"):
        toy.run(recipe, folder, parts, resume=True)
    toy.run(recipe, folder, parts)
    assert json.loads((folder / "run.json").read_text("utf-8"))["status"] == "finished"


def test_resuming_with_other_weights_is_refused(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    shutil.copytree(parts.language, tmp_path / "language")
    other = runs.Parts(parts.vision, tmp_path / "language")
    facts = json.loads((folder / "run.json").read_text("utf-8"))["parts"]["language"]
    weights = (tmp_path / "language" / "model.safetensors").read_bytes()
    assert facts["folder"] == "language"
    assert facts["sha256"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    toy.run(toy.make_recipe(data), folder, other, resume=True)
    flipped = weights[:-1] + bytes([weights[-1] ^ 1])
    (tmp_path / "language" / "model.safetensors").write_bytes(flipped)
    with pytest.raises(RunError, match=r"language part .* changed"):
        toy.run(toy.make_recipe(data), folder, other, resume=True)


def test_a_record_without_hashes_is_resumed(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    record = json.loads((folder / "run.json").read_text("utf-8"))
    record["parts"] = {"vision": {"name": "vision"}, "language": {"name": "language"}}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "stages" / "align" / "state" / "step-000003").mkdir(parents=True)
    toy.run(toy.make_recipe(data), folder, parts, resume=True)
    same_run(toy, folder, whole.folder)
    # The state was left by a run that was killed between its record and its removal.
    assert not (folder / "stages" / "align" / "state").exists()


def test_states_are_kept_only_while_a_stage_needs_them(whole: Any) -> None:
    assert list(whole.folder.glob("stages/*/state")) == []
    assert len(list(whole.folder.glob("stages/*/plan.json"))) == 2


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_a_picture_that_is_cut_off_is_found_before_the_first_step(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(data, tmp_path / "data")
    _cut_off(tmp_path / "data" / "3.png")
    with pytest.raises(DataError) as caught:
        toy.run(toy.make_recipe(tmp_path / "data"), tmp_path / "run", parts)
    assert "align.json, row 3" in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert (tmp_path / runs.CACHE_FOLDER / "images.json").is_file()


def test_a_picture_that_breaks_later_is_named_with_its_row(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pictures are too many to decode in advance."""
    shutil.copytree(data, tmp_path / "data")
    _cut_off(tmp_path / "data" / "3.png")
    monkeypatch.setattr(preparing, "DECODED", 0)
    monkeypatch.setattr(gallery, "FEATURE_BYTES", 0)
    with pytest.raises(DataError) as caught:
        toy.run(toy.make_recipe(tmp_path / "data", toy.align(epochs=1, steps=None)), tmp_path / "run", parts)
    assert "align.json, row 3" in str(caught.value)
    assert (tmp_path / "run").exists()


def test_a_sample_beyond_the_context_is_refused_before_the_first_step(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    shutil.copytree(parts.language, tmp_path / "language")
    config = json.loads((tmp_path / "language" / "config.json").read_text("utf-8"))
    config["max_position_embeddings"] = 40
    (tmp_path / "language" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rows = json.loads((data / "instruct.json").read_text("utf-8"))
    rows[4]["conversations"][1]["value"] = "a b c d " * 8
    shutil.copytree(data, tmp_path / "data")
    toy.write_rows(tmp_path / "data" / "instruct.json", rows)
    short = runs.Parts(parts.vision, tmp_path / "language")
    with pytest.raises(DataError, match=r"context .* 40") as caught:
        toy.run(toy.make_recipe(tmp_path / "data"), tmp_path / "run", short)
    assert "instruct.json, row 4" in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", ["webdataset", "messages"])
def test_pictures_inside_shards_and_other_formats_train_the_same_model(
    toy: Any, parts: Any, data: Path, whole: Any, tmp_path: Path, form: str
) -> None:
    from pumice.data.convert import convert

    for name in ("align", "instruct", "align_val", "instruct_val"):
        out = tmp_path / "data" / (name if form == "webdataset" else f"{name}.jsonl")
        out.parent.mkdir(exist_ok=True)
        convert(data / f"{name}.json", out, form, image_root=data, shard_rows=3)
    recipe = toy.make_recipe(data)
    sources = {
        name: source.model_copy(
            update={
                "file": str(tmp_path / "data" / (name if form == "webdataset" else f"{name}.jsonl")),
                "images": None if form == "webdataset" else source.images,
            }
        )
        for name, source in recipe.data.items()
    }
    model = toy.run(recipe.model_copy(update={"data": sources}), tmp_path / "run", parts)
    assert toy.weights(model) == toy.weights(whole.model)
    rows = json.loads((tmp_path / "run" / "mixture.json").read_text("utf-8"))
    assert {row["format"] for row in rows} == {form}


def test_a_tower_that_trained_in_between_is_seen_anew(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """Features of one kind of square that were kept before another stage trained the tower are stale."""
    tower = {"lr": {"connector": 0.01, "vision": 0.05}, "trainable": ["connector", "vision"]}
    stages = (
        toy.align(name="before", aspect="crop"),
        toy.align(name="tower", steps=5, **tower),
        toy.align(name="after", aspect="crop"),
    )
    recipe = toy.make_recipe(data, *stages)
    toy.run(recipe, tmp_path / "whole", parts)
    watch = toy.Watch()
    with pytest.raises(Interrupted):
        toy.run(recipe, tmp_path / "cut", parts, watch, stop=lambda: len(watch.stages) == 3)
    toy.run(recipe, tmp_path / "cut", parts, resume=True)
    assert toy.metrics(tmp_path / "cut", "after") == toy.metrics(tmp_path / "whole", "after")
    final = Path("stages/after/model")
    assert toy.weights(tmp_path / "cut" / final) == toy.weights(tmp_path / "whole" / final)


def test_a_video_for_a_model_that_knows_none_is_refused_without_reading_it_all(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "film").mkdir()
    for number in range(9):
        shutil.copyfile(data / "0.png", tmp_path / "data" / "film" / f"{number}.png")
    rows = json.loads((data / "instruct.json").read_text("utf-8"))
    rows[3] = {"video": "film", "conversations": toy.talk("<image>\nWhat ?", "a square")}
    toy.write_rows(tmp_path / "data" / "instruct.json", rows)
    opened: list[Path] = []
    decode = video.open_image
    monkeypatch.setattr(
        video, "open_image", lambda path, **more: (opened.append(path), decode(path, **more))[1]
    )
    with pytest.raises(DataError, match="video") as caught:
        toy.run(toy.make_recipe(tmp_path / "data", toy.instruct()), tmp_path / "run", parts)
    assert "instruct.json, row 3" in str(caught.value)
    assert len(opened) <= 1
