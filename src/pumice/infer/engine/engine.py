"""The engine: takes requests from any thread, and steps one model in one.

A step is: abort what was given up, admit what has room, encode a picture or several, plan, run one pass, draw
a token for each sequence that has none left to compute, hand the text out.

Legend: R answers that draw, V size of the vocabulary.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Ordered
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from pumice.image.process import ImageProcessor
from pumice.infer.ends import context_of
from pumice.infer.engine.answers import Answers
from pumice.infer.engine.arena import Arena
from pumice.infer.engine.bounds import check, longest
from pumice.infer.engine.features import FeatureCache
from pumice.infer.engine.prompt import Opened, Prompts, Rendered
from pumice.infer.engine.queue import Queue
from pumice.infer.engine.requests import (
    Delta,
    EngineClosed,
    EngineRequest,
    Event,
    Finished,
    Limits,
    Reason,
    Running,
    Stage,
    TokenLogprobs,
)
from pumice.infer.engine.runner import Runner, Work
from pumice.infer.engine.sampler import choose, logprobs_of
from pumice.infer.engine.scheduler import Scheduler
from pumice.infer.engine.sequence import Sequence
from pumice.infer.engine.sight import encode
from pumice.infer.engine.stats import Stats, Totals
from pumice.infer.pictures import PictureEncoder
from pumice.model.vlm import VisionLanguageModel
from pumice.text.resolve import resolve_template

_LOG = logging.getLogger("pumice.engine")


class Engine:
    """Answers many requests at once with one model.

    Everything but ``step`` may be called from any thread. Either ``start`` a thread that steps, or call
    ``step`` from one.

    Args:
        model: what answers; it is not moved or changed.
        processor: the model's image processor.
        tokenizer: the model's.
        template: conversation template by name (``chat``: the tokenizer's own); the one the model was
            trained with by default.
        limits: what may be used.

    Raises:
        UsageError: the memory for ``limits.tokens`` is not there.
        TemplateError: no such template.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        processor: ImageProcessor,
        tokenizer: Any,
        template: str | None = None,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.limits = limits or Limits()
        self.template = resolve_template(template or model.config.template, tokenizer)
        self.pictures = PictureEncoder(model, processor)
        self._answers = Answers(model, tokenizer, self.template)
        self._stop_ids = self._answers.stop_ids
        self.context = context_of(model)
        self.vocabulary = int(model.lm.get_output_embeddings().out_features)
        self._prompts = Prompts(self.pictures, tokenizer, self.template)
        self._reserve()
        self._totals = Totals()
        self._changed = threading.Condition()
        self._inbox: list[Sequence] = []
        self._queue = Queue()
        self._count = 0
        self._open = True
        self._thread: threading.Thread | None = None

    # What any thread may call.

    def prepare(self, request: EngineRequest) -> Rendered:
        """Render and check a request; of its pictures' files only headers are read.

        Raises:
            PromptTooLong, DataError, TemplateError, ImageError, UsageError: as ``submit``.
        """
        check(request, self.limits, self.vocabulary)
        ids, spans, shown = self._prompts.ids(request)
        limit = longest(int(ids.size), request, self.limits, self.context)
        return Rendered(request, ids, spans, shown, limit)

    def submit(
        self,
        request: EngineRequest | Rendered,
        sink: Callable[[Event], None] | None = None,
        watch: Callable[[Stage], None] | None = None,
        *,
        opened: Opened | None = None,
    ) -> Running:
        """Put a request into the queue. Its pictures are opened here, in the caller's thread.

        Args:
            request: what to answer; one that was prepared is not rendered again.
            sink: gets every event, from the thread that steps, and must return at once; without one they are
                read with ``Running.events``.
            watch: is told, in the same way, which stage before the first token begins.
            opened: pictures that earlier requests opened, of which none has changed since.

        Raises:
            EngineFull: too many wait already.
            EngineClosed: the engine is closing.
            PromptTooLong: the prompt leaves no room for an answer.
            DataError, TemplateError: a conversation that cannot be rendered.
            ImageError: a picture that cannot be opened.
            UsageError: settings that this model cannot obey.
            MissingExtraError: a schema, and the library for it is not installed.
        """
        rendered = self.prepare(request) if isinstance(request, EngineRequest) else request
        request = rendered.request
        tokens = int(rendered.ids.size) * request.n
        with self._changed:
            self._check_open()
            self._queue.enter(request.n, tokens, self.limits, len(self._scheduler.running))
        try:
            prompt = self._prompts.prompt(rendered, opened)
            with self._changed:
                number, self._count = self._count, self._count + 1
            running = Running(number, request.n, int(prompt.ids.size), self._wake, sink, watch)
            sequences = self._answers.sequences(request, prompt, rendered.limit, running)
            with self._changed:
                self._check_open()  # it may have closed while pictures were opened
                self._inbox += sequences
                self._changed.notify_all()
        except BaseException:
            with self._changed:
                self._queue.leave(request.n, tokens)
            raise
        return running

    def stats(self) -> Stats:
        """What it is doing."""
        scheduler, arena = self._scheduler, self._scheduler.arena
        with self._changed:
            kept = scheduler.prefixes.places
            totals = deepcopy(self._totals)
            totals.preemptions = scheduler.preemptions
            return Stats(
                running=len(scheduler.running),
                waiting=len(scheduler.waiting) + len(self._inbox),
                waiting_tokens=self._queue.tokens,
                places=arena.places,
                places_held=arena.places - arena.free - kept,
                places_kept=kept,
                place_bytes=arena.token_bytes,
                features=len(self._features),
                features_bytes=self._features.bytes,
                totals=totals,
            )

    @property
    def passing(self) -> Ordered[Work]:
        """What the pass under way computes, in the order of its row; for hooks in the model."""
        return self._runner.passing

    def forget(self) -> None:
        """Let go of what is kept of earlier requests. Only where nothing runs and no thread steps."""
        assert self._thread is None
        assert self._scheduler.idle
        self._features.clear()
        self._scheduler.prefixes.clear()

    def resize(self, limits: Limits) -> None:
        """Let go of all memory, then go on with other limits; as ``forget``.

        Raises:
            UsageError: the memory for ``limits.tokens`` is not there.
        """
        self.forget()
        self.limits = limits
        del self._runner, self._scheduler
        self._reserve()

    def _reserve(self) -> None:
        arena = Arena(self.model, self.limits.tokens, self.limits.most_bytes)
        self._features = FeatureCache(self.limits.features_bytes)
        barred = [self.model.config.image_token_id, *range(len(self.tokenizer), self.vocabulary)]
        self._runner = Runner(self.model, arena, barred)
        self._scheduler = Scheduler(arena, self.limits)

    def see_by(self, pictures: PictureEncoder) -> None:
        """Let another encoder make the embeddings of pictures; as ``forget``."""
        self.forget()
        self.pictures = pictures
        self._prompts.pictures = pictures

    def start(self) -> None:
        """Start the thread that steps."""
        assert self._thread is None, "the engine has its thread already"
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._thread.start()

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests, and return when none is left.

        Args:
            drain: answer what was submitted; else abort it.
        """
        with self._changed:
            self._open = False
            if not drain:
                for sequence in [*self._inbox, *self._scheduler.waiting, *self._scheduler.running]:
                    sequence.running.drop()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        else:
            while self.step():
                pass

    # What the thread that steps does.

    @torch.inference_mode()
    def step(self) -> bool:
        """Do the next piece of work; False where there is none. One thread at a time may call this."""
        with self._changed:
            self._scheduler.waiting.extend(self._inbox)
            self._inbox.clear()
            gone = [one for one in self._live() if one.running.aborted]
        for sequence in gone:
            self._finish(sequence, "abort")
        with self._changed:
            for sequence in self._scheduler.admit():
                self._queue.leave(1, int(sequence.prompt.ids.size))
                sequence.started = time.monotonic()
        if self._scheduler.idle:
            return False
        self._encode()
        with self._changed:
            work = self._scheduler.plan()
            self._totals.steps += 1
        for one in work:
            if one.sequence.first_token is None:
                one.sequence.running.reach("prompt")
        if work:
            try:
                drawing, logits_RV = self._runner.run(work)
                tokens = choose(logits_RV, [one.sampler for one in drawing])
            except Exception as error:
                for one in work:
                    self._finish(one.sequence, "error", error)
                return True
            for row, (sequence, token) in enumerate(zip(drawing, tokens, strict=True)):
                try:
                    if isinstance(token, Exception):
                        raise token
                    self._take(sequence, token, logits_RV[row])
                except Exception as error:  # of this answer's settings; its neighbours go on
                    self._finish(sequence, "error", error)
        return True

    def _loop(self) -> None:
        while True:
            try:
                if self.step():
                    continue
            except Exception as error:
                self._fail(error)
                continue
            with self._changed:
                if not self._inbox:
                    if not self._open:
                        return
                    self._changed.wait()

    def _fail(self, error: Exception) -> None:
        """End all answers under way, not the thread: without it all that come would hang."""
        _LOG.error("a step of the engine failed; the answers under way end", exc_info=error)
        for sequence in self._live():
            self._finish(sequence, "error", error)

    def _live(self) -> list[Sequence]:
        return [*self._scheduler.running, *self._scheduler.waiting]

    def _encode(self) -> None:
        failed = encode(
            self._scheduler.running, self.pictures, self._features, self._totals, self.limits.chunk
        )
        if failed is not None:
            sequences, error = failed
            for sequence in sequences:
                self._finish(sequence, "error", error)

    def _take(self, sequence: Sequence, token: int, logits_V: Tensor) -> None:
        """Add a token to an answer, hand out what it makes certain, and end the answer where it ends."""
        sampling = sequence.sampler.sampling
        logprobs: tuple[TokenLogprobs, ...] = ()
        if sampling.logprobs is not None:
            logprobs = (logprobs_of(logits_V, token, sampling.logprobs, self.token_text),)
        if sequence.first_token is None:
            sequence.first_token = time.monotonic()
            sequence.features.clear()
        sequence.ids.append(token)
        sequence.sampler.take(token)
        reason: Reason | None = None
        piece = ""
        if token in self._stop_ids and not sampling.ignore_end:
            reason = "stop"
        else:
            piece = sequence.stream.push(token)
            if sequence.stream.stopped or sequence.sampler.done:
                reason = "stop"
            elif sequence.generated >= sequence.limit:
                reason = "length"
        if reason is not None:
            piece += sequence.stream.finish()
        sequence.running.put(Delta(sequence.index, piece, (token,), logprobs))
        if reason is not None:
            self._finish(sequence, reason)

    def token_text(self, token: int) -> str:
        """The text of one token by itself."""
        text = self.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _finish(self, sequence: Sequence, reason: Reason, error: BaseException | None = None) -> None:
        with self._changed:
            if sequence not in self._scheduler.running and sequence not in self._scheduler.waiting:
                return
            self._scheduler.retire(sequence, keep=reason != "error")
            if sequence.started is None:
                self._queue.leave(1, int(sequence.prompt.ids.size))
            totals, usage = self._totals, sequence.usage()
            totals.finished[reason] += 1
            totals.prompt_tokens += usage.prompt_tokens if sequence.started is not None else 0
            totals.cached_tokens += usage.cached_tokens
            totals.completion_tokens += usage.completion_tokens
            self._queue.ended()
        sequence.running.put(Finished(sequence.index, reason, usage, error))

    # What submitting needs.

    def _check_open(self) -> None:
        if not self._open:
            raise EngineClosed("the engine is closing", remedy="ask again when it has started anew")

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
