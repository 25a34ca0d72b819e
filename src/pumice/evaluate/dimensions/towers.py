"""The tower's own space of pictures and texts.

A LLaVA checkpoint has the tower's layers and not what was trained beside them: its text encoder and the two
projections. They are in the checkpoint that the tower is of.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from pumice.errors import CheckpointError
from pumice.evaluate.dimensions.captions import Captions
from pumice.evaluate.dimensions.dimension import Progress
from pumice.evaluate.dimensions.ranks import Floats
from pumice.image.decode import open_image
from pumice.image.process import ImageProcessor
from pumice.infer import Generator
from pumice.model.parts import quiet

AT_ONCE = 64
KINDS = ("clip", "siglip", "siglip2")
"""Checkpoints with a text encoder that transformers builds without code of their own."""


def tower_likeness(folder: Path, generator: Generator, captions: Captions, progress: Progress) -> Floats:
    """[N, M]: cosine of pictures and captions in the space of a checkpoint of the tower's.

    Raises:
        CheckpointError: the folder has no text encoder, or its tower is another one than the model's.
    """
    if not has_text_side(folder):
        raise CheckpointError(
            "the checkpoint has no text encoder",
            where=str(folder),
            remedy=f"give the whole checkpoint that the tower is of ({', '.join(KINDS)})",
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with quiet():
        whole: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    _check_same(whole, generator, folder)
    whole.to(generator.model.device)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    processor = ImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        pictures = []
        for start in range(0, len(captions.pictures), AT_ONCE):
            part = captions.pictures[start : start + AT_ONCE]
            pixels_NCHW = torch.from_numpy(np.stack([processor(open_image(path)) for path in part]))
            found = whole.get_image_features(pixel_values=pixels_NCHW.to(generator.model.device))
            pictures.append(_features(found))
            progress("retrieval, tower", start + len(part), len(captions.pictures))
        texts = []
        most = int(config.text_config.max_position_embeddings)
        # SigLIP was trained on texts that are padded to their full length.
        padding = True if config.model_type == "clip" else "max_length"
        for start in range(0, len(captions.texts), AT_ONCE):
            tokens = tokenizer(
                list(captions.texts[start : start + AT_ONCE]),
                padding=padding,
                truncation=True,
                max_length=most,
                return_tensors="pt",
            ).to(generator.model.device)
            given = {"input_ids": tokens["input_ids"]}
            if config.model_type == "clip":
                given["attention_mask"] = tokens["attention_mask"]
            texts.append(_features(whole.get_text_features(**given)))
    likeness_NM = F.normalize(torch.cat(pictures), dim=1) @ F.normalize(torch.cat(texts), dim=1).T
    return np.asarray(likeness_NM.cpu().numpy(), dtype=np.float64)


def has_text_side(folder: Path) -> bool:
    """Whether a folder is a checkpoint with a text encoder, by its configuration."""
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return kind in KINDS


def _features(found: Any) -> Tensor:
    # Some releases of transformers give the features, others an output that holds them.
    features = found if isinstance(found, Tensor) else found.pooler_output
    assert isinstance(features, Tensor)
    return features.float()


def _check_same(whole: Any, generator: Generator, folder: Path) -> None:
    """The model reads pictures with this checkpoint's tower: the first weights of both are one.

    A tower that was trained further is no longer in the space of its text encoder.
    """
    own = dict(generator.model.tower.members[0].model.named_parameters())
    other = dict(whole.vision_model.named_parameters())
    short = {name.removeprefix("vision_model."): weight for name, weight in own.items()}
    shared = [name for name in other if name in short and "layers" in name]
    same = bool(shared) and all(
        short[name].shape == other[name].shape
        and torch.allclose(
            short[name].detach().float().cpu(), other[name].detach().float(), atol=2e-3, rtol=2e-2
        )
        for name in shared
    )
    if not same:
        raise CheckpointError(
            "the model's tower has other weights than this checkpoint's",
            where=str(folder),
            remedy="give the checkpoint that the tower is of; a tower that was trained further has none",
        )
