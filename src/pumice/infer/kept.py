"""What autograd keeps of a forward pass: counted while it grows, so that a pass too large ends in a sentence.

How much that is hangs on the model, its attention and the length of the row; no formula knows them all. What
is kept is told tensor by tensor, and the pass ends where the budget does, long before the machine's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pumice.errors import UsageError
from pumice.infer.engine.memory import free_bytes

SHARE = 0.5
"""Of the free memory, for what is kept: gradients come on top of it, and a machine has other users."""


class Kept:
    """Counts what autograd keeps.

    Args:
        weights: of the model, which are there anyway.
        most: bytes; None for no limit.
        tokens: of the row, for the error.
        look: called at every tensor; what it raises ends the pass.

    Attributes:
        bytes: kept by the pass that was watched last, each memory counted once.
    """

    def __init__(
        self, weights: Iterable[Tensor], most: int | None, tokens: int, look: Callable[[], None]
    ) -> None:
        self._weights = {one.untyped_storage().data_ptr() for one in weights}
        self._most, self._tokens, self._look = most, tokens, look
        self._seen: set[int] = set()
        self.bytes = 0

    def watch(self) -> Any:
        """A context in which a forward pass is computed.

        Raises:
            UsageError: the pass would keep more than it may.
        """
        self._seen.clear()
        self.bytes = 0
        return saved_tensors_hooks(self._pack, lambda kept: kept)

    def _pack(self, tensor: Tensor) -> Tensor:
        self._look()
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self._weights or place in self._seen:
            return tensor
        self._seen.add(place)
        self.bytes += storage.nbytes()
        if self._most is not None and self.bytes > self._most:
            raise UsageError(
                f"looking back over {self._tokens} tokens takes more memory than there is",
                where="messages",
                remedy=f"shorten the conversation, or free memory: {self._most / 2**30:.1f} GiB are for this",
            )
        return tensor


def most_kept(device: Any) -> int | None:
    """How many bytes a pass on a device may keep now; None where nothing tells."""
    free = free_bytes(device)
    return None if free is None else int(free * SHARE)
