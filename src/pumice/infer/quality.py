"""What weights in few bits cost: how far a model's scores are from another's, token by token.

Both read the same conversations: questions about drawn pictures, and the answers that the first one gives to
them, greedily. So the places that are compared are those that answers go through.

Legend: T tokens of a conversation, A of its answer, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from pumice.infer.engine import Delta, Engine, EngineRequest, Limits
from pumice.infer.engine.prompt import Prompts
from pumice.infer.pictures import PictureEncoder
from pumice.infer.sampling import Sampling
from pumice.model.pieces import Checkpoint
from pumice.text.resolve import resolve_template
from pumice.types import text_message

QUESTIONS = (
    "What is in the picture?",
    "Describe the picture in detail.",
    "Which colors do you see?",
    "What is at the left of the picture?",
    "How many things are there?",
    "Is there something red?",
)
PICTURES = 3
LONGEST = 48
"""Tokens of an answer that is compared."""
_ROOM = 8192


@dataclass(frozen=True, slots=True)
class Reference:
    """What the first model wrote, and the logarithms of its probabilities [A, V], by conversation."""

    answers: tuple[tuple[int, ...], ...]
    scores: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a model is from a reference.

    Attributes:
        tokens: that were compared.
        kl: the mean of KL(reference || model), in nats.
        worst: the largest.
        same: the share of tokens whose most likely next one is the same.
        perplexity: the model's on the reference's answers, over the reference's own.
    """

    tokens: int
    kl: float
    worst: float
    same: float
    perplexity: float


def reference(checkpoint: Checkpoint) -> Reference:
    """Answer with a model, and keep its scores.

    Raises:
        TemplateError: the model's template is not known here.
    """
    engine = Engine(
        checkpoint.model, checkpoint.processor, checkpoint.tokenizer, limits=Limits(tokens=_ROOM, running=8)
    )
    runs = [engine.submit(request) for request in _requests()]
    while engine.step():
        pass
    answers = tuple(
        tuple(
            token for event in run.events(timeout=0) if isinstance(event, Delta) for token in event.token_ids
        )
        for run in runs
    )
    return Reference(answers, tuple(_scores(checkpoint, answers)))


def divergence(of: Reference, checkpoint: Checkpoint) -> Divergence:
    """Compare a model with a reference; both have one vocabulary."""
    kls, same, gaps = [], [], []
    for answer, theirs_AV, own_AV in zip(of.answers, of.scores, _scores(checkpoint, of.answers), strict=True):
        ids_A1 = torch.tensor(answer)[:, None]
        kls.append((theirs_AV.exp() * (theirs_AV - own_AV)).sum(-1))
        same.append((theirs_AV.argmax(-1) == own_AV.argmax(-1)).float())
        gaps.append((theirs_AV - own_AV).gather(1, ids_A1)[:, 0])
    kl_A = torch.cat(kls).clamp_min(0)
    return Divergence(
        kl_A.numel(),
        kl_A.mean().item(),
        kl_A.max().item(),
        torch.cat(same).mean().item(),
        torch.cat(gaps).mean().exp().item(),
    )


def _requests() -> list[EngineRequest]:
    settings = Sampling(temperature=0.0, max_new_tokens=LONGEST)
    return [
        EngineRequest((text_message("user", question, images=[0]),), images=(image,), sampling=settings)
        for image in _pictures()
        for question in QUESTIONS
    ]


def _pictures() -> list[Image.Image]:
    """Coloured shapes on coloured ground, the same each time."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(PICTURES):
        image = Image.new("RGB", (320, 240), tuple(int(x) for x in rng.integers(160, 256, 3)))
        draw = ImageDraw.Draw(image)
        for _ in range(3):
            x, y, side = (int(rng.integers(low, high)) for low, high in ((0, 240), (0, 170), (30, 80)))
            color = tuple(int(x) for x in rng.integers(0, 200, 3))
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape((x, y, x + side, y + side), fill=color)
        found.append(image)
    return found


@torch.inference_mode()
def _scores(checkpoint: Checkpoint, answers: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The logarithms of a model's probabilities [A, V] at each answer's tokens, float32 on the CPU."""
    model: Any = checkpoint.model
    pictures = PictureEncoder(model, checkpoint.processor)
    template = resolve_template(model.config.template, checkpoint.tokenizer)
    prompts = Prompts(pictures, checkpoint.tokenizer, template)
    found = []
    for request, answer in zip(_requests(), answers, strict=True):
        ids, spans, shown = prompts.ids(request)
        embeds = pictures.embed([shown[image] for image, _, _ in spans])
        ids_1T = torch.tensor([[*ids.tolist(), *answer[:-1]]], device=model.device)
        length = ids_1T.shape[1]
        places = [(0, start, count) for _, start, count in spans]
        embeds_1TD = model.embed(ids_1T, [embeds[shown[image].key] for image, _, _ in spans], places)
        seen_1TT = torch.ones(1, length, length, dtype=torch.bool, device=model.device).tril()
        positions_1T = torch.arange(length, device=model.device)[None]
        hidden_1TD = model.hidden(embeds_1TD, positions_1T, seen_1TT)
        logits_AV = model.logits(hidden_1TD[0, len(ids) - 1 :]).float()
        found.append(F.log_softmax(logits_AV, dim=-1).cpu())
    return found
