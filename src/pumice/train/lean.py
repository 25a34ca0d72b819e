"""Frozen weights in the type they are multiplied in, while a stage computes in bfloat16.

Autocast casts a frozen float32 weight anew in every forward pass, and what it makes stays until the backward
pass. Cast once, the weight takes half the memory and gives the same products, bit for bit. What is saved and
what the next stage begins with stay exact: a weight that bfloat16 does not hold exactly lies in a file
meanwhile, in the smallest type that does, and comes back from there one tensor at a time.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pumice.model import VisionLanguageModel
from pumice.model.select import part_modules
from pumice.recipes.schema import Stage
from pumice.recipes.values import PartName
from pumice.train.losses import computes_half
from pumice.train.optim import trained_names
from pumice.train.parallel import Ranks

FROZEN = "frozen"
"""The folder of exact weights in a stage's folder; it is there only while the stage trains."""

HALF = torch.bfloat16
PARTS: tuple[PartName, ...] = ("language", "connector")
"""Parts of which it is done. A tower is small beside them."""

_TENSORS = ("weight", "bias")
_KEY = "tensor"


def lean_layers(
    model: VisionLanguageModel, trains: Callable[[Tensor], bool] = lambda tensor: tensor.requires_grad
) -> dict[str, nn.Linear]:
    """The linear layers whose weights a stage may hold in bfloat16, by their names in the model.

    Plain ones alone, of which nothing trains: they give weights to a matrix product and to nothing else. Left
    out are weights with a second owner (a head tied to the embeddings) and those under a DoRA addition, which
    takes the lengths of their rows.

    Args:
        model: on any device.
        trains: whether a parameter trains.
    """
    owners = Counter(_memory(tensor) for tensor in _tensors(model))
    used = {part_modules(model)[part] for part in PARTS}
    measured: set[nn.Module] = set()
    for layer in model.modules():
        if len(getattr(layer, "lora_magnitude_vector", ())):
            measured.update(layer.modules())
    inside = {module for part in used for module in part.modules()} - measured
    found = {}
    for name, module in model.named_modules():
        if type(module) is not nn.Linear or module not in inside:
            continue
        own = [tensor for key in _TENSORS if (tensor := getattr(module, key)) is not None]
        plain = all(tensor.dtype == torch.float32 and owners[_memory(tensor)] == 1 for tensor in own)
        if plain and not any(trains(tensor) for tensor in own):
            found[name] = module
    return found


def lean_sizes(model: VisionLanguageModel, stage: Stage) -> dict[str, int]:
    """How many numbers of a model a stage that computes in bfloat16 holds so, before it is made ready for it:
    ``language`` (its layers), ``head``, ``connector``.

    On any device; for the forecast.
    """
    modules = part_modules(model)
    trained = {
        id(parameter)
        for part, names in trained_names(model, stage).items()
        if part != "language" or stage.lora is None
        for name, parameter in modules[part].named_parameters()
        if name in names
    }
    head = model.lm.get_output_embeddings()
    own = set(modules["connector"].modules())
    sizes = {"language": 0, "head": 0, "connector": 0}
    for name, layer in lean_layers(model, lambda tensor: id(tensor) in trained).items():
        if layer is head:
            sizes["head"] += _numbers(layer)
        elif layer in own:
            sizes["connector"] += _numbers(layer)
        elif not _covered(stage, name):
            sizes["language"] += _numbers(layer)
    return sizes


def make_lean(model: VisionLanguageModel) -> None:
    """Hold the weights of ``lean_layers`` in bfloat16; what they were is lost."""
    for layer in lean_layers(model).values():
        for key in _TENSORS:
            if (tensor := getattr(layer, key)) is not None:
                tensor.data = tensor.data.to(HALF)


