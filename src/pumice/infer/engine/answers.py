"""The answers to one request, as sequences that have not started: who draws, and where they end."""

from __future__ import annotations

from typing import Any

from pumice.infer.ends import end_ids
from pumice.infer.engine.prompt import Prompt
from pumice.infer.engine.requests import EngineRequest, Running
from pumice.infer.engine.sampler import Sampler
from pumice.infer.engine.schema import Schemas
from pumice.infer.engine.sequence import Sequence
from pumice.infer.text import TextStream, answer_lead
from pumice.model.vlm import VisionLanguageModel
from pumice.text.ends import answer_ends
from pumice.text.template import Template
from pumice.types import IntArray


class Answers:
    """Makes the sequences of requests.

    Args:
        model: what answers.
        tokenizer: the model's.
        template: what prompts are rendered by; its ends end answers.

    Attributes:
        stop_ids: tokens that end an answer.
    """

    def __init__(self, model: VisionLanguageModel, tokenizer: Any, template: Template) -> None:
        ids, self._stop_strings = answer_ends(template, tokenizer)
        self.stop_ids = ids | end_ids(model, tokenizer)
        self._lead = answer_lead(template)
        self._tokenizer = tokenizer
        self._image_id = model.config.image_token_id
        self._schemas = Schemas(tokenizer, self.stop_ids)

    def sequences(
        self, request: EngineRequest, prompt: Prompt, limit: int, running: Running
    ) -> list[Sequence]:
        """One for each answer that is wanted.

        Raises:
            UsageError: the schema cannot be obeyed.
            MissingExtraError: a schema, and the library for it is not installed.
        """
        sampling = request.sampling
        stops, lead = list(sampling.stop), ""
        if request.prompt is None:
            lead = self._lead
            # A schema ends its answer itself, and a template's end may stand in a JSON string.
            if sampling.json_schema is None and not sampling.ignore_end:
                stops += self._stop_strings
        words = _words(prompt.ids, self._image_id)
        schema = sampling.json_schema
        return [
            Sequence(
                running,
                index,
                prompt,
                limit,
                Sampler(sampling, index, words, None if schema is None else self._schemas.matcher(schema)),
                TextStream(self._tokenizer, stops, lead),
            )
            for index in range(request.n)
        ]


def _words(ids: IntArray, image_token_id: int) -> list[int]:
    """The distinct tokens of a prompt, but for the picture's."""
    return [int(id_) for id_ in set(ids.tolist()) - {image_token_id}]
