"""The last layer's feed-forward part, computed where something is read from it and nowhere else.

Behind a language model's last attention no token sees another. Of its feed-forward network and what follows,
only the places count that predict a supervised token, a tenth of all in alignment.

Legend: B rows, T tokens of a row, n = B * T places, N places that are read, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pumice.model.layers import layer_list

MOST = 0.75
"""Where a larger share of places is read, all are computed: choosing them is not free."""


def last_feed_forward(lm: Any) -> nn.Module | None:
    """The module; None where the model has none of that name, or its layer's forward pass was replaced
    (compiled, or computed again in the backward pass, where places would no longer be known)."""
    layers = layer_list(lm)
    if layers is None or "forward" in vars(layers[-1]):
        return None
    found = getattr(layers[-1], "mlp", None)
    return found if isinstance(found, nn.Module) and "forward" not in vars(found) else None


@contextlib.contextmanager
def only_at(lm: Any, rows_S: Tensor, columns_S: Tensor, shape: tuple[int, int]) -> Iterator[None]:
    """Within it the last hidden states of a pass over ``shape`` = (B, T) tokens are right at these places;
    they are not to be read anywhere else.

    Args:
        lm: the language model.
        rows_S: int64, the rows of the places; the same place may come twice.
        columns_S: their columns.
        shape: of the pass.
    """
    places_N = torch.unique(rows_S * shape[1] + columns_S)
    module = last_feed_forward(lm)
    if module is None or not 0 < len(places_N) <= MOST * shape[0] * shape[1]:
        yield
        return
    own: Any = module
    own.forward = partial(_at, own.forward, places_N)
    try:
        yield
    finally:
        del own.forward


def _at(forward: Callable[[Tensor], Tensor], places_N: Tensor, x_BTD: Tensor) -> Tensor:
    rows, tokens, width = x_BTD.shape
    found_1ND = forward(x_BTD.reshape(-1, width).index_select(0, places_N)[None])
    blank_nD = found_1ND.new_zeros(rows * tokens, found_1ND.shape[2])
    return blank_nD.index_copy(0, places_N, found_1ND[0]).view(rows, tokens, -1)
