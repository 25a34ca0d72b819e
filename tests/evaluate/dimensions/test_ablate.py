"""Ablations of the embedded model: what is taken away is gone, and comes back."""

from __future__ import annotations

import pytest
import torch

from pumice.cli.models import load_generator
from pumice.evaluate.dimensions.ablate import connector_replaced, layers_of, mean_of, noise_like, sight_cut
from pumice.infer import Generator
from pumice.world.benchmarks.material import Material, View
from pumice.world.embedded import resolve

SHORT = "\nAnswer the question using a single word or phrase."
ASKED = f"How many objects are there?{SHORT}"


@pytest.fixture(scope="module")
def generator() -> Generator:
    return load_generator(resolve("tiny"))


@pytest.fixture(scope="module")
def views() -> list[View]:
    wanted = Material(0, 3).views()
    return [view for view, _ in zip(wanted, range(12), strict=False)]


def answers(generator: Generator, views: list[View]) -> list[str]:
    return generator.answer([(ASKED, [view.picture()]) for view in views], 8)


def test_text_that_sees_no_picture_answers_all_alike(generator: Generator, views: list[View]) -> None:
    before = answers(generator, views)
    assert len(set(before)) > 2
    count = len(layers_of(generator))
    with sight_cut(generator, 0, count - 1):
        assert len(set(answers(generator, views))) == 1
    with sight_cut(generator, count - 1, count - 1):
        last = answers(generator, views)
    assert len(set(last)) > 2, "other layers have told already"
    assert answers(generator, views) == before
    assert generator.model.packs
    assert generator.max_rows == 64


def test_a_cut_is_undone_after_an_error(generator: Generator, views: list[View]) -> None:
    before = answers(generator, views[:2])
    with pytest.raises(RuntimeError), sight_cut(generator, 0, 2):
        raise RuntimeError
    assert answers(generator, views[:2]) == before


def test_of_two_pictures_neither_is_seen(generator: Generator, views: list[View]) -> None:
    pairs = [[views[number].picture(), views[number + 1].picture()] for number in range(4)]
    whole = generator.answer([(ASKED, pair) for pair in pairs], 8)
    with sight_cut(generator, 0, len(layers_of(generator)) - 1):
        assert len(set(generator.answer([(ASKED, pair) for pair in pairs], 8))) == 1
    assert generator.answer([(ASKED, pair) for pair in pairs], 8) == whole


def test_the_mean_says_the_same_of_every_picture(generator: Generator, views: list[View]) -> None:
    before = answers(generator, views)
    replace = mean_of(generator, [view.picture() for view in views])
    with connector_replaced(generator, replace):
        assert len(set(answers(generator, views))) == 1
    assert answers(generator, views) == before


def test_noise_has_the_length_of_what_it_replaces() -> None:
    tokens = torch.randn(64, 160, generator=torch.Generator().manual_seed(1)) * torch.rand(64, 1)
    noise = noise_like(tokens)
    assert torch.allclose(noise.norm(dim=1), tokens.norm(dim=1), rtol=1e-5)
    assert torch.equal(noise, noise_like(tokens.clone()))
    assert not torch.equal(noise, noise_like(tokens + 1))
    assert torch.nn.functional.cosine_similarity(noise, tokens).abs().max() < 0.4
