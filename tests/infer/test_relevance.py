"""What a model looked at: sums that must hold, all ways to lay pictures out, the embedded world's objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumice.errors import UsageError
from pumice.image import VideoSettings
from pumice.infer import Generator, PromptTooLong
from pumice.infer import kept as kept_module
from pumice.infer.kept import Kept
from pumice.infer.relevance import Abandoned, Looker, Relevance
from pumice.infer.weights import load_to_answer
from pumice.model.build import Tiles, build_model
from pumice.model.save import load_model
from pumice.types import Video, text_message
from pumice.world.draw import draw
from pumice.world.embedded import resolve
from pumice.world.samples import scene_text
from pumice.world.scene import make_scene
from pumice.world.teacher import WorldTeacher, read

QUESTIONS = 10


def looker_of(generator: Generator) -> Looker:
    return Looker(generator.model, generator.pictures, generator.tokenizer, generator.template)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )


@pytest.fixture(scope="module")
def small(tiny: Any) -> Looker:
    return looker_of(Generator(tiny.model, tiny.tokenizer, tiny.processor))


@pytest.fixture(scope="module")
def shipped() -> Generator:
    return Generator(*load_model(resolve("tiny", "model"), dtype="float32"))


def look(looker: Looker, answer: str, *images: Any, **options: Any) -> Relevance:
    question = text_message("user", "What is it?", images=range(len(images)))
    return looker.look([question], images, answer, **options)


def within(heat_RC: Any, box: tuple[float, float, float, float]) -> float:
    """The share of a map inside a box."""
    rows, columns = heat_RC.shape
    y, x = np.arange(rows), np.arange(columns)
    down = np.clip(np.minimum(y + 1, box[3] * rows) - np.maximum(y, box[1] * rows), 0, 1)
    across = np.clip(np.minimum(x + 1, box[2] * columns) - np.maximum(x, box[0] * columns), 0, 1)
    return float((heat_RC * np.outer(down, across)).sum() / heat_RC.sum())


def test_it_finds_the_object_that_was_asked_about(shipped: Generator) -> None:
    looker, teacher = looker_of(shipped), WorldTeacher(0)
    inside, areas, shuffled = [], [], []
    rng = np.random.default_rng(0)
    index = 0
    while len(inside) < QUESTIONS:
        scene = make_scene(19, index, "full")
        index += 1
        text = scene_text(scene)
        things = [read(one) for one in text.instances]
        turns = [teacher.attribute(things, thing, "color", rng) for thing in things]
        found = next((k for k, turn in enumerate(turns) if turn is not None), None)
        if found is None:
            continue
        turn, box, image = turns[found], text.instances[found].box, draw(scene)
        assert turn is not None
        answer = shipped.answer([(turn.question, [image])], 20)[0]
        message = text_message("user", turn.question, images=[0])
        heat_RC = looker.look([message], [image], answer, steps=4).pictures[0].heat_NRC[0]
        assert heat_RC.shape == (8, 8)
        inside.append(within(heat_RC, box))
        areas.append((box[2] - box[0]) * (box[3] - box[1]))
        shuffled.append(within(rng.permutation(heat_RC.ravel()).reshape(8, 8), box))
    assert np.mean(inside) > 0.55
    assert np.mean(inside) > 4 * np.mean(areas)
    assert np.mean(inside) > 4 * np.mean(shuffled)


def test_words_have_maps_of_their_own(shipped: Generator) -> None:
    image = draw(make_scene(5, 44, "full"))
    message = text_message("user", "Describe the image in detail.", images=[0])
    answer = "There are four objects. At the top center there is a sign that says U6P."
    looker = looker_of(shipped)
    start = answer.index("U6P")
    found = looker.look([message], [image], answer, (start, start + 3))
    assert answer[slice(*found.span)].strip() == "U6P"
    assert within(found.pictures[0].heat_NRC[0], (0.15, 0.1, 0.65, 0.4)) > 0.6
    whole = looker.look([message], [image], answer)
    assert whole.span == (0, len(answer))
    assert whole.logprob < found.logprob


def test_the_parts_sum_to_the_whole(small: Looker) -> None:
    found = look(small, "a red star", noise((30, 20)), noise((20, 20), 1))
    shares = [one.share for one in found.pictures]
    assert sum(shares) + found.elsewhere == pytest.approx(1)
    assert all(
        one.heat_NRC.min() >= 0 and one.heat_NRC.sum() == pytest.approx(one.share) for one in found.pictures
    )
    alone = look(small, "a red star", noise((30, 20)))
    assert alone.logprob - alone.gain == pytest.approx(
        look(small, "a red star", Image.new("RGB", (30, 20), (9, 9, 9)), steps=1).logprob, abs=5
    )


def test_many_steps_reach_what_the_picture_did(small: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of all parts, those that argue against the answer too, is the gain (completeness)."""
    sums: list[float] = []
    clamp = torch.Tensor.clamp

    def noted(self: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if options == {"min": 0} and self.dim() == 1:
            sums.append(float(self.sum()))
        return clamp(self, *args, **options)

    monkeypatch.setattr(torch.Tensor, "clamp", noted)
    found = look(small, "a red star", noise((30, 20)), steps=64)
    assert sums == [pytest.approx(found.gain, abs=1e-3 + 0.02 * abs(found.gain))]


@pytest.mark.parametrize("size", [(48, 15), (20, 40), (16, 16)])
def test_pictures_in_tiles(tiny: Any, size: tuple[int, int]) -> None:
    grids = ((16, 32), (32, 16), (32, 32), (48, 16), (16, 48))
    tiles = Tiles(grids, multi_image="same")
    model, tokenizer, processor = build_model(
        tiny.vision, tiny.language, template="tiny", tiles=tiles, seed=3
    )
    model.config = replace(
        model.config, video=VideoSettings(frames=3, aspect="pad", stride=1, newline="frame")
    )
    looker = looker_of(Generator(model, tokenizer, processor))
    found = look(looker, "a star", noise(size), noise((17, 30), 2))
    assert len(found.pictures) == 2
    assert sum(one.share for one in found.pictures) + found.elsewhere == pytest.approx(1)
    _, rows, columns = found.pictures[0].heat_NRC.shape
    assert rows > 1 or columns > 1


def test_videos_have_a_map_a_frame(tiny: Any, tmp_path: Path) -> None:
    for number in range(4):
        noise((24, 18), number).save(tmp_path / f"{number}.png")
    model, tokenizer, processor = build_model(
        tiny.vision, tiny.language, template="tiny", tiles=Tiles(((16, 32), (32, 16))), seed=3
    )
    model.config = replace(
        model.config, video=VideoSettings(frames=3, aspect="pad", stride=1, newline="frame")
    )
    found = look(looker_of(Generator(model, tokenizer, processor)), "it walks", Video(tmp_path))
    assert found.pictures[0].heat_NRC.shape[0] == 3
    assert found.pictures[0].share + found.elsewhere == pytest.approx(1)


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_weights_in_fewer_bits_have_a_map_near_that_of_all_bits(shipped: Generator, weights: Any) -> None:
    """Codes have no derivative; maps go through the plain weights that they stand for."""
    scene = make_scene(19, 3, "full")
    made = Generator(*load_to_answer(resolve("tiny", "model"), weights))
    wanted, found = (look(looker_of(one), "A red star.", draw(scene)) for one in (shipped, made))
    both = [one.pictures[0].heat_NRC.ravel() for one in (wanted, found)]
    assert np.corrcoef(*both)[0, 1] > (0.98 if weights == "int8" else 0.8)
    assert found.logprob == pytest.approx(wanted.logprob, rel=0.02 if weights == "int8" else 0.2)


def test_what_cannot_be_looked_at_is_refused(small: Looker) -> None:
    image = noise((20, 20))
    with pytest.raises(UsageError, match="no picture"):
        look(small, "a star")
    with pytest.raises(UsageError, match="no answer"):
        look(small, "  ", image)
    for span in ((0, 0), (3, 2), (-1, 2), (0, 99)):
        with pytest.raises(UsageError, match="characters"):
            look(small, "a star", image, span=span)
    with pytest.raises(UsageError, match="steps"):
        look(small, "a star", image, steps=0)
    with pytest.raises(PromptTooLong, match="context"):
        look(small, "star " * 3000, image)
    asked = iter([*[False] * 20, True])  # in the middle of a pass: a long one takes minutes
    with pytest.raises(Abandoned):
        look(small, "a star", image, stopped=lambda: next(asked))


def test_a_look_beyond_the_free_memory_is_refused(small: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted is what autograd keeps: it grows with the row, and weights are no part of it."""
    image, found = noise((20, 20)), []
    watch = Kept.watch
    monkeypatch.setattr(Kept, "watch", lambda self: found.append(self) or watch(self))
    short, long = look(small, "a star", image), look(small, "a star " * 20, image)
    few, many = found[0].bytes, found[-1].bytes
    tokens = [one.prompt_tokens + one.answer_tokens for one in (short, long)]
    assert many / few == pytest.approx(tokens[1] / tokens[0], rel=0.4)
    config = small.model.lm.config
    assert few > tokens[0] * config.num_hidden_layers * config.hidden_size * 4 * 4
    monkeypatch.setattr(kept_module, "free_bytes", lambda device: 2 * few + 2)
    assert look(small, "a star", image).logprob == short.logprob
    monkeypatch.setattr(kept_module, "free_bytes", lambda device: 2 * few - 2)
    with pytest.raises(UsageError, match=f"{tokens[0]} tokens"):
        look(small, "a star", image)


def test_the_model_stays_as_it_was(small: Looker) -> None:
    before = {name: (one.requires_grad, one.grad) for name, one in small.model.named_parameters()}
    look(small, "a star", noise((20, 20)))
    assert {name: (one.requires_grad, one.grad) for name, one in small.model.named_parameters()} == before
