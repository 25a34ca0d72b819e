"""What ends an answer, by template and tokenizer."""

from __future__ import annotations

import pytest

from pumice.text import answer_ends, get_template, learn_template

from .families import family
from .kinds import build


@pytest.mark.parametrize(
    ("name", "kind", "tokens", "strings"),
    [
        ("v1", "legacy", ["</s>"], ()),
        ("tiny", "qwen", ["<|im_end|>"], ()),
        ("llama_2", "first", ["</s>"], ()),
        ("v0", "legacy", [], ("###",)),
        ("plain", "legacy", [], ("\n",)),
        ("chatml_direct", "legacy", ["<|im_end|>"], ()),
        ("llava_llama_3", "tiktoken", ["<|eot_id|>"], ()),
        ("gemma_instruct", "unigram", ["<end_of_turn>"], ()),
    ],
)
def test_named(name: str, kind: str, tokens: list[str], strings: tuple[str, ...]) -> None:
    tokenizer = build(kind)
    ids = frozenset(tokenizer.convert_tokens_to_ids(tokens))
    assert answer_ends(get_template(name), tokenizer) == (ids, strings)


@pytest.mark.parametrize(
    ("name", "token"), [("phi3", "<|end|>"), ("zephyr", "</s>"), ("qwen3", "<|im_end|>")]
)
def test_learned(name: str, token: str) -> None:
    jinja, tokenizer = family(name)
    template = learn_template(jinja, tokenizer)
    ids = frozenset(tokenizer.convert_tokens_to_ids([token]))
    assert answer_ends(template, tokenizer) == (ids, ())


def test_words_before_the_token_are_no_end_of_their_own() -> None:
    jinja = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\n<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    _, tokenizer = family("qwen2")
    template = learn_template(jinja, tokenizer)
    assert template.assistant_suffix == "\n<|im_end|>"
    assert answer_ends(template, tokenizer) == (
        frozenset({tokenizer.convert_tokens_to_ids("<|im_end|>")}),
        (),
    )
