from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pumice.errors import UsageError
from pumice.infer import Sampling
from pumice.infer.engine import (
    Delta,
    EngineClosed,
    EngineFull,
    EngineRequest,
    Event,
    Finished,
    Limits,
    PromptTooLong,
)
from pumice.infer.engine.sampler import Sampler


def test_the_same_seed_gives_the_same_text_in_any_company(rig: Any, tiny_rig: Any, show: Any) -> None:
    settings = {"temperature": 1.5, "top_p": 0.9, "top_k": 40, "max_new_tokens": 20}
    asked = [
        rig.request(f"What {word} ?", show(0), seed=seed, **settings) for seed, word in enumerate("abcd")
    ]
    alone = [rig.alone(one)[0].ids for one in asked]
    other = tiny_rig(chunk=5)
    running = []
    for one in [asked[2], asked[0], *asked, asked[3]]:
        running.append(other.engine.submit(one))
        other.run(steps=1)
    other.run()
    together = [other.answer(one).ids for one in running]
    assert together == [alone[2], alone[0], *alone, alone[3]]
    assert len({tuple(ids) for ids in alone}) == 4


def test_several_answers_share_the_prompt(rig: Any, show: Any) -> None:
    request = rig.request("How many circles are there ? " + "a b " * 8, show(1), n=3, temperature=1.5, seed=5)
    answers = rig.alone(request)
    assert len({tuple(one.ids) for one in answers}) == 3
    prompt = answers[0].end.usage.prompt_tokens
    assert [one.end.usage.cached_tokens for one in answers] == [0, prompt - 1, prompt - 1]
    for index, one in enumerate(answers):  # answer i is that of the seed plus i
        single = rig.request(
            "How many circles are there ? " + "a b " * 8, show(1), temperature=1.5, seed=5 + index
        )
        assert rig.alone(single)[0].ids == one.ids


def test_questions_about_one_picture_read_it_once(tiny_rig: Any, show: Any) -> None:
    """Also when they come together: the later ones wait for the first one's prompt."""
    rig = tiny_rig(chunk=10)
    system = "a b c d " * 8
    running = [rig.ask(f"{system} {word} ?", show(0)) for word in ("What", "How", "many")]
    rig.run()
    usages = [rig.answer(one).end.usage for one in running]
    assert usages[0].cached_tokens == 0
    assert all(one.cached_tokens >= usages[0].prompt_tokens - 10 for one in usages[1:])
    assert rig.engine.stats().totals.images_encoded == 1


def test_equal_ids_and_other_pictures_share_nothing_behind_them(rig: Any, show: Any) -> None:
    """Keys hold what is in the picture: the token ids of both prompts are the same."""
    first = rig.alone(rig.request("What ?", show(0), max_new_tokens=30))[0]
    second = rig.request("What ?", show(1), max_new_tokens=30)
    answer = rig.alone(second)[0]
    assert answer.end.usage.prompt_tokens == first.end.usage.prompt_tokens
    start = rig.engine._prompts.ids(second)[1][0][1]
    assert answer.end.usage.cached_tokens <= start
    assert answer.ids == rig.by_transformers(second) != first.ids


def test_equal_pictures_are_one_whatever_they_came_as(rig: Any, show: Any, tmp_path: Any) -> None:
    show(0).save(tmp_path / "a.png")
    first = rig.alone(rig.request("What ?", show(0)))[0]
    again = rig.alone(rig.request("What ?", tmp_path / "a.png"))[0]
    assert again.ids == first.ids
    assert again.end.usage.cached_tokens == again.end.usage.prompt_tokens - 1
    assert rig.engine.stats().totals.images_encoded == 1


def test_another_preprocessing_is_another_picture(tiny: Any, rig: Any, tiny_rig: Any, show: Any) -> None:
    """The digest is of what the tower gets, and of how its features are laid out."""
    wide = Image.fromarray(np.random.default_rng(9).integers(0, 256, (12, 30, 3), dtype=np.uint8))
    request = rig.request("What ?", wide)
    plain = rig.engine._prompts.prompt(rig.engine.prepare(request))
    other = tiny_rig()
    settings = tiny.processor.with_mode("squash")
    from pumice.infer.pictures import PictureEncoder

    other.engine.see_by(PictureEncoder(tiny.model, settings))
    squashed = other.engine._prompts.prompt(other.engine.prepare(request))
    assert plain.pictures[0].digest != squashed.pictures[0].digest
    assert np.array_equal(plain.ids, squashed.ids)


