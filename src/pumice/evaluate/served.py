"""A model behind an OpenAI-compatible server as it answers tasks: many questions in flight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pumice.endpoint.attachment import Attachment, attach
from pumice.endpoint.client import Endpoint
from pumice.endpoint.refusal import Refusal
from pumice.endpoint.request import Request
from pumice.errors import EndpointError, ImageError
from pumice.evaluate.answers import Said
from pumice.evaluate.pictures import grey_sight
from pumice.evaluate.results import ModelRecord
from pumice.evaluate.samples import Picture, Sample, Stored

UNFIT = frozenset({400, 413, 422})
"""Statuses that say something of one request (it is too long, a filter caught it) and not of all."""
HOPELESS = 16
"""Refusals without one answer after which no more is asked: such a server would refuse the rest, too."""
FILTER = "the server's filter let nothing through"


@dataclass
class EndpointAnswerer:
    """Answers with the model of an endpoint, at temperature 0."""

    endpoint: Endpoint

    @property
    def model(self) -> ModelRecord:
        """The name by which the server knows it; nobody can tell its weights from here."""
        return ModelRecord(kind="endpoint", name=self.endpoint.model, digest="")

    @property
    def settings(self) -> Mapping[str, Any]:
        """The address belongs to them: two servers may call two models alike."""
        return {"endpoint": self.endpoint.address.base, "temperature": 0}

    def ready(self) -> None:
        """Make sure that the server is there and has the model.

        Raises:
            EndpointError: it is not.
        """
        self.endpoint.check()

    def answers(
        self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
    ) -> Iterator[tuple[int, Said]]:
        """Answers as they come.

        A question that the server refuses, while it answers others, gets an answer that says so. One whose
        picture cannot be decoded is ``bad`` and not sent.

        Raises:
            EndpointError: the server refuses all, or does not answer after all attempts.
        """
        kept: list[tuple[int, EndpointError]] = []

        def refused(number: int, error: EndpointError) -> bool:
            cause = error.__cause__
            unfit = isinstance(cause, Refusal) and cause.status in UNFIT
            if unfit:
                kept.append((number, error))
            return unfit and (answered or len(kept) < HOPELESS)

        answered = False
        sent: list[int] = []
        broken: list[tuple[int, ImageError]] = []

        def requests() -> Iterator[Request]:
            for place, sample in enumerate(samples):
                try:
                    pictures = tuple(_attached(picture, blind=blind) for picture in sample.images)
                except ImageError as error:
                    broken.append((place, error))
                    continue
                sent.append(place)
                yield Request(sample.text, pictures, max_tokens=max_new_tokens)

        for number, reply in self.endpoint.complete_all(requests(), refused):
            answered = True
            filtered = not reply.text and reply.finish_reason == "content_filter"
            yield sent[number], Said(reply.text, FILTER if filtered else "")
            while kept:
                place, error = kept.pop(0)
                yield sent[place], Said("", error.what)
            while broken:
                place, fault = broken.pop(0)
                yield place, Said("", bad=fault)
        if kept and not answered:
            # Nothing shows that it would answer anything: the fault is not that of one question.
            raise kept[0][1]
        for place, error in kept:
            yield sent[place], Said("", error.what)
        for place, fault in broken:
            yield place, Said("", bad=fault)

    def remarks(self, asked: int) -> tuple[str, ...]:
        """Nothing."""
        return ()


def _attached(picture: Picture, *, blind: bool) -> Attachment:
    if blind:
        return attach(grey_sight(picture))
    if isinstance(picture, Stored):
        return attach(picture.read(), picture.name)
    return attach(picture)
