"""Engines without a thread, requests, and what transformers answers to the same."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumice.infer import Sampling
from pumice.infer.engine import Delta, Engine, EngineRequest, Event, Finished, Limits, Running
from pumice.model.build import build_model
from pumice.types import text_message

SMALL = Limits(tokens=2048, chunk=64)


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))


@dataclass
class Answer:
    """One answer, put together of its events."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    deltas: list[Delta] = field(default_factory=list)
    end: Finished | None = None

    @property
    def reason(self) -> str:
        assert self.end is not None
        if self.end.error is not None and self.end.reason != "error":
            raise self.end.error
        return self.end.reason


class Rig:
    """An engine that is stepped by hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.steps = 0

    def request(self, text: str, *images: Any, n: int = 1, **sampling: Any) -> EngineRequest:
        message = text_message("user", text, images=range(len(images)))
        settings = Sampling(**{"max_new_tokens": 12, **sampling})
        return EngineRequest((message,), images=images, sampling=settings, n=n)

    def ask(self, text: str, *images: Any, **options: Any) -> Running:
        return self.engine.submit(self.request(text, *images, **options))

    def run(self, steps: int | None = None) -> None:
        """Step until there is nothing to do, or so many times."""
        done = 0
        while (steps is None or done < steps) and self.engine.step():
            done += 1
            assert done < 5000, "the engine never ends"
        self.steps += done

    def answers(self, running: Running) -> list[Answer]:
        """The answers of a request that is done."""
        answers = [Answer() for _ in range(running.n)]
        for event in running.events(timeout=0):
            one = answers[event.index]
            assert one.end is None, "events after the end"
            if isinstance(event, Finished):
                one.end = event
                if event.reason == "error":
                    assert event.error is not None
                    raise event.error
            else:
                one.ids += event.token_ids
                one.text += event.text
                one.deltas.append(event)
        return answers

    def answer(self, running: Running) -> Answer:
        (answer,) = self.answers(running)
        return answer

    def alone(self, request: EngineRequest) -> list[Answer]:
        running = self.engine.submit(request)
        self.run()
        return self.answers(running)

    def by_transformers(self, request: EngineRequest) -> list[int]:
        """What transformers' ``generate`` writes after the same embeddings, attending in its own way."""
        engine, model = self.engine, self.engine.model
        lm = copy.deepcopy(model.lm)
        lm.set_attn_implementation("eager")
        ids, spans, shown = engine._prompts.ids(request)
        embeds = [engine.pictures.embed([one])[one.key] for one in shown]
        ids_1T = torch.from_numpy(ids)[None]
        with torch.no_grad():
            rows = [(0, start, length) for _, start, length in spans]
            embeds_1TD = model.embed(ids_1T, [embeds[image] for image, _, _ in spans] or None, rows)
            out = lm.generate(
                inputs_embeds=embeds_1TD,
                attention_mask=torch.ones_like(ids_1T),
                max_new_tokens=request.sampling.max_new_tokens,
                do_sample=False,
                suppress_tokens=[
                    model.config.image_token_id,
                    *range(len(engine.tokenizer), engine.vocabulary),
                ],
                eos_token_id=sorted(engine._stop_ids) or None,
                repetition_penalty=None,
            )
        found: list[int] = out[0].tolist()
        return found


def make_engine(model: Any, tokenizer: Any, processor: Any, limits: Limits = SMALL, **options: Any) -> Rig:
    return Rig(Engine(model, processor, tokenizer, limits=limits, **options))


@pytest.fixture
def engine_of() -> Any:
    return make_engine


@pytest.fixture
def tiny_rig(tiny: Any) -> Any:
    """Makes a rig of the tiny model with limits of one's own."""

    def make(**limits: int) -> Rig:
        fields = {"tokens": 2048, "chunk": 64, **limits}
        return make_engine(tiny.model, tiny.tokenizer, tiny.processor, Limits(**fields))

    return make


@pytest.fixture
def rig(tiny_rig: Any) -> Rig:
    made: Rig = tiny_rig()
    return made


@pytest.fixture
def other_rig(tiny: Any, tmp_path: Path) -> Any:
    """Makes a rig whose language model is another one, with weights far from zero."""

    def make(lm: Any, attention: str = "auto", **limits: int) -> Rig:
        torch.manual_seed(3)
        with torch.no_grad():
            for parameter in lm.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.15 if parameter.shape[-1] < 100 else 0.05)
        folder = tmp_path / "language"
        lm.eval().save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny.language / name, folder)
        model, tokenizer, processor = build_model(tiny.vision, folder, template="tiny", attention=attention)
        fields = {"tokens": 2048, "chunk": 64, **limits}
        return make_engine(model, tokenizer, processor, Limits(**fields))

    return make


@pytest.fixture
def show() -> Any:
    return picture


def events_of(events: Sequence[Event]) -> list[Event]:
    return list(events)
