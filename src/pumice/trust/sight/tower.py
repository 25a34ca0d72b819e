"""What pictures, and texts where there is a text half, look like to a vision tower.

Legend: N pictures, C channels, H height, W width, E width of an embedding, T tokens, P patches.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.model.parts import load_config, load_part, load_tokenizer
from pumice.model.sources import load_vision, read_processor
from pumice.model.stored import Stored
from pumice.model.tower import VisionTower
from pumice.model.weights import open_weights

TWO_HALVES = ("clip", "siglip")
"""Model types with a text half beside the vision half."""
BATCH = 64


@dataclass(frozen=True, eq=False)
class Eye:
    """A tower that is ready.

    Attributes:
        model: transformers' two-halved model, or a ``VisionTower`` whose patches are averaged.
        processor: how its pixels are made.
        tokenizer: of the text half; None where there is none.
        scale: what the cosine of a picture and a text is multiplied by (temperature).
    """

    model: Any
    processor: ImageProcessor
    tokenizer: Any
    scale: float

    @torch.inference_mode()
    def pictures(self, pixels_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings [N, E] at length 1."""
        parts = []
        for piece in torch.split(torch.from_numpy(pixels_NCHW), BATCH):
            if isinstance(self.model, VisionTower):
                parts.append(self.model(piece).float().mean(1))
            else:
                parts.append(_tensor(self.model.get_image_features(pixel_values=piece)))
        return _unit(parts)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings [N, E] at length 1 of texts; of longer ones than the text half takes, the beginning."""
        assert self.tokenizer is not None, "the tower has no text half"
        most = int(self.model.config.text_config.max_position_embeddings)
        siglip = self.model.config.model_type == "siglip"
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        parts = []
        for start in range(0, len(order), BATCH):
            # SigLIP was trained on texts filled up to one length, without a mask.
            told = self.tokenizer(
                [texts[place] for place in order[start : start + BATCH]],
                padding="max_length" if siglip else True,
                truncation=True,
                max_length=most,
                return_tensors="pt",
            )
            mask = None if siglip else told["attention_mask"]
            parts.append(
                _tensor(self.model.get_text_features(input_ids=told["input_ids"], attention_mask=mask))
            )
        found = _unit(parts)
        result = np.empty_like(found)
        result[order] = found
        return result


@lru_cache(maxsize=1)
def open_eye(folder: Path) -> Eye:
    """The tower of a folder: CLIP or SigLIP with both halves, a vision model alone, or that of a LLaVA.

    Raises:
        CheckpointError: it holds no vision model that is known here.
    """
    config = load_config(folder)
    processor = tile_processor(folder)
    if config.model_type in TWO_HALVES:
        from transformers import AutoModel

        tensors: dict[str, Stored] = {
            key: value for key, value in open_weights(folder).items() if not key.endswith(".position_ids")
        }
        model = load_part(AutoModel, config, tensors, torch.float32, str(folder))
        scale = float(model.logit_scale.detach().exp())
        return Eye(model, processor, load_tokenizer(folder), scale)
    return Eye(VisionTower(load_vision(folder, torch.float32)).eval(), processor, None, 1.0)


def tile_processor(folder: Path) -> ImageProcessor:
    """How the tower's pixels are made of a whole picture.

    Raises:
        CheckpointError: the folder's image processor cannot be read.
    """
    processor = read_processor(folder)
    return processor.with_mode("squash") if processor.mode == "anyres" else processor


def has_text(folder: Path) -> bool:
    """Whether a folder's tower has a text half.

    Raises:
        CheckpointError: there is no such folder or no configuration in it.
    """
    return str(load_config(folder).model_type) in TWO_HALVES


def identity(folder: Path) -> str:
    """What stands for a tower in what is kept: its configuration, and its weights' names, shapes and bytes.

    Raises:
        CheckpointError: the folder holds no weights.
    """
    sha = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json"))
    if not files:
        raise CheckpointError("the folder holds no tower", where=str(folder), remedy="give a tower's folder")
    for file in files:
        with file.open("rb") as opened:
            sha.update(json.dumps(file.name).encode())
            sha.update(hashlib.file_digest(opened, "sha256").digest())
    return sha.hexdigest()


def _tensor(value: Any) -> Tensor:
    """The embeddings of what a release of transformers gives: a tensor, or an output that holds it."""
    found = value if isinstance(value, Tensor) else value.pooler_output
    assert isinstance(found, Tensor)
    return found.float()


def _unit(parts: Sequence[Tensor]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = torch.nn.functional.normalize(torch.cat(list(parts)), dim=-1).numpy()
    return found
