"""What a model looked at: how much each part of a picture did for an answer.

Integrated gradients (Sundararajan et al. 2017) of the answer's log-probability by the embeddings of the
picture's tokens, from a picture whose tokens all are their mean to the picture itself. Their sum is what the
picture did for the answer, in nats, up to the coarseness of the path; what argues for the answer is shown,
what argues against it is not. docs/looking.md has what it was measured against.

Legend: T tokens of prompt and answer, L tokens of one picture, D width of the language model, S tokens of the
answer that are asked about, N frames, R rows and C columns of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.errors import UsageError
from pumice.image.anyres import processor_for
from pumice.image.decode import image_size
from pumice.image.places import Places, token_places
from pumice.image.video import read_frames, video_info
from pumice.infer.ends import context_of
from pumice.infer.engine.requests import PromptTooLong
from pumice.infer.kept import Kept, most_kept
from pumice.infer.pictures import ImageSource, PictureEncoder, Shown
from pumice.infer.text import TextStream, answer_lead
from pumice.model.vlm import VisionLanguageModel
from pumice.text.render import render
from pumice.text.template import Template
from pumice.types import Message, Video, text_message

STEPS = 4
"""Points of the path. On 120 questions of the embedded world 1 to 16 put about as much into the object asked
about (docs/looking.md); with one the hottest place is a little less often on it."""


class Abandoned(Exception):
    """Nobody waits for the work any more."""


@dataclass(frozen=True, eq=False)
class PictureHeat:
    """One picture's or video's part.

    Attributes:
        heat_NRC: float64 [N, R, C], 0 or more; a picture is one frame. It sums to ``share``.
        share: of all that pictures did for the answer, this one's in places of the picture.
    """

    heat_NRC: NDArray[np.float64]
    share: float


@dataclass(frozen=True, eq=False)
class Relevance:
    """What an answer, or some words of it, came from.

    Attributes:
        pictures: in the order of the request's.
        elsewhere: the share of tokens that stand for no place: padding, class tokens.
        span: the characters of the answer that were asked about, moved to whole tokens.
        logprob: the log-probability of these tokens, in nats.
        gain: what the pictures did for it: ``logprob`` less what it is with every picture even.
        prompt_tokens, answer_tokens: what was computed, each ``steps + 1`` times.
    """

    pictures: tuple[PictureHeat, ...]
    elsewhere: float
    span: tuple[int, int]
    logprob: float
    gain: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, eq=False)
class _Row:
    """A conversation with its answer as the model reads it."""

    ids_1T: Tensor
    spans: tuple[tuple[int, int, int], ...]
    wanted_S: Tensor
    prompt: int
    span: tuple[int, int]


class Looker:
    """Says what a model looked at.

    It needs gradients, so it must run outside of ``torch.inference_mode``, and it works beside an engine that
    answers with the same model in another thread.

    Args:
        model: what answered; it is not changed.
        pictures: the model's way with pictures.
        tokenizer: the model's.
        template: what its prompts were rendered by.
    """

    def __init__(
        self, model: VisionLanguageModel, pictures: PictureEncoder, tokenizer: Any, template: Template
    ) -> None:
        self.model, self.pictures, self.tokenizer, self.template = model, pictures, tokenizer, template

    def look(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource],
        answer: str,
        span: tuple[int, int] | None = None,
        *,
        steps: int = STEPS,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Relevance:
        """What the pictures did for an answer.

        Args:
            messages: the conversation up to the question.
            images: files, RGB pictures or videos, by the index that messages use.
            answer: of the model or of anybody else.
            span: first character and the one behind the last of the words in question; all by default.
            steps: points of the path.
            stopped: asked at every tensor that is kept for gradients; true ends the work.

        Raises:
            UsageError: no picture, no answer, a span outside of it, weights that let no gradient through, or
                more to keep for gradients than half of the free memory.
            PromptTooLong: more than the model's context.
            DataError, TemplateError: a conversation that cannot be rendered.
            ImageError: a picture that cannot be opened.
            Abandoned: ``stopped`` said so.
        """
        if not images:
            raise UsageError("there is no picture to look at", where="messages", remedy="show one")
        if steps < 1:
            raise UsageError(f"steps must be 1 or more, got {steps}", where="steps")
        _check(stopped)
        shown = self.pictures.lay_out(images)
        row = self._row(messages, shown, answer, span)
        found = self.pictures.embed(shown)
        # Copies made here are ordinary tensors; those of inference mode cannot be part of a graph.
        embeds = [found[one.key].clone().float() for one in shown]
        places = [self._places(one) for one in shown]
        evens = [_even(embeds_LD, self._features(one)) for embeds_LD, one in zip(embeds, places, strict=True)]
        order = [image for image, _, _ in row.spans]
        gradients = [torch.zeros_like(embeds_LD) for embeds_LD in embeds]
        tensors = (*self.model.parameters(), *self.model.buffers())
        kept = Kept(tensors, most_kept(self.model.device), row.ids_1T.shape[1], lambda: _check(stopped))
        for step in range(steps):
            _check(stopped)
            part = (step + 0.5) / steps
            points = [
                torch.lerp(even, whole, part).requires_grad_(True)
                for even, whole in zip(evens, embeds, strict=True)
            ]
            for number, gradient in enumerate(self._gradients(row, points, order, kept)):
                gradients[number] += gradient / steps
        _check(stopped)
        with torch.no_grad():
            logprob = float(self._logprob(row, embeds, order))
            even = float(self._logprob(row, evens, order))
        values = [
            ((whole - flat) * gradient).sum(-1).clamp(min=0).double().cpu().numpy()
            for whole, flat, gradient in zip(embeds, evens, gradients, strict=True)
        ]
        heats, elsewhere = self._maps(values, places)
        tokens = int(row.ids_1T.shape[1])
        return Relevance(heats, elsewhere, row.span, logprob, logprob - even, row.prompt, tokens - row.prompt)

    def _row(
        self, messages: Sequence[Message], shown: Sequence[Shown], answer: str, span: tuple[int, int] | None
    ) -> _Row:
        if not answer.strip():
            raise UsageError("there is no answer", where="messages", remedy="give the answer it is about")
        lengths = [self.pictures.tokens(one) for one in shown]
        image_id = self.model.config.image_token_id
        asked = render(
            messages, self.tokenizer, self.template, image_lengths=lengths, image_token_id=image_id,
            generation_prompt=True,
        )  # fmt: skip
        whole = render(
            [*messages, text_message("assistant", answer)], self.tokenizer, self.template,
            image_lengths=lengths, image_token_id=image_id,
        )  # fmt: skip
        start, total = len(asked), len(whole)
        context = context_of(self.model)
        if context is not None and total > context:
            raise PromptTooLong(
                f"prompt and answer have {total} tokens, but the model's context is {context}",
                remedy="shorten the conversation",
            )
        ends = _ends(self.tokenizer, whole.input_ids[start:].tolist(), answer_lead(self.template))
        first, last = (0, len(answer)) if span is None else span
        if not 0 <= first < last <= len(answer):
            raise UsageError(
                f"the answer has {len(answer)} characters, and {first} to {last} are asked about",
                where="span",
                remedy="count characters from 0; the end stands behind the last one",
            )
        starts = [0, *ends[:-1]]
        wanted = [
            k for k, (a, b) in enumerate(zip(starts, ends, strict=True)) if a < b and a < last and b > first
        ]
        if not wanted:
            raise UsageError("no token of the answer stands there", where="span", remedy="ask about words")
        device = self.model.device
        return _Row(
            torch.from_numpy(whole.input_ids).to(device)[None],
            tuple((one.image, one.start, one.length) for one in whole.image_spans),
            torch.tensor(wanted, device=device) + start,
            start,
            (starts[wanted[0]], min(ends[wanted[-1]], len(answer))),
        )

    def _gradients(
        self, row: _Row, points: Sequence[Tensor], order: Sequence[int], kept: Kept
    ) -> Sequence[Tensor]:
        with torch.enable_grad():
            with kept.watch():
                value = self._logprob(row, points, order)
            if not value.requires_grad:
                raise UsageError(
                    "the weights of this model let no gradient through",
                    where="model",
                    remedy="serve it without quantisation to see what it looked at",
                )
            return torch.autograd.grad(value, points)

    def _logprob(self, row: _Row, embeds: Sequence[Tensor], order: Sequence[int]) -> Tensor:
        """The log-probability of the wanted tokens, with these embeddings of the pictures."""
        tokens = row.ids_1T.shape[1]
        spans = [(0, start, length) for _, start, length in row.spans]
        embeds_1TD = self.model.embed(row.ids_1T, [embeds[image] for image in order], spans)
        ones_1T = torch.ones_like(row.ids_1T)
        seen = self.model.see(ones_1T, torch.zeros_like(ones_1T))
        positions_1T = torch.arange(tokens, device=row.ids_1T.device)[None]
        hidden_1TD = self.model.hidden(embeds_1TD, positions_1T, seen)
        logits_SV = self.model.logits(hidden_1TD[0, row.wanted_S - 1]).float()
        scores_S = torch.log_softmax(logits_SV, -1).gather(1, row.ids_1T[0, row.wanted_S, None])
        return scores_S.sum()

    def _places(self, shown: Shown) -> Places:
        geometry = self.pictures.geometry
        processor = processor_for(geometry.processor, shown.layout.settings)
        source = shown.source
        if isinstance(source, Video):
            (frame,) = read_frames(video_info(source.path), [0])
            return token_places(shown.layout, processor, frame.size)
        size = image_size(source) if isinstance(source, Path) else source.size
        return token_places(shown.layout, processor, size)

    def _features(self, places: Places) -> NDArray[np.bool_]:
        """Which tokens of a picture are made of it: neither newlines nor the marks around it."""
        marks = self.pictures.geometry.marks // 2
        return np.pad(places.features_T, marks)

    def _maps(
        self, values: Sequence[NDArray[np.float64]], places: Sequence[Places]
    ) -> tuple[tuple[PictureHeat, ...], float]:
        marks = self.pictures.geometry.marks // 2
        total = sum(float(values_L.sum()) for values_L in values)
        heats = []
        for values_L, one in zip(values, places, strict=True):
            heat_NRC = one.spread(values_L[marks : len(values_L) - marks])
            if total > 0:
                heat_NRC = heat_NRC / total
            heats.append(PictureHeat(heat_NRC, float(heat_NRC.sum())))
        inside = sum(heat.share for heat in heats)
        return tuple(heats), max(0.0, 1.0 - inside) if total > 0 else 0.0


def _even(embeds_LD: Tensor, features_L: NDArray[np.bool_]) -> Tensor:
    """The same with the mean of the picture's own tokens in the place of each of them."""
    made_L = torch.from_numpy(features_L).to(embeds_LD.device)
    even_LD = embeds_LD.clone()
    even_LD[made_L] = embeds_LD[made_L].mean(0)
    return even_LD


def _ends(tokenizer: Any, ids: Sequence[int], lead: str) -> list[int]:
    """Where the text of each token of an answer ends, in characters."""
    stream = TextStream(tokenizer, (), lead)
    ends, length = [], 0
    for id_ in ids:
        length += len(stream.push(id_))
        ends.append(length)
    if ends:
        ends[-1] += len(stream.finish())
    return ends


def _check(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Abandoned
