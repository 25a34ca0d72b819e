"""Exports are what they say: compared key by key here, and by scores in the export itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)

import pumice
from pumice.errors import CheckpointError, UsageError
from pumice.export import export
from pumice.export import run as run_module
from pumice.export import verify as verify_module
from pumice.export.original import trim_tokenizer
from pumice.image.settings import VideoSettings
from pumice.model.build import Tiles, build_model
from pumice.model.save import save_model

ROWS = 290


@pytest.fixture
def saved(tiny: Any, tmp_path: Path) -> Path:
    save_model(tiny.model, tiny.tokenizer, tiny.processor, tmp_path / "saved", dtype="float32")
    return tmp_path / "saved"


def same(found: Any, expected: Any) -> None:
    own, other = found.state_dict(), expected.state_dict()
    assert own.keys() == other.keys()
    for key in own:
        assert torch.equal(own[key], other[key]), key


class TestOriginal:
    def test_names_and_fields_are_the_originals(
        self, tiny: Any, saved: Path, tmp_path: Path, original: Any
    ) -> None:
        done = export(saved, tmp_path / "out", "llava")
        assert (done.format, done.dtype, done.checked_in) == ("llava", "float32", "float32")
        assert done.difference == 0.0
        found = load_file(tmp_path / "out" / "model.safetensors")
        expected = {**original.language_tensors(tiny.model, ROWS), **original.projector_tensors(tiny.model)}
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        wanted = original.config(tiny.model, ROWS, "vision_tower")
        for key in wanted.keys() - {
            "model_type",  # llava_llama: what the original's last release registers
            "torch_dtype",
            "transformers_version",
            "image_aspect_ratio",
            "tokenizer_model_max_length",
            "freeze_mm_mlp_adapter",
            "tune_mm_mlp_adapter",
        }:
            assert config[key] == wanted[key], key
        assert config["model_type"] == "llava_llama"
        assert config["image_aspect_ratio"] == "square"
        assert "rope_parameters" not in config
        assert config["torch_dtype"] == "float32"

    def test_the_tokenizer_knows_no_picture(self, saved: Path, tmp_path: Path) -> None:
        export(saved, tmp_path / "out", "llava")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
        assert len(tokenizer) == ROWS
        assert "<image>" not in tokenizer.get_vocab()
        assert tokenizer.pad_token == "</s>"
        text = "What colour ? a<b"
        assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(saved)(text)["input_ids"]
        generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
        assert "suppress_tokens" not in generation

    @pytest.mark.parametrize(
        ("pieces", "kind"), [(False, "PreTrainedTokenizerFast"), (True, "LlamaTokenizer")]
    )
    def test_the_tokenizers_class_is_one_that_reads_its_file(
        self, tiny: Any, tmp_path: Path, pieces: bool, kind: str
    ) -> None:
        """The original asks for the slow class by name."""
        folder = tmp_path / "files"
        tiny.tokenizer.save_pretrained(folder)
        if pieces:
            (folder / "tokenizer.model").write_bytes(b"pieces")
        tokenizer = AutoTokenizer.from_pretrained(folder)
        (tmp_path / "out").mkdir()
        trimmed, rows = trim_tokenizer(tokenizer, tmp_path / "out", "llama")
        fields = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
        assert fields["tokenizer_class"] == kind
        assert (tmp_path / "out" / "tokenizer.model").exists() == pieces
        assert rows == len(trimmed) == ROWS

    def test_the_tower_comes_along(self, tiny: Any, saved: Path, tmp_path: Path) -> None:
        done = export(saved, tmp_path / "out", "llava")
        assert any("mm_vision_tower" in note for note in done.notes)
        tower, info = CLIPVisionModel.from_pretrained(tmp_path / "out/vision_tower", output_loading_info=True)
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        same(tower, tiny.model.tower.model)
        again = pumice.load(tmp_path / "out", template="tiny")
        same(again.model, tiny.model)
        assert again.processor == tiny.processor

    def test_a_named_tower_is_not_written(self, tiny: Any, saved: Path, tmp_path: Path) -> None:
        export(saved, tmp_path / "out", "llava", vision=tiny.vision)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (config["mm_vision_tower"], config["unfreeze_mm_vision_tower"]) == (str(tiny.vision), False)
        assert not (tmp_path / "out" / "vision_tower").exists()
        same(pumice.load(tmp_path / "out", template="tiny").model, tiny.model)

    def test_a_tower_that_was_trained_lies_inside(
        self, parts: Any, tiny: Any, saved: Path, tmp_path: Path
    ) -> None:
        other = parts.make_vision(tmp_path / "other", seed=9)
        done = export(saved, tmp_path / "out", "llava", vision=other)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["unfreeze_mm_vision_tower"] is True
        keys = load_file(tmp_path / "out" / "model.safetensors").keys()
        assert "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding" in keys
        assert any("differs" in note for note in done.notes)
        same(pumice.load(tmp_path / "out", template="tiny").model, tiny.model)

    @pytest.mark.parametrize("connector", ["linear", "mlp3x_gelu"])
    def test_what_transformers_lacks_the_original_has(
        self, tiny: Any, tmp_path: Path, connector: str
    ) -> None:
        made = build_model(tiny.vision, tiny.language, connector=connector, template="tiny")
        save_model(*made, tmp_path / "saved", dtype="float32")
        export(tmp_path / "saved", tmp_path / "out", "llava")
        same(pumice.load(tmp_path / "out", template="tiny").model, made[0])
        names = {k for k in load_file(tmp_path / "out" / "model.safetensors") if "mm_projector" in k}
        assert ("model.mm_projector.weight" in names) == (connector == "linear")

    def test_scales(self, tiny: Any, tmp_path: Path) -> None:
        made = build_model(tiny.vision, tiny.language, scales=[16, 32], template="tiny")
        save_model(*made, tmp_path / "saved", dtype="float32")
        export(tmp_path / "saved", tmp_path / "out", "llava")
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (config["s2"], config["s2_scales"], config["mm_hidden_size"]) == (True, "16,32", 48)
        same(pumice.load(tmp_path / "out", template="tiny").model, made[0])

    def test_tiles(self, tiny: Any, tmp_path: Path) -> None:
        tiles = Tiles(((16, 32), (32, 16)), flavour="original")
        made = build_model(tiny.vision, tiny.language, template="tiny", tiles=tiles)
        save_model(*made, tmp_path / "saved", dtype="float32")
        export(tmp_path / "saved", tmp_path / "out", "llava")
        again = pumice.load(tmp_path / "out", template="tiny").model
        same(again, made[0])
        assert again.config.pinpoints == tiles.pinpoints
        assert again.config.flavour == "original"
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert config["image_aspect_ratio"] == "anyres"
        assert config["image_grid_pinpoints"] == [[16, 32], [32, 16]]

    @pytest.mark.parametrize("kind", ["language", "towers"])
    def test_what_it_has_no_place_for_is_refused(
        self, parts: Any, tiny: Any, tmp_path: Path, kind: str
    ) -> None:
        if kind == "towers":
            vision: Any = [tiny.vision, parts.make_vision(tmp_path / "v", seed=5)]
            made = build_model(vision, tiny.language, template="tiny")
            says = "several vision towers"
        else:
            made = build_model(tiny.vision, gemma2(tiny, tmp_path / "lm"), template="tiny")
            says = "gemma2"
        save_model(*made, tmp_path / "saved", dtype="float32")
        with pytest.raises(CheckpointError, match=says):
            export(tmp_path / "saved", tmp_path / "out", "llava")
        assert not (tmp_path / "out").exists()


def gemma2(tiny: Any, folder: Path) -> Path:
    fields: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    fields |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "head_dim": 8}
    fields |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None, "final_logit_softcapping": 0.5}
    torch.manual_seed(2)
    model = Gemma2ForCausalLM(Gemma2Config(**fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny.language / name).read_bytes())
    return folder


class TestTransformers:
    @pytest.mark.parametrize("pickled", [False, True])
    def test_from_the_original(
        self, original: Any, parts: Any, tiny: Any, tmp_path: Path, pickled: bool
    ) -> None:
        source = original.write_full(
            tmp_path / "m", tiny.model, parts.make_tokenizer(), str(tiny.vision), pickled=pickled
        )
        done = export(source, tmp_path / "out", "hf", template="tiny")
        assert done.difference == 0.0
        assert done.transformers_difference is not None
        assert done.transformers_difference < 1e-5
        _, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out", output_loading_info=True)
        assert not info["missing_keys"]
        same(pumice.load(tmp_path / "out").model, tiny.model)

    def test_an_adapter_is_merged(self, original: Any, tiny: Any, tmp_path: Path) -> None:
        adapter = original.write_adapter(tmp_path / "m", tiny.model, ROWS, str(tiny.vision))
        export(adapter, tmp_path / "out", template="tiny", base=tiny.language)
        expected = pumice.load(adapter, template="tiny", base=tiny.language).model
        same(pumice.load(tmp_path / "out").model, expected)

    def test_half_precision(self, tiny: Any, saved: Path, tmp_path: Path) -> None:
        done = export(saved, tmp_path / "out", dtype="bfloat16", shard_bytes=50_000)
        assert done.dtype == "bfloat16"
        assert done.difference == 0.0, "what is compared is what was written"
        shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
        assert len(shards) > 2
        assert {t.dtype for shard in shards for t in load_file(shard).values()} == {torch.bfloat16}
        again = pumice.load(tmp_path / "out", dtype="float32").model
        for key, value in tiny.model.state_dict().items():
            assert torch.equal(again.state_dict()[key], value.bfloat16().float())

    def test_scores_in_the_types_on_disk(self, saved: Path, tmp_path: Path) -> None:
        done = export(saved, tmp_path / "out", dtype="bfloat16", check_dtype="bfloat16")
        assert done.checked_in == "bfloat16"
        assert done.difference == 0.0

    def test_tiles_become_transformers(self, tiny: Any, tmp_path: Path) -> None:
        tiles = Tiles(((16, 32), (32, 16)), flavour="original")
        made = build_model(tiny.vision, tiny.language, template="tiny", tiles=tiles)
        save_model(*made, tmp_path / "saved", dtype="float32")
        done = export(tmp_path / "saved", tmp_path / "out", "hf")
        assert any("tiles as transformers does" in note for note in done.notes)
        assert done.transformers_difference is not None
        assert done.transformers_difference < 1e-5
        assert pumice.load(tmp_path / "out").model.config.flavour == "transformers"
        LlavaNextForConditionalGeneration.from_pretrained(tmp_path / "out")
        assert "padded square" in (tmp_path / "out" / "README.md").read_text()
        tiles = replace(tiles, multi_image="same")
        save_model(*build_model(tiny.vision, tiny.language, tiles=tiles), tmp_path / "same")
        export(tmp_path / "same", tmp_path / "all", "hf")
        assert not (tmp_path / "all" / "README.md").exists()

    def test_what_transformers_lacks_is_said(self, tiny: Any, tmp_path: Path) -> None:
        made = build_model(tiny.vision, tiny.language, connector="linear", template="tiny")
        save_model(*made, tmp_path / "saved", dtype="float32")
        done = export(tmp_path / "saved", tmp_path / "out")
        assert done.transformers_difference is None
        assert any("connector is linear" in note for note in done.notes)

    def test_capped_scores(self, tiny: Any, tmp_path: Path) -> None:
        made = build_model(tiny.vision, gemma2(tiny, tmp_path / "lm"), template="tiny")
        save_model(*made, tmp_path / "saved", dtype="float32")
        done = export(tmp_path / "saved", tmp_path / "out")
        assert done.transformers_difference is not None
        assert any("final_logit_softcapping" in note for note in done.notes)

    def test_marks_around_pictures(self, original: Any, parts: Any, tiny: Any, tmp_path: Path) -> None:
        tokenizer = parts.make_tokenizer()
        tokenizer.add_tokens(["<im_start>", "<im_end>"], special_tokens=True)
        source = original.write_full(
            tmp_path / "m", tiny.model, tokenizer, str(tiny.vision), mm_use_im_start_end=True
        )
        done = export(source, tmp_path / "out", template="tiny")
        assert done.transformers_difference is not None
        back = export(tmp_path / "out", tmp_path / "back", "llava")
        assert back.difference == 0.0
        config = json.loads((tmp_path / "back" / "config.json").read_text())
        assert (config["mm_use_im_start_end"], config["vocab_size"]) == (True, 292)


def test_there_and_back_changes_no_weight(tiny: Any, saved: Path, tmp_path: Path) -> None:
    export(saved, tmp_path / "llava", "llava")
    export(tmp_path / "llava", tmp_path / "hf", "hf", template="tiny")
    mine, other = load_file(saved / "model.safetensors"), load_file(tmp_path / "hf" / "model.safetensors")
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[key], other[key]) for key in mine)
    for name in ("chat_template.jinja", "processor_config.json", "preprocessor_config.json"):
        assert (saved / name).read_text() == (tmp_path / "hf" / name).read_text(), name


class TestFailure:
    def left(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    @pytest.mark.parametrize("format", ["hf", "llava"])
    def test_a_different_model_leaves_nothing(
        self, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
    ) -> None:
        before = self.left(tmp_path)
        load = run_module.load
        calls: list[Any] = []

        def broken(*args: Any, **options: Any) -> Any:
            checkpoint = load(*args, **options)
            calls.append(args)
            if len(calls) == 2:
                with torch.no_grad():
                    checkpoint.model.connector[0].weight.mul_(1.01)
            return checkpoint

        monkeypatch.setattr(run_module, "load", broken)
        with pytest.raises(CheckpointError, match="not the same model: its scores differ"):
            export(saved, tmp_path / "out", format)
        assert self.left(tmp_path) == before

    def test_an_old_export_stays(self, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        export(saved, tmp_path / "out", "llava")
        kept = (tmp_path / "out" / "config.json").read_bytes()
        monkeypatch.setitem(verify_module.TOLERANCE, "float32", -1.0)
        with pytest.raises(CheckpointError, match="differ"):
            export(saved, tmp_path / "out", "hf")
        assert (tmp_path / "out" / "config.json").read_bytes() == kept
        assert self.left(tmp_path) == ["out", "saved"]

    def test_scores_that_are_no_numbers(self, tiny: Any, tmp_path: Path) -> None:
        made = build_model(tiny.vision, tiny.language, template="tiny")
        with torch.no_grad():
            made[0].connector[0].weight.fill_(float("nan"))
        save_model(*made, tmp_path / "saved", dtype="float32")
        with pytest.raises(CheckpointError, match="nan"):
            export(tmp_path / "saved", tmp_path / "out")

    def test_the_way_with_videos_goes_along(self, tiny: Any, tmp_path: Path) -> None:
        model, tokenizer, processor = build_model(
            tiny.vision, tiny.language, template="tiny", tiles=Tiles(((16, 32), (32, 16)))
        )
        video = VideoSettings(frames=8, aspect="pad", stride=1, pooling="max", newline="frame")
        model.config = replace(model.config, video=video)
        save_model(model, tokenizer, processor, tmp_path / "saved", dtype="float32")
        done = export(tmp_path / "saved", tmp_path / "out", "llava")
        assert any("no field for how many frames" in note for note in done.notes)
        back = pumice.load(tmp_path / "out", template="tiny").model.config.video
        assert back == replace(video, frames=32, aspect="crop")

    def test_the_source_is_never_replaced(self, saved: Path) -> None:
        with pytest.raises(UsageError, match="own source"):
            export(saved, saved, "llava")

    def test_other_files_are_never_replaced(self, saved: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text("mine")
        with pytest.raises(CheckpointError, match="other files"):
            export(saved, tmp_path / "out")
        assert self.left(tmp_path / "out") == ["thesis.txt"]

    @pytest.mark.parametrize(("option", "says"), [("format", "llava"), ("check_dtype", "float32")])
    def test_unknown_choices_are_listed(self, saved: Path, tmp_path: Path, option: str, says: str) -> None:
        with pytest.raises(UsageError) as caught:
            export(saved, tmp_path / "out", **{option: "gguf"})
        assert says in str(caught.value)
