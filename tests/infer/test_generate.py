from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlavaForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
)

from pumice.errors import ImageError, UsageError
from pumice.infer import Completion, Ended, Generator, Request, Sampling
from pumice.infer import generate as generate_module
from pumice.model.build import build_model
from pumice.model.save import save_model
from pumice.text.render import render
from pumice.types import Message, text_message

NEW = 12


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))


def question(text: str, *images: Any, **options: Any) -> Request:
    message = text_message("user", text, images=range(len(images)))
    return Request(messages=(message,), images=images, **{"max_new_tokens": NEW, **options})


@pytest.fixture(scope="module")
def reference(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same model, saved and loaded by transformers."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    save_model(tiny.model, tiny.tokenizer, tiny.processor, folder, dtype="float32")
    return LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture
def generator(tiny: Any) -> Generator:
    return Generator(tiny.model, tiny.tokenizer, tiny.processor)


def by_transformers(reference: Any, generator: Generator, request: Request) -> list[int]:
    config = generator.model.config
    encoded = render(
        request.messages,
        generator.tokenizer,
        generator.template,
        image_lengths=[config.image_seq_length] * len(request.images),
        image_token_id=config.image_token_id,
        generation_prompt=True,
    )
    ids = torch.from_numpy(encoded.input_ids)[None]
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if request.images:
        inputs["pixel_values"] = torch.from_numpy(
            np.stack([generator.pictures.geometry.processor(i) for i in request.images])
        )
    out = reference.generate(**inputs, max_new_tokens=request.max_new_tokens, do_sample=False)
    tokens: list[int] = out[0, ids.shape[1] :].tolist()
    return tokens


def mixed_requests() -> list[Request]:
    first, second = picture(0), picture(1)
    return [
        question("What colour is the square ?", first),
        question("How many circles are there ?", first),
        question("a b c d", second),
        question("It is", first),
        question("Hello"),
        question("What ?", first, second),
        question("How many ?", second, max_new_tokens=3),
        question("A text with no picture at all, and longer than the others are."),
        question("What colour is it ?", second, first),
    ]


def test_greedy_equals_transformers(generator: Generator, reference: Any) -> None:
    requests = mixed_requests()
    completions = generator.generate(requests)
    for request, completion in zip(requests, completions, strict=True):
        assert list(completion.token_ids) == by_transformers(reference, generator, request)


@pytest.mark.parametrize("max_rows", [1, 2, 4])
def test_batch_size_changes_nothing(tiny: Any, generator: Generator, max_rows: int) -> None:
    small = Generator(tiny.model, tiny.tokenizer, tiny.processor, max_rows=max_rows)
    assert small.generate(mixed_requests()) == generator.generate(mixed_requests())


def test_cache_budget_bounds_what_runs(tiny: Any, generator: Generator) -> None:
    poor = Generator(tiny.model, tiny.tokenizer, tiny.processor, cache_bytes=1)
    at_once: list[int] = []
    run = poor.engine._runner.run
    poor.engine._runner.run = lambda work: (at_once.append(len(work)), run(work))[1]  # type: ignore[method-assign]
    assert poor.generate(mixed_requests()) == generator.generate(mixed_requests())
    assert max(at_once) == 1


def test_memory_grows_with_the_job_and_no_further(tiny: Any, generator: Generator) -> None:
    assert generator.engine.stats().places <= 256
    generator.generate([question("What ?")])
    assert generator.engine.stats().places <= 256
    many = [question(f"{'a ' * (number % 40)} ?", picture(number)) for number in range(60)]
    answers = generator.generate(many)
    grown = generator.engine.stats().places
    assert 256 < grown < 2 * 60 * 256
    budget = 500 * generator.engine.stats().place_bytes
    bounded = Generator(tiny.model, tiny.tokenizer, tiny.processor, cache_bytes=budget)
    assert bounded.generate(many) == answers
    assert bounded.engine.stats().places <= 500


def test_each_picture_and_each_beginning_is_computed_once(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    tower = generator.model.encode_tower
    monkeypatch.setattr(generator.model, "encode_tower", lambda x: (encoded.append(x.shape[0]), tower(x))[1])
    first, second = picture(0), picture(1)
    asked = [question(f"What {word} ?", image) for word in "abcde" for image in (first, second)]
    # Longer than what is worth a wait.
    system = text_message("system", "It is a square . " * 6)
    asked = [Request((system, *one.messages), one.images, max_new_tokens=NEW) for one in asked]
    completions = generator.generate(asked)
    assert sum(encoded) == 2
    totals = generator.engine.stats().totals
    shortest = min(one.prompt_tokens for one in completions)
    assert totals.cached_tokens > 8 * (shortest - 12)
    assert totals.preemptions == 0


def test_the_pictures_of_many_questions_take_bounded_memory(
    tiny: Any, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_module, "FEATURES_BYTES", 4096)
    bounded = Generator(tiny.model, tiny.tokenizer, tiny.processor)
    asked = [question("What ?", picture(number)) for number in range(40)]
    assert bounded.generate(asked) == generator.generate(asked)
    assert bounded.engine.stats().features_bytes <= 4096


def test_what_is_left_early_is_given_up(generator: Generator) -> None:
    request = question("What ?", picture(0), max_new_tokens=40)
    end_never(generator)
    ended = Ended()
    stream = generator.stream(request, ended)
    next(stream)
    stream.close()
    assert ended.finish == "abort"
    several = generator.completions([request, question("How ?", max_new_tokens=2)])
    next(several)
    several.close()
    stats = generator.engine.stats()
    assert (stats.running, stats.waiting, stats.places_held) == (0, 0, 0)
    assert len("".join(generator.stream(request, ended))) > 0
    assert ended.finish == "length"
    assert ended.usage is not None
    assert ended.usage.completion_tokens == 40


def test_other_limits(generator: Generator) -> None:
    before = generator.generate(mixed_requests())
    generator.resize(2, 1 << 20)
    assert generator.engine.limits.running == generator.max_rows == 2
    assert generator.generate(mixed_requests()) == before


def test_prompt_that_ends_with_the_picture(tiny: Any, reference: Any) -> None:
    """Template plain has nothing after the picture, so there is no rest to share a trunk with."""
    generator = Generator(tiny.model, tiny.tokenizer, tiny.processor, template="plain")
    request = question("", picture(4))
    (completion,) = generator.generate([request])
    expected = by_transformers(reference, generator, request)
    assert list(completion.token_ids) == expected[: len(completion.token_ids)]
    assert "\n" not in completion.text


def test_stream_joins_to_the_text(generator: Generator) -> None:
    for seed, request in enumerate(mixed_requests()):
        sampled = Request(
            request.messages, request.images, Sampling(temperature=3.0, seed=seed), max_new_tokens=40
        )
        pieces = list(generator.stream(sampled))
        assert "".join(pieces) == generator.generate([sampled])[0].text
        assert "" not in pieces


def test_sampling_depends_on_the_seed_and_not_on_the_batch(generator: Generator) -> None:
    def ask(seed: int) -> Request:
        return question("What ?", picture(0), sampling=Sampling(temperature=1.5, seed=seed), max_new_tokens=8)

    alone = [generator.generate([ask(seed)])[0].token_ids for seed in range(4)]
    together = [completion.token_ids for completion in generator.generate([ask(seed) for seed in range(4)])]
    assert alone == together
    assert len(set(alone)) == 4


def test_stop_string_ends_the_text(generator: Generator) -> None:
    whole = generator.generate([question("What ?", picture(0))])[0]
    assert len(whole.text) > 3
    stop = whole.text[2:4]
    cut = generator.generate([question("What ?", picture(0), stop=(stop,))])[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish == "stop"
    assert len(cut.token_ids) <= len(whole.token_ids)


def test_length_and_counts(generator: Generator) -> None:
    completion = generator.generate([question("What ?", picture(0), max_new_tokens=2)])[0]
    assert completion.finish == "length"
    assert len(completion.token_ids) == 2
    text_only = generator.generate([question("What ?", max_new_tokens=2)])[0]
    assert completion.prompt_tokens == text_only.prompt_tokens + 5  # four of the picture, one newline


def test_answer_puts_pictures_first(generator: Generator) -> None:
    texts = generator.answer([("What ?", [picture(0)]), ("What ?", ())], max_new_tokens=NEW)
    requests = [question("What ?", picture(0)), question("What ?")]
    assert texts == [completion.text for completion in generator.generate(requests)]


def test_files_are_opened(generator: Generator, tmp_path: Path) -> None:
    picture(5).save(tmp_path / "a.png")
    from_file = generator.answer([("What ?", [tmp_path / "a.png"])])
    assert from_file == generator.answer([("What ?", [picture(5)])])
    with pytest.raises(ImageError, match=r"b\.png"):
        generator.answer([("What ?", [tmp_path / "b.png"])])


def test_no_requests_no_work(generator: Generator) -> None:
    assert generator.generate([]) == []


def test_too_long_a_prompt_is_refused(generator: Generator) -> None:
    with pytest.raises(UsageError, match="256"):
        generator.generate([question("a " * 300)])


def test_answer_ends_at_the_context(generator: Generator) -> None:
    completion = generator.generate([question("a " * 100, max_new_tokens=4096)])[0]
    if completion.finish == "length":
        assert completion.prompt_tokens + len(completion.token_ids) == 256


def end_never(generator: Generator) -> Generator:
    generator.engine._stop_ids = frozenset()
    generator.engine._answers._stop_strings = []
    return generator


def other_language(tiny: Any, folder: Path, model: Any) -> Generator:
    """A generator whose language model is another one; its answers end at their limit alone."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny.language / name, folder)
    return end_never(Generator(*build_model(tiny.vision, folder, template="tiny")))


def test_rows_at_the_context_do_not_step_beyond_it(tiny: Any, tmp_path: Path) -> None:
    """Learned positions have no row beyond the context, not even for answers that wait to be dropped."""
    ends = {"bos_token_id": 0, "eos_token_id": 1}
    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=320, n_positions=64, **ends)
    torch.manual_seed(5)
    generator = other_language(tiny, tmp_path / "gpt2", GPT2LMHeadModel(config))
    shorter = [question("a " * n, max_new_tokens=4096) for n in (1, 2, 3)]
    longer = question("a " * 12, max_new_tokens=4096)
    behind_a_trunk = question("b", picture(0), picture(1), max_new_tokens=2)
    requests = [longer, *shorter, behind_a_trunk]
    together = generator.generate(requests)
    assert together == [generator.generate([request])[0] for request in requests]
    assert {c.prompt_tokens + len(c.token_ids) for c in together[:4]} == {64}


def test_answers_go_on_beyond_the_attention_window(tiny: Any, tmp_path: Path) -> None:
    """Prompt and answer are longer than the window; what is seen is what transformers shows the model."""
    fields: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    fields |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "pad_token_id": None}
    torch.manual_seed(5)
    lm = MistralForCausalLM(MistralConfig(**fields, sliding_window=12, max_position_embeddings=256))
    generator = other_language(tiny, tmp_path / "mistral", lm)
    requests = [question("a " * n, max_new_tokens=30) for n in (10, 3)]
    together = generator.generate(requests)
    assert together == [generator.generate([request])[0] for request in requests]
    for request, completion in zip(requests, together, strict=True):
        assert completion.prompt_tokens + len(completion.token_ids) > 24
        prompt = render(
            request.messages,
            generator.tokenizer,
            generator.template,
            image_lengths=[],
            image_token_id=generator.model.config.image_token_id,
            generation_prompt=True,
        ).input_ids
        ids = torch.tensor([[*prompt.tolist(), *completion.token_ids]])
        with torch.no_grad():
            scores = generator.model.lm(input_ids=ids).logits[0, len(prompt) - 1 : -1]
        scores[:, generator.model.config.image_token_id] = -torch.inf
        scores = scores[:, : len(generator.tokenizer)]
        assert scores.argmax(-1).tolist() == list(completion.token_ids)


@pytest.mark.parametrize("options", [{"max_new_tokens": 0}, {"stop": ("",)}])
def test_bad_limits_are_refused(generator: Generator, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        generator.generate([question("What ?", **options)])


def test_several_turns(generator: Generator, reference: Any) -> None:
    messages: tuple[Message, ...] = (
        text_message("user", "What ?", images=[0]),
        text_message("assistant", "It is a square ."),
        text_message("user", "How many ?"),
    )
    request = Request(messages, (picture(0),), max_new_tokens=NEW)
    completion: Completion = generator.generate([request])[0]
    assert list(completion.token_ids) == by_transformers(reference, generator, request)
