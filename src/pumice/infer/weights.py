"""A model for answering, in the weights that are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pumice.model.counting import numbers_of
from pumice.model.hub import find_checkpoint
from pumice.model.loading import load
from pumice.model.pieces import Checkpoint
from pumice.model.quantized.forms import QUANTIZED, Form, Weights
from pumice.model.quantized.language import refuse_form
from pumice.model.quantized.stored import is_ours
from pumice.model.quantized.tower import tile_tower
from pumice.model.weights import read_json

DTYPES: dict[Weights, str] = {"fp32": "float32", "fp16": "float16"}
"""Of what is no linear layer of the language model; bfloat16 beside all others."""
BITS: dict[Weights, float] = {"fp32": 32, "fp16": 16, "bf16": 16, "int8": 8.5, "int4": 4.5}
"""Of a weight, its share of a scale included."""
_HEAD, _EMBEDDINGS = "lm_head.weight", "embed_tokens.weight"
_PLAIN = ("vision", "tower", "projector", "connector", "image_newline", "norm", "embed")
"""In names of weights that are never quantised: of the tower, the connector, norms and embeddings."""


def load_to_answer(
    folder: str | Path,
    weights: Weights | None = None,
    *,
    template: str | None = None,
    device: str = "cpu",
    allow_quarantined: bool = False,
) -> Checkpoint:
    """Load a model that only answers.

    Args:
        folder: a checkpoint of any layout.
        weights: of the language model's linear layers; the others are bfloat16 beside ``bf16``, ``int8`` and
            ``int4``. None for those of ``chosen_weights``.
        template: as for ``load``.
        device: where to.
        allow_quarantined: as for ``load``.

    Raises:
        CheckpointError: as ``load``; or the folder's weights are quantised in another way.
        TemplateError: no such template.
    """
    chosen = chosen_weights(Path(folder), weights, device)
    form: Form | None = None
    if chosen in ("int8", "int4") or (chosen == "bf16" and torch.device(device).type == "cpu"):
        form = chosen
    found = load(
        folder,
        dtype=DTYPES.get(chosen, "bfloat16"),
        form=form,
        template=template,
        device=device,
        allow_quarantined=allow_quarantined,
    )
    tile_tower(found.model.tower)
    return found


def chosen_weights(folder: Path, weights: Weights | None, device: str) -> Weights:
    """What was asked for; else the form of a folder that is quantised, float32 on a CPU, bfloat16 on a GPU.

    Raises:
        CheckpointError: the folder is quantised in another way than was asked for.
    """
    stored = _stored(folder)
    if weights is None:
        # On CPUs without bfloat16 units the half type is slower and less exact.
        return stored or ("fp32" if torch.device(device).type == "cpu" else "bf16")
    if stored is not None and weights in QUANTIZED and weights != stored:
        refuse_form(stored, weights, str(folder))
    return weights


def settings_of(weights: Weights) -> dict[str, Any]:
    """What a record of answers says of the weights that gave them: no two kinds have the same."""
    told = {"dtype": DTYPES.get(weights, "bfloat16")}
    return told if weights not in QUANTIZED else {**told, "weights": weights}


def loaded_size(folder: Path, weights: Weights) -> tuple[int, int]:
    """How many numbers a checkpoint's weights have, and the bytes that they take once loaded so.

    Raises:
        CheckpointError: a file is missing or is not what its name says.
    """
    plain = BITS[weights] if weights in DTYPES else BITS["bf16"]
    few = weights if weights in QUANTIZED else None
    tensors = numbers_of(find_checkpoint(folder))
    bits = 0.0
    for one in tensors:
        head = one.key.endswith(_HEAD)
        linear = not one.key or (one.key.endswith(".weight") and not any(part in one.key for part in _PLAIN))
        bits += one.count * (plain if few is None or not linear else BITS["int8" if head else few])
    if few is not None and not any(one.key.endswith(_HEAD) for one in tensors):
        # The head shares the embeddings' weights on disk, and gets its own when it is quantised.
        bits += BITS["int8"] * sum(one.count for one in tensors if one.key.endswith(_EMBEDDINGS))
    return sum(one.count for one in tensors), int(bits / 8)


def _stored(folder: Path) -> Weights | None:
    """The form of a folder that is quantised."""
    config = find_checkpoint(folder) / "config.json"
    how = read_json(config).get("quantization_config") if config.is_file() else None
    if how is None or not is_ours(how):
        return None
    return "int4" if how["form"] == "int4" else "int8"
