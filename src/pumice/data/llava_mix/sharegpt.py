"""ShareGPT: conversations in text alone, cut at 2,048 tokens.

Those that cannot be a conversation go, as Vicuna's cleaning has it: answers before the first question and
questions behind the last answer are cut off, and one whose speakers do not take turns is left out. What is
longer than 2,048 tokens loses pairs from its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pumice.data.llava_mix.base import Context, MixSource, Pair, conversation
from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import UsageError
from pumice.types import PLACEHOLDER, Message, Role, Text

FILE = "sharegpt.json"
MOST_TOKENS = 2048
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
}


def rows(context: Context) -> Iterator[dict[str, Any]]:
    """The conversations that can be used."""
    if context.count_tokens is None:
        raise UsageError(
            "sharegpt is cut by tokens, and there is no tokenizer",
            where="--tokenizer",
            remedy="add --tokenizer DIR, the folder of the language model",
        )
    path = context.file(FILE)
    problems = Problems()
    for number, row in read_objects(path, problems):
        pairs = _pairs(row.get("conversations", row.get("items")), context)
        if pairs is None:
            continue
        fitting = _fitting(pairs, context)
        if fitting:
            identity = row.get("id")
            yield conversation(
                identity if isinstance(identity, str | int) else str(number), None, pairs[:fitting]
            )
    problems.raise_if_any(f"{path} has rows that cannot be used")


def _pairs(turns: object, context: Context) -> list[Pair] | None:
    """The turns as pairs, or None where they are no conversation."""
    said: list[tuple[Role, str]] = []
    for turn in turns if isinstance(turns, list) else []:
        speaker = turn.get("from") if isinstance(turn, dict) else None
        text = turn.get("value") if isinstance(turn, dict) else None
        if not isinstance(text, str) or not isinstance(speaker, str) or speaker not in SPEAKERS:
            context.left_out["a turn has no text or an unknown speaker"] += 1
            return None
        said.append((SPEAKERS[speaker], text))
    while said and said[0][0] != "user":
        del said[0]
    if len(said) % 2:
        del said[-1]
    if not said:
        context.left_out["no question with an answer"] += 1
        return None
    if any(role != ("assistant" if index % 2 else "user") for index, (role, _) in enumerate(said)):
        context.left_out["speakers do not take turns"] += 1
        return None
    if any(not text.strip() for _, text in said):
        context.left_out["a turn is empty"] += 1
        return None
    if any(PLACEHOLDER in text for _, text in said):
        context.left_out[f"a text holds {PLACEHOLDER}"] += 1
        return None
    texts = [text for _, text in said]
    return list(zip(texts[::2], texts[1::2], strict=True))


def _fitting(pairs: Sequence[Pair], context: Context) -> int:
    """How many pairs from the first on have at most 2,048 tokens."""
    low, high = 0, len(pairs)
    while low < high:
        # The whole first: most fit.
        middle = high if (low, high) == (0, len(pairs)) else (low + high + 1) // 2
        if _tokens(pairs[:middle], context) <= MOST_TOKENS:
            low = middle
        else:
            high = middle - 1
    if low == 0:
        context.left_out[f"the first pair has more than {MOST_TOKENS:,} tokens"] += 1
    elif low < len(pairs):
        context.left_out["(pairs cut from the end, not rows)"] += len(pairs) - low
    return low


def _tokens(pairs: Sequence[Pair], context: Context) -> int:
    assert context.count_tokens is not None
    messages: list[Message] = []
    for question, answer in pairs:
        messages += [Message("user", (Text(question),)), Message("assistant", (Text(answer),))]
    return context.count_tokens(messages)


SOURCE = MixSource("sharegpt", 40_688, (FILE,), rows)
