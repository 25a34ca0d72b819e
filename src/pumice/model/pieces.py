"""What a checkpoint folder holds, whatever its layout, and how a model is put together from it.

Every layout is first read into ``Pieces``: configurations, facts, and tensors that still lie in their
files. ``join`` makes the model; only there is weight after weight read, each into its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.model.build import assemble, compose_tower, fit_processor, lm_width, tower_names
from pumice.model.config import VLMConfig
from pumice.model.connector import build_connector
from pumice.model.parts import torch_dtype
from pumice.model.quantized.forms import Form
from pumice.model.quantized.fused import fuse
from pumice.model.quantized.language import quantize_head, quantized_language
from pumice.model.sources import language_part, vision_part
from pumice.model.stored import Stored
from pumice.model.vlm import VisionLanguageModel
from pumice.model.vocabulary import IMAGE_END, IMAGE_START, check_rows, extend_vocabulary, token_id
from pumice.model.weights import check_keys, fill
from pumice.types import PLACEHOLDER

AUTO = "auto"


class Checkpoint(NamedTuple):
    """A model that was loaded, with what it needs to read text and pictures."""

    model: VisionLanguageModel
    tokenizer: Any
    processor: ImageProcessor


@dataclass(frozen=True, slots=True)
class PartPieces:
    """One part of a model: its transformers config, and its tensors by the names of its own files."""

    config: Any
    tensors: Mapping[str, Stored]
    where: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """All that a model is made of.

    Attributes:
        folder: where the checkpoint lies.
        language: the causal LM.
        generation: the folder with the LM's generation settings.
        towers: one vision model, or several.
        processors: how the pixels of each tower are made: read are size, mean and standard deviation.
        processor: how the model's input is made of a picture; its size is fitted to the tower.
        connector: its kind.
        bridge: its tensors, by their places in ``build_connector``'s module.
        newline: the embedding that ends a line of patches.
        tokenizer: as the folder has it.
        template: the conversation template's name.
        image_token_id: the id of ``<image>`` that the checkpoint states; None where it has none yet.
        select_layer, select_feature, facts: for ``VLMConfig``.
        extra_tokens: special tokens to add before ``<image>`` where the tokenizer lacks them.
        extra_rows: rows of the embedding for ``extra_tokens``, if the checkpoint has them.
    """

    folder: Path
    language: PartPieces
    generation: Path
    towers: Sequence[PartPieces]
    processors: Sequence[ImageProcessor]
    processor: ImageProcessor
    connector: str
    bridge: Mapping[str, Stored]
    newline: Stored | None
    tokenizer: Any
    template: str
    image_token_id: int | None
    select_layer: int | tuple[int, ...]
    select_feature: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    extra_tokens: tuple[str, ...] = ()
    extra_rows: Stored | None = None


def join(pieces: Pieces, *, dtype: str, attention: str, device: str, form: Form | None = None) -> Checkpoint:
    """The model of these pieces, in evaluation mode.

    Args:
        pieces: see ``Pieces``.
        dtype: of the weights in memory: a name of ``DTYPES``, or ``auto`` for what most of them have on disk.
        attention: see ``attention.ATTENTION_CHOICES``.
        device: where the weights go, part by part.
        form: of the language model's linear layers, for a model that answers and never trains; ``dtype`` is
            then that of all else. None for plain layers.

    Raises:
        CheckpointError: a key, shape or option that does not fit.
    """
    kind = stored_type(pieces.language.tensors) if dtype == AUTO else torch_dtype(dtype)
    place = _device(device)
    where = str(pieces.folder)
    check_rows(len(pieces.tokenizer), int(pieces.language.config.vocab_size), where)
    models = [vision_part(part.config, part.tensors, kind, part.where).to(place) for part in pieces.towers]
    scales = pieces.facts.get("scales", ())
    tower = compose_tower(
        models,
        pieces.processors,
        scales,
        select_layer=pieces.select_layer,
        select_feature=pieces.select_feature,
    )
    # Shapes that do not fit must show before the language model's gigabytes are read.
    bridge = build_connector(pieces.connector, tower.dim, _width(pieces.language.config)).to(kind)
    fill(bridge, pieces.bridge, where)
    language = pieces.language
    if form is None:
        lm = language_part(language.config, language.tensors, kind, pieces.generation)
    else:
        lm = quantized_language(language.config, language.tensors, form, kind, pieces.generation, place)
    image_token_id = _tokens(lm, pieces)
    if form is not None:
        quantize_head(lm, form)
    lm.to(place)
    marks = None
    if pieces.facts.get("image_marks"):
        marks = (token_id(pieces.tokenizer, IMAGE_START), token_id(pieces.tokenizer, IMAGE_END))
    config = VLMConfig(
        connector=pieces.connector,
        select_layer=pieces.select_layer,
        select_feature=tower.select_feature,
        image_token_id=image_token_id,
        image_seq_length=tower.length + (2 if marks else 0),
        template=pieces.template,
        **{**pieces.facts, "image_marks": marks, "towers": tower_names(tower)},
    )
    assert lm_width(lm) == _width(language.config)
    model = assemble(tower, bridge.to(place), lm, config, attention)
    _fill_newline(model, pieces)
    model.to(place)
    if form is not None:
        fuse(lm)
    return Checkpoint(model, pieces.tokenizer, fit_processor(pieces.processor, tower))


def _fill_newline(model: VisionLanguageModel, pieces: Pieces) -> None:
    expected = {} if model.image_newline is None else {"image_newline": model.image_newline.shape}
    found = {} if pieces.newline is None else {"image_newline": pieces.newline}
    check_keys(expected, found, str(pieces.folder))
    if model.image_newline is not None and pieces.newline is not None:
        with torch.no_grad():
            model.image_newline.copy_(pieces.newline.read())


def _tokens(lm: Any, pieces: Pieces) -> int:
    """The id of ``<image>``: as the checkpoint has it, or added with rows for it."""
    where, tokenizer = str(pieces.folder), pieces.tokenizer
    if pieces.image_token_id is not None:
        own = tokenizer.convert_tokens_to_ids(PLACEHOLDER) if PLACEHOLDER in tokenizer.get_vocab() else None
        if own != pieces.image_token_id:
            raise CheckpointError(
                f"config.json says image_token_index {pieces.image_token_id}, but the tokenizer's "
                f"{PLACEHOLDER} is {own}",
                where=where,
                remedy="use the tokenizer that was saved with this model",
            )
        return pieces.image_token_id
    number = extend_vocabulary(lm, tokenizer, extra=pieces.extra_tokens)
    if pieces.extra_rows is not None:
        _set_rows(lm, tokenizer, pieces)
    return number


def _set_rows(lm: Any, tokenizer: Any, pieces: Pieces) -> None:
    """Put trained rows of the added tokens in: all rows, of which theirs are taken, or theirs alone."""
    assert pieces.extra_rows is not None
    table_VD, rows_nD = lm.get_input_embeddings().weight, pieces.extra_rows.read()
    wanted = [token for token in (IMAGE_START, IMAGE_END) if token in tokenizer.get_vocab()]
    ids = [token_id(tokenizer, token) for token in wanted]
    if rows_nD.ndim != 2 or rows_nD.shape[1] != table_VD.shape[1] or rows_nD.shape[0] < len(ids):
        raise CheckpointError(
            f"embed_tokens has shape {list(rows_nD.shape)}, which does not fit the language model's "
            f"{list(table_VD.shape)}",
            where=str(pieces.folder),
            remedy="give the language model that this projector was trained with as base",
        )
    with torch.no_grad():
        table_VD[torch.tensor(ids)] = rows_nD[-len(ids) :].to(table_VD.dtype)


def _width(config: Any) -> int:
    return int(config.hidden_size)


def stored_type(tensors: Mapping[str, Stored]) -> torch.dtype:
    """The floating type of most bytes; float32 where there are none, or a type that is no choice."""
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        if tensor.dtype in (torch.float32, torch.bfloat16, torch.float16):
            sizes[tensor.dtype] += tensor.nbytes
    return sizes.most_common(1)[0][0] if sizes else torch.float32


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"the device {name!r} cannot be used: {first}", where="device", remedy="choose cpu or cuda"
        ) from error
    return device
