"""Tiny random parts: ordinary checkpoints, the same each time, for every kind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from pumice.errors import CheckpointError
from pumice.model.build import build_model
from pumice.model.random_parts import CHECKPOINTS, LANGUAGE, VISION, random_part
from pumice.model.save import load_model
from pumice.text.resolve import resolve_template


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("language", LANGUAGE)
def test_any_two_make_a_model(tmp_path: Path, vision: str, language: str) -> None:
    model, tokenizer, processor = build_model(
        random_part(vision, tmp_path), random_part(language, tmp_path), template="v1"
    )
    assert model.config.image_seq_length == (processor.image_size // 14) ** 2
    assert tokenizer.decode(tokenizer.encode("Wie geht es Dir? 你好", add_special_tokens=False)).endswith(
        "你好"
    )


@pytest.mark.parametrize("name", VISION + LANGUAGE)
def test_a_part_is_the_same_wherever_it_is_made(tmp_path: Path, name: str) -> None:
    torch.manual_seed(5)
    auto = AutoModel if name in VISION else AutoModelForCausalLM
    first = auto.from_pretrained(random_part(name, tmp_path / "a")).state_dict()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    second = auto.from_pretrained(random_part(name, tmp_path / "b")).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(drawn, torch.rand(1)), "making a part draws nothing from anyone else's generator"
    if name not in VISION:
        assert AutoTokenizer.from_pretrained(tmp_path / "a" / name).eos_token


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_whole_checkpoint_loads_and_is_the_same_wherever_it_is_made(tmp_path: Path, name: str) -> None:
    model, _, processor = load_model(random_part(name, tmp_path / "a"))
    again = load_model(random_part(name, tmp_path / "b")).model
    assert model.config.template == "v1"
    assert bool(model.config.pinpoints) == (name == "llava-next")
    if model.config.pinpoints:
        assert all(
            x % processor.image_size == 0 == y % processor.image_size for x, y in model.config.pinpoints
        )
    first, second = model.state_dict(), again.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_modern_one_has_a_chat_template_of_its_own(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(random_part("qwen3", tmp_path))
    template = resolve_template("chat", tokenizer)
    assert template.user_prefix.endswith("<|im_start|>user\n")
    assert template.assistant_suffix.startswith("<|im_end|>")


def test_making_a_part_shows_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random_part("llava", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_part_that_is_there_stays(tmp_path: Path) -> None:
    folder = random_part("clip", tmp_path)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert random_part("clip", tmp_path) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_an_unknown_part_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no random part 'llame'") as caught:
        random_part("llame", tmp_path)
    assert "llama" in str(caught.value)
