"""A model's engine as the server's backend; the one module here that knows ``infer``.

torch is imported when the first model is loaded, so that the server listens before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from pumice.errors import MissingExtraError, UsageError
from pumice.serve.backend import (
    Ask,
    Done,
    Event,
    Full,
    Heat,
    Load,
    Looked,
    Piece,
    Running,
    Stage,
    StageName,
    TokenScore,
    TooLong,
    Unable,
    Usage,
)

if TYPE_CHECKING:
    from pumice.infer.engine import Engine
    from pumice.infer.engine import Event as EngineEvent
    from pumice.infer.sampling import Sampling
    from pumice.serve.backend import Settings


logger = logging.getLogger("pumice.serve")


class EngineBackend:
    """An engine that was started."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def submit(self, ask: Ask, emit: Callable[[Event], None]) -> Running:
        """As ``Backend.submit``."""
        from pumice.infer.engine import EngineClosed, EngineFull, EngineRequest, PromptTooLong

        def tell(stage: StageName) -> None:
            emit(Stage(0, stage))

        request = EngineRequest(ask.messages, ask.prompt, ask.images, sampling_of(ask.settings), ask.n)
        try:
            running: Running = self.engine.submit(
                request, lambda event: emit(_event(event)), tell if ask.watch else None
            )
        except EngineFull as error:
            raise Full(error.retry_after) from error
        except EngineClosed as error:
            raise Full(10.0) from error
        except PromptTooLong as error:
            raise TooLong(error.what) from error
        except MissingExtraError as error:
            raise Unable(f"{error.what}, on the server", "response_format") from error
        return running

    @property
    def takes_system(self) -> bool:
        """As ``Looks.takes_system``."""
        return self.engine.template.takes_system

    def look(
        self, ask: Ask, answer: str, span: tuple[int, int] | None, stopped: Callable[[], bool]
    ) -> Looked | None:
        """As ``Looks.look``: beside the engine, which goes on stepping in its own thread."""
        from pumice.infer.engine import PromptTooLong
        from pumice.infer.relevance import Abandoned, Looker

        engine = self.engine
        looker = Looker(engine.model, engine.pictures, engine.tokenizer, engine.template)
        try:
            found = looker.look(ask.messages, ask.images, answer, span, stopped=stopped)
        except Abandoned:
            return None
        except PromptTooLong as error:
            raise TooLong(error.what) from error
        return Looked(
            tuple(Heat(one.heat_NRC[0].tolist(), one.share) for one in found.pictures),
            found.elsewhere,
            found.span,
            found.logprob,
            found.gain,
            found.prompt_tokens,
            found.answer_tokens,
        )

    def load(self) -> Load:
        """As ``Backend.load``."""
        stats = self.engine.stats()
        return Load(
            stats.running,
            stats.waiting,
            tokens_reserved=stats.places,
            tokens_held=stats.places_held,
            tokens_kept=stats.places_kept,
            picture_cache_bytes=stats.features_bytes,
        )

    def close(self) -> None:
        """As ``Backend.close``."""
        self.engine.close(drain=False)


def sampling_of(settings: Settings) -> Sampling:
    """The engine's settings.

    Raises:
        UsageError: one that is out of its range.
    """
    from pumice.infer.sampling import MIN_TEMPERATURE, Sampling

    schema = None
    if settings.shape is not None:
        try:
            # As it is written, for its letters are counted.
            schema = json.dumps(settings.shape.get("schema", {"type": "object"}), ensure_ascii=False)
        except RecursionError as error:
            raise UsageError("the schema is too deep", where="json_schema") from error
    tiny = 0 < settings.temperature < MIN_TEMPERATURE  # asks for the most likely words, in other words
    return Sampling(
        temperature=0.0 if tiny else settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        seed=settings.seed,
        repetition_penalty=settings.repetition_penalty,
        presence_penalty=settings.presence_penalty,
        frequency_penalty=settings.frequency_penalty,
        logit_bias=settings.logit_bias,
        logprobs=settings.logprobs,
        stop=settings.stop,
        max_new_tokens=settings.max_new_tokens,
        json_schema=schema,
    )


def _event(event: EngineEvent) -> Event:
    from pumice.infer.engine import Delta

    if isinstance(event, Delta):
        scores = tuple(
            TokenScore(one.chosen.text, one.chosen.logprob, tuple((t.text, t.logprob) for t in one.top))
            for one in event.logprobs
        )
        return Piece(event.index, event.text, scores)
    refused = event.error if isinstance(event.error, UsageError) else None
    if event.error is not None and refused is None:  # the client learns only that it happened
        logger.error("the engine failed at a request", exc_info=event.error)
    usage = event.usage
    return Done(
        event.index,
        event.reason,
        Usage(
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens,
            usage.queue_seconds,
            usage.image_seconds,
            usage.first_token_seconds,
        ),
        refused,
    )
