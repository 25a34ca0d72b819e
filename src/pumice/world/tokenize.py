"""Byte-pair tokenizers for the embedded parts, trained on the world's own text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerFast

# Words keep the space before them; signs are read character by character: every capital and
# every digit is a token of its own, as digits are in Llama's tokenizer.
_SPLIT = r" ?[a-z]+| ?[A-Z](?=[a-z])[a-z]+| ?[A-Z0-9]| ?[^\sA-Za-z0-9]|\s"


def _train(texts: Iterable[str], size: int, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_language_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """The tiny LM's tokenizer: byte-level BPE with ``<unk>``, ``<s>`` and ``</s>`` as in Llama.

    ``<s>`` is put before a text by the tokenizer itself. Any text can be spelt; there is no loss.
    """
    tokenizer = _train(texts, size, ["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def train_caption_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """The tiny CLIP's tokenizer: start and end tokens as in CLIP, end token used as padding."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = _train(texts, size, [start, end])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.token_to_id(start)), (end, tokenizer.token_to_id(end))],
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=end,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of this module, read back."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer
