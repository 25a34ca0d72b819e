"""What stands for a vision tower: a digest of its weights and of all settings that decide its features."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch

from pumice.model.tower import Tower
from pumice.model.towers import JoinedTowers, MultiScaleTower

_BESIDE = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "_commit_hash")
"""Keys of a configuration that say where it is from and not what is computed."""


def tower_digest(tower: Tower) -> str:
    """SHA-256, in hexadecimal, over a tower's weights, their types, and its settings.

    Two towers of one digest give the same features of the same pixels, computed in the same way. The whole
    tower is on this process, on any device. Takes a second for a gigabyte and a half of weights.
    """
    sha = hashlib.sha256(json.dumps(_facts(tower), sort_keys=True, default=str).encode())
    for name, tensor in sorted(tower.state_dict().items()):
        own = tensor.detach().cpu().contiguous()
        sha.update(json.dumps([name, str(own.dtype), list(own.shape)]).encode())
        if own.numel():
            sha.update(memoryview(own.reshape(-1).view(torch.uint8).numpy()))
    return sha.hexdigest()


def _facts(tower: Tower) -> dict[str, Any]:
    members = []
    for member in tower.members:
        config = {key: value for key, value in member.config.to_dict().items() if key not in _BESIDE}
        attention = getattr(member.config, "_attn_implementation", None)
        members.append([config, attention, list(member.depths), member.image_size, member.select_feature])
    facts: dict[str, Any] = {"kind": type(tower).__name__, "members": members}
    if isinstance(tower, JoinedTowers):
        facts["normals"] = [[normal.mean, normal.std] for normal in tower.normals]
    if isinstance(tower, MultiScaleTower):
        facts["scales"] = tower.scales
    return facts
