"""A linear head on a tower's embeddings that says how unsafe a picture is.

The file is safetensors. ``weight`` is [E] or [1, E] (or [2, E], safe and unsafe), ``bias`` [], [1] or [2],
both of any float type. The score is sigmoid(weight . x + bias), or of two the softmax's second, x being the
embedding at length 1. ``threshold`` in the file's metadata says from which score a picture is told, 0.5
without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pumice.errors import CheckpointError
from pumice.trust.audit.check import Finding

LAYOUT = "it holds weight [E] or [2, E] and bias [1] or [2], of the tower's embeddings of width E"


@dataclass(frozen=True)
class UnsafeHead:
    """A head: ``file`` it is from, ``weight_E`` and ``bias`` of the unsafe side, and the ``threshold``."""

    file: str
    weight_E: NDArray[np.float64] = field(repr=False)
    bias: float
    threshold: float

    @classmethod
    def read(cls, file: Path) -> UnsafeHead:
        """Read a head.

        Raises:
            CheckpointError: the file cannot be read or has another layout.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "np") as opened:
                said = opened.metadata() or {}
                weight = np.asarray(opened.get_tensor("weight"), np.float64)
                bias = np.asarray(opened.get_tensor("bias"), np.float64).reshape(-1)
            threshold = float(said.get("threshold", 0.5))
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"the head cannot be read ({error})", where=str(file), remedy=LAYOUT
            ) from error
        rows = weight.reshape(-1, weight.shape[-1]) if weight.ndim else weight.reshape(1, 1)
        if weight.ndim not in (1, 2) or len(rows) not in (1, 2) or len(bias) != len(rows):
            raise CheckpointError(
                f"a head of weight {list(weight.shape)} and bias {list(bias.shape)}",
                where=str(file),
                remedy=LAYOUT,
            )
        if len(rows) == 2:  # softmax of two is the sigmoid of their difference
            return cls(str(file), rows[1] - rows[0], float(bias[1] - bias[0]), threshold)
        return cls(str(file), rows[0], float(bias[0]), threshold)

    def scores(self, embeds_VE: NDArray[np.float32]) -> NDArray[np.float64]:
        """How unsafe each is, 0 to 1.

        Raises:
            CheckpointError: the head is for embeddings of another width.
        """
        if embeds_VE.shape[1] != len(self.weight_E):
            raise CheckpointError(
                f"the head is for embeddings of {len(self.weight_E)} numbers, the tower's have "
                f"{embeds_VE.shape[1]}",
                where=self.file,
                remedy="give the tower that the head was trained with (--tower)",
            )
        logits = embeds_VE.astype(np.float64) @ self.weight_E + self.bias
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))

    def findings(
        self, check: str, numbers: NDArray[np.int64], embeds_VE: NDArray[np.float32]
    ) -> Iterator[Finding]:
        """The pictures from the threshold on."""
        scores = self.scores(embeds_VE)
        for place in np.flatnonzero(scores >= self.threshold).tolist():
            yield Finding(
                check,
                "unsafe",
                "serious",
                f"the head gives it {scores[place]:.2f}, and {self.threshold:g} or more is unsafe",
                picture=int(numbers[place]),
                score=round(float(scores[place]), 4),
            )
