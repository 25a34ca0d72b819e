"""A new model from local transformers checkpoints: one or more vision models and a causal LM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.image.settings import MultiImage
from pumice.model.attention import KERNELS, set_attention, visibility_mask
from pumice.model.config import Flavour, VLMConfig
from pumice.model.connector import build_connector
from pumice.model.last_layer import only_at
from pumice.model.packing import Packing, packing_of
from pumice.model.parts import load_tokenizer, torch_dtype
from pumice.model.sources import load_language, load_vision, read_processor
from pumice.model.tower import Tower, VisionTower
from pumice.model.towers import JoinedTowers, MultiScaleTower, Normal
from pumice.model.vlm import VisionLanguageModel
from pumice.model.vocabulary import extend_vocabulary


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a new model cuts pictures into tiles (LLaVA-NeXT); the fields are those of ``VLMConfig``."""

    pinpoints: tuple[tuple[int, int], ...]
    aspect: str = "anyres"
    flavour: Flavour = "transformers"
    merge_type: str = "spatial_unpad"
    multi_image: MultiImage = "pad"


def build_model(
    vision_folder: str | Path | Sequence[str | Path],
    language_folder: str | Path,
    *,
    connector: str = "mlp2x_gelu",
    select_layer: int | tuple[int, ...] = -2,
    select_feature: str = "patch",
    template: str = "v1",
    dtype: str = "float32",
    seed: int = 0,
    attention: str = "auto",
    scales: Sequence[int] = (),
    tiles: Tiles | None = None,
) -> tuple[VisionLanguageModel, Any, Any]:
    """A vision-language model whose connector is new and whose parts come from two or more folders.

    ``<image>`` is added to the tokenizer if it lacks it, ``<pad>`` if it has no padding token; their
    embedding rows are the mean of the others. Weights are ``dtype`` whatever the files hold.

    Args:
        vision_folder: a CLIP, SigLIP, SigLIP 2 (of one resolution), DINOv2, DINOv3 or ViT checkpoint with its
            ``preprocessor_config.json``; of a LLaVA checkpoint, its tower. Several folders: their towers
            are read at once and their features joined (``JoinedTowers``).
        language_folder: a causal LM checkpoint with its tokenizer; of a LLaVA checkpoint, its language
            model. The connector is new even where both folders are one LLaVA checkpoint.
        connector: see ``build_connector``.
        select_layer: the tower's hidden state that is read; several are joined along the channels.
        select_feature: ``patch`` or ``cls_patch``.
        template: the conversation template the model is to be trained with.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        seed: of the connector's weights, and of the embedding that ends lines of tiles.
        attention: see ``attention.ATTENTION_CHOICES``.
        scales: read the tower at these sizes in pixels (S2); the first is the tower's own.
        tiles: cut pictures into tiles; None for one square input of each.

    Returns:
        (model, tokenizer, image processor).

    Raises:
        CheckpointError: a folder, file, key, shape or option that does not fit.
    """
    several = not isinstance(vision_folder, str | Path)
    folders = [Path(folder) for folder in vision_folder] if several else [Path(vision_folder)]  # type: ignore[union-attr, arg-type]
    language_folder = Path(language_folder)
    kind = torch_dtype(dtype)
    models = [load_vision(folder, kind) for folder in folders]
    processors = [read_processor(folder) for folder in folders]
    tower = compose_tower(
        models, processors, scales, select_layer=select_layer, select_feature=select_feature
    )
    lm = load_language(language_folder, kind)
    tokenizer = load_tokenizer(language_folder)
    image_token_id = extend_vocabulary(lm, tokenizer)
    bridge = build_connector(connector, tower.dim, lm_width(lm), seed=seed).to(kind)
    config = VLMConfig(
        connector=connector,
        select_layer=select_layer,
        select_feature=select_feature,
        image_token_id=image_token_id,
        image_seq_length=tower.length,
        template=template,
        scales=tuple(scales),
        towers=tower_names(tower),
    )
    if tiles is not None:
        config = replace(
            config,
            aspect=tiles.aspect,
            pinpoints=tiles.pinpoints,
            flavour=tiles.flavour,
            merge_type=tiles.merge_type,
            multi_image=tiles.multi_image,
            newline="unpad" in tiles.merge_type,
        )
    model = assemble(tower, bridge, lm, config, attention)
    draw_newline(model, seed)
    return model, tokenizer, fit_processor(processors[0], tower)


