from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlavaForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from pumice.errors import CheckpointError
from pumice.model.build import build_model
from pumice.model.save import load_model, save_model

LM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}


@pytest.fixture
def folders(tiny: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of both parts, to be damaged."""
    shutil.copytree(tiny.vision, tmp_path / "vision")
    shutil.copytree(tiny.language, tmp_path / "language")
    return tmp_path / "vision", tmp_path / "language"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def refused(*folders: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        build_model(*folders, **options)
    return str(caught.value)


def test_vocabulary_grows_by_rows_of_the_mean(tiny: Any) -> None:
    old = load_file(tiny.language / "model.safetensors")
    model, tokenizer = tiny.model, tiny.tokenizer
    assert tokenizer.convert_ids_to_tokens([290, 291]) == ["<image>", "<pad>"]
    assert tokenizer.pad_token == "<pad>"
    assert model.config.image_token_id == 290
    assert model.lm.config.vocab_size == 320
    for key in ("model.embed_tokens.weight", "lm_head.weight"):
        new = model.lm.state_dict()[key]
        assert torch.equal(new[:290], old[key])
        torch.testing.assert_close(new[290:], old[key].mean(dim=0).expand(30, -1))


def test_image_text_is_one_special_token(tiny: Any) -> None:
    ids = tiny.tokenizer("a<image>b", add_special_tokens=False)["input_ids"]
    assert ids.count(tiny.model.config.image_token_id) == 1
    assert tiny.tokenizer.decode([290, 291], skip_special_tokens=True) == ""


def test_existing_tokens_are_kept(tiny: Any, tmp_path: Path) -> None:
    """A second model built from the first one's tokenizer and LM adds nothing."""
    tiny.model.lm.save_pretrained(tmp_path / "lm")
    tiny.tokenizer.save_pretrained(tmp_path / "lm")
    model, tokenizer, _ = build_model(tiny.vision, tmp_path / "lm")
    assert len(tokenizer) == 292
    assert model.lm.config.vocab_size == 320
    assert torch.equal(model.lm.lm_head.weight, tiny.model.lm.lm_head.weight)


def test_parts_are_those_of_the_files(tiny: Any) -> None:
    stored = load_file(tiny.vision / "model.safetensors")
    for name, tensor in tiny.model.tower.model.state_dict().items():
        assert torch.equal(tensor, stored[f"vision_model.{name.removeprefix('vision_model.')}"])


def test_connector_follows_the_seed_alone(tiny: Any) -> None:
    def connector(seed: int) -> Any:
        torch.rand(seed + 1)
        return build_model(tiny.vision, tiny.language, seed=seed)[0].connector[0].weight

    assert torch.equal(connector(3), connector(3))
    assert not torch.equal(connector(3), connector(4))


def test_global_random_state_is_left_alone(tiny: Any) -> None:
    before = torch.get_rng_state()
    build_model(tiny.vision, tiny.language)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_are_float32_whatever_the_file(folders: tuple[Path, Path]) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({key: value.bfloat16() for key, value in tensors.items() if value.is_floating_point()})

    for folder in folders:
        edit_weights(folder, halve)
    edit_config(folders[1], dtype="bfloat16")
    model = build_model(*folders)[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {p.dtype for p in build_model(*folders, dtype="bfloat16")[0].parameters()} == {torch.bfloat16}


def test_tied_embeddings_stay_tied(parts: Any, tiny: Any, tmp_path: Path) -> None:
    model = build_model(tiny.vision, parts.make_language(tmp_path / "lm", tied=True))[0]
    assert model.lm.lm_head.weight is model.lm.model.embed_tokens.weight


class TestRefused:
    def test_missing_folder(self, tiny: Any, tmp_path: Path) -> None:
        message = refused(tmp_path / "none", tiny.language)
        assert "no such folder" in message
        assert str(tmp_path / "none") in message

    def test_no_config(self, folders: tuple[Path, Path]) -> None:
        (folders[1] / "config.json").unlink()
        assert "config.json" in refused(*folders)

    def test_broken_config(self, folders: tuple[Path, Path]) -> None:
        (folders[1] / "config.json").write_text("{")
        assert "cannot be read" in refused(*folders)

    def test_no_weights(self, folders: tuple[Path, Path]) -> None:
        (folders[0] / "model.safetensors").rename(folders[0] / "pytorch_model.bin")
        message = refused(*folders)
        assert "model.safetensors is missing" in message
        assert "pytorch_model.bin" in message

    def test_cut_weights(self, folders: tuple[Path, Path]) -> None:
        data = (folders[0] / "model.safetensors").read_bytes()
        (folders[0] / "model.safetensors").write_bytes(data[:-100])
        assert "cannot be read" in refused(*folders)

    def test_missing_key(self, folders: tuple[Path, Path]) -> None:
        edit_weights(folders[1], lambda tensors: tensors.pop("model.norm.weight"))
        message = refused(*folders)
        assert "1 missing (model.norm.weight)" in message
        assert "language" in message

    def test_unexpected_key(self, folders: tuple[Path, Path]) -> None:
        edit_weights(folders[0], lambda tensors: tensors.update({"vision_model.extra": torch.zeros(1)}))
        message = refused(*folders)
        assert "unexpected" in message
        assert "extra" in message

    def test_wrong_shape(self, folders: tuple[Path, Path]) -> None:
        edit_config(folders[1], intermediate_size=96)
        message = refused(*folders)
        assert "mlp.down_proj.weight has shape [32, 64]" in message
        assert "[32, 96]" in message

    def test_no_tokenizer(self, folders: tuple[Path, Path]) -> None:
        for path in folders[1].glob("tokenizer*"):
            path.unlink()
        assert "tokenizer" in refused(*folders)

    def test_no_image_processor(self, folders: tuple[Path, Path]) -> None:
        for path in folders[0].glob("*processor*"):
            path.unlink()
        assert "processor" in refused(*folders)

    def test_language_model_as_tower(self, tiny: Any) -> None:
        message = refused(tiny.language, tiny.language)
        assert "'llama'" in message
        assert "clip_vision_model" in message

    def test_tower_as_language_model(self, tiny: Any) -> None:
        assert "'clip'" in refused(tiny.vision, tiny.vision)

    def test_code_in_the_folder_is_not_run(self, folders: tuple[Path, Path]) -> None:
        (folders[1] / "evil.py").write_text("raise SystemExit('ran')")
        edit_config(folders[1], model_type="evil", auto_map={"AutoConfig": "evil.Config"})
        assert "config" in refused(*folders)

    @pytest.mark.parametrize(
        ("option", "value", "choice"),
        [
            ("connector", "mlp", "mlp2x_gelu"),
            ("select_feature", "cls", "cls_patch"),
            ("select_layer", 9, "4 hidden states"),
            ("dtype", "fp32", "float32"),
            ("attention", "flash", "sdpa"),
        ],
    )
    def test_unknown_option(self, tiny: Any, option: str, value: Any, choice: str) -> None:
        assert choice in refused(tiny.vision, tiny.language, **{option: value})


def language(tmp_path: Path, tiny: Any, model: Any) -> Path:
    model.save_pretrained(tmp_path / "lm")
    shutil.copy(tiny.language / "tokenizer.json", tmp_path / "lm")
    shutil.copy(tiny.language / "tokenizer_config.json", tmp_path / "lm")
    return tmp_path / "lm"


@pytest.mark.parametrize(
    "make",
    [
        lambda: MistralForCausalLM(MistralConfig(**LM)),
        lambda: Qwen2ForCausalLM(Qwen2Config(**LM)),
        lambda: GemmaForCausalLM(GemmaConfig(**LM, head_dim=8)),
        lambda: GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=320, bos_token_id=0, eos_token_id=1)
        ),
    ],
    ids=["mistral", "qwen2", "gemma", "gpt2"],
)
def test_other_language_models_agree_with_transformers(tiny: Any, tmp_path: Path, make: Any) -> None:
    model = build_model(tiny.vision, language(tmp_path, tiny, make()))[0]
    ids = torch.tensor([[0, 5, 6, 7, 8, 9]])
    mask = torch.ones(1, 6, 6, dtype=torch.bool).tril()
    with torch.no_grad():
        ours = model.logits(model.hidden(model.embed(ids, None, ()), torch.arange(6)[None], mask))
        theirs = model.lm(input_ids=ids).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: GraniteForCausalLM(GraniteConfig(**LM, logits_scaling=8.0)), "more than a linear head"),
        (
            lambda: MambaForCausalLM(
                MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=320, pad_token_id=None)
            ),
            "does not take",
        ),
    ],
    ids=["scaled-scores", "recurrent"],
)
def test_language_models_that_do_not_fit_are_refused(
    tiny: Any, tmp_path: Path, make: Any, reason: str
) -> None:
    assert reason in refused(tiny.vision, language(tmp_path, tiny, make()))


