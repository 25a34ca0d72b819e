"""Greedy answers are those of transformers' generate, token for token, whatever happens around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LM: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
MID: dict[str, Any] = {**LM, "hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 12}
MID |= {"num_hidden_layers": 8, "num_key_value_heads": 4}
LANGUAGES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LM)),
    "llama-mid": lambda: LlamaForCausalLM(LlamaConfig(**MID)),
    "mistral-window": lambda: MistralForCausalLM(MistralConfig(**LM, sliding_window=12)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**LM)),
    "qwen3-mid": lambda: Qwen3ForCausalLM(Qwen3Config(**MID, head_dim=16)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**LM, head_dim=8)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**LM, head_dim=8, sliding_window=12, query_pre_attn_scalar=8)
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **LM,
            head_dim=8,
            sliding_window=12,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"] * 2,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            n_embd=32, n_layer=2, n_head=4, vocab_size=320, n_positions=512, bos_token_id=0, eos_token_id=1
        )
    ),
}


def requests(rig: Any, show: Any) -> list[Any]:
    first, second = show(0), show(1)
    return [
        rig.request("What colour is the square ?", first),
        rig.request("How many circles are there ? " + "a b c d " * 12, second),
        rig.request("Hello"),
        rig.request("What ?", first, second, max_new_tokens=30),
        rig.request("How many ?", second, max_new_tokens=3),
        rig.request("A text with no picture at all, and longer than the others are.", max_new_tokens=20),
        rig.request("What colour is the square ? It is", first),
        rig.request("What colour is it ?", second, first),
    ]


@pytest.mark.parametrize("name", LANGUAGES)
def test_families(other_rig: Any, show: Any, name: str) -> None:
    """Together, prompts in parts of 24 tokens, beginnings shared; then all again out of what was kept."""
    rig = other_rig(LANGUAGES[name](), chunk=24)
    asked = requests(rig, show)
    expected = [rig.by_transformers(one) for one in asked]
    running = [rig.engine.submit(one) for one in asked]
    rig.run()
    answers = [rig.answer(one) for one in running]
    assert [one.ids for one in answers] == expected
    again = [rig.engine.submit(one) for one in asked]
    rig.run()
    for one, ids in zip(again, expected, strict=True):
        answer = rig.answer(one)
        assert answer.ids == ids
        assert answer.end is not None
        # All but the token that the next one is drawn from.
        assert answer.end.usage.cached_tokens == answer.end.usage.prompt_tokens - 1


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_of_others(other_rig: Any, show: Any, attention: str) -> None:
    """Kernels that read no memory of ours get copies and a mask."""
    rig = other_rig(LANGUAGES["llama"](), attention, chunk=24)
    assert not rig.engine.model.takes_ragged
    asked = requests(rig, show)
    running = [rig.engine.submit(one) for one in asked]
    rig.run()
    assert [rig.answer(one).ids for one in running] == [rig.by_transformers(one) for one in asked]


@pytest.mark.parametrize("gather", [0, 1 << 30])
def test_both_ways_of_single_tokens(
    tiny_rig: Any, show: Any, monkeypatch: pytest.MonkeyPatch, gather: int
) -> None:
    monkeypatch.setattr("pumice.model.ragged.GATHER_BYTES", gather)
    rig = tiny_rig(chunk=1000)
    asked = requests(rig, show)
    running = [rig.engine.submit(one) for one in asked]
    rig.run()
    assert [rig.answer(one).ids for one in running] == [rig.by_transformers(one) for one in asked]


@pytest.mark.parametrize("chunk", [1, 3, 17, 1000])
def test_arrivals_while_others_are_answered(tiny_rig: Any, show: Any, chunk: int) -> None:
    rig = tiny_rig(chunk=chunk, running=3)
    asked = requests(rig, show)
    running = []
    for one in asked:
        running.append(rig.engine.submit(one))
        rig.run(steps=2)
    rig.run()
    assert [rig.answer(one).ids for one in running] == [rig.by_transformers(one) for one in asked]


@pytest.mark.parametrize("tokens", [100, 130, 200])
def test_preemption(tiny_rig: Any, show: Any, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Places for little more than one answer: the newest are sent back, and nobody's words change."""
    monkeypatch.setattr("pumice.infer.engine.scheduler.ROOM", 4)
    rig = tiny_rig(tokens=tokens, chunk=16)
    asked = [
        rig.request(f"How many {word} ? " + "a b " * 5, show(seed), max_new_tokens=60)
        for seed, word in enumerate(("circles", "squares", "a", "b", "c"))
    ]
    running = [rig.engine.submit(one) for one in asked]
    rig.run()
    assert [rig.answer(one).ids for one in running] == [rig.by_transformers(one) for one in asked]
    assert rig.engine.stats().totals.preemptions > 0


@pytest.mark.parametrize("after", range(0, 14, 2))
def test_neighbours_that_give_up(tiny_rig: Any, show: Any, after: int) -> None:
    """In the queue, while pictures are encoded, in the prompt, in the answer."""
    rig = tiny_rig(chunk=8, running=4)
    asked = requests(rig, show)
    running = [rig.engine.submit(one) for one in asked]
    rig.run(steps=after)
    for one in running[::2]:
        one.abort()
    rig.run()
    for one in running[::2]:
        assert rig.answer(one).reason in ("abort", "length", "stop")
    for one, request in list(zip(running, asked, strict=True))[1::2]:
        assert rig.answer(one).ids == rig.by_transformers(request)
    stats = rig.engine.stats()
    assert (stats.running, stats.waiting, stats.waiting_tokens, stats.places_held) == (0, 0, 0, 0)
    assert stats.totals.finished["abort"] > 0