def test_features_are_kept_within_their_budget(tiny_rig: Any, show: Any) -> None:
    one = 4 * 32 * 4  # tokens, width, bytes of float32
    rig = tiny_rig(features_bytes=2 * one, tokens=128)
    for seed in (0, 1, 0, 2, 0, 1):  # 2 drives 1 out
        rig.alone(rig.request(f"{'a ' * seed} What ?", show(seed)))
    stats = rig.engine.stats()
    assert (stats.features, stats.features_bytes) == (2, 2 * one)
    assert stats.totals.images_encoded <= 4
    none = tiny_rig(features_bytes=0)
    expected = none.by_transformers(none.request("What ?", show(0)))
    assert none.alone(none.request("What ?", show(0)))[0].ids == expected


def test_a_long_prompt_does_not_hold_answers_up(tiny_rig: Any) -> None:
    rig = tiny_rig(chunk=8)
    short = rig.ask("What ?", max_new_tokens=40, ignore_end=True)
    rig.run(steps=4)
    rig.ask("a b " * 40)
    before = rig.engine.stats().totals.steps
    texts: list[int] = []
    short._sink = lambda event: texts.append(rig.engine.stats().totals.steps)
    rig.run(steps=6)
    assert texts == list(range(before + 1, before + 7))  # a token in each step


def test_streaming_text_is_the_whole_text(rig: Any, show: Any) -> None:
    for seed in range(6):
        request = rig.request("What ?", show(0), temperature=3.0, seed=seed, max_new_tokens=40)
        answer = rig.alone(request)[0]
        assert len(answer.deltas) == len(answer.ids)
        ids = [one for one in answer.ids if one not in rig.engine._stop_ids]
        whole = rig.engine.tokenizer.decode(ids, skip_special_tokens=True)
        if answer.reason == "length":
            assert answer.text == whole.removeprefix(rig.engine._answers._lead)
        assert "\n" not in answer.text


def test_stop_strings(rig: Any, show: Any) -> None:
    whole = rig.alone(rig.request("What ?", show(0)))[0].text
    stop = whole[3:5]
    answer = rig.alone(rig.request("What ?", show(0), stop=("never in it", stop)))[0]
    assert answer.text == whole[: whole.index(stop)]
    assert answer.reason == "stop"


def test_ignore_end_goes_on(rig: Any) -> None:
    for seed in range(5):
        request = rig.request("Hello", temperature=5.0, seed=seed, max_new_tokens=200, ignore_end=True)
        answer = rig.alone(request)[0]
        assert answer.reason == "length"
        assert len(answer.ids) == 200


def test_plain_prompts_and_literal_control_words(rig: Any, show: Any) -> None:
    prompt = "</s><image> What ?"
    request = EngineRequest(prompt=prompt, images=(show(0),), sampling=Sampling(max_new_tokens=5))
    ids, spans, _ = rig.engine._prompts.ids(request)
    ((_, start, length),) = spans
    image = rig.engine.model.config.image_token_id
    assert (ids == image).sum() == length
    assert not set(ids[start + length :].tolist()) & {image, *rig.engine._stop_ids}
    assert rig.engine.tokenizer.decode(ids[start + length :]) == prompt
    assert rig.alone(request)[0].ids == rig.by_transformers(request)


def test_logprobs(rig: Any, show: Any) -> None:
    request = rig.request("What ?", show(0), logprobs=3, max_new_tokens=6, temperature=2.0, seed=3)
    answer = rig.alone(request)[0]
    for delta in answer.deltas:
        (told,) = delta.logprobs
        assert told.chosen.token_id == delta.token_ids[0]
        values = [one.logprob for one in told.top]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)
        assert told.chosen.logprob <= values[0]
    ids, spans, shown = rig.engine._prompts.ids(request)
    model = rig.engine.model
    embeds = [rig.engine.pictures.embed(shown)[shown[0].key]]
    with torch.no_grad():
        first = model.embed(torch.from_numpy(ids)[None], embeds, [(0, *spans[0][1:])])
        scores = model.lm(inputs_embeds=first).logits[0, -1]
    scores[model.config.image_token_id] = -torch.inf
    scores[len(rig.engine.tokenizer) :] = -torch.inf
    chosen = answer.deltas[0].logprobs[0].chosen
    assert chosen.logprob == pytest.approx(float(scores.log_softmax(0)[chosen.token_id]), abs=1e-4)
    silent = rig.alone(rig.request("What ?", show(0)))[0]
    assert all(delta.logprobs == () for delta in silent.deltas)


def test_usage_counts_and_times(rig: Any, show: Any) -> None:
    answer = rig.alone(rig.request("What ?", show(0)))[0]
    usage = answer.end.usage
    plain = rig.alone(rig.request("What ?"))[0].end.usage
    assert usage.prompt_tokens == plain.prompt_tokens + 5  # four of the picture, one newline
    assert usage.completion_tokens == len(answer.ids)
    assert 0 <= usage.queue_seconds <= usage.first_token_seconds <= usage.seconds
    assert 0 < usage.image_seconds < usage.seconds
    assert plain.image_seconds == 0


