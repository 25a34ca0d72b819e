"""AdamW whose two averages are kept in 8 bits, or in host memory, or both.

What torch's own has no place for. The update is computed in float32 from averages that are new; only what is
kept until the next step is rounded. Legend: R rows, I numbers of a row, K blocks of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from pumice.train.eight_bits import blocks_of, decode, encode

SMALLEST = 4096
"""Parameters of fewer numbers keep averages of 32 bits, as in bitsandbytes."""
NARROWEST = 16
"""So do those with shorter rows, whose scales would take more than they save: norms, biases."""
AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 23}
"""Numbers of a parameter that are updated at once: what is in between takes no more room than theirs."""


class AdamW(torch.optim.Optimizer):
    """AdamW as torch's, with smaller averages or with averages elsewhere.

    Of a parameter [R, ...] in 8 bits the state is ``exp_avg`` (codes, uint8, shaped as it is),
    ``exp_avg_scale`` [R, K], and ``exp_avg_root``, ``exp_avg_root_scale``: the root of the second average,
    which spans half the powers of ten. All are cut over ranks as the parameter is, between rows.

    Args:
        groups: as for ``torch.optim.AdamW``, each with its ``lr`` and ``weight_decay``.
        betas: of the two averages.
        eps: added to the divisor.
        eight_bits: keep averages in 8 bits.
        on_host: keep them in host memory, and bring them to the parameter's device piece by piece.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        eight_bits: bool = False,
        on_host: bool = False,
    ) -> None:
        self.eight_bits, self.on_host = eight_bits, on_host
        super().__init__(groups, {"betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step with the gradients that are there."""
        assert closure is None, "gradients are computed before the step"
        waits = False
        for group in self.param_groups:
            whole: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state_of(parameter)
                own = {name: local(value) for name, value in state.items()}
                weights, gradient = local(parameter), local(parameter.grad)
                waits |= self.on_host and weights.is_cuda
                if "exp_avg_root" in state:
                    _step_in_8_bits(weights, gradient, own, group)
                elif self.on_host:
                    _step_from_host(weights, gradient, own, group)
                else:
                    whole.append((weights, gradient, own))
            if whole:
                _fused(whole, group)
        if waits:  # averages are on their way to the host, and may be saved next
            torch.cuda.current_stream().synchronize()

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            shape, host = parameter.shape, self.on_host
            small = self.eight_bits and in_8_bits(shape)
            state["step"] = torch.zeros((), device=counts_on(parameter, on_host=host or small))
            if small:
                scales = torch.Size((shape[0], blocks_of(shape[1:].numel())))
                for name in ("exp_avg", "exp_avg_root"):
                    state[name] = rows_like(parameter, shape, torch.uint8, on_host=host)
                    state[f"{name}_scale"] = rows_like(parameter, scales, torch.float32, on_host=host)
                # Codes of 0 are not zeros: scales of 0 make them so.
            else:
                for name in ("exp_avg", "exp_avg_sq"):
                    state[name] = rows_like(parameter, shape, torch.float32, on_host=host)
        return state


def in_8_bits(shape: torch.Size) -> bool:
    """Whether a whole parameter of this shape gets averages of 8 bits: its part on a rank never decides."""
    return len(shape) >= 2 and shape.numel() >= SMALLEST and shape[1:].numel() >= NARROWEST


def counts_on(parameter: Tensor, *, on_host: bool) -> torch.device:
    """Where steps of a parameter are counted: torch's fused kernels count where they compute."""
    return torch.device("cpu") if on_host else local(parameter).device


def local(value: Tensor) -> Tensor:
    """This rank's part of a tensor, which is the tensor itself where it is not cut."""
    return value.to_local() if isinstance(value, DTensor) else value


def rows_like(parameter: Tensor, shape: torch.Size, dtype: torch.dtype, *, on_host: bool) -> Tensor:
    """Zeros with as many rows as a parameter has, cut over ranks as it is.

    Args:
        parameter: at whose side the tensor lies.
        shape: of the whole tensor; its first dimension is the parameter's.
        dtype: its type.
        on_host: in host memory, which copies can go to and from while a GPU computes.
    """
    assert shape[0] == parameter.shape[0]
    pinned = on_host and torch.cuda.is_available()
    own = local(parameter)
    device = torch.device("cpu") if on_host else own.device
    if not isinstance(parameter, DTensor):
        return torch.zeros(shape, dtype=dtype, device=device, pin_memory=pinned)
    mine = torch.zeros((own.shape[0], *shape[1:]), dtype=dtype, device=device, pin_memory=pinned)
    mesh = parameter.device_mesh
    if device.type != mesh.device_type:
        mesh = _beside(mesh, device.type)
    strides = torch.empty(shape, device="meta").stride()
    return DTensor.from_local(mine, mesh, parameter.placements, run_check=False, shape=shape, stride=strides)


_MESHES: dict[tuple[DeviceMesh, str], DeviceMesh] = {}


def _beside(mesh: DeviceMesh, kind: str) -> DeviceMesh:
    """The same ranks as a mesh of another kind of device; all ranks ask for it together."""
    if (mesh, kind) not in _MESHES:
        _MESHES[mesh, kind] = DeviceMesh(kind, mesh.mesh, mesh_dim_names=mesh.mesh_dim_names)
    return _MESHES[mesh, kind]


def _pieces(rows: int, width: int, kind: str) -> Iterator[slice]:
    size = max(1, AT_ONCE[kind] // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def _step_in_8_bits(
    weights: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
) -> None:
    state["step"] += 1
    (beta1, beta2), rate, step = group["betas"], group["lr"], float(state["step"])
    root = (1 - beta2**step) ** 0.5
    rows = weights.shape[0]
    if not rows:  # of a parameter with fewer rows than ranks
        return
    weights_RI, gradient_RI = weights.view(rows, -1), gradient.reshape(rows, -1)
    kept = {name: state[name].view(rows, -1) for name in state if name != "step"}
    place = weights.device
    for some in _pieces(rows, weights_RI.shape[1], place.type):
        here = {name: value[some].to(place, non_blocking=True) for name, value in kept.items()}
        grad_RI = gradient_RI[some].float()
        first_RI = decode(here["exp_avg"], here["exp_avg_scale"], signed=True)
        second_RI = decode(here["exp_avg_root"], here["exp_avg_root_scale"], signed=False).square_()
        first_RI.lerp_(grad_RI, 1 - beta1)
        second_RI.mul_(beta2).addcmul_(grad_RI, grad_RI, value=1 - beta2)
        root_RI = second_RI.sqrt_()
        divisor_RI = (root_RI / root).add_(group["eps"])
        weights_RI[some].mul_(1 - rate * group["weight_decay"])
        weights_RI[some].addcdiv_(first_RI, divisor_RI, value=-rate / (1 - beta1**step))
        for name, value, signed in (("exp_avg", first_RI, True), ("exp_avg_root", root_RI, False)):
            codes_RI, scales_RK = encode(value, signed=signed)
            kept[name][some].copy_(codes_RI, non_blocking=True)
            kept[f"{name}_scale"][some].copy_(scales_RK, non_blocking=True)


def _step_from_host(
    weights: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]
) -> None:
    """One step of torch's own, in pieces whose averages come from the host and go back."""
    place = weights.device
    flat, grad = weights.view(-1), gradient.reshape(-1)
    averages = [state[name].view(-1) for name in ("exp_avg", "exp_avg_sq")]
    for some in _pieces(flat.shape[0], 1, place.type):
        first, second = (value[some].to(place, non_blocking=True) for value in averages)
        here = {"step": state["step"].to(place, copy=True), "exp_avg": first, "exp_avg_sq": second}
        _fused([(flat[some], grad[some], here)], group)
        for value, new in zip(averages, (first, second), strict=True):
            value[some].copy_(new, non_blocking=True)
    state["step"] += 1


def _fused(parts: list[tuple[Tensor, Tensor, dict[str, Tensor]]], group: dict[str, Any]) -> None:
    """torch's own AdamW for parameters with their gradients and averages of 32 bits, one step."""
    beta1, beta2 = group["betas"]
    adamw(
        [weights for weights, _, _ in parts],
        [gradient for _, gradient, _ in parts],
        [state["exp_avg"] for _, _, state in parts],
        [state["exp_avg_sq"] for _, _, state in parts],
        [],
        [state["step"] for _, _, state in parts],
        fused=True,
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
