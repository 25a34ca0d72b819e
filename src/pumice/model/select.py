"""Which parameters an entry of a stage's ``trainable`` means, in a given model."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pumice.errors import RunError
from pumice.model.layers import layer_list
from pumice.model.tower import Tower
from pumice.model.vlm import VisionLanguageModel
from pumice.recipes.trained import Selection
from pumice.recipes.values import PartName

_WORDS = {"connector": "connector", "language": "language model", "vision": "vision tower"}
_MLP = ("fc1", "fc2", "feed_forward", "ffn", "mlp")


def part_modules(model: VisionLanguageModel) -> dict[PartName, nn.Module]:
    """The module behind each part's name in a recipe."""
    return {"connector": model.connector, "language": model.lm, "vision": model.tower}


def part_parameters(model: VisionLanguageModel, part: PartName) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a part, each with its name inside it.

    ``image_newline`` is the connector's: both turn pictures into the language model's embeddings.
    """
    yield from part_modules(model)[part].named_parameters()
    if part == "connector" and model.image_newline is not None:
        yield "image_newline", model.image_newline


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of a language model or of one tower; ``used`` of them are computed, the first ones."""

    prefix: str
    layers: Sequence[nn.Module]
    used: int


def stacks(model: VisionLanguageModel, part: PartName) -> list[Stack]:
    """The layers of a part: one stack, or one a tower; ``prefix`` is of their names inside the part."""
    if part == "connector":
        return []
    root = part_modules(model)[part]
    names = {module: name for name, module in root.named_modules()}
    if part == "language":
        longest = layer_list(root)
        return [] if longest is None else [Stack(f"{names[longest]}.", list(longest), len(longest))]
    found = []
    for member in model.tower.members:
        core: Any = getattr(member.model, "vision_model", member.model)
        layers: Any = core.get_submodule(member.family.layers)
        found.append(Stack(f"{names[layers]}.", list(layers), max(member.depths)))
    return found


def chosen(model: VisionLanguageModel, selection: Selection, where: str) -> dict[str, nn.Parameter]:
    """The parameters that a selection means, by their names inside the part.

    Args:
        model: on any device.
        selection: an entry of ``trainable``.
        where: its key, for errors.

    Raises:
        RunError: it means no parameter, or layers that the model does not have or does not compute.
    """
    part = selection.part
    named = dict(part_parameters(model, part))
    if not named:
        raise RunError(
            f"{part} has no parameters and cannot train", where=where, remedy=f"leave {part} out of trainable"
        )
    found = named
    if selection.pattern is not None:
        found = {name: p for name, p in named.items() if re.search(selection.pattern, name)}
    if selection.by_layer:
        kept = [name for stack in stacks(model, part) for name in _in_layers(stack, selection, named, where)]
        found = {name: named[name] for name in kept}
    if selection.kind is not None:
        kinds = _kinds(model, part)
        found = {name: p for name, p in found.items() if selection.kind in kinds[name]}
    if not found:
        raise RunError(
            f"{selection.text} means no parameter of the {_WORDS[part]}",
            where=where,
            remedy=_nearest(selection, named),
        )
    if part == "vision":
        idle = idle_names(model.tower)
        found = {name: p for name, p in found.items() if name not in idle}
        if not found:
            raise RunError(
                f"no feature depends on {selection.text}: what it means stands above the layer that is read",
                where=where,
                remedy="leave it out, or read a later layer (model.select_layer)",
            )
    return found


