"""Four tiny tokenizers with written-out vocabularies, one of each family that matters.

bytes   byte-level BPE (GPT-2, Qwen, Llama 3), with a post-processor that adds BOS
first   SentencePiece style, a space before the first piece only (Llama, legacy=False)
legacy  SentencePiece style, a space after every added token too (Vicuna's and LLaVA's tokenizer.json)
llama   transformers' own LlamaTokenizer with legacy=True: as legacy, but no space before a space

All have <unk> 0, <s> 1, </s> 2, and ``<image>``, ``<|im_start|>`` (special), ``[REGION]`` (added,
not special) at the end of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pumice.text import Template, get_template, render
from pumice.types import Encoded, Message, Text, text_message

WORDS = ["What", "is", "it", "Why", "red", "blue", "circle", "USER", "ASSISTANT", "A", "the", "user"]
SPECIALS = ["<unk>", "<s>", "</s>"]


def _grow(vocab: dict[str, int], merges: list[tuple[str, str]], word: str) -> None:
    """Add the merges that spell ``word`` from its left."""
    for at in range(1, len(word)):
        pair = (word[:at], word[at])
        if pair[0] + pair[1] not in vocab:
            vocab[pair[0] + pair[1]] = len(vocab)
            merges.append(pair)


def _wrap(backend: Tokenizer) -> PreTrainedTokenizerBase:
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    return _extend(tokenizer)


def _extend(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    special = [AddedToken(token, normalized=False, special=True) for token in ("<image>", "<|im_start|>")]
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.add_tokens([AddedToken("[REGION]", normalized=False, special=False)])
    return tokenizer


def byte_level(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer; ``extra`` words are spelt whole."""
    letters = [*SPECIALS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {token: id_ for id_, token in enumerate(letters)}
    merges: list[tuple[str, str]] = []
    for word in (*WORDS, *extra):
        _grow(vocab, merges, word)
    for word in WORDS:
        vocab["Ġ" + word] = len(vocab)
        merges.append(("Ġ", word))
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _wrap(backend)


def sentence_piece(scheme: str, extra: tuple[str, ...] = ()) -> PreTrainedTokenizerBase:
    """A BPE tokenizer in the manner of SentencePiece; ``scheme`` is first, legacy or llama."""
    letters = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    vocab = {token: id_ for id_, token in enumerate(letters)}
    merges: list[tuple[str, str]] = []
    for word in (*WORDS, *extra):
        _grow(vocab, merges, word)
    for word in WORDS:
        vocab["▁" + word] = len(vocab)
        merges.append(("▁", word))
    if scheme == "llama":
        return _extend(LlamaTokenizer(vocab=vocab, merges=merges, legacy=True, add_bos_token=True))
    backend = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    if scheme == "legacy":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1)]
    )
    return _wrap(backend)


BUILT = {
    "bytes": byte_level(),
    "first": sentence_piece("first"),
    "legacy": sentence_piece("legacy"),
    "llama": sentence_piece("llama"),
}


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, PreTrainedTokenizerBase]:
    return BUILT


@pytest.fixture(params=sorted(BUILT))
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return BUILT[request.param]


Tokenizers = dict[str, PreTrainedTokenizerBase]


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


ONE = (text_message("user", "What is it?", [0]), assistant("red circle"))
TWO = (*ONE, text_message("user", "Why?"), assistant("blue"))
WORDS_ONLY = (text_message("user", "What is it?"), assistant("red circle"))


def image_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.convert_tokens_to_ids("<image>"))


def write(
    messages: Sequence[Message],
    tokenizer: PreTrainedTokenizerBase,
    template: str | Template,
    lengths: Sequence[int] = (),
    **options: Any,
) -> Encoded:
    chosen = get_template(template) if isinstance(template, str) else template
    return render(
        messages,
        tokenizer,
        chosen,
        image_lengths=lengths,
        image_token_id=image_id(tokenizer),
        **options,
    )
