"""One vision-language model: tower, connector, language model, and the loss over packed rows.

Legend: B rows, T tokens of a row, N images, C channels, H height, W width, P features per image,
V width of the tower (in logits_SV: size of the vocabulary), D width of the language model,
S supervised tokens, G groups of them, I tokens and M tiles of all images, K keys (cached tokens and this
row's), Q queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from pumice.errors import CheckpointError, DataError
from pumice.image.layout import ImageLayout
from pumice.model.arrange import arrange, pool_frames
from pumice.model.attention import (
    AUTO,
    KERNELS,
    attention_windows,
    kernel_mask,
    packed_mask,
    ragged_mask,
    visibility_mask,
    windowed,
)
from pumice.model.config import VLMConfig
from pumice.model.cross_entropy import linear_cross_entropy, sums_linear
from pumice.model.kernels import Need, best
from pumice.model.last_layer import only_at
from pumice.model.packing import Packing, packing_of
from pumice.model.ragged import Ragged
from pumice.model.tower import Tower
from pumice.types import IGNORE_INDEX

LOGIT_CHUNK = 1 << 25
"""How many logits are held at once where the loss is a sum for each group (128 MiB in float32)."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Tokens whose losses are summed together: ``of_BT``, int64 [B, T], is the group of each supervised
    token, from 0 to ``number`` - 1; elsewhere it is not read."""

    of_BT: Tensor
    number: int


class VisionLanguageModel(nn.Module):
    """Tower, connector and language model, with one way of putting pictures into rows of tokens.

    Args:
        tower: the vision tower.
        connector: maps the tower's width to the language model's (``build_connector``).
        lm: any model of ``transformers.AutoModelForCausalLM``.
        config: see ``VLMConfig``.

    Attributes:
        image_newline: the embedding [D] that ends a line of patches, where ``config.newline`` says so.
        packs: whether the language model may attend over the blocks of packed rows alone; it does so under
            ``auto`` attention.
        computes_on: the device of a model whose weights wait in host memory; None where they do not.
        trims: whether the last layer's feed-forward part may be computed at some places alone.
        masks_by_layer: whether the language model takes a mask for each kind of layer (``layer_types``).
    """

    def __init__(self, tower: Tower, connector: nn.Module, lm: Any, config: VLMConfig) -> None:
        super().__init__()
        self.tower = tower
        self.connector = connector
        self.lm = lm
        self.config = config
        self.computes_on: torch.device | None = None
        self.image_newline: nn.Parameter | None = None
        if config.newline:
            table_VD = lm.get_input_embeddings().weight
            self.image_newline = nn.Parameter(torch.zeros(table_VD.shape[1], dtype=table_VD.dtype))
        self._windows = attention_windows(lm.config)
        self.packs = True
        self.trims = True
        self.masks_by_layer = getattr(lm.config, "layer_types", None) is not None
        self._softcap: float | None = getattr(lm.config, "final_logit_softcapping", None)
        marks = 0 if config.image_marks is None else 2
        if config.image_seq_length != tower.length + marks:
            raise CheckpointError(
                f"the tower gives {tower.length} features per picture, but image_seq_length is "
                f"{config.image_seq_length - marks}",
                where="image_seq_length",
                remedy="use the vision tower this model was trained with",
            )

    @property
    def device(self) -> torch.device:
        """Where it computes: where the language model's embeddings lie, unless ``computes_on`` says other."""
        if self.computes_on is not None:
            return self.computes_on
        device = self.lm.get_input_embeddings().weight.device
        assert isinstance(device, torch.device)
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the language model's embeddings."""
        dtype = self.lm.get_input_embeddings().weight.dtype
        assert isinstance(dtype, torch.dtype)
        return dtype

    def encode_tower(self, pixels_NCHW: Tensor) -> Tensor:
        """Features [N, P, V] of pixels [N, C, H, W]; without a graph when nothing in the tower trains."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.tower.frozen):
            features_NPV: Tensor = self.tower(pixels_NCHW)
        return features_NPV

    def project(self, features_NPV: Tensor) -> Tensor:
        """Embeddings [N, P, D] of features [N, P, V], each picture one square of the tower's."""
        embeds_NPD = self._connected(features_NPV)
        return embeds_NPD if self.config.tiled else self.mark(embeds_NPD)

    def _connected(self, features_NPV: Tensor) -> Tensor:
        first = next(self.connector.parameters(), None)
        if first is not None and not torch.is_autocast_enabled(features_NPV.device.type):
            features_NPV = features_NPV.to(first.dtype)
        embeds_NPD: Tensor = self.connector(features_NPV)
        return embeds_NPD

    def mark(self, embeds_NPD: Tensor) -> Tensor:
        """The same between the embeddings of ``<im_start>`` and ``<im_end>``, where the model has them."""
        if self.config.image_marks is None:
            return embeds_NPD
        ids_2 = torch.tensor(self.config.image_marks, device=self.device)
        marks_2D = self.lm.get_input_embeddings()(ids_2).to(embeds_NPD.dtype)
        start_N1D, end_N1D = (mark_D.expand(embeds_NPD.shape[0], 1, -1) for mark_D in marks_2D)
        return torch.cat([start_N1D, embeds_NPD, end_N1D], dim=1)

    def set_gradient_checkpointing(self, *, tower: bool, language: bool) -> None:
        """Compute layers again in the backward pass instead of keeping what they held: less memory, slower.

        It acts wherever gradients flow, also through a part that is frozen and in evaluation mode, which
        transformers' own switch leaves out. Dropout draws the same numbers both times.

        Raises:
            CheckpointError: a part that is to do so has no layers that can.
        """
        for part, wanted in ((self.lm, language), *((member.model, tower) for member in self.tower.members)):
            layers = [layer for layer in part.modules() if isinstance(layer, GradientCheckpointingLayer)]
            if wanted and not layers:
                raise CheckpointError(
                    f"{type(part).__name__} has no layers that can be computed again in the backward pass",
                    where="activation_checkpointing",
                    remedy="leave activation_checkpointing out",
                )
            for layer in layers:
                layer.__dict__.pop("forward", None)
                if wanted:
                    layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)

    def lay_out(self, features_MPV: Tensor, layouts: Sequence[ImageLayout]) -> list[Tensor]:
        """Embeddings [T, D] of each picture or video of a batch, from the tower's features of their tiles.

        Args:
            features_MPV: what the tower gives for all tiles and frames, those of one picture one after
                another, the pictures in the order of ``layouts``.
            layouts: one a picture; its T is ``layout.tokens``, and two more where the model marks pictures.

        Raises:
            CheckpointError: tiles or features of another number than the layouts have.
        """
        counts = [layout.tiles for layout in layouts]
        if sum(counts) != features_MPV.shape[0]:
            raise CheckpointError(f"layouts of {sum(counts)} tiles, but features of {features_MPV.shape[0]}")
        if all(not layout.is_video for layout in layouts):
            parts = torch.split(self._connected(features_MPV), counts)
        else:
            parts = tuple(
                self._connected(pool_frames(part, layout) if _pools_first(layout) else part)
                for part, layout in zip(torch.split(features_MPV, counts), layouts, strict=True)
            )
        tokens = [
            arrange(part, layout, self.image_newline) for part, layout in zip(parts, layouts, strict=True)
        ]
        return [self.mark(one_TD[None])[0] for one_TD in tokens]

    def embed(
        self,
        input_ids_BT: Tensor,
        image_embeds: Tensor | Sequence[Tensor] | None,
        images: Sequence[tuple[int, int, int]],
    ) -> Tensor:
        """Embeddings [B, T, D] of token ids, image n at ``images[n]`` = (row, start, length).

        Args:
            input_ids_BT: token ids.
            image_embeds: [N, P, D], or N tensors [length, D]; None where there is no image.
            images: where each one goes.

        Raises:
            CheckpointError: the number of images or their length differs from what the tower gave.
            DataError: the spans are not exactly the places of the image token; names the row.
        """
        embeds_BTD: Tensor = self.lm.get_input_embeddings()(input_ids_BT)
        found = 0 if image_embeds is None else len(image_embeds)
        if found != len(images):
            raise CheckpointError(f"{len(images)} image spans, but features of {found} images")
        is_image_BT = input_ids_BT == self.config.image_token_id
        if image_embeds is None or not images:
            _check_counts(is_image_BT, torch.zeros_like(is_image_BT))
            return embeds_BTD
        for (row, start, length), one in zip(images, image_embeds, strict=True):
            if length != one.shape[0]:
                raise CheckpointError(
                    f"an image span of {length} tokens, but the model gives {one.shape[0]} for the picture",
                    where=f"row {row} of the batch, token {start}",
                    remedy="render with image_lengths equal to what the model's geometry counts",
                )
            if not (0 <= row < input_ids_BT.shape[0] and 0 <= start <= input_ids_BT.shape[1] - length):
                raise DataError(
                    f"an image span of {length} tokens does not fit into {tuple(input_ids_BT.shape)} tokens",
                    where=f"row {row} of the batch, token {start}",
                )
        device = input_ids_BT.device
        lengths_N = torch.tensor([length for _, _, length in images], device=device)
        rows_I = torch.repeat_interleave(
            torch.tensor([row for row, _, _ in images], device=device), lengths_N
        )
        columns_I = torch.cat([torch.arange(start, start + length) for _, start, length in images]).to(device)
        spanned_BT = torch.zeros_like(is_image_BT)
        spanned_BT[rows_I, columns_I] = True
        _check_counts(is_image_BT, spanned_BT, expected=rows_I.numel())
        flat_ID = (
            image_embeds.flatten(0, 1) if isinstance(image_embeds, Tensor) else torch.cat(list(image_embeds))
        )
        return embeds_BTD.index_put((rows_I, columns_I), flat_ID.to(embeds_BTD.dtype))

    def hidden(
        self,
        embeds_BTD: Tensor,
        position_ids_BT: Tensor,
        mask_BTT: Tensor | Packing | Ragged,
        *,
        cache: Any = None,
    ) -> Tensor:
        """Last hidden states [B, T, D] (after the final norm) of embeddings.

        Of a row of sequences from whose ends something is drawn (``Ragged.drawing``) they may be those of
        these ends alone, [1, R, D]. Layers that attend in a sliding window see the last so many of the keys
        that the mask shows.

        Args:
            embeds_BTD: the row's embeddings.
            position_ids_BT: int64, the position of each token within its sample.
            mask_BTT: bool [B, T, K], True where a query sees a key; K counts cached tokens too. Or the blocks
                of packed rows (``see``), or the sequences of one row whose keys lie in ``cache``.
            cache: a transformers ``Cache`` that is read and extended, or None.
        """
        dtype = embeds_BTD.dtype
        if torch.is_autocast_enabled(embeds_BTD.device.type):
            dtype = torch.get_autocast_dtype(embeds_BTD.device.type)
        output = self.lm.base_model(
            inputs_embeds=embeds_BTD,
            position_ids=position_ids_BT,
            attention_mask=self._masks(mask_BTT, dtype),
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden_BTD: Tensor = output.last_hidden_state
        return hidden_BTD

    def attends_blocks(self, need: Need) -> bool:
        """Whether attention over packed rows costs what samples see alone, however long the rows are.

        Args:
            need: what a step asks of a kernel (``kernels.need_of_config``).
        """
        kind = self.lm.config._attn_implementation
        if kind in KERNELS:
            return KERNELS[kind] == "varlen"  # flex makes its blocks of a whole mask
        if not self.packs or kind != AUTO:
            return False
        return need.device == "cpu" or (need.device == "cuda" and best(need) == "varlen")

    def see(self, segment_ids_BT: Tensor, branch_ids_BT: Tensor) -> Tensor | Packing:
        """Who sees whom in packed rows, in the form that ``hidden`` computes fastest."""
        if self.lm.config._attn_implementation in KERNELS:
            return packing_of(segment_ids_BT, branch_ids_BT)
        if self.packs and self.lm.config._attn_implementation == AUTO:
            return packing_of(segment_ids_BT, branch_ids_BT)
        return visibility_mask(segment_ids_BT, branch_ids_BT)

    @property
    def takes_ragged(self) -> bool:
        """Whether attention reads the keys of a row's sequences where they lie; else it takes copies."""
        kind = self.lm.config._attn_implementation
        return self.packs and (kind == AUTO or kind in KERNELS)

    def _masks(self, mask_BTK: Tensor | Packing | Ragged, dtype: torch.dtype) -> Any:
        """The mask as the language model takes it: one, or one for each kind of layer."""
        kind = self.lm.config._attn_implementation
        if isinstance(mask_BTK, Ragged) and not self.takes_ragged:
            mask_BTK = mask_BTK.dense()
        made: dict[int | None, Tensor] = {}
        for window in self._windows.values():
            if window in made:
                continue
            if isinstance(mask_BTK, Packing):
                made[window] = packed_mask(mask_BTK, window)
            elif isinstance(mask_BTK, Ragged):
                made[window] = ragged_mask(mask_BTK, window)
            else:
                made[window] = kernel_mask(windowed(mask_BTK, window), kind, dtype)
        if self.masks_by_layer:
            return {name: made[window] for name, window in self._windows.items()}
        if len(made) > 1:
            raise CheckpointError(
                f"{type(self.lm).__name__} has layers of several attention windows, but takes one mask",
                where="layer_types of the language model",
                remedy="choose another language model",
            )
        return next(iter(made.values()))

    def logits(self, hidden_xD: Tensor) -> Tensor:
        """Scores [..., V] over the vocabulary for hidden states [..., D]."""
        logits_xV: Tensor = self.lm.get_output_embeddings()(hidden_xD)
        if self._softcap is not None:  # Gemma 2
            logits_xV = torch.tanh(logits_xV / self._softcap) * self._softcap
        return logits_xV

    def forward(
        self,
        input_ids_BT: Tensor,
        labels_BT: Tensor,
        position_ids_BT: Tensor,
        segment_ids_BT: Tensor,
        branch_ids_BT: Tensor,
        images: Sequence[tuple[int, int, int]] = (),
        *,
        tiles: Tensor | None = None,
        encoded: bool = False,
        layouts: Sequence[ImageLayout] = (),
        keep: bool = False,
        groups: Groups | None = None,
    ) -> tuple[Tensor, int, list[Tensor]]:
        """One training pass over packed rows: everything from the tower's inputs to the loss.

        Training calls this and nothing else of the model, so that weights which are split over ranks are
        gathered and every rank computes through all parts alike, whatever its rows hold.

        Args:
            input_ids_BT, labels_BT, position_ids_BT, segment_ids_BT, branch_ids_BT: see ``loss``.
            images: where each picture goes.
            tiles: the tower's inputs [M, C, H, W] or, where ``encoded``, its features [M, P, V], of all
                pictures. Without ``layouts`` the result does not depend on them, but they are computed: for a
                rank that has no picture while others have.
            encoded: whether ``tiles`` are features.
            layouts: how the tiles of each picture are laid out.
            keep: give the pictures' embeddings back, too.
            groups: sums of their own for these tokens each.

        Returns:
            (sum, count, embeddings): as ``loss``, and [length, D] of each picture where they are wanted.
        """
        features_MPV = tiles if encoded or tiles is None else self.encode_tower(tiles)
        if not layouts and features_MPV is not None:
            touched = self._connected(features_MPV).sum()
            if self.image_newline is not None:
                touched = touched + self.image_newline.sum()
            total, count = self.loss(
                input_ids_BT,
                labels_BT,
                position_ids_BT,
                segment_ids_BT,
                branch_ids_BT,
                touch=touched,
                groups=groups,
            )
            return total, count, []
        embeds = [] if features_MPV is None else self.lay_out(features_MPV, layouts)
        total, count = self.loss(
            input_ids_BT,
            labels_BT,
            position_ids_BT,
            segment_ids_BT,
            branch_ids_BT,
            images,
            image_embeds_NPD=embeds or None,
            groups=groups,
        )
        # Copies, not views: hooks of split weights stand on what is returned.
        return total, count, [embed_TD.clone() for embed_TD in embeds] if keep else []

    def loss(
        self,
        input_ids_BT: Tensor,
        labels_BT: Tensor,
        position_ids_BT: Tensor,
        segment_ids_BT: Tensor,
        branch_ids_BT: Tensor,
        images: Sequence[tuple[int, int, int]] = (),
        *,
        pixels_NCHW: Tensor | None = None,
        features_NPV: Tensor | None = None,
        image_embeds_NPD: Tensor | Sequence[Tensor] | None = None,
        touch: Tensor | None = None,
        groups: Groups | None = None,
    ) -> tuple[Tensor, int]:
        """Summed cross entropy over the supervised tokens of a batch, and how many there are.

        The ids are those of ``pumice.types.Batch``. Pictures come as pixels, as features of the tower
        or as embeddings (``project``, ``lay_out``), whichever the caller has (one of them, in the order of
        ``images``). A scalar ``touch`` is part of the graph and changes nothing.

        Returns:
            (sum, count): a float32 scalar and the number of supervised tokens; divide after summing
            both over micro-batches and ranks. With ``groups`` the sum is one a group, float32 [G].
        """
        given = [value for value in (pixels_NCHW, features_NPV, image_embeds_NPD) if value is not None]
        assert len(given) <= 1, "give pictures in one form only"
        if pixels_NCHW is not None:
            features_NPV = self.encode_tower(pixels_NCHW)
        if features_NPV is not None:
            image_embeds_NPD = self.project(features_NPV)
        embeds_BTD = self.embed(input_ids_BT, image_embeds_NPD, images)
        if touch is not None:
            embeds_BTD = embeds_BTD + (touch * 0).to(embeds_BTD.dtype)
        seen = self.see(segment_ids_BT, branch_ids_BT)
        rows_S, columns_S = torch.nonzero(labels_BT != IGNORE_INDEX, as_tuple=True)
        before_S = predecessors(rows_S, columns_S, segment_ids_BT, branch_ids_BT)
        rows, tokens = labels_BT.shape
        with only_at(self.lm, rows_S, before_S, (rows, tokens)) if self.trims else nullcontext():
            hidden_BTD = self.hidden(embeds_BTD, position_ids_BT, seen)
        groups_S = None if groups is None else groups.of_BT[rows_S, columns_S]
        number = None if groups is None else groups.number
        hidden_SD, labels_S = hidden_BTD[rows_S, before_S], labels_BT[rows_S, columns_S]
        return self._cross_entropy(hidden_SD, labels_S, groups_S, number), rows_S.numel()

    def _cross_entropy(
        self, hidden_SD: Tensor, labels_S: Tensor, groups_S: Tensor | None, number: int | None
    ) -> Tensor:
        """Summed cross entropy in float32, of all tokens or of each group; no logits are kept."""
        head = self.lm.get_output_embeddings()
        if number is None and sums_linear(head):
            return linear_cross_entropy(hidden_SD, head, labels_S, self._softcap)

        def part(hidden_cD: Tensor, labels_c: Tensor, groups_c: Tensor | None) -> Tensor:
            logits_cV = self.logits(hidden_cD).float()
            if groups_c is None or number is None:
                return F.cross_entropy(logits_cV, labels_c, reduction="sum")
            losses_c = F.cross_entropy(logits_cV, labels_c, reduction="none")
            return losses_c.new_zeros(number).index_add(0, groups_c, losses_c)

        size = max(1, LOGIT_CHUNK // int(head.weight.shape[0]))
        if hidden_SD.shape[0] <= size:
            return part(hidden_SD, labels_S, groups_S)
        total = hidden_SD.new_zeros(() if number is None else number, dtype=torch.float32)
        for start in range(0, hidden_SD.shape[0], size):
            some = slice(start, start + size)
            groups_c = None if groups_S is None else groups_S[some]
            total = total + checkpoint(part, hidden_SD[some], labels_S[some], groups_c, use_reentrant=False)
        return total


def predecessors(rows_S: Tensor, columns_S: Tensor, segment_ids_BT: Tensor, branch_ids_BT: Tensor) -> Tensor:
    """The column [S] of the token that predicts each given token, in the same row.

    That is the previous token of the same branch and segment; for the first token of a branch it is
    the segment's last trunk token before it, which other branches may separate from it.

    Raises:
        DataError: a given token is the first of its segment or padding; names the row.
    """
    previous_S = (columns_S - 1).clamp(min=0)
    segments_S, branches_S = segment_ids_BT[rows_S, columns_S], branch_ids_BT[rows_S, columns_S]
    follows_S = (
        (columns_S > 0)
        & (segments_S > 0)
        & (segment_ids_BT[rows_S, previous_S] == segments_S)
        & (branch_ids_BT[rows_S, previous_S] == branches_S)
    )
    if bool(follows_S.all()):
        return previous_S
    rest = ~follows_S
    order_T = torch.arange(segment_ids_BT.shape[1], device=columns_S.device)
    same_RT = (segment_ids_BT[rows_S[rest]] == segments_S[rest, None]) & (segments_S[rest, None] > 0)
    same_RT &= order_T[None, :] < columns_S[rest, None]
    branch_RT = branch_ids_BT[rows_S[rest]]
    own_R = torch.where(same_RT & (branch_RT == branches_S[rest, None]), order_T, -1).amax(dim=1)
    trunk_R = torch.where(same_RT & (branch_RT == 0), order_T, -1).amax(dim=1)
    found_R = torch.where(own_R >= 0, own_R, trunk_R)
    if bool((found_R < 0).any()):
        bad = int(torch.nonzero(found_R < 0)[0])
        raise DataError(
            "a supervised token has no token before it in its sample",
            where=f"row {int(rows_S[rest][bad])} of the batch, token {int(columns_S[rest][bad])}",
            remedy="set the label of a sample's first token to -100",
        )
    return previous_S.masked_scatter(rest, found_R)


def _pools_first(layout: ImageLayout) -> bool:
    return layout.is_video and layout.video.before_connector


def _check_counts(is_image_BT: Tensor, spanned_BT: Tensor, expected: int | None = None) -> None:
    """DataError unless the image tokens stand exactly where the spans are, naming counts and row."""
    if torch.equal(is_image_BT, spanned_BT):
        if expected is not None and int(spanned_BT.sum()) != expected:
            raise DataError(f"image spans overlap: {expected} features for {int(spanned_BT.sum())} tokens")
        return
    row = int(torch.nonzero((is_image_BT != spanned_BT).any(dim=1))[0])
    column = int(torch.nonzero(is_image_BT[row] != spanned_BT[row])[0])
    raise DataError(
        f"{int(is_image_BT[row].sum())} image tokens, but spans over {int(spanned_BT[row].sum())} tokens",
        where=f"row {row} of the batch, first difference at token {column}",
        remedy="render the sample with one span for each image and no other image token",
    )
