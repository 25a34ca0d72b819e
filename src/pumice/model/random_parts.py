"""Tiny random checkpoints with the layouts of real ones, for trying a recipe's whole way in a minute.

``random:NAME`` in a recipe's ``model`` block. A part is an ordinary transformers folder: configuration,
weights drawn from a fixed seed, and tokenizer or image processor; a whole checkpoint is two of them joined
and saved. It knows nothing; a run with it shows that files, templates, layouts, losses and checkpoints work,
and how they look.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from pumice.errors import CheckpointError, suggest
from pumice.model.build import Tiles, build_model
from pumice.model.save import save_model

FORMAT = 1
"""Raised whenever a part of the same name would be made otherwise."""
PREFIX = "random:"
WIDTH, LAYERS, HEADS = 32, 2, 2
VISION_SIDE, VISION_PATCH = 56, 14

_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

_VISION: Mapping[str, tuple[str, dict[str, Any]]] = MappingProxyType(
    {
        "clip": ("CLIPImageProcessor", {"model_type": "clip_vision_model"}),
        "siglip": ("SiglipImageProcessor", {"model_type": "siglip_vision_model"}),
    }
)
_LANGUAGE: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "llama": {"model_type": "llama"},
        "mistral": {"model_type": "mistral", "num_key_value_heads": 1, "sliding_window": None},
        "qwen3": {
            "model_type": "qwen3",
            "num_key_value_heads": 1,
            "head_dim": 16,
            "tie_word_embeddings": True,
        },
    }
)

_SIDES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""LLaVA-NeXT's canvases, in tiles."""
_CHECKPOINTS: Mapping[str, Tiles | None] = MappingProxyType(
    {
        "llava": None,
        "llava-next": Tiles(tuple((x * VISION_SIDE, y * VISION_SIDE) for x, y in _SIDES)),
    }
)

VISION: tuple[str, ...] = tuple(_VISION)
LANGUAGE: tuple[str, ...] = tuple(_LANGUAGE)
CHECKPOINTS: tuple[str, ...] = tuple(_CHECKPOINTS)
NAMES: tuple[str, ...] = (*VISION, *LANGUAGE, *CHECKPOINTS)
"""What may stand behind ``random:``: towers, language models, and whole models."""

_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def random_part(name: str, folder: Path) -> Path:
    """Make a part, or leave the one that is there; returns its folder.

    Args:
        name: one of ``NAMES``, without the prefix.
        folder: where parts lie; the part's own folder is made in it.

    Raises:
        CheckpointError: there is no part of this name.
    """
    if name not in NAMES:
        raise CheckpointError(
            f"there is no random part {name!r}", where=PREFIX + name, remedy=suggest(name, NAMES)
        )
    target = folder / name
    if (target / "config.json").is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
    try:
        with torch.random.fork_rng(devices=[]), _no_bars():
            torch.manual_seed(0)
            _maker(name)(name, partial)
        if not (target / "config.json").is_file():  # another run may have made it meanwhile
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the bars that transformers shows while it writes a file."""
    log: Any = transformers_logging
    shown = log.is_progress_bar_enabled()
    log.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            log.enable_progress_bar()


def _maker(name: str) -> Callable[[str, Path], None]:
    if name in _CHECKPOINTS:
        return _checkpoint
    return _vision if name in _VISION else _language


def _checkpoint(name: str, folder: Path) -> None:
    """A whole LLaVA of a CLIP and a Llama, with a connector that has learnt nothing either."""
    with tempfile.TemporaryDirectory() as place:
        tower, language = random_part("clip", Path(place)), random_part("llama", Path(place))
        model, tokenizer, processor = build_model(tower, language, template="v1", tiles=_CHECKPOINTS[name])
        save_model(model, tokenizer, processor, folder, dtype="float32")


def _vision(name: str, folder: Path) -> None:
    kind, facts = _VISION[name]
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS + 1,
        "num_attention_heads": HEADS,
        "image_size": VISION_SIDE,
        "patch_size": VISION_PATCH,
    }
    auto: Any = AutoModel
    model = auto.from_config(AutoConfig.for_model(facts["model_type"], **sizes))
    model.save_pretrained(folder)
    side = {"height": VISION_SIDE, "width": VISION_SIDE}
    clip = name == "clip"
    processor = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": {"shortest_edge": VISION_SIDE} if clip else side,
        "resample": 3,
        "do_center_crop": clip,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _CLIP_MEAN if clip else [0.5] * 3,
        "image_std": _CLIP_STD if clip else [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1) + "\n", "utf-8")


def _language(name: str, folder: Path) -> None:
    tokenizer = _tokenizer(name)
    facts = dict(_LANGUAGE[name])
    sizes = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(AutoConfig.for_model(facts.pop("model_type"), **(sizes | facts)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer(name: str) -> Any:
    """A byte-level BPE of a few hundred entries with the family's control tokens."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    words = (
        "what is in the image a picture of two red blue one small large on left right yes no where how many"
    )
    trainer = BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([f" {words} {words.title()}"] * 4, trainer)
    marks = ("<|endoftext|>", "<|im_start|>", "<|im_end|>") if name == "qwen3" else ("<s>", "</s>", "<pad>")
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    roles = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    if name == "qwen3":
        roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=backend, **roles)
    if name == "qwen3":
        tokenizer.chat_template = _CHATML
    return tokenizer