def _in_layers(stack: Stack, selection: Selection, named: dict[str, Any], where: str) -> Iterator[str]:
    """The names of the parameters in the layers that a selection names."""
    part = selection.part
    if selection.counted is not None:
        count = abs(selection.counted)
        first, last = (0, count - 1) if selection.counted > 0 else (stack.used - count, stack.used - 1)
        missing = count > stack.used
    else:
        assert selection.layers is not None
        first, last = (
            selection.layers[0],
            stack.used - 1 if selection.layers[1] is None else selection.layers[1],
        )
        missing = last >= stack.used
    if missing:
        total = len(stack.layers)
        read = "" if stack.used == total else f", and features are read after the first {stack.used} of them"
        raise RunError(
            f"{selection.text} goes beyond the layers of the {_WORDS[part]}: it has {total}{read}",
            where=where,
            remedy=f"choose from {part}.layers.0-{stack.used - 1}, or up to {part}.last-{stack.used}",
        )
    for name in named:
        if name.startswith(stack.prefix):
            number = name.removeprefix(stack.prefix).partition(".")[0]
            if number.isdigit() and first <= int(number) <= last:
                yield name


def _kinds(model: VisionLanguageModel, part: PartName) -> dict[str, set[str]]:
    """The kinds of each of a part's parameters."""
    root = part_modules(model)[part]
    modules = dict(root.named_modules())
    lead = tuple(stack.prefix for stack in stacks(model, part))
    heads = {id(p) for p in model.lm.get_output_embeddings().parameters()} if part == "language" else set()
    found: dict[str, set[str]] = {}
    for name, parameter in part_parameters(model, part):
        words = name.split(".")[:-1]
        paths = [".".join(words[:end]) for end in range(1, len(words) + 1)]
        # A norm's name says where it stands (`post_attention_layernorm`), not what it is part of.
        plain = [path.rpartition(".")[2] for path in paths if not _is_norm(modules[path])]
        kinds = set()
        if paths and _is_norm(modules[paths[-1]]):
            kinds.add("norms")
        if name.startswith(lead):
            if any("attn" in word or "attention" in word for word in plain):
                kinds.add("attention")
            if any(word in _MLP for word in plain):
                kinds.add("mlp")
        elif "norms" not in kinds:
            table = bool(paths) and isinstance(modules[paths[-1]], nn.Embedding)
            if table or any(word.startswith("embed") for word in plain):
                kinds.add("embeddings")
        if id(parameter) in heads:
            kinds.add("head")
        found[name] = kinds
    return found


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _nearest(selection: Selection, named: dict[str, Any]) -> str:
    """What one may have meant: names of parameters that look like a pattern, or what kinds there are."""
    if selection.pattern is None:
        known = next(iter(named))
        return f"leave it out, or choose by name: {selection.part}./PATTERN/, over names such as {known}"
    wanted = re.sub(r"\\(.)", r"\1", selection.pattern)
    tails = {".".join(name.split(".")[-3:]): name for name in named}
    tails |= {word: name for name in named for word in name.split(".")}
    near = [tails[tail] for tail in difflib.get_close_matches(wanted, tails, n=3, cutoff=0.5)]
    return f"its names look like {', '.join(dict.fromkeys(near or list(named)[:3]))}"


def idle_names(tower: Tower) -> set[str]:
    """The names of a tower's parameters that no feature depends on.

    Autograd says which, on the meta device, where it costs nothing: what stands behind the layer that is read
    differs from family to family.
    """
    named = dict(tower.named_parameters())
    open_ = {name: torch.empty_like(p, device="meta").requires_grad_() for name, p in named.items()}
    buffers = {name: torch.empty_like(b, device="meta") for name, b in tower.named_buffers()}
    blank = torch.zeros(1, 3, tower.image_size, tower.image_size, device="meta")
    modules = list(tower.modules())
    modes = [module.training for module in modules]
    # Layers that are to be computed again would look for their weights when those on `meta` are gone.
    again = [(module, module.__dict__.pop("forward")) for module in modules if "forward" in module.__dict__]
    tower.eval()
    try:
        with torch.enable_grad():
            features: Tensor = functional_call(tower, {**open_, **buffers}, (blank,))
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                features.sum(), list(open_.values()), allow_unused=True
            )
    finally:
        for module, forward in again:
            module.__dict__["forward"] = forward
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is None}
