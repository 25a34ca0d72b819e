"""The model of a recipe without weights: as large as the one with, and as good for counting tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pumice.cost.shape import Additions
from pumice.errors import CheckpointError
from pumice.model import Tiles, build_model, load_model, save_model
from pumice.model.geometry import model_geometry
from pumice.model.planned import plan_model
from pumice.model.shape import additions_of, model_shape
from pumice.recipes.schema import ImageOptions, Lora, Model, VideoOptions
from pumice.text.sizing import NOTE

CLIP = "hub:openai/clip-vit-large-patch14-336"


def nowhere(name: str, kind: str) -> Path | None:
    return None


@pytest.fixture(scope="module")
def folders(parts: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    parts.make_vision(folder / "vision")
    parts.make_language(folder / "language")
    return folder


def local(folders: Path) -> Any:
    return lambda name, kind: folders / name


@pytest.mark.parametrize("weights", [True, False])
def test_local_parts_give_the_sizes_and_tokens_of_the_model_that_is_built(
    folders: Path, weights: bool, tmp_path: Path
) -> None:
    import shutil

    model, tokenizer, processor = build_model(folders / "vision", folders / "language")
    place = folders
    if not weights:  # configurations and the tokenizer are enough
        place = tmp_path
        for name in ("vision", "language"):
            shutil.copytree(folders / name, place / name)
            (place / name / "model.safetensors").unlink()
    own = Model(vision="vision", language="language", template="v1", image=ImageOptions(aspect="crop"))
    planned = plan_model(own, local(place))
    assert model_shape(planned.model) == model_shape(model)
    assert planned.model.config == model.config
    assert planned.processor == processor
    assert planned.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert (planned.estimated, planned.notes) == (False, [])
    assert {parameter.device.type for parameter in planned.model.parameters()} == {"meta"}


def test_tiles_and_videos_are_laid_out_as_the_recipe_says(folders: Path) -> None:
    own = Model(
        vision="vision",
        language="language",
        template="v1",
        image=ImageOptions(aspect="anyres", grids=("1x2", "2x1")),
        video=VideoOptions(frames=4),
    )
    planned = plan_model(own, local(folders))
    side = planned.processor.image_size
    tiles = Tiles(pinpoints=((side, 2 * side), (2 * side, side)))
    model, _, processor = build_model(folders / "vision", folders / "language", tiles=tiles)
    found = model_geometry(planned.model.config, planned.model.tower, planned.processor)
    wanted = model_geometry(model.config, model.tower, processor.with_mode("squash"))
    assert found.settings.video is not None
    assert found.settings.pinpoints == wanted.settings.pinpoints
    assert planned.model.config.newline


def test_a_checkpoint_is_planned_by_its_own_files(folders: Path, tmp_path: Path) -> None:
    model, tokenizer, processor = build_model(folders / "vision", folders / "language", template="tiny")
    save_model(model, tokenizer, processor, tmp_path / "model", dtype="float32")
    saved, _, own = load_model(tmp_path / "model")
    planned = plan_model(Model(checkpoint="model"), lambda name, kind: tmp_path / name)
    assert model_shape(planned.model) == model_shape(saved)
    assert planned.model.config == saved.config
    assert planned.processor == own


def test_published_parts_need_no_files() -> None:
    planned = plan_model(Model(vision=CLIP, language="hub:lmsys/vicuna-7b-v1.5", template="v1"), nowhere)
    assert model_shape(planned.model).params == {
        "vision": 303_507_456,
        "connector": 20_979_712,
        "language": 6_738_415_616,
    }
    assert (planned.estimated, planned.notes) == (True, [NOTE])
    assert planned.model.config.image_seq_length == 576
    large = plan_model(Model(vision=CLIP, language="hub:meta-llama/Llama-2-70b-hf", template="v1"), nowhere)
    assert model_shape(large.model).language.params == 68_976_648_192


def test_published_checkpoints_need_no_files() -> None:
    planned = plan_model(Model(checkpoint="hub:llava-hf/llava-v1.6-mistral-7b-hf"), nowhere)
    assert planned.model.config.tiled
    assert planned.template(None).name == "mistral_instruct"
    with pytest.raises(CheckpointError, match="not known here") as caught:
        plan_model(Model(checkpoint="hub:llava-hf/llava-1.5-7b"), nowhere)
    assert "llava-hf/llava-1.5-7b-hf" in str(caught.value)


def test_a_chat_template_that_is_not_here_is_counted_by_another_and_said() -> None:
    own = Model(vision=CLIP, language="hub:Qwen/Qwen3-1.7B", template="chat")
    planned = plan_model(own, nowhere)
    template = planned.template(None)
    assert template.name == "chatml_direct"
    assert "chatml_direct counts in its place" in planned.notes[-1]
    vocabulary = planned.tokenizer_for(template).get_vocab()
    assert set(template.control) <= set(vocabulary)


def test_a_part_that_is_nowhere_is_named() -> None:
    with pytest.raises(CheckpointError, match="no folder 'mine'"):
        plan_model(Model(vision=CLIP, language="mine", template="v1"), nowhere)


def test_additions_are_counted_by_layer(folders: Path) -> None:
    own = Model(vision="vision", language="language", template="v1")
    lm = plan_model(own, local(folders)).model.lm
    config = lm.config
    width, layers = config.hidden_size, config.num_hidden_layers
    heads = config.num_attention_heads
    inner = width // heads * heads
    found = additions_of(lm, Lora(rank=4, targets=("q_proj",)))
    assert found == Additions(layers * 4 * (width + inner), layers * width * inner)
    dora = additions_of(lm, Lora(rank=4, targets=("q_proj",), dora=True))
    assert dora.params == found.params + layers * inner
    whole = additions_of(lm, Lora(rank=4, quantize="nf4"))
    linear = sum(p.numel() for name, p in lm.named_parameters() if "proj" in name and p.ndim == 2)
    assert whole.covered == linear
    assert whole.bits == pytest.approx(4.127, abs=0.001)
    assert additions_of(lm, Lora(quantize="nf4", double_quantization=False)).bits == 4.5
    with pytest.raises(CheckpointError, match="no linear layer 'q_prog'") as caught:
        additions_of(lm, Lora(targets=("q_prog",)))
    assert "'q_proj'" in str(caught.value)