def test_what_fills_the_context_is_refused(rig: Any) -> None:
    with pytest.raises(PromptTooLong, match="context is 256") as caught:
        rig.ask("a " * 300)
    assert caught.value.limit == 256
    assert caught.value.tokens > 300


def test_what_the_memory_cannot_hold_is_refused(tiny_rig: Any) -> None:
    rig = tiny_rig(tokens=40)
    with pytest.raises(PromptTooLong, match="is 40"):
        rig.ask("a " * 50)
    answer = rig.alone(rig.request("a " * 10, max_new_tokens=1000, ignore_end=True))[0]
    assert answer.reason == "length"
    # The last token takes no place.
    assert answer.end.usage.prompt_tokens + len(answer.ids) == 41


def test_too_much_memory_is_refused_with_numbers(tiny_rig: Any) -> None:
    with pytest.raises(UsageError, match="GiB are free"):
        tiny_rig(tokens=1 << 40)


@pytest.mark.parametrize(
    "limits",
    [{"running": 0}, {"tokens": 1}, {"queue": 0}, {"queue_tokens": 0}, {"chunk": 0}, {"features_bytes": -1}],
)
def test_bad_limits(limits: dict[str, int]) -> None:
    (name,) = limits
    with pytest.raises(UsageError, match=name):
        Limits(**limits)


def test_a_full_queue_refuses_and_says_when(tiny_rig: Any) -> None:
    rig = tiny_rig(running=2, queue=3)
    running = [rig.ask(f"{word} ?") for word in "abc"]
    with pytest.raises(EngineFull) as caught:
        rig.ask("What ?", n=3)  # two run, three wait: one more than there is room for
    assert 1 <= caught.value.retry_after <= 60
    running.append(rig.ask("What ?", n=2))
    with pytest.raises(EngineFull):
        rig.ask("d ?")
    rig.run()
    running.append(rig.ask("d ?"))
    rig.run()
    assert [len(rig.answers(one)) for one in running] == [1, 1, 1, 2, 1]


def test_the_queue_is_bounded_by_tokens_too(tiny_rig: Any) -> None:
    rig = tiny_rig(running=1, queue=50, queue_tokens=100)
    rig.ask("a " * 60)  # alone in the queue, anything may enter
    with pytest.raises(EngineFull):
        rig.ask("a " * 60)
    rig.run()
    rig.ask("a " * 60)
    rig.run()
    assert rig.engine.stats().waiting_tokens == 0


def test_what_fails_on_the_way_in_does_not_stay_in_the_queue(rig: Any, tmp_path: Any) -> None:
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    for _ in range(3):
        with pytest.raises(Exception, match=r"b\.png"):
            rig.ask("What ?", tmp_path / "b.png")
    stats = rig.engine.stats()
    assert (stats.waiting, stats.waiting_tokens, rig.engine._queue.answers) == (0, 0, 0)


def test_a_pass_that_fails_ends_its_answers_and_no_others(
    rig: Any, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = rig.ask("What ?", show(0))
    with monkeypatch.context() as patch:
        patch.setattr(rig.engine.model, "hidden", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("no")))
        rig.run()
    (end,) = broken.events(timeout=0)
    assert isinstance(end, Finished)
    assert (end.reason, str(end.error)) == ("error", "no")
    request = rig.request("What ?", show(0))
    assert rig.alone(request)[0].ids == rig.by_transformers(request)
    assert rig.engine.stats().places_held == 0