@dataclass(slots=True)
class Lean:
    """A model some of whose frozen weights are held in bfloat16, and the way back.

    Attributes:
        folder: of the exact weights; there is none where bfloat16 holds all of them exactly.
        roomy: the device has room for all of them in float32, too.
        layers: those layers, by name.
        exactly: the files of the weights that it does not hold, by layer and tensor.
    """

    folder: Path
    roomy: bool = False
    layers: dict[str, nn.Linear] = field(default_factory=dict)
    exactly: dict[tuple[str, str], Path] = field(default_factory=dict)

    def hold(self, model: VisionLanguageModel) -> None:
        """Begin, one tensor after another; what an earlier process left in the folder goes.

        Raises:
            OSError, SafetensorError: a weight cannot be written.
        """
        self.drop()
        for name, layer in lean_layers(model).items():
            self.layers[name] = layer
            for key in _TENSORS:
                tensor = getattr(layer, key)
                if tensor is None:
                    continue
                if not _holds(HALF, tensor.data):
                    self.exactly[name, key] = self._keep(f"{name}.{key}", tensor.data)
                tensor.data = tensor.data.to(HALF)

    def _keep(self, name: str, tensor: Tensor) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        low = torch.float16 if _holds(torch.float16, tensor) else tensor.dtype
        file = self.folder / f"{name}.safetensors"
        save_file({_KEY: tensor.to("cpu", low).contiguous()}, file)
        return file

    @contextmanager
    def exact(self) -> Iterator[None]:
        """Within it the model's tensors have their exact values, in whatever type: it can be written, but not
        computed with. The files are mapped, so no second copy of the weights is in memory."""
        held = {place: self._tensor(*place).data for place in self.exactly}
        try:
            for place in held:
                self._tensor(*place).data = self._read(place)
            yield
        finally:
            for place, low in held.items():
                self._tensor(*place).data = low

    def end(self, model: VisionLanguageModel) -> None:
        """Every weight as it was, float32, one tensor after another; on the CPU unless the device is roomy.

        Raises:
            OSError, SafetensorError: a weight cannot be read.
        """
        if self.layers and not self.roomy:
            model.to("cpu")
        for name, layer in self.layers.items():
            for key in _TENSORS:
                tensor = getattr(layer, key)
                if tensor is None:
                    continue
                exact = self._read((name, key)) if (name, key) in self.exactly else tensor.data
                # A copy even of float32: what is mapped is gone with its file.
                tensor.data = exact.to(tensor.device, torch.float32, copy=True)
        self.drop()

    def drop(self) -> None:
        """Forget the weights, and remove their folder."""
        self.layers.clear()
        self.exactly.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tensor(self, name: str, key: str) -> nn.Parameter:
        tensor: nn.Parameter = getattr(self.layers[name], key)
        return tensor

    def _read(self, place: tuple[str, str]) -> Tensor:
        with safe_open(self.exactly[place], framework="pt") as file:
            tensor: Tensor = file.get_tensor(_KEY)
        return tensor


def begin_lean(model: VisionLanguageModel, stage: Stage, ranks: Ranks, place: Path) -> Lean:
    """Put a model on this rank's device for a stage's steps, lean where the stage computes in bfloat16.

    It is made lean before it goes there, and ``Lean.end`` makes it exact only after it came back, so that the
    device never holds all of it in float32. Several ranks train a copy (``split_copy``), and the model stays
    as it is. Where steps fail or are stopped, the model is left lean, and is not to be saved.

    Args:
        model: after ``freeze``; with the stage's additions in it.
        stage: the stage.
        ranks: all of them.
        place: the stage's folder.

    Raises:
        OSError, SafetensorError: a weight cannot be written.
    """
    # Weights of 4 bits are turned back where they were made.
    lean = Lean(place / FROZEN, roomy=quantises(stage))
    if ranks.alone:
        if computes_half(stage, ranks.device):
            lean.hold(model)
        model.to(ranks.device)
    return lean


def quantises(stage: Stage) -> bool:
    """Whether a stage holds weights in 4 bits."""
    return stage.lora is not None and stage.lora.quantize is not None


def drop_frozen(place: Path) -> None:
    """Remove the exact weights in a stage's folder, if there are any: of a stage that does not train now."""
    shutil.rmtree(place / FROZEN, ignore_errors=True)


def _covered(stage: Stage, name: str) -> bool:
    """Whether a layer is under an addition that reads its weights, or holds them in 4 bits."""
    if stage.lora is None or not (stage.lora.dora or quantises(stage)):
        return False
    return not stage.lora.targets or name.rpartition(".")[2] in stage.lora.targets


def _holds(kind: torch.dtype, tensor: Tensor) -> bool:
    """Whether a type holds a float32 tensor exactly, to the last bit."""
    back = tensor.to(kind).float()
    return torch.equal(back.view(torch.int32), tensor.view(torch.int32))


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    """All tensors of a model, one with two names twice."""
    for _, parameter in model.named_parameters(remove_duplicate=False):
        yield parameter
    for _, buffer in model.named_buffers(remove_duplicate=False):
        yield buffer


def _memory(tensor: Tensor) -> int:
    """What tensors that lie in one memory share; on the meta device, which has none, the tensor itself."""
    return id(tensor) if tensor.is_meta else tensor.untyped_storage().data_ptr()


def _numbers(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
