"""evaluate/local.py: a model of ours answers tasks as it answers one question alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from pumice.errors import ImageError, RunError
from pumice.evaluate.answers import Said
from pumice.evaluate.local import LocalAnswerer
from pumice.evaluate.pictures import grey_sight
from pumice.evaluate.results import ModelRecord
from pumice.evaluate.samples import Sample, Stored
from pumice.infer import Completion, Generator, Request

from .small_task import load, write_task

MODEL = ModelRecord(kind="local", name="tiny", digest="")


def answerer(tiny: Any, rows: int = 64) -> LocalAnswerer:
    return LocalAnswerer(
        MODEL, lambda: Generator(tiny.model, tiny.tokenizer, tiny.processor, max_rows=rows), rows=rows
    )


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Sample, ...]:
    return load(write_task(tmp_path / "data"), {}).samples


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_answers_are_those_of_one_question_alone(
    tiny: Any, samples: tuple[Sample, ...], rows: int, tmp_path: Path
) -> None:
    stored = Stored("row", lambda: (tmp_path / "data" / "1.png").read_bytes())
    mixed = [*samples, Sample("s", "What is it?", (stored,), {}), Sample("t", "Hello", (), {})]
    said = dict(answerer(tiny, rows).answers(mixed, 5, blind=False))
    generator = Generator(tiny.model, tiny.tokenizer, tiny.processor)
    for place, sample in enumerate(mixed):
        shown = [tmp_path / "data" / "1.png" if isinstance(i, Stored) else i for i in sample.images]
        assert said[place] == Said(generator.answer([(sample.text, shown)], 5)[0])


def test_blind_sees_grey_of_the_same_size(tiny: Any, samples: tuple[Sample, ...]) -> None:
    said = dict(answerer(tiny).answers(samples, 5, blind=True))
    generator = Generator(tiny.model, tiny.tokenizer, tiny.processor)
    for place, sample in enumerate(samples):
        shown = [grey_sight(image) for image in sample.images]
        assert said[place].text == generator.answer([(sample.text, shown)], 5)[0]


def test_turned_pictures_stand_upright_also_when_stored() -> None:
    buffer = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.new("RGB", (30, 20)).save(buffer, "JPEG", exif=exif)
    assert grey_sight(Stored("turned", buffer.getvalue)).size == (20, 30)


def test_a_question_longer_than_the_context_is_told_and_the_others_are_answered(
    tiny: Any, samples: tuple[Sample, ...]
) -> None:
    limit = tiny.model.lm.config.max_position_embeddings
    mixed = [samples[0], Sample("long", "word " * limit, (), {}), samples[1]]
    said = dict(answerer(tiny).answers(mixed, 5, blind=False))
    assert said[1].text == ""
    assert "model's context" in said[1].problem
    assert not said[0].problem
    assert len(said) == 3


def test_a_damaged_picture_makes_its_question_bad_and_no_other(tiny: Any, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    asked = [Sample("q5", "?", (tmp_path / "x.png",), {})]
    asked += [Sample("q6", "?", (Stored("row 9", bytes),), {}), Sample("q7", "?", (), {})]
    said = dict(answerer(tiny).answers(asked, 5, blind=False))
    assert isinstance(said[0].bad, ImageError)
    assert "x.png" in said[0].bad.what
    assert said[1].bad is not None
    assert "row 9 is empty" in said[1].bad.what
    assert said[2].bad is None, "the others of its batch are answered"


class Small(Generator):
    """A generator whose memory does for so many rows; it answers one batch before it finds out."""

    room: int = 0

    def completions(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        if self.max_rows > self.room:
            if len(requests) > 1:
                yield 0, self.generate_one(requests[0])
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield from super().completions(requests)

    def generate_one(self, request: Request) -> Completion:
        return next(super().completions([request]))[1]


@pytest.mark.parametrize("room", [1, 3])
def test_a_batch_that_is_too_large_is_halved_and_nothing_is_answered_twice(
    tiny: Any, samples: tuple[Sample, ...], room: int
) -> None:
    generator = Small(tiny.model, tiny.tokenizer, tiny.processor, max_rows=8)
    generator.room = room
    places = [p for p, _ in LocalAnswerer(MODEL, lambda: generator, rows=8).answers(samples, 5, blind=False)]
    assert sorted(places) == list(range(len(samples)))
    assert generator.max_rows in (1, 2)
    generator.room = 0
    with pytest.raises(RunError, match="a single question"):
        list(LocalAnswerer(MODEL, lambda: generator).answers(samples, 5, blind=False))
