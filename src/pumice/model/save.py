"""Saving and loading a whole model in transformers' LLaVA layout, our own facts beside it.

``pumice.json`` holds what ``config.json`` has no field for: the connector's kind and the template.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig

from pumice.errors import CheckpointError, TemplateError, suggest
from pumice.image.process import ImageProcessor
from pumice.model.build import (
    LLAVA,
    assemble,
    lm_width,
    load_config,
    load_tokenizer,
    new_part,
    split_parts,
    torch_dtype,
)
from pumice.model.connector import build_connector
from pumice.model.names import TRANSFORMERS_CONNECTOR, LmNames, Part, to_disk
from pumice.model.tower import VisionTower
from pumice.model.vlm import VisionLanguageModel, VLMConfig
from pumice.model.weights import fill, read_json, read_tensors, write_tensors
from pumice.text.chat import chat_template
from pumice.text.ends import answer_ends
from pumice.text.resolve import resolve_template, template_of_chat
from pumice.text.templates import check_template_name, template_names
from pumice.types import PLACEHOLDER

RECORD = "pumice.json"
SHARD_BYTES = 4 * 1000**3


def save_model(
    model: VisionLanguageModel,
    tokenizer: Any,
    processor: ImageProcessor,
    folder: str | Path,
    *,
    dtype: str = "bfloat16",
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model so that ``LlavaForConditionalGeneration.from_pretrained(folder)`` loads it.

    Of the connectors, transformers' LLaVA has ``mlp2x_gelu`` alone. A model with any other is written in
    the same layout, but with a ``projector_hidden_act`` that transformers does not know
    (``pumice_CONNECTOR``): it raises there instead of drawing a random projector. ``load_model`` reads all.

    Everything is written to a sibling folder, synced and renamed: ``folder`` is whole or absent. A
    checkpoint that was there is replaced.

    Args:
        model: what to save.
        tokenizer: its tokenizer, which knows ``<image>``.
        processor: its image processor.
        folder: where to; its parents are made.
        dtype: of the weights on disk: ``float32``, ``bfloat16`` or ``float16``.
        shard_bytes: the most that one weight file holds.

    Raises:
        CheckpointError: an unknown dtype, or ``folder`` is something other than a checkpoint.
    """
    kind = torch_dtype(dtype)
    folder = Path(folder)
    if folder.exists() and not (folder / "config.json").is_file() and any(folder.iterdir()):
        raise CheckpointError(
            "the folder holds no checkpoint, but other files",
            where=str(folder),
            remedy="choose another folder",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{glob.escape(folder.name)}.writing-*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a process that was killed
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    temporary.mkdir()
    try:
        write_tensors(disk_tensors(model, kind), temporary, shard_bytes)
        _write_configs(model, tokenizer, processor, temporary, dtype)
        _sync(temporary)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(
    folder: str | Path, *, dtype: str = "float32", attention: str = "auto", template: str | None = None
) -> tuple[VisionLanguageModel, Any, ImageProcessor]:
    """Read a model that ``save_model`` or transformers wrote; weights become ``dtype``.

    Args:
        folder: a LLaVA checkpoint in any of transformers' layouts (see ``pumice.model.names``).
        dtype: of the weights in memory: ``float32``, ``bfloat16`` or ``float16``.
        attention: ``auto``, ``sdpa`` or ``eager``.
        template: the conversation template; needed only where the checkpoint does not tell.

    Returns:
        (model, tokenizer, image processor).

    Raises:
        CheckpointError: a file, key, shape or option that does not fit.
    """
    folder = Path(folder)
    kind = torch_dtype(dtype)
    config = load_config(folder)
    if config.model_type != LLAVA:
        raise CheckpointError(
            f"a checkpoint of model_type {config.model_type!r} is no LLaVA model",
            where=str(folder / "config.json"),
            remedy="give a folder with model_type llava, or build one from two checkpoints",
        )
    record = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    connector = str(record.get("connector", TRANSFORMERS_CONNECTOR))
    _check_supported(config, connector, folder)
    tower = VisionTower(
        new_part(AutoModel, config.vision_config),
        select_layer=config.vision_feature_layer,
        select_feature=str(record.get("select_feature") or _select_feature(config)),
    )
    lm = new_part(AutoModelForCausalLM, config.text_config)
    bridge = build_connector(connector, tower.dim, lm_width(lm))
    parts = split_parts(read_tensors(folder), LmNames(body=lm.base_model_prefix), folder)
    prefix = "vision_model." if hasattr(tower.model, "vision_model") else ""
    where = str(folder)
    fill(tower.model, {f"{prefix}{key}": value for key, value in parts["tower"].items()}, where, kind)
    fill(bridge, parts["connector"], where, kind)
    fill(lm, parts["lm"], where, kind)
    tokenizer = load_tokenizer(folder)
    if (folder / "generation_config.json").is_file():
        lm.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    image_token_id = int(config.image_token_index)
    if tokenizer.convert_tokens_to_ids(PLACEHOLDER) != image_token_id:
        raise CheckpointError(
            f"config.json says image_token_index {image_token_id}, but the tokenizer's {PLACEHOLDER} is "
            f"{tokenizer.convert_tokens_to_ids(PLACEHOLDER)}",
            where=where,
            remedy="use the tokenizer that was saved with this model",
        )
    vlm_config = VLMConfig(
        connector=connector,
        select_layer=int(config.vision_feature_layer),
        select_feature=tower.select_feature,
        image_token_id=image_token_id,
        image_seq_length=tower.length,
        template=_template(template, record, tokenizer, folder),
    )
    model = assemble(tower, bridge, lm, vlm_config, attention)
    return model, tokenizer, ImageProcessor.from_pretrained(folder)


def disk_tensors(model: VisionLanguageModel, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of a model under their keys on disk, contiguous in ``dtype``; tied ones once."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    parts: tuple[tuple[Part, Any], ...] = (
        ("tower", model.tower.model),
        ("connector", model.connector),
        ("lm", model.lm),
    )
    for part, module in parts:
        for name, tensor in module.state_dict().items():
            if tensor.data_ptr() in seen and tensor.numel():
                continue
            seen.add(tensor.data_ptr())
            key = to_disk(part, name, model.config.connector)
            stored = dtype if tensor.is_floating_point() else tensor.dtype
            tensors[key] = tensor.detach().to("cpu", stored).contiguous()
    return tensors


def _write_configs(
    model: VisionLanguageModel, tokenizer: Any, processor: ImageProcessor, folder: Path, dtype: str
) -> None:
    own = model.config
    strategy = "default" if own.select_feature == "patch" and model.tower.class_tokens else "full"
    config: Any = AutoConfig.for_model(
        "llava",
        vision_config=model.tower.config.to_dict(),
        text_config=model.lm.config.to_dict(),
        image_token_index=own.image_token_id,
        image_seq_length=own.image_seq_length,
        vision_feature_layer=own.select_layer,
        vision_feature_select_strategy=strategy,
        projector_hidden_act=_activation(own.connector),
        multimodal_projector_bias=True,
        tie_word_embeddings=bool(getattr(model.lm.config, "tie_word_embeddings", False)),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.architectures = ["LlavaForConditionalGeneration"]
    config.dtype = config.text_config.dtype = config.vision_config.dtype = torch_dtype(dtype)
    # transformers keeps where a part was loaded from; a path of this machine is nobody else's business.
    config.text_config._name_or_path = config.vision_config._name_or_path = ""
    config.save_pretrained(folder)
    generation = GenerationConfig.from_dict(model.lm.generation_config.to_dict())
    generation.pad_token_id, generation.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    template = resolve_template(own.template, tokenizer)
    held = generation.eos_token_id or tokenizer.eos_token_id
    held = [held] if isinstance(held, int) else list(held or ())
    ends = list(dict.fromkeys([*held, *sorted(answer_ends(template, tokenizer)[0])]))
    generation.eos_token_id = ends[0] if len(ends) == 1 else ends
    # What is no text never comes out of transformers' generate either: <image>, and spare embedding rows.
    rows = model.lm.get_input_embeddings().weight.shape[0]
    generation.suppress_tokens = [own.image_token_id, *range(len(tokenizer), rows)]
    generation.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_json(
        folder / "preprocessor_config.json", {**processor.to_dict(), "processor_class": "LlavaProcessor"}
    )
    _write_json(
        folder / "processor_config.json",
        {
            "processor_class": "LlavaProcessor",
            "image_token": PLACEHOLDER,
            "patch_size": model.tower.patch_size,
            "num_additional_image_tokens": model.tower.class_tokens,
            "vision_feature_select_strategy": strategy,
        },
    )
    (folder / "chat_template.jinja").write_text(chat_template(template, tokenizer), encoding="utf-8")
    _write_json(folder / RECORD, {"format": 1, **own.to_dict()})


def _activation(connector: str) -> str:
    """``projector_hidden_act``: one that transformers refuses where its projector is not ours."""
    return "gelu" if connector == TRANSFORMERS_CONNECTOR else f"pumice_{connector}"


def _check_supported(config: Any, connector: str, folder: Path) -> None:
    """CheckpointError for a LLaVA config that this model has no place for."""
    where = str(folder / "config.json")
    if not isinstance(config.vision_feature_layer, int):
        raise CheckpointError(
            f"vision_feature_layer {config.vision_feature_layer} joins layers, which is not supported",
            where=where,
        )
    known = ("gelu", _activation(connector))
    if config.projector_hidden_act not in known or not config.multimodal_projector_bias:
        raise CheckpointError(
            "only connectors with exact GELU and biases are supported, but projector_hidden_act is "
            f"{config.projector_hidden_act!r}, multimodal_projector_bias {config.multimodal_projector_bias}",
            where=where,
        )


def _select_feature(config: Any) -> str:
    return "patch" if config.vision_feature_select_strategy == "default" else "cls_patch"


def _template(explicit: str | None, record: dict[str, Any], tokenizer: Any, folder: Path) -> str:
    """The template's name: as asked for, as recorded, or as the checkpoint's chat template shows."""
    name = explicit or record.get("template")
    if name is not None:
        check_template_name(str(name))
        return str(name)
    own = getattr(tokenizer, "chat_template", None)
    file = folder / "chat_template.jinja"
    if file.is_file():
        own = file.read_text(encoding="utf-8")
    why = "it has no chat template"
    if isinstance(own, str):
        try:
            return template_of_chat(own, tokenizer).name
        except TemplateError as error:
            why = error.what
    raise CheckpointError(
        f"the checkpoint does not tell which conversation template it was trained with: {why}",
        where=str(folder),
        remedy=f"give the template: {suggest('', template_names())}",
    )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _sync(folder: Path) -> None:
    """Make the files of a folder, the folder and its place in the parent durable."""
    for path in [*folder.iterdir(), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; an old target is moved aside first and removed last."""
    old = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        target.rename(old)
    source.rename(target)
    shutil.rmtree(old, ignore_errors=True)
