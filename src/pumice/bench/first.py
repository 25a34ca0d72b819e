"""Sides that answer one question at a time: how long the first token takes, and how fast the others come.

A process of its own for each (``pipe``). Every measurement asks about a new picture, then the same again.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from pumice.bench.asked import Question, question
from pumice.bench.pipe import Answer, Ask, answer_lines

NEEDS = {
    "pumice": ("torch", "pumice.bench.weights", "pumice.infer.engine"),
    "transformers": ("torch", "transformers.models.llava.modeling_llava", "pumice.text.resolve"),
    "llama.cpp": ("llama_cpp",),
    "memory": ("torch",),
}
"""What each kind of side imports. A process does so as soon as it is there, beside those of other sides."""


def open_side(spec: Ask) -> Any:
    """The function that measures, of what a spec names."""
    kind: str = spec["kind"]
    if kind != "llama.cpp":
        import torch

        torch.set_num_threads(spec["threads"])
    if kind == "pumice":
        return _ours(Path(spec["model"]), spec["weights"])
    if kind == "transformers":
        return _transformers(Path(spec["model"]), spec["weights"])
    if kind == "llama.cpp":
        from pumice.bench.llama import open_llama

        return open_llama(Path(spec["model"]), spec["threads"])
    return _memory(spec["megabytes"])


def _ours(folder: Path, weights: str) -> Any:
    from pumice.bench.weights import load_as, weight_bytes
    from pumice.infer.engine import Delta, Engine, Event, Finished, Limits

    made = load_as(folder, weights)
    engine = Engine(*made, limits=Limits(tokens=2048))
    read = weight_bytes(engine.model)

    def answer(asked: Question) -> dict[str, float]:
        times: list[float] = []
        ends: list[Finished] = []

        def see(event: Event) -> None:
            if isinstance(event, Delta):
                times.append(time.perf_counter())
            else:
                ends.append(event)

        began = time.perf_counter()
        running = engine.submit(asked.request(), see)
        while engine.step():
            pass
        if ends[0].error is not None:
            raise ends[0].error
        return {"first": times[0] - began, "prompt": running.prompt_tokens, **_pace(times)}

    return _twice(answer, weight_bytes=read)


def _transformers(folder: Path, weights: str) -> Any:
    import torch
    from transformers import AutoImageProcessor, LlavaForConditionalGeneration
    from transformers.generation.streamers import BaseStreamer

    from pumice.model.parts import load_tokenizer, quiet
    from pumice.model.weights import DTYPES
    from pumice.text.render import render
    from pumice.text.resolve import resolve_template

    kind: Any = LlavaForConditionalGeneration
    processors: Any = AutoImageProcessor
    with quiet():
        model = kind.from_pretrained(folder, dtype=DTYPES[weights]).eval()
        processor = processors.from_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    template = resolve_template("v1", tokenizer)
    model.generation_config.eos_token_id = None

    class Times(BaseStreamer):
        """Notes when each token came; what comes first is the prompt."""

        def __init__(self) -> None:
            self.all: list[float] = []

        def put(self, value: Any) -> None:
            self.all.append(time.perf_counter())

        def end(self) -> None:
            pass

    @torch.inference_mode()
    def answer(asked: Question) -> dict[str, float]:
        encoded = render(
            asked.request().messages,
            tokenizer,
            template,
            image_lengths=[model.config.image_seq_length],
            image_token_id=model.config.image_token_id,
            generation_prompt=True,
        )
        times, ids_1T = Times(), torch.from_numpy(encoded.input_ids)[None]
        began = time.perf_counter()
        pixels = processor(asked.picture, return_tensors="pt")["pixel_values"].to(model.dtype)
        model.generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            pixel_values=pixels,
            max_new_tokens=asked.tokens,
            do_sample=False,
            streamer=times,
        )
        return {"first": times.all[1] - began, "prompt": ids_1T.shape[1], **_pace(times.all[1:])}

    return _once(answer)


def _pace(times: list[float]) -> dict[str, float]:
    return {"rate": (len(times) - 1) / (times[-1] - times[0])}


def _once(answer: Any) -> Any:
    """Transformers keeps nothing: the same picture again takes as long as a new one."""

    def measure(asked: Ask) -> Answer:
        found: Answer = answer(question(asked["seed"], asked["tokens"], vocabulary=asked["vocabulary"]))
        return found

    return measure


def _twice(answer: Any, **fields: Any) -> Any:
    def measure(asked: Ask) -> Answer:
        new = question(asked["seed"], asked["tokens"], vocabulary=asked["vocabulary"])
        found = answer(new)
        again = answer(Question(new.text, new.picture, 2))
        return {**fields, **found, "again": again["first"]}

    return measure


def _memory(megabytes: int) -> Any:
    """How fast memory is read: sums over more than caches hold."""
    import torch

    numbers = torch.ones(megabytes << 18)

    def measure(asked: Ask) -> Answer:
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            numbers.sum()
            taken.append(time.perf_counter() - began)
        return {"bandwidth": numbers.numel() * 4 / min(taken)}

    return measure


if __name__ == "__main__":
    for module in NEEDS[sys.argv[1]]:
        import_module(module)
    answer_lines(open_side)
