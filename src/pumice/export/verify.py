"""Evidence that two models are one: the scores of a fixed random prompt with a picture.

Legend: B rows, T tokens, N images, C channels, H height, W width, P features per image, V vocabulary,
D width of the language model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pumice.errors import CheckpointError
from pumice.model.layout import NEXT
from pumice.model.parts import quiet
from pumice.model.pieces import Checkpoint
from pumice.model.vocabulary import added_last
from pumice.model.weights import DTYPES, read_json

BEFORE, AFTER = 3, 24
"""How many random tokens stand before and after the picture."""
TEXT = "What is shown here? 3 red squares; é, 字 and <image> as text."
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 1e-2}
"""The most that scores may differ, as a share of the largest, by the type they were computed in."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a model makes of the prompt.

    Attributes:
        ids: the text tokens before and after the picture.
        text_ids: the tokens of ``TEXT``, in which ``<image>`` is cut out.
        pixels_1CHW: the picture, random numbers as an image processor makes them, float32.
        embeds_PD: the picture's embeddings, marks around it included.
        logits_TV: scores for every token of the row, of the tokens of text, float32.
        image_token_id: the id of ``<image>``.
        marks: the ids of ``<im_start>`` and ``<im_end>``, or none.
        newline_D: the embedding that ends a line of patches, if the model has one.
        cap: the cap on scores that the language model has, if any.
        difference: the largest from what it was compared with.
    """

    ids: tuple[int, ...]
    text_ids: tuple[int, ...]
    pixels_1CHW: Tensor
    embeds_PD: Tensor
    logits_TV: Tensor
    image_token_id: int
    marks: tuple[int, ...]
    newline_D: Tensor | None
    cap: float | None
    difference: float = 0.0


@torch.no_grad()
def evidence(checkpoint: Checkpoint, ids: tuple[int, ...] | None = None) -> Evidence:
    """The scores of a model for the fixed prompt; ``ids`` are the text tokens of an earlier one."""
    model = checkpoint.model
    if ids is None:
        ids = _random_ids(checkpoint)
    side = model.tower.image_size
    pixels_1CHW = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    embeds_1PD = model.project(model.encode_tower(pixels_1CHW.to(model.device, model.dtype)))
    if model.config.tiled:
        embeds_1PD = model.mark(embeds_1PD)
    image_id, count = model.config.image_token_id, embeds_1PD.shape[1]
    row = torch.tensor([[*ids[:BEFORE], *[image_id] * count, *ids[BEFORE:]]], device=model.device)
    embeds_1TD = model.embed(row, embeds_1PD, [(0, BEFORE, count)])
    length = row.shape[1]
    mask_1TT = torch.ones(1, length, length, dtype=torch.bool, device=model.device).tril()
    positions_1T = torch.arange(length, device=model.device)[None]
    logits_TV = model.logits(model.hidden(embeds_1TD, positions_1T, mask_1TT))[0]
    rows = len(checkpoint.tokenizer) - len(added_last(checkpoint.tokenizer))
    return Evidence(
        ids=ids,
        text_ids=_text_ids(checkpoint.tokenizer),
        pixels_1CHW=pixels_1CHW,
        embeds_PD=embeds_1PD[0].float().cpu(),
        logits_TV=logits_TV[:, :rows].float().cpu(),
        image_token_id=image_id,
        marks=model.config.image_marks or (),
        newline_D=None if model.image_newline is None else model.image_newline.detach().float().cpu(),
        cap=getattr(model.lm.config, "final_logit_softcapping", None),
    )


def _random_ids(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Random tokens of the first half of the vocabulary: no export moves or drops any of those."""
    bound = max(2, len(checkpoint.tokenizer) // 2)
    drawn = torch.randint(0, bound, (BEFORE + AFTER,), generator=torch.Generator().manual_seed(1))
    return tuple(int(number) for number in drawn if int(number) != checkpoint.model.config.image_token_id)


def _text_ids(tokenizer: Any) -> tuple[int, ...]:
    pieces = TEXT.split("<image>")
    encoded = [tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in pieces]
    return tuple(number for piece in encoded for number in piece)


def read_back(reader: str) -> str:
    """How errors speak of an export that ``reader`` has read."""
    return f"the export, read back by {reader},"


def compare(before: Evidence, after: Evidence, dtype: str, subject: str) -> Evidence:
    """``after`` with its largest difference from ``before``; ``subject`` is what errors call it.

    Raises:
        CheckpointError: they differ by more than rounding.
    """
    if before.text_ids != after.text_ids:
        raise _different(subject, "its tokenizer cuts a text into other tokens")
    own_TV, other_TV = before.logits_TV, after.logits_TV
    if own_TV.shape != other_TV.shape:
        raise _different(subject, f"it scores {list(other_TV.shape)} tokens instead of {list(own_TV.shape)}")
    difference = float((own_TV - other_TV).abs().max())
    largest = max(1.0, float(own_TV.abs().max()))
    if not difference <= TOLERANCE[dtype] * largest:  # also where it is no number
        raise _different(
            subject, f"its scores differ by up to {difference:.3g}, the largest is {largest:.3g}"
        )
    if not _equal(before.newline_D, after.newline_D):
        raise _different(subject, "its image_newline is another one")
    return replace(after, difference=difference)


def _equal(left: Tensor | None, right: Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    return torch.equal(left, right)


def _different(subject: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{subject} is not the same model: {what}",
        where="export",
        remedy="nothing was written; please report this with the model's config.json",
    )


@torch.no_grad()
def transformers_evidence(folder: Path, before: Evidence, dtype: str, check_dtype: str) -> Evidence:
    """The scores of plain transformers for the same prompt: nothing of our model's code runs.

    LLaVA-NeXT cuts every picture, so of it the embeddings of one tile are taken, and the scores of a row
    that holds them.

    Raises:
        CheckpointError: transformers misses tensors, or finds some that it does not know.
    """
    from transformers import AutoTokenizer, LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

    tiled = read_json(folder / "config.json")["model_type"] == NEXT
    kind: Any = LlavaNextForConditionalGeneration if tiled else LlavaForConditionalGeneration
    with quiet():
        model, info = kind.from_pretrained(
            folder, dtype=DTYPES[dtype], output_loading_info=True, attn_implementation="eager"
        )
    wrong = sorted({*info["missing_keys"], *info["unexpected_keys"]})
    if wrong:
        raise _different(read_back("transformers"), f"keys {', '.join(wrong[:6])} do not fit")
    model.to(dtype=DTYPES[check_dtype])
    pixels_1CHW = before.pixels_1CHW.to(model.dtype)
    image_id = int(model.config.image_token_index)
    count = before.embeds_PD.shape[0] - len(before.marks)
    picture = [*before.marks[:1], *[image_id] * count, *before.marks[1:]]
    ids_1T = torch.tensor([[*before.ids[:BEFORE], *picture, *before.ids[BEFORE:]]])
    if tiled:
        given = {"inputs_embeds": _tile_row(model, ids_1T, pixels_1CHW)}
    else:
        given = {"input_ids": ids_1T, "pixel_values": pixels_1CHW}
    logits_TV = model(**given).logits[0, :, : before.logits_TV.shape[1]].float()
    if before.cap is not None:  # transformers' LLaVA leaves it out; the export's README says so
        logits_TV = torch.tanh(logits_TV / before.cap) * before.cap
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return replace(
        before,
        text_ids=_text_ids(tokenizer),
        logits_TV=logits_TV,
        newline_D=model.model.image_newline.float() if tiled else None,
    )


def _tile_row(model: Any, ids_1T: Tensor, pixels_1CHW: Tensor) -> Tensor:
    """Embeddings of a row whose image tokens hold one tile, by transformers' own modules."""
    config = model.config
    states = model.model.vision_tower(pixels_1CHW, output_hidden_states=True).hidden_states
    layer = config.vision_feature_layer
    layers = [layer] if isinstance(layer, int) else layer
    features_1PV = torch.cat([states[number] for number in layers], dim=2)
    if config.vision_feature_select_strategy == "default":
        features_1PV = features_1PV[:, 1:]
    embeds_1TD: Tensor = model.get_input_embeddings()(ids_1T)
    place_1T = ids_1T == config.image_token_index
    embeds_1TD[place_1T] = model.model.multi_modal_projector(features_1PV)[0]
    return embeds_1TD
