"""A Merkle tree: one digest that stands for many, and short proofs that one of them is among them.

The tree of RFC 6962 (Certificate Transparency), section 2.1, with SHA-256:

    leaf   SHA-256(0x00, data)
    node   SHA-256(0x01, left, right)

The left side of a node has the largest power of two of leaves that is less than all of its leaves. The first
byte keeps leaves and nodes apart: no node can be passed off as a leaf. The tree of no leaves is SHA-256("").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_levels(leaves: Iterable[bytes]) -> list[list[bytes]]:
    """All hashes of a tree, level by level, the leaves' first and the root's last.

    Pairs are joined from the left; one that is left over goes up as it is. That is the tree of the RFC.
    """
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(above) * 2 :])
    return levels


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root over hashes of leaves, 32 bytes."""
    last = tree_levels(leaves)[-1]
    return last[0] if last else EMPTY


def inclusion_proof(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    """The hashes that lead from a leaf to the root, from below (``PATH`` of the RFC).

    Args:
        levels: of ``tree_levels``.
        index: the leaf's, from 0.
    """
    assert 0 <= index < len(levels[0])
    path = []
    for level in levels[:-1]:
        beside = index ^ 1
        if beside < len(level):
            path.append(level[beside])
        index //= 2
    return path


def root_of_proof(leaf: bytes, index: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """The root to which a proof leads; None where it has not as many hashes as such a tree needs.

    Args:
        leaf: the leaf's hash.
        index: its place, from 0.
        count: how many leaves the tree has.
        path: of ``inclusion_proof``.
    """
    if not 0 <= index < count:
        return None
    found, rest, left = leaf, list(path), count
    while left > 1:
        if index ^ 1 < left:
            if not rest:
                return None
            beside = rest.pop(0)
            found = node_hash(beside, found) if index & 1 else node_hash(found, beside)
        index, left = index // 2, -(-left // 2)
    return None if rest else found