@pytest.mark.parametrize("method", ["draw", "take"])
def test_an_answer_that_cannot_go_on_ends_alone(
    rig: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """As where a schema's matcher fails: answers beside it are as they would be."""
    before = getattr(Sampler, method)

    def fails(self: Any, given: Any) -> Any:
        return 1 / 0 if self.sampling.top_k == 7 else before(self, given)

    monkeypatch.setattr(Sampler, method, fails)
    broken, other = rig.ask("What ?", temperature=1.0, top_k=7), rig.ask("Hello")
    rig.run()
    (end,) = [event for event in broken.events(timeout=0) if isinstance(event, Finished)]
    assert (end.reason, type(end.error)) == ("error", ZeroDivisionError)
    assert rig.answer(other).ids == rig.by_transformers(rig.request("Hello"))
    assert rig.engine.stats().places_held == 0


def test_the_thread_outlives_a_step_that_fails(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all who wait, and all who come, would wait for ever."""
    with monkeypatch.context() as patch:
        patch.setattr(rig.engine._scheduler, "plan", lambda: 1 / 0)
        running = [rig.ask("What ?"), rig.ask("Hello", n=2)]
        rig.engine.start()
        ends = [event for one in running for event in one.events(timeout=60)]
    assert [one.reason for one in ends if isinstance(one, Finished)] == ["error"] * 3
    answered = list(rig.ask("Hello").events(timeout=60))
    rig.engine.close()
    assert isinstance(answered[-1], Finished)
    assert answered[-1].reason in ("stop", "length")
    stats = rig.engine.stats()
    assert (stats.running, stats.waiting, stats.places_held) == (0, 0, 0)


def test_a_picture_that_fails_ends_those_that_show_it(
    rig: Any, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, other = rig.ask("What ?", show(0)), rig.ask("Hello")
    with monkeypatch.context() as patch:
        patch.setattr(
            rig.engine.pictures, "embed_tiles", lambda *a: (_ for _ in ()).throw(RuntimeError("no"))
        )
        rig.run()
    assert [event.reason for event in broken.events(timeout=0) if isinstance(event, Finished)] == ["error"]
    assert rig.answer(other).ids == rig.by_transformers(rig.request("Hello"))


def test_a_token_that_is_none_cannot_be_biased(rig: Any) -> None:
    with pytest.raises(UsageError, match="vocabulary"):
        rig.ask("What ?", logit_bias=((10**6, 1.0),))


def test_a_request_is_messages_or_a_prompt() -> None:
    with pytest.raises(UsageError, match="either"):
        EngineRequest()
    with pytest.raises(UsageError, match="n must"):
        EngineRequest(prompt="a", n=0)


def test_a_reader_that_fails_is_one_that_gave_up(rig: Any) -> None:
    calls: list[Event] = []

    def sink(event: Event) -> None:
        calls.append(event)
        raise RuntimeError("the loop is closed")

    running = rig.engine.submit(rig.request("What ?", ignore_end=True), sink)
    other = rig.ask("Hello")
    rig.run()
    assert running.aborted
    assert len(calls) == 2  # a token, and the end
    assert rig.answer(other).ids == rig.by_transformers(rig.request("Hello"))


def test_closing_while_a_picture_is_opened_refuses(
    rig: Any, show: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = rig.engine._prompts.prompt
    monkeypatch.setattr(rig.engine._prompts, "prompt", lambda *a: (rig.engine.close(), opened(*a))[1])
    with pytest.raises(EngineClosed):
        rig.ask("What ?", show(0))
    assert rig.engine._queue.answers == 0


def test_closing_drains_or_aborts(tiny_rig: Any) -> None:
    rig = tiny_rig()
    running = rig.ask("What ?")
    rig.engine.close()
    assert rig.answer(running).ids
    with pytest.raises(EngineClosed):
        rig.ask("What ?")
    other = tiny_rig()
    running = [other.ask(f"{word} ?", n=2) for word in "ab"]
    other.run(steps=1)
    other.engine.close(drain=False)
    assert [one.reason for each in running for one in other.answers(each)] == ["abort"] * 4


def test_a_thread_steps(rig: Any, show: Any) -> None:
    """Requests of several threads, read by them while another thread steps; one gives up."""
    asked = [rig.request(f"What {word} ?", show(0)) for word in ("a", "b", "c", "d")]
    expected = [rig.by_transformers(one) for one in asked]
    found: dict[int, list[int]] = {}

    def client(number: int) -> None:
        running = rig.engine.submit(asked[number])
        found[number] = [
            id_ for event in running.events(timeout=60) if isinstance(event, Delta) for id_ in event.token_ids
        ]

    rig.engine.start()
    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    given_up = rig.ask("Hello", max_new_tokens=200, ignore_end=True)
    next(given_up.events(timeout=60))
    given_up.abort()
    events: list[Event] = list(given_up.events(timeout=60))
    for thread in threads:
        thread.join(timeout=60)
    rig.engine.close()
    assert [found[number] for number in range(len(asked))] == expected
    assert isinstance(events[-1], Finished)
    assert events[-1].reason in ("abort", "length")


def test_stages_are_told_as_they_begin(tiny_rig: Any, show: Any) -> None:
    rig = tiny_rig()
    request = rig.request("What is it?", show(1))
    stages: list[str] = []
    running = rig.engine.submit(request, watch=stages.append)
    assert stages == []
    rig.run()
    assert stages == ["pictures", "prompt"]
    assert rig.answer(running).reason == "length"
    again: list[str] = []
    rig.engine.submit(request, watch=again.append)
    rig.run()
    assert again == ["prompt"], "its embeddings were kept: nothing is encoded"

    def fails(stage: str) -> None:
        raise RuntimeError("a reader's own fault")

    running = rig.engine.submit(rig.request("And this?", show(2)), watch=fails)
    rig.run()
    assert rig.answer(running).ids, "the answer comes all the same"
