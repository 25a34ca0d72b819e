"""Answering at the sizes of LLaVA-1.5-7B on one GPU: decoding beside the memory limit, 32 at once beside
transformers.

    python benchmarks/gpu_infer.py                 # on a GPU: 7.1 billion random weights, bf16
    python benchmarks/gpu_infer.py --small         # the same way on a CPU with a tiny model
    python benchmarks/gpu_infer.py --json gpu.json

How fast memory is read is measured first. The limit of one stream is that over the bytes of weights that a
token reads. Then 32 questions, each about a picture of its own, are answered at once by the engine and by
``generate`` with a batch of 32, in turn. All prompts have one length, so neither side pads.

7B takes some 30 GB of disk, 40 GB of host memory and 60 GB of the card.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoImageProcessor, LlavaForConditionalGeneration

from pumice.bench.asked import Question, question
from pumice.bench.material import LLAVA_7B, MINI, make_model
from pumice.bench.weights import weight_bytes
from pumice.errors import PumiceError
from pumice.infer.engine import Delta, Engine, Event, Limits
from pumice.model.loading import load
from pumice.model.parts import load_tokenizer
from pumice.text.render import render
from pumice.text.resolve import resolve_template

GOAL = 0.7
"""The share of the memory limit that one stream means to reach."""


def wait(device: torch.device) -> float:
    """Now, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def bandwidth(device: torch.device, megabytes: int) -> float:
    """Bytes a second that are read."""
    numbers = torch.ones(megabytes << 18, device=device)
    taken = []
    for _ in range(10):
        began = wait(device)
        numbers.sum()
        taken.append(wait(device) - began)
    return numbers.numel() * 4 / min(taken)


class Ours:
    """The engine, stepped from here."""

    def __init__(self, folder: Path, device: torch.device, most: int) -> None:
        found = load(folder, dtype="bfloat16", device=str(device))
        tokens = most * 1024
        limits = Limits(running=most, tokens=tokens, chunk=4096, queue_tokens=tokens)
        self.engine = Engine(found.model, found.processor, found.tokenizer, limits=limits)
        self.bytes = weight_bytes(found.model)

    def answer(self, asked: list[Question]) -> list[list[float]]:
        """When each token of each answer came."""
        times: list[list[float]] = [[] for _ in asked]

        def reader(own: list[float]) -> Any:
            def see(event: Event) -> None:
                if isinstance(event, Delta):
                    own.append(time.perf_counter())
                elif event.error is not None:
                    print(f"failed: {event.error!r}")

            return see

        for one, own in zip(asked, times, strict=True):
            self.engine.submit(one.request(), reader(own))
        while self.engine.step():
            pass
        if any(len(own) != one.tokens for one, own in zip(asked, times, strict=True)):
            raise SystemExit("the engine lost an answer")
        return times


class Theirs:
    """transformers' ``generate``, one batch."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        kind: Any = LlavaForConditionalGeneration
        self.model = kind.from_pretrained(folder, dtype=torch.bfloat16).eval().to(device)
        self.model.generation_config.eos_token_id = None
        self.processor: Any = AutoImageProcessor.from_pretrained(folder)
        self.tokenizer = load_tokenizer(folder)
        self.template = resolve_template("v1", self.tokenizer)

    @torch.inference_mode()
    def answer(self, asked: list[Question]) -> None:
        """Answer all; each with as many tokens as the first."""
        config = self.model.config
        rows = [
            render(
                one.request().messages,
                self.tokenizer,
                self.template,
                image_lengths=[config.image_seq_length],
                image_token_id=config.image_token_id,
                generation_prompt=True,
            ).input_ids
            for one in asked
        ]
        ids = torch.stack([torch.from_numpy(row) for row in rows]).to(self.model.device)
        pictures = [one.picture for one in asked]
        pixels = self.processor(pictures, return_tensors="pt")["pixel_values"]
        self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixels.to(self.model.device, self.model.dtype),
            max_new_tokens=asked[0].tokens,
            do_sample=False,
        )


def measure(folder: Path, device: torch.device, given: argparse.Namespace) -> dict[str, float]:
    """All figures, medians over the rounds."""
    read = bandwidth(device, 8 if given.small else 4096)
    ours, theirs = Ours(folder, device, given.batch), Theirs(folder, device)
    alone, many, batch, seed = [], [], [], 0
    for turn in range(given.rounds + 1):  # the first warms up
        times = ours.answer([question(seed, given.tokens)])[0]
        rate = (len(times) - 1) / (times[-1] - times[0])
        asked = [question(seed + 1 + n, given.tokens) for n in range(given.batch)]
        seed += 1 + given.batch
        began = wait(device)
        ours.answer(asked)
        between = wait(device)
        theirs.answer(asked)
        if turn:
            alone.append(rate)
            many.append(given.batch / (between - began))
            batch.append(given.batch / (wait(device) - between))
    rate = statistics.median(alone)
    return {
        "bandwidth": read,
        "weight_bytes": ours.bytes,
        "decode_rate": rate,
        "of_limit": rate * ours.bytes / read,
        "together": statistics.median(many),
        "transformers": statistics.median(batch),
        "ratio": statistics.median(a / b for a, b in zip(many, batch, strict=True)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a tiny model, on whatever is here")
    parser.add_argument("--batch", type=int, default=32, help="questions at once")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer")
    parser.add_argument("--rounds", type=int, default=3, help="how often both sides are measured")
    parser.add_argument("--folder", type=Path, help="where the model is made, and removed; default: /tmp")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    if not given.small and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: --small runs the same way with a tiny model on a CPU")
    if given.tokens < 2 or given.batch < 1 or given.rounds < 1:
        raise SystemExit("--tokens must be 2 or more, --batch and --rounds 1 or more")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        made = make_model(Path(place), MINI if given.small else LLAVA_7B, dtype="bfloat16")
        figures = measure(made, device, given)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, {date.today()}")
    print(f"memory is read at {figures['bandwidth'] / 1e9:,.0f} GB/s")
    print(
        f"one stream: {figures['decode_rate']:.1f} tok/s, {figures['of_limit']:.0%} of the memory limit "
        f"(goal {GOAL:.0%})"
    )
    print(
        f"{given.batch} at once: {figures['together']:.2f} requests/s, transformers "
        f"{figures['transformers']:.2f}: {figures['ratio']:.2f}x"
    )
    if given.json is not None:
        given.json.write_text(json.dumps({"device": name, **figures}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main()
    except PumiceError as error:
        raise SystemExit(f"{error}") from error