def compose_tower(
    models: Sequence[Any],
    processors: Sequence[ImageProcessor],
    scales: Sequence[int],
    *,
    select_layer: int | tuple[int, ...],
    select_feature: str,
) -> Tower:
    """One tower, several joined, or one at several scales, of vision models and their image processors.

    Raises:
        CheckpointError: no model, both several models and several scales, or options that do not fit.
    """
    if not models or (len(models) > 1 and scales):
        raise CheckpointError(
            "a model has one vision tower, several at one scale, or one at several scales",
            where="vision",
            remedy="name one tower, or leave scales out",
        )
    side = scales[0] if scales else None
    towers = [
        VisionTower(
            model,
            select_layer=select_layer,
            select_feature=select_feature,
            image_size=side or processor.image_size,
        )
        for model, processor in zip(models, processors, strict=True)
    ]
    if len(towers) > 1:
        return JoinedTowers(towers, [Normal(item.mean, item.std) for item in processors])
    return MultiScaleTower(towers[0], scales) if scales else towers[0]


def tower_names(tower: Tower) -> tuple[str, ...]:
    """The model types of several towers; empty for one."""
    names = tuple(str(member.config.model_type) for member in tower.members)
    return names if len(names) > 1 else ()


def fit_processor(processor: ImageProcessor, tower: Tower) -> ImageProcessor:
    """The image processor whose output has the size that the tower takes."""
    if processor.image_size == tower.image_size:
        return processor
    edge = round(processor.shortest_edge * tower.image_size / processor.image_size)
    return replace(processor, image_size=tower.image_size, shortest_edge=max(edge, tower.image_size))


