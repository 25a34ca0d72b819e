"""Validation: the loss on data no stage trains on, and how well grounded features are.

Shapes: N pictures, P patches, D language model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pumice.model import VisionLanguageModel
from pumice.train.dataset import StageData
from pumice.train.grounding import nearest_words
from pumice.train.losses import Context, autocast, picture_embeds, stage_losses
from pumice.types import Batch

ROWS = 8


class Validator:
    """Measures a model on a stage's validation samples; rows for its metrics file come out."""

    def __init__(self, data: StageData, order: Sequence[int], context: Context) -> None:
        self.data, self.context = data, context
        # Like lengths together: less padding, same numbers.
        self.order = sorted(order, key=lambda i: (len(data.encode(data.samples[i])), i))

    @torch.no_grad()
    def __call__(self, model: VisionLanguageModel, step: int) -> list[dict[str, Any]]:
        """A row with the loss per token and, for a grounded stage, one with nearest-word accuracy."""
        trained = {module: module.training for module in model.modules()}
        model.eval()
        total, count = 0.0, 0
        hits: dict[str, list[int]] = {}
        stage = self.context.stage
        for start in range(0, len(self.order), ROWS):
            batch = self.data.batch([[i] for i in self.order[start : start + ROWS]])
            with autocast(stage, model.device):
                text, _ = stage_losses(model, batch, self.data, self.context)
                if stage.grounding is not None and batch.images:
                    self._count_hits(model, batch, hits)
            total, count = total + float(text), count + batch.supervised
        for module, mode in trained.items():
            module.training = mode
        head = {"stage": stage.name, "step": step}
        rows: list[dict[str, Any]] = [
            {"kind": "validation", **head, "loss": total / count, "supervised": count}
        ]
        if hits:
            accuracy = {name: right / number for name, (right, number) in hits.items()}
            rows.append(
                {"kind": "grounding", **head, "accuracy": accuracy, "n": {k: n for k, (_, n) in hits.items()}}
            )
        return rows

    def _count_hits(self, model: VisionLanguageModel, batch: Batch, hits: dict[str, list[int]]) -> None:
        """For each attribute: patches whose words name one of its choices, and how many are nearest to it."""
        grounding = self.context.stage.grounding
        assert grounding is not None
        cells, _ = self.data.cells(batch, grounding)
        words_NPK = torch.from_numpy(cells.words)
        embeds = picture_embeds(model, batch, self.data, self.context)
        assert embeds is not None, "a batch without pictures has no patches"
        embeds_NPD = torch.stack(embeds)
        table_VD: Tensor = model.lm.get_input_embeddings().weight
        for name, words in grounding.attributes.items():
            ids = [self._word(word) for word in words]
            # [N, P, choices]: which choice a patch's words name
            named = torch.stack([(words_NPK == i).any(dim=2) for i in ids], dim=2).to(model.device)
            place = named.any(dim=2)
            if not bool(place.any()):
                continue
            nearest = nearest_words(embeds_NPD[place], table_VD, {name: ids})[name]
            right = int((nearest == named[place].int().argmax(dim=1)).sum())
            tally = hits.setdefault(name, [0, 0])
            tally[0] += right
            tally[1] += int(place.sum())

    def _word(self, word: str) -> int:
        return int(self.data.tokenizer.encode(" " + word, add_special_tokens=False)[0])
