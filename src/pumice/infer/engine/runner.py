"""One pass of the model over what many sequences need next.

Legend: T tokens of the pass, S sequences, R of them that can draw, D width of the language model, V size of
the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from pumice.infer.engine.arena import Arena
from pumice.infer.engine.sequence import Sequence
from pumice.model.last_layer import only_at
from pumice.model.ragged import Ragged, Stretch
from pumice.model.vlm import VisionLanguageModel


@dataclass(frozen=True, slots=True)
class Work:
    """The next ``count`` tokens of a sequence."""

    sequence: Sequence
    count: int


class Runner:
    """Runs passes of one model.

    Args:
        model: what computes.
        arena: where its keys and values lie.
        barred: ids that are never drawn: the picture's, and rows of the vocabulary without a token.

    Attributes:
        passing: what the pass under way computes, in the order of its row; that of the last one between two.
    """

    def __init__(self, model: VisionLanguageModel, arena: Arena, barred: Ordered[int]) -> None:
        self.model = model
        self.arena = arena
        self.passing: Ordered[Work] = ()
        self._barred = torch.tensor(list(barred), dtype=torch.int64, device=model.device)

    @torch.inference_mode()
    def run(self, work: Ordered[Work]) -> tuple[list[Sequence], Tensor]:
        """Compute tokens; the sequences of which none is left, and the scores [R, V] of what follows in each.

        Every sequence has room for its tokens, and the embeddings of the pictures among them.
        """
        self.passing = ordered = sorted(work, key=lambda one: one.count > 1)
        device = self.model.device
        ids: list[int] = []
        positions: list[int] = []
        stretches: list[Stretch] = []
        spans: list[tuple[int, int, int]] = []
        embeds: list[Tensor] = []
        for one in ordered:
            sequence, extent = one.sequence, one.sequence.extent
            assert extent is not None
            start, stop, first = extent.filled, extent.filled + one.count, len(ids)
            assert stop <= extent.capacity
            for picture in sequence.pictures(start, stop):
                begin, end = max(start, picture.start), min(stop, picture.start + picture.length)
                embeds.append(sequence.features[picture.digest][begin - picture.start : end - picture.start])
                spans.append((0, first + begin - start, end - begin))
            ids += sequence.ids[start:stop]
            positions += range(start, stop)
            stretches.append(Stretch(first, one.count, extent.start, stop))
        ids_1T = torch.tensor([ids], device=device)
        embeds_1TD = self.model.embed(ids_1T, embeds or None, spans)
        drawing = tuple(number for number, one in enumerate(ordered) if one.count == one.sequence.left)
        self.arena.ragged = ragged = Ragged(tuple(stretches), device, drawing)
        last_RD = self._last(embeds_1TD, torch.tensor([positions], device=device), ragged)
        for one in ordered:
            assert one.sequence.extent is not None
            one.sequence.extent.filled += one.count
        if not drawing:
            return [], last_RD
        logits_RV = self.model.logits(last_RD).float()
        drawn = [ordered[number].sequence for number in drawing]
        return drawn, logits_RV.index_fill(1, self._barred, -torch.inf)

    def _last(self, embeds_1TD: Tensor, positions_1T: Tensor, ragged: Ragged) -> Tensor:
        """Last hidden states [R, D] of the tokens that something is drawn from."""
        drawn_R = torch.tensor(ragged.drawn, dtype=torch.int64, device=self.model.device)
        shape = (1, ragged.tokens)
        everywhere = len(drawn_R) == ragged.tokens
        chosen = nullcontext() if everywhere else only_at(self.model.lm, drawn_R * 0, drawn_R, shape)
        with chosen:
            hidden_1TD = self.model.hidden(embeds_1TD, positions_1T, ragged, cache=self.arena.cache)
        if hidden_1TD.shape[1] != ragged.tokens:  # layers of the kernel leave the others out by themselves
            return hidden_1TD[0]
        return hidden_1TD[0, drawn_R]