def draw_newline(model: VisionLanguageModel, seed: int) -> None:
    """Draw ``image_newline`` by LLaVA-NeXT's first values: normal, with a standard deviation of 1/sqrt(D)."""
    if model.image_newline is None:
        return
    drawn_D = torch.randn(model.image_newline.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.image_newline.copy_(drawn_D / drawn_D.numel() ** 0.5)


def assemble(
    tower: Tower, connector: nn.Module, lm: Any, config: VLMConfig, attention: str
) -> VisionLanguageModel:
    """Put the parts together, set their attention and check that the language model fits."""
    set_attention(lm, attention)
    for member in tower.members:
        set_attention(member.model, "auto" if attention in KERNELS.values() else attention)
    model = VisionLanguageModel(tower, connector, lm, config)
    model.eval()
    check_language(lm, model)
    return model


def check_language(lm: Any, model: VisionLanguageModel) -> None:
    """CheckpointError if the language model does not do what the rest of the system takes for granted.

    Two short passes show it: its scores are a linear head (and a known cap) on its body's output, and it
    obeys our mask and positions, so that of two equal samples in one row the second is like the first
    (recurrent models and those that count positions by themselves fail this).
    """
    bodies: list[Any] = []
    ids_BT = torch.tensor([[0, 1, 0, 1]], device=model.device)
    segment_ids_BT = torch.tensor([[1, 1, 2, 2]], device=model.device)
    position_ids_BT = torch.tensor([[0, 1, 0, 1]], device=model.device)
    packing = packing_of(segment_ids_BT, torch.zeros_like(segment_ids_BT))
    mask_BTT = visibility_mask(segment_ids_BT, packing.branch_ids_BT)
    hook = lm.base_model.register_forward_hook(lambda module, given, output: bodies.append(output))
    try:
        with torch.no_grad():
            theirs_BTV = lm(input_ids=ids_BT[:, :2]).logits
            own_BTV = model.logits(bodies[0].last_hidden_state)
            embeds_BTD = lm.get_input_embeddings()(ids_BT)
            hidden_BTD = _hidden(model, embeds_BTD, position_ids_BT, mask_BTT)
    except (RuntimeError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise _unfit(lm, f"does not take embeddings, positions and a mask for each row ({error})") from error
    finally:
        hook.remove()
    if not _close(own_BTV, theirs_BTV):
        raise _unfit(lm, "computes more than a linear head")
    if not _close(hidden_BTD[:, :2], hidden_BTD[:, 2:]):
        raise _unfit(lm, "does not keep the samples of one row apart")
    if isinstance(model.see(segment_ids_BT, packing.branch_ids_BT), Packing):
        # A language model that reads or rebuilds the mask on its way to our attention gets dense ones.
        with torch.no_grad():
            packed_BTD = model.hidden(embeds_BTD, position_ids_BT, packing)
            model.packs = _close(packed_BTD, hidden_BTD)
            if not model.packs:  # rounding of many layers of few bits is large, too: how far is another mask?
                mixed_BTD = _hidden(model, embeds_BTD, position_ids_BT, torch.ones_like(mask_BTT).tril())
                model.packs = 4 * _apart(packed_BTD, hidden_BTD) < _apart(mixed_BTD, hidden_BTD)
        if not model.packs and lm.config._attn_implementation in KERNELS:
            raise CheckpointError(
                f"{type(lm).__name__} looks at its mask before attention does, and packed rows have none",
                where="attention",
                remedy="choose auto, sdpa or eager",
            )
    model.trims = _trims(model, embeds_BTD, position_ids_BT, mask_BTT, hidden_BTD)


def _trims(
    model: VisionLanguageModel, embeds_BTD: Tensor, positions_BT: Tensor, mask_BTT: Tensor, hidden_BTD: Tensor
) -> bool:
    """Whether the last layer gives the same at a place when it is computed there alone."""
    place = torch.tensor([1], device=model.device)
    try:
        with torch.no_grad(), only_at(model.lm, place * 0, place, (1, 4)):
            some_BTD = model.hidden(embeds_BTD, positions_BT, mask_BTT)
    except (RuntimeError, TypeError, AttributeError, ValueError, IndexError):  # what it gives is no tensor
        return False
    return _close(some_BTD[:, 1], hidden_BTD[:, 1])


def _hidden(model: VisionLanguageModel, embeds_BTD: Tensor, positions_BT: Tensor, mask_BTT: Tensor) -> Tensor:
    """One pass; where the language model names kinds of layers but takes one mask, that is found here."""
    if model.masks_by_layer:
        try:
            return model.hidden(embeds_BTD, positions_BT, mask_BTT)
        except (AttributeError, TypeError):  # it asked a dictionary for what a tensor has
            model.masks_by_layer = False
    return model.hidden(embeds_BTD, positions_BT, mask_BTT)


def _unfit(lm: Any, why: str) -> CheckpointError:
    return CheckpointError(
        f"{type(lm).__name__} {why}, which is not supported",
        where="language model",
        remedy="choose a model of the Llama, Mistral, Qwen, Gemma, Phi-3 or SmolLM families",
    )


def _close(left: Tensor, right: Tensor) -> bool:
    """Equal but for rounding: within 2% of the largest value."""
    left, right = left.float(), right.float()
    return bool((left - right).abs().max() <= 0.02 * right.abs().max() + 1e-6)


def _apart(left: Tensor, right: Tensor) -> float:
    """The root of the mean square of their difference."""
    return float((left.float() - right.float()).square().mean().sqrt())


def lm_width(lm: Any) -> int:
    """D, the width of a causal LM's embeddings."""
    return int(lm.get_input_embeddings().weight.shape[1])
