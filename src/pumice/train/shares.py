"""A copy of a model for ranks that split it, made without a second whole one: an outline, then its shares."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

from pumice.model import VisionLanguageModel


def outline(model: VisionLanguageModel, device: torch.device) -> VisionLanguageModel:
    """A copy on a device; weights that are to be split have no numbers yet (they are on the meta device), so
    that neither device nor host must hold all of them for it."""
    solid = [module for module in model.modules() if _in_bits(module)]
    if model.tower.frozen:
        solid.append(model.tower)
    whole_ones = {id(p) for module in solid for p in module.parameters()}
    empty = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
        for p in model.parameters()
        if id(p) not in whole_ones
    }
    worker = copy.deepcopy(model, dict(empty))
    for module in worker.modules():
        if _in_bits(module) or (module is worker.tower and worker.tower.frozen):
            module.to(device)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    return worker


def _in_bits(module: nn.Module) -> bool:
    """Whether a module holds numbers of 4 bits itself."""
    return any(not p.is_floating_point() for p in module.parameters(recurse=False))


@torch.no_grad()
def fill(worker: VisionLanguageModel, model: VisionLanguageModel, device: torch.device) -> None:
    """Give a split model this rank's share of the weights of the whole one, in the types that it has."""
    source = dict(model.named_parameters(remove_duplicate=False))
    made: dict[int, nn.Parameter] = {}
    for path, module in list(worker.named_modules()):
        for name, split in list(module.named_parameters(recurse=False)):
            if not isinstance(split, DTensor):
                continue
            if id(split) not in made:  # a matrix that two modules share is one
                own = _share(source[f"{path}.{name}" if path else name], split, device)
                made[id(split)] = nn.Parameter(own, requires_grad=split.requires_grad)
            setattr(module, name, made[id(split)])


def _share(value: Tensor, split: DTensor, device: torch.device) -> DTensor:
    """This rank's rows of a tensor that is split as another one."""
    mesh = split.device_mesh
    axis = next(i for i, placement in enumerate(split.placements) if isinstance(placement, Shard))
    count, start = Shard.local_shard_size_and_offset(len(value), mesh.size(axis), mesh.get_local_rank(axis))
    own = value.detach().narrow(0, min(start, len(value)), count).to(device, split.dtype, copy=True)
    return DTensor.from_local(
        own, mesh, split.placements, run_check=False, shape=split.shape, stride=split.stride()
    )