def test_parts_of_a_saved_model_start_another(tiny: Any, tmp_path: Path) -> None:
    """Both parts come from the whole model, in both layouts; the connector is new."""
    saved, theirs = tmp_path / "saved", tmp_path / "theirs"
    save_model(tiny.model, tiny.tokenizer, tiny.processor, saved, dtype="float32")
    shutil.copytree(saved, theirs)
    LlavaForConditionalGeneration.from_pretrained(saved, dtype=torch.float32).save_pretrained(theirs)
    for folder in (saved, theirs):
        model, tokenizer, processor = build_model(folder, folder, template="tiny")
        for part in ("tower", "lm"):
            own, other = getattr(model, part).state_dict(), getattr(tiny.model, part).state_dict()
            assert own.keys() == other.keys()
            assert all(torch.equal(own[key], other[key]) for key in own)
        assert len(tokenizer) == len(tiny.tokenizer)
        assert model.config.image_token_id == tiny.model.config.image_token_id
        assert processor == tiny.processor
        fresh = build_model(tiny.vision, tiny.language, template="tiny")[0].connector.state_dict()
        taken = model.connector.state_dict()
        assert all(torch.equal(taken[key], fresh[key]) for key in fresh), "new, as the seed draws it"
    mixed, tokenizer, processor = build_model(tiny.vision, saved, template="tiny")
    save_model(mixed, tokenizer, processor, tmp_path / "again", dtype="float32")
    assert load_model(tmp_path / "again")[0].config == mixed.config


def test_a_saved_model_with_a_strange_key_starts_nothing(tiny: Any, tmp_path: Path) -> None:
    save_model(tiny.model, tiny.tokenizer, tiny.processor, tmp_path / "m", dtype="float32")
    edit_weights(tmp_path / "m", lambda tensors: tensors.update({"strange.weight": torch.zeros(1)}))
    assert "strange.weight" in refused(tiny.vision, tmp_path / "m")
    assert "strange.weight" in refused(tmp_path / "m", tiny.language)
