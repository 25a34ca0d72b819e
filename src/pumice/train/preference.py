"""Stages that prefer one answer to another: DPO, and what the model said before the stage.

Every pair is one sample of two branches (``text.render``, ``rejected``), so question and pictures are
computed once for both answers. The reference is the model as the stage finds it. What it gives to all answers
is computed before the first step and kept in a file, so no second model is in memory, and a resumed run goes
on with the same numbers.

    margin = beta * ((log p(chosen) - log p_ref(chosen)) - (log p(rejected) - log p_ref(rejected)))
    loss   = dpo * mean over pairs of -log sigmoid(margin) + sft * -log p(chosen) per token

(Rafailov et al. 2023, arXiv 2305.18290; the weights as in LLaVA-NeXT's trainer.)

Legend: N samples, P pairs of a batch, 2 chosen and rejected, B rows, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes
from torch import Tensor

from pumice.errors import RunError
from pumice.files import replacing
from pumice.model.vlm import Groups
from pumice.recipes.schema import Preference
from pumice.types import IGNORE_INDEX, Batch, IntArray

SIDES = ("chosen", "rejected")


@dataclass(frozen=True, slots=True)
class References:
    """What the model gave to both answers of every sample before the stage.

    Attributes:
        logps: log probabilities of whole answers, float64 [N, 2]; NaN where a sample is not in the plan.
        tokens: how many tokens of each are supervised, int64 [N, 2].
    """

    logps: NDArray[np.float64]
    tokens: IntArray

    @staticmethod
    def empty(samples: int) -> References:
        """Nothing known yet."""
        return References(np.full((samples, 2), np.nan), np.zeros((samples, 2), np.int64))

    def known(self, sample: int) -> bool:
        """Whether a sample's answers were read."""
        return not np.isnan(self.logps[sample, 0])

    def chosen_tokens(self, samples: Sequence[int]) -> int:
        """Tokens of the chosen answers of some samples, counted as often as they stand there."""
        return int(self.tokens[list(samples), 0].sum())


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both answers of a batch's samples: log probabilities under the model that trains and under the
    reference, float32 [P, 2], and tokens, int64 [P, 2]."""

    logps_P2: Tensor
    reference_P2: Tensor
    tokens_P2: Tensor

    def margins(self, options: Preference) -> Tensor:
        """By how much the chosen answer is above the rejected one, as rewards, [P]."""
        gains_P2 = self.logps_P2 - self.reference_P2
        return options.beta * (gains_P2[:, 0] - gains_P2[:, 1])

    def losses(self, options: Preference) -> Tensor:
        """The loss of each pair, [P]."""
        if options.loss == "ipo":
            gains_P2 = (self.logps_P2 - self.reference_P2) / self.tokens_P2
            return (gains_P2[:, 0] - gains_P2[:, 1] - 1 / (2 * options.beta)) ** 2
        margins_P, smoothing = self.margins(options), options.label_smoothing
        return -(1 - smoothing) * F.logsigmoid(margins_P) - smoothing * F.logsigmoid(-margins_P)

    def share(self, options: Preference, pairs: int, chosen_tokens: int) -> tuple[Tensor, dict[str, float]]:
        """What a batch adds to the loss of all ``pairs`` of a step, and to the numbers that are told of it.

        ``chosen_tokens`` are those of all chosen answers of the step.
        """
        margins_P = self.margins(options).detach()
        dpo = self.losses(options).sum() / pairs
        sft = -self.logps_P2[:, 0].sum() / chosen_tokens
        loss = options.dpo * dpo + options.sft * sft
        told = {
            "loss": float(loss.detach()),
            "margin": float(margins_P.sum()) / pairs,
            # A margin of 0 is neither ahead nor behind: before the first step all are.
            "accuracy": (int((margins_P > 0).sum()) + int((margins_P == 0).sum()) / 2) / pairs,
        }
        for side, name in enumerate(SIDES):
            told[name] = float(self.logps_P2[:, side].detach().sum()) / pairs
        if options.sft:
            told |= {"dpo": float(dpo.detach()), "sft": float(sft.detach())}
        return loss, told


def zeros(options: Preference) -> dict[str, float]:
    """The names of all that ``Pairs.share`` tells, for sums that have nothing yet."""
    return dict.fromkeys(
        ("loss", "margin", "accuracy", *SIDES, *(("dpo", "sft") if options.sft else ())), 0.0
    )


def answer_groups(batch: Batch, device: torch.device) -> Groups:
    """The group of each answer of a batch: 2p of the chosen one of pair p, and 2p + 1 of the rejected one."""
    held = batch.segment_ids.max(axis=1)  # samples of each row
    before = np.cumsum(held) - held
    groups_BT = 2 * (before[:, None] + batch.segment_ids - 1) + batch.branch_ids - 1
    return Groups(torch.from_numpy(groups_BT).to(device), 2 * len(batch.samples))


def answer_tokens(batch: Batch) -> IntArray:
    """Supervised tokens of each answer of a batch, [P, 2]."""
    groups_BT = answer_groups(batch, torch.device("cpu")).of_BT.numpy()
    lit_BT = batch.labels != IGNORE_INDEX
    counts_G = np.bincount(groups_BT[lit_BT], minlength=2 * len(batch.samples))
    return counts_G.reshape(len(batch.samples), 2).astype(np.int64)


def pairs_of(batch: Batch, sums_G: Tensor, references: References | None) -> Pairs:
    """A batch's pairs, from the summed cross entropy of each answer; without references these are NaN."""
    tokens_P2 = answer_tokens(batch)
    known_P2 = np.full(tokens_P2.shape, np.nan)
    if references is not None:
        known_P2 = references.logps[list(batch.samples)]
    return Pairs(
        -sums_G.reshape(len(batch.samples), 2),
        torch.from_numpy(known_P2).to(sums_G.device, torch.float32),
        torch.from_numpy(tokens_P2).to(sums_G.device),
    )


def save_references(path: Path, parts: Mapping[str, References], digest: str) -> None:
    """Write references by name, with the digest of the plan they are of; the file appears whole or not."""
    tensors = {f"{name}/logps": part.logps for name, part in parts.items()}
    counts = {f"{name}/tokens": part.tokens for name, part in parts.items()}
    with replacing(path) as partial:
        partial.write_bytes(to_bytes({**tensors, **counts}, metadata={"plan": digest}))


def load_references(path: Path, sizes: Mapping[str, int], digest: str) -> dict[str, References] | None:
    """The references of a file, by name; None where there is none, or it is damaged.

    Raises:
        RunError: they are of another plan.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            found = (file.metadata() or {}).get("plan")
            names = sizes if found == digest else ()
            parts = {
                name: References(file.get_tensor(f"{name}/logps"), file.get_tensor(f"{name}/tokens"))
                for name in names
            }
    except (OSError, SafetensorError, ValueError):
        return None  # what it held is computed again, by the same model
    if found != digest or any(parts[name].logps.shape != (size, 2) for name, size in sizes.items()):
        raise RunError(
            "the reference of this stage was computed under another plan (other data, settings or seed)",
            where=str(path),
            remedy="restore the data and the recipe, or start a run in a new folder",
        )
    return parts
