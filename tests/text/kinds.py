"""Tokenizers of the kinds that matter, trained here on a few sentences, with the tokens of all templates.

legacy      SentencePiece manner, BPE: a space before each piece of text between added tokens (Vicuna)
first       the same with the space before the first piece only (Llama with legacy=False)
llama       transformers' own LlamaTokenizer with legacy=True
unigram     SentencePiece manner, Unigram model with byte fallback
gpt2        byte-level BPE, GPT-2's way to cut text, no BOS (Qwen's manner)
tiktoken    byte-level BPE, Llama 3's way to cut text, BOS added, many special tokens
qwen        byte-level BPE, Qwen's way to cut text (single digits), no BOS, tokens that are not special
phi         SentencePiece manner, with control tokens that swallow the blanks after them (Phi-3)
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import LlamaTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

KINDS = ("legacy", "first", "llama", "unigram", "gpt2", "tiktoken", "qwen", "phi")
CONTROL = (
    "<image>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<im_start>",
    "<im_end>",
)
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEXT = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "You are a helpful language and vision assistant. Answer the questions.",
    "USER: What is in the picture? ASSISTANT: There is a red circle on the left, I think.",
    "Human: Where is it? Assistant: It isn't there; 3 of 12 objects, [0.1, 0.25] are blue!",
    "[INST] <<SYS>> Answer. <</SYS>> Why? [/INST] Because (as they'd say) it's so...",
    "system user assistant model Image visual content format provided following",
    "First line\nsecond line\n\nthird line, with 2024 and 100% of it: ça va, naïve café.",
    "def f(x):\n    return x + 1  # a comment\n\tand tabs",
] * 4
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = Regex(rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}")
QWEN = Regex(rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{_LETTERS}|\p{{N}}|{_REST}")


@cache
def build(kind: str) -> PreTrainedTokenizerBase:
    """The tokenizer of this kind; always the same one, so leave it as it is."""
    if kind in ("gpt2", "tiktoken", "qwen"):
        return _byte_level(kind)
    return _sentence_piece(kind)


def image_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return int(tokenizer.convert_tokens_to_ids("<image>"))


def _special(*tokens: str, **options: Any) -> list[AddedToken]:
    return [AddedToken(token, normalized=False, special=True, **options) for token in tokens]


def _byte_level(kind: str) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE())
    if kind == "gpt2":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(LLAMA_3 if kind == "tiktoken" else QWEN, "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(TEXT, trainer)
    if kind == "qwen":
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>")
        tokenizer.add_tokens(_special(*CONTROL), special_tokens=True)
        tokenizer.add_tokens(["<think>", "</think>", "<tool_call>"])
        return tokenizer
    if kind == "gpt2":
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
        tokenizer.add_tokens(_special(*CONTROL), special_tokens=True)
        return tokenizer
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="</s>"
    )
    tokenizer.add_tokens(_special(*CONTROL), special_tokens=True)
    tokenizer.add_tokens(_special(*(f"<|reserved_{n}|>" for n in range(200))), special_tokens=True)
    _add_bos(tokenizer)
    return tokenizer


def _sentence_piece(kind: str) -> PreTrainedTokenizerBase:
    specials = ["<unk>", "<s>", "</s>"]
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    # SentencePiece's pieces end where words do, and mix no letters with punctuation.
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first"),
            pre_tokenizers.Split(Regex(r"▁?[\p{L}]+|▁?\p{N}|▁+|."), "isolated"),
        ]
    )
    lines = [line for text in TEXT for line in text.replace("\t", " ").split("\n")]
    tokens = [*specials, *letters]
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False, special_tokens=tokens)
    trained.train_from_iterator(lines, trainer)
    vocab, merges = _bpe(trained)
    if kind == "llama":
        tokenizer = LlamaTokenizer(vocab=vocab, merges=merges, legacy=True, add_bos_token=True)
        tokenizer.add_tokens(_special(*CONTROL), special_tokens=True)
        return tokenizer
    if kind == "unigram":
        # The library's Unigram trainer differs from run to run; rarer pieces are less likely here too.
        scores = [(piece, -0.02 * vocab[piece]) for piece in sorted(vocab, key=lambda piece: vocab[piece])]
        backend = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    else:
        backend = Tokenizer(
            models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
        )
        if kind == "first":
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        else:
            backend.normalizer = normalizers.Sequence(
                [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
            )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.add_tokens(_special(*CONTROL), special_tokens=True)
    if kind == "phi":
        tokenizer.add_tokens(_special(*PHI, rstrip=True), special_tokens=True)
        tokenizer.add_tokens(_special("<|endoftext|>"), special_tokens=True)
        tokenizer.eos_token = "<|endoftext|>"
        return tokenizer
    _add_bos(tokenizer)
    return tokenizer


def _add_bos(tokenizer: PreTrainedTokenizerBase) -> None:
    bos = str(tokenizer.bos_token)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )


def _bpe(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    state = json.loads(tokenizer.to_str())["model"]
    return state["vocab"], [tuple(pair) for pair in state["merges"]]
