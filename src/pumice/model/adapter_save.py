"""Writing the folder of an adapter (``pumice.model.adapter`` says what it holds)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pumice.image.process import ImageProcessor
from pumice.model.adapter import CONNECTOR, KIND, TOWER, BasePart
from pumice.model.attach import Attached
from pumice.model.layout import RECORD
from pumice.model.lora import ADAPTERS
from pumice.model.save import disk_tensors, model_record, write_chat_template, write_json, write_tokenizer
from pumice.model.vlm import VisionLanguageModel
from pumice.model.weights import readable_as_others

_TOWERS = ("vision_tower.", "vision_towers.")


def save_adapter(
    folder: Path,
    model: VisionLanguageModel,
    attached: Attached,
    tokenizer: Any,
    processor: ImageProcessor,
    base: Mapping[str, BasePart],
    lineage: Mapping[str, Any],
    *,
    tower: bool,
) -> None:
    """Write the files of an adapter straight into an empty folder.

    Args:
        folder: where to.
        model: with ``attached`` in its language model.
        attached: the adapter.
        tokenizer: the model's tokenizer.
        processor: its image processor.
        base: what the adapter was trained on: ``checkpoint``, or ``language``, ``vision``, ``vision-2``, ...
        lineage: how it was made.
        tower: whether the tower trained too, so that its weights are a part of the folder.
    """
    named = base.get("checkpoint") or base["language"]
    attached.config.base_model_name_or_path = named.name.removeprefix("hub:")
    attached.config.inference_mode = True
    attached.config.save_pretrained(folder)
    _write(attached.tensors(), folder / ADAPTERS[0])
    own: dict[str, Tensor] = {}
    seen: dict[str, Tensor] = {}
    for key, stored in disk_tensors(model, language=False).items():
        (seen if key.startswith(_TOWERS) else own)[key] = stored.read().to("cpu", torch.float32).contiguous()
    _write(own, folder / CONNECTOR)
    if tower:
        _write(seen, folder / TOWER)
    write_tokenizer(tokenizer, folder)
    write_chat_template(model, tokenizer, folder)
    write_json(folder / "preprocessor_config.json", processor.to_dict())
    record = {
        "format": 1,
        "kind": KIND,
        "model": model_record(model, processor),
        "quantization": None if attached.quantization is None else attached.quantization.to_dict(),
        "base": {
            part: {"name": one.name, "path": one.path, "sha256": dict(one.sha256)}
            for part, one in base.items()
        },
        "lineage": dict(lineage),
    }
    write_json(folder / RECORD, record)


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    save_file(tensors, file, metadata={"format": "pt"})
    readable_as_others(file)
