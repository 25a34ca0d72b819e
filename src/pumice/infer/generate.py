"""Answering requests: rendering, pictures, batching, stopping.

Legend: T tokens of a picture, D width of the language model, B rows, V size of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pumice.errors import UsageError
from pumice.image.process import ImageProcessor
from pumice.infer.batch import Prompt, RunningBatch
from pumice.infer.ends import context_of, end_ids
from pumice.infer.engine.requests import PromptTooLong
from pumice.infer.pictures import ImageSource, PictureEncoder, Shown
from pumice.infer.sampling import GREEDY, Sampler, Sampling, choose
from pumice.infer.text import TextStream, answer_lead
from pumice.model.vlm import VisionLanguageModel
from pumice.text.ends import answer_ends
from pumice.text.render import render
from pumice.text.resolve import resolve_template
from pumice.types import Message, text_message


@dataclass(frozen=True)
class Request:
    """A conversation that ends with a question.

    Attributes:
        messages: the last one is the user's.
        images: files, RGB pictures or videos, by the index that the messages use. A model that cuts
            pictures into tiles may show each of several as one square (``multi_image``).
        sampling: how tokens are drawn.
        max_new_tokens: the answer is cut after this many.
        stop: strings that end the answer beside the template's own; not part of it.
    """

    messages: tuple[Message, ...]
    images: tuple[ImageSource, ...] = ()
    sampling: Sampling = GREEDY
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer.

    Attributes:
        text: without special tokens, stop strings and the template's leading space.
        token_ids: everything that was generated, the end token included.
        finish: ``stop`` at an end token or stop string, ``length`` when cut.
        prompt_tokens: the length of the prompt, image tokens included.
    """

    text: str
    token_ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    prompt_tokens: int


@dataclass
class _Answer:
    """One request under way."""

    shown: tuple[Shown, ...]
    prompt: Prompt
    limit: int
    sampler: Sampler
    stream: TextStream
    ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] | None = None

    def completion(self) -> Completion:
        assert self.finish is not None
        return Completion(self.stream.text, tuple(self.ids), self.finish, self.prompt.length)


