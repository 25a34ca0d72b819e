from __future__ import annotations

import io
import json
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from pumice.errors import CheckpointError, MissingExtraError
from pumice.model import parts as parts_module
from pumice.model import save as save_module
from pumice.model.build import build_model
from pumice.model.loading import load
from pumice.model.parts import load_tokenizer
from pumice.model.save import load_model, save_model
from pumice.text.render import render
from pumice.text.templates import get_template
from pumice.types import text_message


def save(tiny: Any, folder: Path, model: Any = None, **options: Any) -> Path:
    options = {"dtype": "float32", **options}
    save_model(model or tiny.model, tiny.tokenizer, tiny.processor, folder, **options)
    return folder


def assert_same_weights(left: Any, right: Any) -> None:
    mine, other = left.state_dict(), right.state_dict()
    assert mine.keys() == other.keys()
    for name in mine:
        assert torch.equal(mine[name], other[name]), name


def our_logits(model: Any, ids: torch.Tensor, pixels: torch.Tensor, spans: list[tuple[int, int, int]]) -> Any:
    rows, length = ids.shape
    embeds = model.embed(ids, model.project(model.encode_tower(pixels)), spans)
    mask = torch.ones(rows, length, length, dtype=torch.bool).tril()
    return model.logits(model.hidden(embeds, torch.arange(length).expand(rows, -1), mask))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("layer", "feature"), [(-2, "patch"), (-1, "cls_patch"), (1, "patch"), ((-2, 0, -1), "patch")]
)
@torch.no_grad()
def test_transformers_gives_the_same_logits(
    parts: Any, tiny: Any, tmp_path: Path, tied: bool, layer: Any, feature: str
) -> None:
    language = parts.make_language(tmp_path / "lm", tied=tied)
    model, tokenizer, processor = build_model(
        tiny.vision, language, select_layer=layer, select_feature=feature, template="tiny"
    )
    save_model(model, tokenizer, processor, tmp_path / "out", dtype="float32")
    reference, info = LlavaForConditionalGeneration.from_pretrained(
        tmp_path / "out", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    size = model.config.image_seq_length
    image = [model.config.image_token_id] * size
    ids = torch.tensor([[0, 5, *image, 7, 8, 9, 6], [0, *image, 9, 8, 7, 6, 5]])
    pixels = torch.randn(2, 3, 16, 16)
    theirs = reference(input_ids=ids, pixel_values=pixels).logits
    ours = our_logits(model, ids, pixels, [(0, 2, size), (1, 1, size)])
    assert float((ours - theirs).abs().max()) < 1e-5
    assert float(theirs.std()) > 0.01
    loaded = load_model(tmp_path / "out")[0]
    assert loaded.config == model.config
    assert_same_weights(loaded, model)


def test_processor_of_transformers_gives_our_ids_and_pixels(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m")
    processor = AutoProcessor.from_pretrained(folder)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    content = [{"type": "image"}, {"type": "text", "text": "\nWhat colour ?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    given = processor(images=picture, text=prompt, return_tensors="pt", add_special_tokens=False)
    ours = render(
        (text_message("user", "What colour ?", images=[0]),),
        tiny.tokenizer,
        get_template("tiny"),
        image_lengths=[4],
        image_token_id=tiny.model.config.image_token_id,
        generation_prompt=True,
    )
    assert given["input_ids"][0].tolist() == ours.input_ids.tolist()
    assert np.abs(given["pixel_values"][0].numpy() - tiny.processor(picture)).max() < 1e-6


def test_others_may_read_the_weights_where_they_may_read_new_files(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m")
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert len(modes) == 1, "weights have the mode of the files beside them"


@pytest.mark.parametrize("connector", ["linear", "mlp1x_gelu", "mlp3x_gelu", "mlp2x_gelu"])
def test_every_connector_comes_back(tiny: Any, tmp_path: Path, connector: str) -> None:
    model, tokenizer, processor = build_model(
        tiny.vision, tiny.language, connector=connector, template="v1", select_feature="cls_patch"
    )
    save_model(model, tokenizer, processor, tmp_path / "m", dtype="float32")
    loaded, _, loaded_processor = load_model(tmp_path / "m")
    assert loaded.config == model.config
    assert_same_weights(loaded, model)
    assert loaded_processor == processor
    keys = load_file(tmp_path / "m" / "model.safetensors").keys()
    assert any(key.startswith("multi_modal_projector.layers.") for key in keys) == (connector != "mlp2x_gelu")


@pytest.mark.parametrize("connector", ["linear", "mlp1x_gelu", "mlp3x_gelu"])
def test_transformers_refuses_a_connector_it_does_not_have(tiny: Any, tmp_path: Path, connector: str) -> None:
    model, tokenizer, processor = build_model(tiny.vision, tiny.language, connector=connector)
    save_model(model, tokenizer, processor, tmp_path / "m")
    with pytest.raises(KeyError, match=f"pumice_{connector}"):
        LlavaForConditionalGeneration.from_pretrained(tmp_path / "m")
    (tmp_path / "m" / "pumice.json").unlink()
    with pytest.raises(CheckpointError, match="projector_hidden_act"):
        load_model(tmp_path / "m", template="v1")


def test_identity_comes_back(parts: Any, tiny: Any, tmp_path: Path) -> None:
    vision = parts.make_vision(tmp_path / "v", width=32)
    model, tokenizer, processor = build_model(vision, tiny.language, connector="identity")
    save_model(model, tokenizer, processor, tmp_path / "m", dtype="float32")
    assert_same_weights(load_model(tmp_path / "m")[0], model)
    with pytest.raises(KeyError, match="pumice_identity"):
        LlavaForConditionalGeneration.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dtype_on_disk(tiny: Any, tmp_path: Path, dtype: str) -> None:
    folder = save(tiny, tmp_path / "m", dtype=dtype)
    kind = getattr(torch, dtype)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {kind}
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    loaded = load_model(folder)[0]
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, tiny.model.state_dict()[name].to(kind).float())


def test_shards(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m", shard_bytes=50_000)
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert not (folder / "model.safetensors").exists()
    assert_same_weights(load_model(folder)[0], tiny.model)
    _, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    shards[1].unlink()
    with pytest.raises(CheckpointError, match=shards[1].name):
        load_model(folder)


def test_two_saves_are_equal_to_the_byte(tiny: Any, tmp_path: Path) -> None:
    left, right = save(tiny, tmp_path / "a"), save(tiny, tmp_path / "b")
    names = sorted(path.name for path in left.iterdir())
    assert names == sorted(path.name for path in right.iterdir())
    for name in names:
        assert (left / name).read_bytes() == (right / name).read_bytes(), name


def test_saving_does_not_change_the_model(tiny: Any, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.model.state_dict().items()}
    config = tiny.model.lm.config.to_dict()
    save(tiny, tmp_path / "m", dtype="bfloat16")
    assert all(torch.equal(before[name], tensor) for name, tensor in tiny.model.state_dict().items())
    assert tiny.model.lm.config.to_dict() == config


def test_a_checkpoint_is_replaced_whole(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m", shard_bytes=50_000)
    save(tiny, folder)
    assert not list(folder.glob("model-*.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_failed_save_leaves_the_old_one(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tiny, tmp_path / "m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(save_module, "_write_configs", full)
    with pytest.raises(OSError, match="no space"):
        save(tiny, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_other_files_are_never_replaced(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "photo.jpg").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="other files"):
        save(tiny, tmp_path / "m")
    assert (tmp_path / "m" / "photo.jpg").exists()


class TestLayouts:
    """Checkpoints of transformers, without our record beside them."""

    @pytest.fixture
    def plain(self, tiny: Any, tmp_path: Path) -> Path:
        folder = save(tiny, tmp_path / "m")
        (folder / "pumice.json").unlink()
        return folder

    def rename(self, folder: Path, rule: Any) -> None:
        tensors = load_file(folder / "model.safetensors")
        renamed = {rule(key): tensor for key, tensor in tensors.items()}
        save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})

    def test_hub(self, tiny: Any, plain: Path) -> None:
        keys = load_file(plain / "model.safetensors").keys()
        assert "vision_tower.vision_model.embeddings.class_embedding" in keys
        assert "multi_modal_projector.linear_2.bias" in keys
        assert "language_model.model.norm.weight" in keys
        assert "language_model.lm_head.weight" in keys
        loaded = load_model(plain)[0]
        assert loaded.config == tiny.model.config
        assert_same_weights(loaded, tiny.model)

    def test_nested_under_model(self, tiny: Any, plain: Path) -> None:
        def rule(key: str) -> str:
            key = key.replace("language_model.lm_head", "lm_head").replace(
                "language_model.model", "language_model"
            )
            return key if key.startswith("lm_head") else f"model.{key}"

        self.rename(plain, rule)
        assert_same_weights(load_model(plain)[0], tiny.model)

    def test_saved_by_transformers(self, tiny: Any, plain: Path, tmp_path: Path) -> None:
        LlavaForConditionalGeneration.from_pretrained(plain).save_pretrained(tmp_path / "again")
        for path in plain.iterdir():
            if not (tmp_path / "again" / path.name).exists():
                shutil.copy(path, tmp_path / "again")
        assert_same_weights(load_model(tmp_path / "again")[0], tiny.model)

    def test_without_vision_model(self, tiny: Any, plain: Path) -> None:
        self.rename(plain, lambda key: key.replace("vision_tower.vision_model.", "vision_tower."))
        assert_same_weights(load_model(plain)[0], tiny.model)

    def test_computed_buffers_are_dropped(self, tiny: Any, plain: Path) -> None:
        tensors = load_file(plain / "model.safetensors")
        tensors["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
        tensors["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
        save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
        assert_same_weights(load_model(plain)[0], tiny.model)

    def test_unknown_keys_are_named(self, plain: Path) -> None:
        self.rename(plain, lambda key: key.replace("multi_modal_projector.linear_2", "adapter.two"))
        with pytest.raises(CheckpointError, match=r"adapter\.two\.bias, adapter\.two\.weight"):
            load_model(plain)

    def test_missing_connector_is_named(self, plain: Path) -> None:
        tensors = load_file(plain / "model.safetensors")
        del tensors["multi_modal_projector.linear_2.bias"]
        save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=r"1 missing \(2\.bias\)"):
            load_model(plain)

    def test_wrong_shape_names_both(self, plain: Path) -> None:
        config = json.loads((plain / "config.json").read_text())
        config["text_config"]["vocab_size"] = 384
        (plain / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"\[320, 32\].*\[384, 32\]"):
            load_model(plain)

    def test_unknown_template_needs_an_argument(self, plain: Path) -> None:
        (plain / "chat_template.jinja").write_text("{{ messages }}")
        with pytest.raises(CheckpointError, match="tiny"):
            load_model(plain)
        assert load_model(plain, template="v1")[0].config.template == "v1"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("projector_hidden_act", "relu"),
            ("multimodal_projector_bias", False),
        ],
    )
    def test_what_has_no_place_is_refused(self, plain: Path, field: str, value: Any) -> None:
        config = json.loads((plain / "config.json").read_text())
        (plain / "config.json").write_text(json.dumps({**config, field: value}))
        with pytest.raises(CheckpointError, match=field):
            load_model(plain)

    def test_another_image_token_is_refused(self, plain: Path) -> None:
        config = json.loads((plain / "config.json").read_text())
        (plain / "config.json").write_text(json.dumps({**config, "image_token_index": 5}))
        with pytest.raises(CheckpointError, match="290"):
            load_model(plain)

    def test_a_language_model_is_no_llava(self, tiny: Any) -> None:
        with pytest.raises(CheckpointError, match="'llama'"):
            load_model(tiny.language)


@pytest.mark.parametrize("option", ["vision", "base"])
def test_options_that_do_nothing_are_refused(tiny: Any, tmp_path: Path, option: str) -> None:
    folder = save(tiny, tmp_path / "m")
    with pytest.raises(CheckpointError, match=f"leave {option} out"):
        load(folder, **{option: tiny.vision})


@pytest.mark.parametrize(("dtype", "held"), [("auto", torch.bfloat16), ("float32", torch.float32)])
def test_auto_is_the_type_on_disk(tiny: Any, tmp_path: Path, dtype: str, held: torch.dtype) -> None:
    model = load(save(tiny, tmp_path / "m", dtype="bfloat16"), dtype=dtype).model
    assert {parameter.dtype for parameter in model.parameters()} == {held}


def test_a_device_that_is_not_there(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m")
    with pytest.raises(CheckpointError, match="the device 'cuda:77' cannot be used"):
        load(folder, device="cuda:77")


def test_quantised_weights_are_refused(tiny: Any, tmp_path: Path) -> None:
    folder = save(tiny, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    with pytest.raises(CheckpointError, match="quantised"):
        load(folder)


def test_settings_of_sampling_that_cannot_be_saved_again_are_left_out(
    parts: Any, tiny: Any, tmp_path: Path
) -> None:
    """Vicuna's generation config has them without do_sample: transformers then refuses to save it."""
    language = parts.make_language(tmp_path / "lm")
    fields = {"temperature": 0.9, "top_p": 0.6, "max_length": 4096, "bos_token_id": 0, "eos_token_id": 1}
    (language / "generation_config.json").write_text(json.dumps(fields))
    model, tokenizer, processor = build_model(tiny.vision, language, template="tiny")
    save_model(model, tokenizer, processor, tmp_path / "m", dtype="float32")
    theirs = LlavaForConditionalGeneration.from_pretrained(tmp_path / "m")
    theirs.save_pretrained(tmp_path / "again")
    written = json.loads((tmp_path / "m" / "generation_config.json").read_text())
    assert written["max_length"] == 4096
    assert "temperature" not in written
    fields["do_sample"] = True
    (language / "generation_config.json").write_text(json.dumps(fields))
    save_model(*build_model(tiny.vision, language, template="tiny"), tmp_path / "m", dtype="float32")
    assert json.loads((tmp_path / "m" / "generation_config.json").read_text())["temperature"] == 0.9


def test_the_sentencepiece_file_stays_beside_the_tokenizer(parts: Any, tiny: Any, tmp_path: Path) -> None:
    language = parts.make_language(tmp_path / "lm")
    (language / "tokenizer.model").write_bytes(b"pieces")
    save_model(*build_model(tiny.vision, language, template="tiny"), tmp_path / "m")
    save_model(*load(tmp_path / "m"), tmp_path / "again")
    assert (tmp_path / "again" / "tokenizer.model").read_bytes() == b"pieces"


def test_the_tokenizer_is_written_as_every_release_reads_it(tiny: Any, tmp_path: Path) -> None:
    fields = json.loads((save(tiny, tmp_path / "m") / "tokenizer_config.json").read_text())
    assert fields["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert not {"is_local", "local_files_only", "backend_class", "extra_special_tokens"} & fields.keys()
    again = load(tmp_path / "m").tokenizer
    assert again.get_vocab() == tiny.tokenizer.get_vocab()
    assert again.all_special_ids == tiny.tokenizer.all_special_ids
    assert again.pad_token == "<pad>"


def test_a_sentencepiece_file_alone_is_read(tmp_path: Path) -> None:
    """As the hub's Vicuna has it; the ids are those of the library that made the file."""
    import sentencepiece

    file, text = io.BytesIO(), "What colour is the red square? It is blue."
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text, "How many circles are there?"] * 20),
        model_writer=file,
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").write_bytes(file.getvalue())
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    tokenizer = load_tokenizer(tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())
    assert tokenizer.encode(text, add_special_tokens=False) == theirs.encode(text)


def test_a_sentencepiece_file_without_its_library(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = parts.make_language(tmp_path / "lm")
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    (folder / "tokenizer.model").write_bytes(b"pieces")
    monkeypatch.setattr(parts_module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="SentencePiece") as caught:
        load_tokenizer(folder)
    assert "pumice[sentencepiece]" in str(caught.value)


def test_load_is_lazy_and_public() -> None:
    import pumice

    assert pumice.load is load
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = pumice.lode  # type: ignore[attr-defined]
