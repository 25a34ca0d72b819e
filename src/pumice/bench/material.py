"""What both sides of a benchmark train on: one small LLaVA, and rows with the lengths of a real mixture.

``lengths.json`` holds the tokens of every turn of 1,000 samples of LLaVA-1.5's 665K instruction mixture
(questions and answers in turn), counted with ``pumice.text.sizing``. Words are made up, pictures are noise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from pumice.model import build_model, save_model
from pumice.model.parts import quiet
from pumice.model.weights import DTYPES

StageName = Literal["align", "instruct"]
STAGES: tuple[StageName, ...] = ("align", "instruct")

WORDS = 31_990
CAPTION = (6, 24)
"""Words of a made-up caption, at least and at most: those of LCS-558K are as short."""


@dataclass(frozen=True, slots=True)
class Size:
    """The model that is trained: a ViT and a Llama.

    The defaults give 41.8 million parameters, 144 tokens a picture. ``kv_heads`` are as many as ``heads``
    unless told.
    """

    width: int = 384
    layers: int = 8
    heads: int = 6
    kv_heads: int | None = None
    mlp: int = 1024
    vocabulary: int = 32_064
    vision_width: int = 192
    vision_layers: int = 6
    vision_heads: int = 6
    pixels: int = 168
    patch: int = 14


LLAVA_7B = Size(
    width=4096,
    layers=32,
    heads=32,
    mlp=11008,
    vision_width=1024,
    vision_layers=24,
    vision_heads=16,
    pixels=336,
)
"""LLaVA-1.5-7B: CLIP-L/336 and Vicuna 7B, 576 tokens a picture, 7.1 billion parameters."""

LLAVA_1B = replace(LLAVA_7B, width=2048, layers=22, heads=32, kv_heads=4, mlp=5632)
"""CLIP-L/336 and a Llama with the shapes of TinyLlama 1.1B, 576 tokens a picture."""

MINI = Size(
    width=64,
    layers=2,
    heads=4,
    kv_heads=2,
    mlp=192,
    vocabulary=512,
    vision_width=32,
    vision_layers=3,
    vision_heads=2,
    pixels=56,
)
"""What a benchmark is tried out with: its numbers mean nothing."""


def make_model(folder: Path, size: Size, seed: int = 0, dtype: str = "float32") -> Path:
    """A LLaVA of random weights in transformers' layout; returns its folder.

    Parts are made, joined and written as numbers of ``dtype``: of 7B in bfloat16 that takes at most some
    30 GB of memory, and as much of disk.
    """
    target = folder / "model"
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _vision(folder / "vision", size, dtype)
        _language(folder / "language", size, dtype)
    made = build_model(
        folder / "vision", folder / "language", connector="mlp2x_gelu", template="v1", dtype=dtype, seed=seed
    )
    save_model(*made, target, dtype=dtype)
    for part in ("vision", "language"):
        shutil.rmtree(folder / part)
    return target


def _vision(folder: Path, size: Size, dtype: str) -> None:
    auto: Any = AutoModel
    config = AutoConfig.for_model(
        "clip_vision_model",
        hidden_size=size.vision_width,
        intermediate_size=4 * size.vision_width,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=size.vision_heads,
        image_size=size.pixels,
        patch_size=size.patch,
    )
    auto.from_config(config, dtype=DTYPES[dtype]).save_pretrained(folder)
    side = {"height": size.pixels, "width": size.pixels}
    fields = {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size.pixels},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(fields) + "\n", "utf-8")


def _language(folder: Path, size: Size, dtype: str) -> None:
    auto: Any = AutoModelForCausalLM
    words = min(WORDS, size.vocabulary - 8)
    tokenizer = word_tokenizer(words)
    config = AutoConfig.for_model(
        "llama",
        hidden_size=size.width,
        intermediate_size=size.mlp,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads or size.heads,
        vocab_size=size.vocabulary,
        max_position_embeddings=4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    auto.from_config(config, dtype=DTYPES[dtype]).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def word_tokenizer(words: int) -> Any:
    """A tokenizer whose tokens are the words ``w0``, ``w1``, ...; all else is unknown, one token a word."""
    table = {"<unk>": 0, **{f"w{number}": number + 1 for number in range(words)}}
    backend = Tokenizer(WordLevel(table, unk_token="<unk>"))
    backend.pre_tokenizer = Split(Regex(r"\s+"), behavior="removed")
    marks = [AddedToken(mark, special=True, normalized=False) for mark in ("<s>", "</s>", "<pad>")]
    backend.add_special_tokens(marks)
    fast: Any = PreTrainedTokenizerFast
    return fast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def make_data(folder: Path, rows: int, size: Size, seed: int = 0) -> None:
    """``instruct.json``, ``align.json`` and ``images/``: so many rows each, a picture of its own for each."""
    rng = np.random.default_rng(seed)
    words = min(WORDS, size.vocabulary - 8)
    images = folder / "images"
    images.mkdir(parents=True)
    for number in range(rows):
        pixels = rng.integers(0, 256, (size.pixels // 4, size.pixels // 4, 3), dtype=np.uint8)
        picture = PIL.Image.fromarray(pixels).resize((size.pixels, size.pixels))
        picture.save(images / f"{number}.png")

    def text(count: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(0, words, count))

    lengths: Sequence[Sequence[int]] = json.loads(
        files(__package__).joinpath("lengths.json").read_text("utf-8")
    )["rows"]
    chosen = rng.permutation(len(lengths))
    talks = [[text(n) for n in lengths[chosen[i % len(lengths)]]] for i in range(rows)]
    captions = [[text(4), text(int(rng.integers(*CAPTION)))] for _ in range(rows)]
    for name, all_turns in (("instruct", talks), ("align", captions)):
        samples = [_sample(number, turns) for number, turns in enumerate(all_turns)]
        (folder / f"{name}.json").write_text(json.dumps(samples), "utf-8")


def _sample(number: int, turns: Sequence[str]) -> dict[str, Any]:
    said = [
        {"from": "gpt" if i % 2 else "human", "value": turn if i else f"<image>\n{turn}"}
        for i, turn in enumerate(turns)
    ]
    return {"id": str(number), "image": f"{number}.png", "conversations": said}
