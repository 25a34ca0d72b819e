"""Tiny random parts for tests: a CLIP checkpoint, a Llama checkpoint with a BPE tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from pumice.image.process import ImageProcessor
from pumice.model.build import build_model
from pumice.model.vlm import VisionLanguageModel

IMAGE_SIZE, PATCH = 16, 8
WORDS = "What colour is the red square ? It is blue . How many circles are there ? USER: ASSISTANT: a b c d"


def make_tokenizer(size: int = 290) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with <s> and </s>, and no padding token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([WORDS] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def make_vision(folder: Path, *, seed: int = 0, layers: int = 3, width: int = 24) -> Path:
    """A random CLIPModel with its image processor."""
    torch.manual_seed(seed)
    vision: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
    }
    text: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    model = CLIPModel(config)
    _spread(model)
    model.save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=size).save_pretrained(folder)
    return folder


def make_language(
    folder: Path, *, seed: int = 1, tied: bool = False, width: int = 32, **changes: Any
) -> Path:
    """A random Llama with its tokenizer."""
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    fields: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": tied,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**fields, **changes}))
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _spread(model: torch.nn.Module) -> None:
    """Weights far enough from zero that a wrong mask or position shows in the output."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.15)


@dataclass(frozen=True)
class Tiny:
    """Folders of both parts, and a model built from them."""

    vision: Path
    language: Path
    model: VisionLanguageModel
    tokenizer: Any
    processor: ImageProcessor


def make_tiny(folder: Path, **options: Any) -> Tiny:
    """Both parts and a model with weights as large in its connector as elsewhere."""
    vision, language = make_vision(folder / "vision"), make_language(folder / "language")
    model, tokenizer, processor = build_model(vision, language, **{"template": "tiny", **options})
    torch.manual_seed(2)
    _spread(model.connector)
    return Tiny(vision, language, model, tokenizer, processor)
