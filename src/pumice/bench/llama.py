"""llama.cpp as a side of a benchmark: a GGUF file of random weights with the shapes of a language model.

Only the language model: pictures of LLaVA need a second file, and what is compared is how fast words come.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pumice.bench.pipe import Answer, Ask

if TYPE_CHECKING:
    from pumice.bench.material import Size

BLOCK_BYTES = {"q8_0": 34, "q4_0": 18}
"""Kinds of quantised weights that are written, and the bytes of 32 of them with their scale."""


def write_gguf(file: Path, size: Size, kind: str, context: int = 4096) -> Path:
    """A Llama of random weights; all layers have the same numbers, each in a place of its own.

    Args:
        file: where it goes.
        size: the language model's shapes.
        kind: of ``BLOCK_BYTES``; norms are float32, as llama.cpp's own tools leave them.
        context: the most tokens.
    """
    gguf: Any = import_module("gguf")
    quantised = {"q8_0": gguf.GGMLQuantizationType.Q8_0, "q4_0": gguf.GGMLQuantizationType.Q4_0}[kind]
    writer: Any = gguf.GGUFWriter(str(file), "llama")
    kv_heads = size.kv_heads or size.heads
    writer.add_block_count(size.layers)
    writer.add_context_length(context)
    writer.add_embedding_length(size.width)
    writer.add_feed_forward_length(size.mlp)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(size.width // size.heads)
    writer.add_vocab_size(size.vocabulary)
    _add_words(writer, size.vocabulary)
    rng = np.random.default_rng(0)
    narrow = size.width // size.heads * kv_heads
    shapes = {
        "attn_q": (size.width, size.width),
        "attn_k": (narrow, size.width),
        "attn_v": (narrow, size.width),
        "attn_output": (size.width, size.width),
        "ffn_gate": (size.mlp, size.width),
        "ffn_up": (size.mlp, size.width),
        "ffn_down": (size.width, size.mlp),
    }

    def weights(shape: tuple[int, int]) -> Any:
        return gguf.quants.quantize(rng.standard_normal(shape, dtype=np.float32) * 0.02, quantised)

    made = {name: weights(shape) for name, shape in shapes.items()}
    ones = np.ones(size.width, dtype=np.float32)
    words = weights((size.vocabulary, size.width))
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", words, raw_dtype=quantised)
    writer.add_tensor("output_norm.weight", ones)
    for layer in range(size.layers):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name, data in made.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", data, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_words(writer: Any, vocabulary: int) -> None:
    """A vocabulary: marks, the 256 bytes, and words."""
    named = dict(_words(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(list(named))
    writer.add_token_scores([0.0] * vocabulary)
    writer.add_token_types(list(named.values()))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


def _words(vocabulary: int) -> Iterator[tuple[str, int]]:
    """Words and their types: 1 is a plain one, 2 unknown, 3 a mark, 6 a byte."""
    yield from (("<unk>", 2), ("<s>", 3), ("</s>", 3))
    yield from ((f"<0x{byte:02X}>", 6) for byte in range(256))
    yield from ((f"w{number}", 1) for number in range(vocabulary - 259))


def read_bytes(file: Path, size: Size, kind: str) -> int:
    """Bytes of weights that one new token reads: all but the table of words."""
    return file.stat().st_size - size.vocabulary * size.width // 32 * BLOCK_BYTES[kind]


def open_llama(file: Path, threads: int) -> Any:
    """The function that measures one file."""
    llama_cpp: Any = import_module("llama_cpp")
    model = llama_cpp.Llama(
        str(file), n_ctx=2048, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def measure(asked: Ask) -> Answer:
        rng = np.random.default_rng(asked["seed"])
        count: int = asked["prompt"]
        prompt: list[int] = rng.integers(300, asked["vocabulary"], count).tolist()
        model.reset()
        began = time.perf_counter()
        model.eval(prompt)
        token = model.sample(temp=0.0)
        first = time.perf_counter()
        for _ in range(asked["tokens"] - 1):
            model.eval([token])
            token = model.sample(temp=0.0)
        ended = time.perf_counter()
        return {
            "first": first - began,
            "prompt": len(prompt),
            "rate": (asked["tokens"] - 1) / (ended - first),
        }

    return measure
