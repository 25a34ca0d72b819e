"""Validation: the loss on data no stage trains on, how well grounded features are and pairs are ordered.

Shapes: N pictures, P patches, D language model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Preference
from pumice.train.dataset import StageData
from pumice.train.grounding import nearest_words
from pumice.train.losses import Context, autocast, measuring, stage_losses, word_table
from pumice.train.preference import zeros
from pumice.types import Batch

ROWS = 8
WAYS = ("right", "n")


class Validator:
    """Measures a model on a stage's validation samples; rows for its metrics file come out."""

    def __init__(self, data: StageData, order: Sequence[int], context: Context) -> None:
        self.data, self.context = data, context
        # Like lengths together: less padding, same numbers.
        self.order = sorted(order, key=lambda i: (len(data.encode(data.samples[i])), i))

    def __call__(self, model: VisionLanguageModel, step: int) -> list[dict[str, Any]]:
        """A row with the loss and, for a grounded stage, one with nearest-word accuracy.

        All ranks call it together; each takes its share of the batches.
        """
        with measuring(model):
            if self.context.stage.preference is not None:
                return [self._preferred(model, self.context.stage.preference, step)]
            return self._measured(model, step)

    def _measured(self, model: VisionLanguageModel, step: int) -> list[dict[str, Any]]:
        stage, ranks = self.context.stage, self.context.ranks
        table_VD = word_table(model, stage)
        attributes = stage.grounding.attributes if stage.grounding is not None else {}
        sums = {"loss": 0.0, "count": 0.0, **{f"{way} {name}": 0.0 for name in attributes for way in WAYS}}
        for batch in self.batches():
            with autocast(stage, model.device):
                found = stage_losses(model, batch, self.data, self.context, table_VD=table_VD)
                if table_VD is not None and found.embeds:
                    self._count_hits(batch, torch.stack(found.embeds), table_VD, sums)
            sums["loss"] += float(found.text)
            sums["count"] += batch.supervised
        sums = ranks.total(sums)
        head = {"stage": stage.name, "step": step}
        rows: list[dict[str, Any]] = [
            {
                "kind": "validation",
                **head,
                "loss": sums["loss"] / sums["count"],
                "supervised": int(sums["count"]),
            }
        ]
        seen = {name: int(sums[f"n {name}"]) for name in attributes if sums[f"n {name}"]}
        if seen:
            accuracy = {name: sums[f"right {name}"] / number for name, number in seen.items()}
            rows.append({"kind": "grounding", **head, "accuracy": accuracy, "n": seen})
        return rows

    def _preferred(self, model: VisionLanguageModel, options: Preference, step: int) -> dict[str, Any]:
        """A row with the loss, margin and accuracy over all pairs of answers."""
        stage, ranks, references = self.context.stage, self.context.ranks, self.data.references
        assert references is not None, "the reference is computed before the first validation"
        totals = {**zeros(options), "supervised": 0.0}
        for batch in self.batches():
            with autocast(stage, model.device):
                found = stage_losses(model, batch, self.data, self.context)
            assert found.pairs is not None
            _, told = found.pairs.share(options, len(self.order), references.chosen_tokens(self.order))
            for name, value in told.items():
                totals[name] += value
            totals["supervised"] += batch.supervised
        totals = ranks.total(totals)
        head = {"kind": "validation", "stage": stage.name, "step": step}
        return {**head, **totals, "pairs": len(self.order), "supervised": int(totals["supervised"])}

    def batches(self) -> Iterator[Batch]:
        """This rank's batches: as many as every other's, the last one perhaps empty."""
        ranks = self.context.ranks
        starts = range(0, len(self.order), ROWS)
        for first in range(0, len(starts), ranks.world):
            number = first + ranks.rank
            if number < len(starts):
                chosen = self.order[starts[number] : starts[number] + ROWS]
                yield self.data.batch([chosen] if self.context.flat else [[i] for i in chosen])
            else:
                yield self.data.empty()

    def _count_hits(self, batch: Batch, embeds_NPD: Tensor, table_VD: Tensor, sums: dict[str, float]) -> None:
        """For each attribute: patches whose words name one of its choices, and how many are nearest to it."""
        grounding = self.context.stage.grounding
        assert grounding is not None
        cells, _ = self.data.cells(batch, grounding)
        words_NPK = torch.from_numpy(cells.words)
        for name, words in grounding.attributes.items():
            ids = [self._word(word) for word in words]
            # [N, P, choices]: which choice a patch's words name
            named = torch.stack([(words_NPK == i).any(dim=2) for i in ids], dim=2).to(table_VD.device)
            place = named.any(dim=2)
            if not bool(place.any()):
                continue
            nearest = nearest_words(embeds_NPD[place], table_VD, {name: ids})[name]
            sums[f"right {name}"] += int((nearest == named[place].int().argmax(dim=1)).sum())
            sums[f"n {name}"] += int(place.sum())

    def _word(self, word: str) -> int:
        return int(self.data.tokenizer.encode(" " + word, add_special_tokens=False)[0])
