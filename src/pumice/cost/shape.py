"""The sizes of a model that decide what it costs: counted from its configuration, no weights needed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TowerShape:
    """A vision tower.

    Attributes:
        params: all its parameters.
        used: those of the layers that are computed (up to ``select_layer``), which one patch meets.
        layers: the layers that are computed.
        width: its hidden size.
        tokens: tokens of one input inside the tower, its class token included.
    """

    params: int
    used: int
    layers: int
    width: int
    tokens: int


@dataclass(frozen=True, slots=True)
class LanguageShape:
    """A language model.

    Attributes:
        body: parameters of its layers and norms, which every token meets.
        embedding: parameters of its input embeddings.
        head: parameters of its head, 0 where it is the embeddings' own matrix (``tied``).
        layers: how many layers.
        width: its hidden size.
        attention_width: heads times the size of one.
        mlp_width: inner size of its feed-forward blocks.
        vocabulary: rows of its embeddings.
        tied: head and embeddings are one matrix.
        heads: of attention; 0 where it is not known.
    """

    body: int
    embedding: int
    head: int
    layers: int
    width: int
    attention_width: int
    mlp_width: int
    vocabulary: int
    tied: bool
    heads: int = 0

    @property
    def params(self) -> int:
        """All parameters."""
        return self.body + self.embedding + self.head


@dataclass(frozen=True, slots=True)
class Shape:
    """A whole model; ``connector`` is its number of parameters."""

    tower: TowerShape
    connector: int
    language: LanguageShape

    @property
    def params(self) -> dict[str, int]:
        """Parameters by the names of parts that a recipe uses."""
        return {
            "vision": self.tower.params,
            "connector": self.connector,
            "language": self.language.params,
        }


@dataclass(frozen=True, slots=True)
class Additions:
    """Low-rank additions to a language model (LoRA), which train in its place.

    Attributes:
        params: their own parameters.
        covered: parameters of the layers that have one.
        bits: in which a parameter of those layers is held; None as the others are (QLoRA: about 4.1).
    """

    params: int
    covered: int
    bits: float | None = None


@dataclass(frozen=True, slots=True)
class Partly:
    """A part of which some trains.

    Attributes:
        params: parameters that train.
        own: of the arithmetic of the part's weights, the share whose weights train.
        reach: the share of its layers that a gradient passes through, where none comes from below: those from
            the lowest that trains on.
        head: of a language model, whether its head trains.
    """

    params: int
    own: float
    reach: float
    head: bool = False


DENSE = 2.0
"""``Load.squares`` of a row, over its places squared, where attention takes a dense mask: it computes every
place with every other, those that come later, too, while of ``squares`` only half is carried out."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a stage computes on, over all its steps.

    Attributes:
        steps: optimiser steps.
        tokens: places of rows, padding included.
        squares: the sum of squared lengths of sequences that see themselves (attention's cost).
        logits: places at which logits are computed.
        images: inputs of the tower (tiles and frames count each).
        image_tokens: tokens that come out of the connector.
        row: places of the longest row.
        rows: rows of one step over all devices.
        images_per_step: inputs of the tower in one step over all devices, at most.
        logits_per_row: places of one row at which logits are computed, at most.
    """

    steps: int
    tokens: float
    squares: float
    logits: float
    images: float
    image_tokens: float
    row: int
    rows: int
    images_per_step: float
    logits_per_row: float