class Generator:
    """Answers requests with one model.

    Args:
        model: what answers; it is not moved or changed.
        tokenizer: the model's.
        processor: the model's image processor.
        template: conversation template by name (``chat``: the tokenizer's own); the one the model was
            trained with by default.
        max_rows: the most prompts that run at once.
        cache_bytes: the most that the keys and values of one batch take; fewer prompts run at once
            where they would take more.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        tokenizer: Any,
        processor: ImageProcessor,
        template: str | None = None,
        *,
        max_rows: int = 64,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pictures = PictureEncoder(model, processor)
        self.template = resolve_template(template or model.config.template, tokenizer)
        self.max_rows = max_rows
        self.cache_bytes = cache_bytes
        ids, self._stop_strings = answer_ends(self.template, tokenizer)
        self._stop_ids = ids | end_ids(model, tokenizer)
        self._lead = answer_lead(self.template)
        self._context = context_of(model)
        self._barred_V: Tensor | None = None

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in their order.

        Requests that begin alike up to their last picture run that beginning once.

        Raises:
            DataError, TemplateError: a conversation that cannot be rendered, or a video that the model does
                not know how to see.
            ImageError: a picture or video that cannot be opened.
            PromptTooLong: a prompt that leaves no room for an answer in the model's context.
            UsageError: a bad limit.
        """
        found = dict(self.completions(requests))
        return [found[number] for number in range(len(requests))]

    def completions(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """The completions of ``generate`` batch after batch, each with the place of its request.

        Raises:
            PumiceError: as ``generate``, before the first one.
        """
        answers = []
        for place, request in enumerate(requests):
            try:
                answers.append(self._prepare(request))
            except PromptTooLong as error:
                error.place = place
                raise
        places = {id(answer): place for place, answer in enumerate(answers)}
        for batch in self._batches(answers):
            for _ in self._run(batch):
                pass
            for answer in batch:
                yield places[id(answer)], answer.completion()

    def stream(self, request: Request) -> Iterator[str]:
        """The answer to one request, piece by piece; the pieces join to ``generate``'s text."""
        answer = self._prepare(request)
        for _, piece in self._run([answer]):
            if piece:
                yield piece

    def answer(
        self,
        questions: Sequence[tuple[str, Sequence[ImageSource]]],
        max_new_tokens: int = 64,
        sampling: Sampling = GREEDY,
    ) -> list[str]:
        """One answer for each (text, pictures), the pictures before the text as LLaVA writes them."""
        requests = [
            Request(
                messages=(text_message("user", text, images=range(len(images))),),
                images=tuple(images),
                sampling=sampling,
                max_new_tokens=max_new_tokens,
            )
            for text, images in questions
        ]
        return [completion.text for completion in self.generate(requests)]

    def _prepare(self, request: Request) -> _Answer:
        if request.max_new_tokens < 1:
            raise UsageError(
                f"max_new_tokens must be 1 or more, got {request.max_new_tokens}", where="max_new_tokens"
            )
        if "" in request.stop:
            raise UsageError("a stop string is empty", where="stop")
        shown = self.pictures.lay_out(request.images)
        encoded = render(
            request.messages,
            self.tokenizer,
            self.template,
            image_lengths=[self.pictures.tokens(one) for one in shown],
            image_token_id=self.model.config.image_token_id,
            generation_prompt=True,
        )
        spans = encoded.image_spans
        cut = max((span.start + span.length for span in spans), default=0)
        if cut == len(encoded):
            cut = 0  # nothing follows the picture: there is no rest to tell apart from the trunk
        prompt = Prompt(
            trunk=encoded.input_ids[:cut],
            rest=encoded.input_ids[cut:],
            spans=tuple((span.start, span.length) for span in spans),
            images=tuple(shown[span.image].key for span in spans),
        )
        limit = request.max_new_tokens
        if self._context is not None:
            if prompt.length >= self._context:
                raise PromptTooLong(
                    f"the prompt has {prompt.length} tokens, but the model's context is {self._context}",
                    remedy="shorten the conversation",
                )
            limit = min(limit, self._context - prompt.length)
        stream = TextStream(self.tokenizer, (*self._stop_strings, *request.stop), self._lead)
        return _Answer(shown, prompt, limit, Sampler(request.sampling), stream)

    def _batches(self, answers: Sequence[_Answer]) -> Iterator[list[_Answer]]:
        """Answers in batches: equal trunks together, then by length, within the limits."""
        first: dict[Hashable, int] = {}
        for number, answer in enumerate(answers):
            first.setdefault(answer.prompt.trunk_key, number)
        ordered = sorted(answers, key=lambda a: (first[a.prompt.trunk_key], a.prompt.rest.size))
        token_bytes = _cache_bytes_per_token(self.model)
        batch: list[_Answer] = []
        longest = 0
        for answer in ordered:
            total = answer.prompt.length + answer.limit
            rows = len(batch) + 1
            too_large = rows * max(longest, total) * token_bytes > self.cache_bytes
            if batch and (rows > self.max_rows or too_large):
                yield batch
                batch, longest = [], 0
            batch.append(answer)
            longest = max(longest, total)
        if batch:
            yield batch

    def _run(self, answers: Sequence[_Answer]) -> Iterator[tuple[_Answer, str]]:
        """Run one batch to its end; gives each answer's new text as it becomes certain."""
        embeds = self.pictures.embed(one for answer in answers for one in answer.shown)
        with torch.inference_mode():
            room = max(answer.limit for answer in answers)
            batch = RunningBatch(self.model, [answer.prompt for answer in answers], embeds, room)
        steps = 0
        while True:
            with torch.inference_mode():
                running = [answers[number] for number in batch.numbers]
                tokens = choose(self._allowed(batch.scores()), [answer.sampler for answer in running])
            for answer, token in zip(running, tokens, strict=True):
                if answer.finish is None:
                    yield answer, self._take(answer, token)
            live = [row for row, answer in enumerate(running) if answer.finish is None]
            if not live:
                return
            # Dropping rows copies the cache, so it waits until half of them are done, or until one that is
            # done would step out of the context: models with learned positions have none beyond it.
            longest = max(answer.prompt.length for answer in running)
            outside = self._context is not None and longest + steps >= self._context
            with torch.inference_mode():
                if len(live) <= len(running) // 2 or (outside and len(live) < len(running)):
                    batch.keep(live)
                    tokens = [tokens[row] for row in live]
                batch.step(tokens)
            steps += 1

    def _take(self, answer: _Answer, token: int) -> str:
        """Add a token to an answer; the new text, all that was held back if the answer is done."""
        answer.ids.append(token)
        if token in self._stop_ids:
            answer.finish = "stop"
            return answer.stream.finish()
        piece = answer.stream.push(token)
        if answer.stream.stopped:
            answer.finish = "stop"
        elif len(answer.ids) >= answer.limit:
            answer.finish = "length"
        return piece + answer.stream.finish() if answer.finish else piece

    def _allowed(self, scores_BV: Tensor) -> Tensor:
        """Scores with those of ``<image>`` and of rows that stand for no token at the bottom."""
        if self._barred_V is None:
            barred_V = torch.zeros(scores_BV.shape[1], dtype=torch.bool, device=scores_BV.device)
            barred_V[len(self.tokenizer) :] = True
            barred_V[self.model.config.image_token_id] = True
            self._barred_V = barred_V
        return scores_BV.masked_fill(self._barred_V, -torch.inf)


def _cache_bytes_per_token(model: VisionLanguageModel) -> int:
    config = model.lm.config
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return 2 * int(config.num_hidden_layers) * kv_heads * width * torch.empty((), dtype=model.dtype).itemsize
