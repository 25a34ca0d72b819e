"""This machine as hardware, by a measurement of some seconds: matrix products, and a block that trains.

Legend: B rows, T tokens of one, D width.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaModel

from pumice.cost.estimate import passes
from pumice.cost.hardware import HARDWARE, THIS_MACHINE, Hardware
from pumice.cost.shape import LanguageShape
from pumice.words import counted

SECONDS = 1.0
"""How long each of the measured things is repeated."""
SIDE = {"cpu": 768, "cuda": 8192}
"""Of the matrices that are multiplied."""
WIDEST = 2048
"""A wider model's block is measured at this width: wider ones reach the same share."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, in FLOP/s: products in both types, and a block in the type that training takes."""

    device: str
    fp32: float
    bf16: float
    precision: str
    block: float
    block_shape: str

    def __str__(self) -> str:
        return (
            f"{self.device}: matrix products {self.fp32 / 1e12:.3g} TFLOP/s in fp32, "
            f"{self.bf16 / 1e12:.3g} in bf16; two layers {self.block_shape}, forward and backward in "
            f"{self.precision}, {self.block / 1e12:.3g}"
        )


def measure(
    language: LanguageShape, row: int, rows: int, precision: str = "auto"
) -> tuple[Hardware, Measured]:
    """This machine, measured with a block of a language model's width.

    Args:
        language: the model that is to train.
        row: tokens of its rows.
        rows: rows of a step.
        precision: the stage's: ``fp32``, ``bf16``, or ``auto`` for the quicker one.

    Returns:
        The hardware, whose peak is the quicker product's rate, and what was measured.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {dtype: _products(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    fp32, bf16 = rates.values()
    chosen = {"fp32": False, "bf16": True}.get(precision, bf16 > fp32)
    block, shape = _block(device, language, row, rows, bf16=chosen)
    peak = bf16 if chosen else fp32
    name = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    measured = Measured(name, fp32, bf16, "bf16" if chosen else "fp32", block, shape)
    share = min(block / peak, 1.0)
    hardware = Hardware(
        THIS_MACHINE,
        name,
        peak,
        _memory(device),
        {"none": share, "grads": share, "full": share},
        f"measured now: {measured}",
        _reading(device),
    )
    return hardware, measured


def device_peak(device: torch.device, *, half: bool, seconds: float = SECONDS) -> float:
    """FLOP/s that a device reaches at most: in bfloat16 the maker's figure where its name is known, else as
    square products measure it.

    Args:
        device: a CPU or GPU.
        half: products in bfloat16 and not in float32.
        seconds: how long it is measured.
    """
    if device.type == "cuda" and half:
        name = torch.cuda.get_device_name(device).lower()
        for item in HARDWARE.values():
            if all(word in name for word in _WORDS[item.name]):
                return item.peak
    return _products(device, torch.bfloat16 if half else torch.float32, seconds)


_WORDS = {
    "a100-40g": ("a100", "40gb"),
    "a100-80g": ("a100", "80gb"),
    "h100": ("h100", "hbm3"),
    "h200": ("h200",),
    "rtx4090": ("rtx 4090",),
}
"""By which words of torch's name for a device the table's is told; an H100 of PCIe or NVL is another one."""


def _products(device: torch.device, dtype: torch.dtype, seconds: float = SECONDS) -> float:
    """FLOP/s of square matrix products."""
    side = SIDE[device.type]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        a_DD, b_DD = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2.0 * side**3 / _seconds(lambda: a_DD @ b_DD, device, seconds)


def _reading(device: torch.device) -> float:
    """Bytes a second that memory gives the product of a matrix, too large for caches, with a vector."""
    rows, columns = (16384, 4096) if device.type == "cpu" else (65536, 8192)
    a_RC, b_C = torch.zeros(rows, columns, device=device), torch.zeros(columns, device=device)
    return 4.0 * rows * columns / _seconds(lambda: a_RC @ b_C, device, SECONDS / 4)


def _block(
    device: torch.device, language: LanguageShape, row: int, rows: int, *, bf16: bool
) -> tuple[float, str]:
    """FLOP/s of two layers, forward and backward, counted as ``cost.estimate`` counts."""
    scale = min(1.0, WIDEST / language.width)
    heads = max(1, round(language.attention_width * scale / 64))
    width = max(64, round(language.width * scale / heads / 2) * 2 * heads)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=max(64, round(language.mlp_width * scale)),
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        vocab_size=32,
        use_cache=False,
    )
    length = min(row, 512 if device.type == "cpu" else 4096)
    # As many tokens as a step has, but no more than some seconds' worth.
    count = max(1, min(rows, 4096 // length if device.type == "cpu" else 16384 // length))
    with torch.random.fork_rng(devices=[]), torch.device(device):
        model = LlamaModel(config)
        embeds_BTD = torch.randn(count, length, width, requires_grad=True)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = model(inputs_embeds=embeds_BTD).last_hidden_state.float().square().mean()
        loss.backward()

    body = sum(parameter.numel() for parameter in model.layers.parameters())
    forward = 2.0 * body * count * length + 4.0 * 2 * width * count * length**2 / 2  # causal
    flops = forward * passes("language", ("language",), checkpointing=False)
    return flops / _seconds(step, device), f"of width {width} on {count} x {length} tokens"


def _seconds(work: Callable[[], object], device: torch.device, limit: float = SECONDS) -> float:
    """Seconds of one call: the median of as many as fit into ``limit``, after two that warm up."""
    taken: list[float] = []
    for number in range(1000):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= 2:
            taken.append(time.perf_counter() - began)
        if len(taken) >= 3 and sum(taken) > limit:
            break
    return sorted(taken)[len(taken) // 2]


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _processor() -> str:
    return f"{platform.machine()} CPU, {counted(torch.get_num_threads(), 'thread')}"
