"""What the two LLaVA repositories do with a conversation, as plain functions.

Written from what their code does (``Conversation.get_prompt``, ``tokenizer_image_token``, the
``preprocess_*`` functions of ``train.py``), without any of ours: a prompt is one string, tokenized in
chunks around ``<image>``; labels are found afterwards by tokenizing its parts again and counting.

Two readings, where the originals assume one tokenizer: their texts ``<s>`` and ``</s>`` are the
tokenizer's BOS and EOS, whatever it calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from transformers import PreTrainedTokenizerBase

IMAGE = -200
IGNORE = -100

Style = Literal["single", "two", "mpt", "chatml", "llama_2", "llama_3", "gemma", "plain"]


@dataclass(frozen=True)
class Original:
    """A conversation template of theirs."""

    style: Style
    system: str = ""
    roles: tuple[str, str] = ("", "")
    sep: str = ""
    sep2: str = ""
    example: tuple[str, str] | None = None
    tags: bool = False


CURIOUS = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)
TAGS = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant is able to "
    "understand the visual content that the user provides, and assist the user with a variety of tasks "
    "using natural language.The visual content will be provided with the following format: "
    "<Image>visual content</Image>."
)
VISION = (
    "You are a helpful language and vision assistant. You are able to understand the visual content that "
    "the user provides, and assist the user with a variety of tasks using natural language."
)
V0 = Original("single", CURIOUS.format("human"), ("Human", "Assistant"), "###")
V1 = Original("two", CURIOUS.format("user"), ("USER", "ASSISTANT"), " ", "</s>")
LLAMA_2 = Original("llama_2", VISION, ("USER", "ASSISTANT"), "<s>", "</s>")
MPT = Original(
    "mpt",
    "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. "
    "The assistant gives helpful and honest answers.",
    ("<|im_start|>user\n", "<|im_start|>assistant\n"),
    "<|im_end|>",
)
QWEN = Original(
    "chatml",
    "<|im_start|>system\nYou are a helpful assistant.",
    ("<|im_start|>user", "<|im_start|>assistant"),
    "<|im_end|>",
)
ORIGINALS = {
    "plain": Original("plain", sep="\n"),
    "v1": V1,
    "llava_v1": replace(V1, system=CURIOUS.format("human")),
    "v1_mmtag": replace(V1, system=TAGS, tags=True),
    "v0": V0,
    "llava_v0": V0,
    "v0_mmtag": replace(V0, system=TAGS, tags=True),
    "llava_llama_2": LLAMA_2,
    "llama_2": LLAMA_2,
    "mistral_instruct": replace(LLAMA_2, system="", sep=""),
    "mpt": MPT,
    "chatml_direct": replace(MPT, system="<|im_start|>system\nAnswer the questions."),
    "qwen_1_5": QWEN,
    "llava_llama_3": Original("llama_3", VISION, ("user", "assistant")),
    "gemma_instruct": Original(
        "gemma", "", ("<start_of_turn>user\n", "<start_of_turn>model\n"), "<end_of_turn>\n"
    ),
}
"""By the names of ours. The long texts of llama_2 and v0 are filled in by the test from ours."""


def with_system(original: Original, system: str) -> Original:
    """The template with another system prompt."""
    head = "<|im_start|>system\n" if original.system.startswith("<|im_start|>") else ""
    return replace(original, system=head + system)


def moved_to_front(value: str, tags: bool) -> str:
    """What training does to a message with an image: to the front, a newline, and maybe tags."""
    if "<image>" not in value:
        return value
    value = ("<image>\n" + value.replace("<image>", "").strip()).strip()
    return value.replace("<image>", "<Image><image></Image>") if tags else value


def tagged(value: str) -> str:
    """The tags alone, where every image keeps its place."""
    return value.replace("<image>", "<Image><image></Image>")


def get_pieces(
    original: Original, messages: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[tuple[str, bool]]:
    """The prompt as (text, whether it is an answer with what ends it)."""
    bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
    examples = original.example or ()
    shown = [*examples, *messages]
    sep, style = original.sep, original.style
    pieces: list[tuple[str, bool]] = []
    if style in ("single", "two", "mpt"):
        pieces.append((original.system + sep, False))
    elif style == "chatml" and original.system:
        pieces.append((f"{original.system}{sep}\n", False))
    elif style == "llama_3":
        pieces.append((f"{bos}{_header('system')}{original.system.strip()}<|eot_id|>", False))
    for number, text in enumerate(shown):
        is_answer, role = bool(number % 2), original.roles[number % 2]
        if style in ("single", "two"):
            end = eos if is_answer and style == "two" else sep
            turn = [f"{role}:", f" {text}{end}"]
        elif style == "mpt":
            turn = [role, text + sep]
        elif style == "chatml":
            turn = [f"{role}\n", text + sep, "\n"]
        elif style == "gemma":
            turn = [role, text + sep.rstrip("\n"), "\n"]
        elif style == "llama_3":
            turn = [_header(role), text.strip() + "<|eot_id|>"]
        elif style == "plain":
            turn = ["", text + sep] if is_answer else ["<image>"]
        elif is_answer:
            turn = ["", f" {text} {eos}"]
        else:
            if number == 0 and original.system:
                text = f"<<SYS>>\n{original.system}\n<</SYS>>\n\n{text}"
            turn = [(bos if sep and number else "") + f"[INST] {text} [/INST]"]
        labelled = is_answer and number >= len(examples)
        pieces += [(piece, labelled and at == 1) for at, piece in enumerate(turn)]
    return pieces


def _header(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


def get_prompt(original: Original, messages: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt string."""
    return "".join(text for text, _ in get_pieces(original, messages, tokenizer))


def tokenizer_image_token(prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Each chunk around ``<image>`` by itself, one BOS in front of all, -200 for an image."""
    chunks = [tokenizer(chunk).input_ids for chunk in prompt.split("<image>")]
    first = chunks[0][:1]
    drop = 1 if first and first[0] == tokenizer.bos_token_id else 0
    ids = first[:drop]
    for number, chunk in enumerate(chunks):
        ids += [IMAGE] * (number > 0) + chunk[drop:]
    return ids


def get_ids(original: Original, prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of a prompt; Llama 3's chat template brings its BOS itself."""
    if original.style == "llama_3" and tokenizer.bos_token:
        prompt = prompt.removeprefix(tokenizer.bos_token)
    return tokenizer_image_token(prompt, tokenizer)


def get_labels(
    original: Original, prompt: str, tokenizer: PreTrainedTokenizerBase, legacy: bool | None
) -> list[int] | None:
    """Labels as their training makes them; None where it takes another text than the prompt.

    ``legacy`` is the attribute that Llama's tokenizers have, None for all others.
    """
    ids = get_ids(original, prompt, tokenizer)

    def count(text: str) -> int:
        return len(tokenizer_image_token(text, tokenizer))

    if original.style == "plain":
        head = count("<image>")
        return [IGNORE] * head + ids[head:]
    if original.style == "two":
        between = original.sep + original.roles[1] + ": "
        less = legacy is False
        return _by_rounds(ids, prompt.split(tokenizer.eos_token), between, count, legacy_less=less)
    if original.style == "llama_2":
        return _by_rounds(ids, prompt.split(tokenizer.eos_token), "[/INST] ", count, legacy_less=False)
    if original.style == "mpt":
        return _mpt(original, ids, prompt, count, legacy)
    if original.style == "gemma":
        return _gemma(original, ids, prompt, count)
    if original.style in ("chatml", "llama_3"):
        return _turn_by_turn(original, prompt, tokenizer)
    return None


def _counted(
    ids: list[int], rounds: list[str], between: str, measure: Callable[[int, str, str], tuple[int, int]]
) -> list[int]:
    """What all counting functions share: a wrong sum masks the whole sample.

    ``measure`` gives the tokens of a round and of its question, from its number, text and question.
    """
    labels = list(ids)
    at = 1
    labels[:at] = [IGNORE] * at
    for number, text in enumerate(rounds):
        parts = text.split(between)
        if text == "" or len(parts) != 2:
            break
        length, instruction = measure(number, text, parts[0] + between)
        labels[at : at + instruction] = [IGNORE] * instruction
        at += length
    labels[at:] = [IGNORE] * len(labels[at:])
    return labels if at == len(ids) else [IGNORE] * len(ids)


def _by_rounds(
    ids: list[int], rounds: list[str], between: str, count: Callable[[str], int], *, legacy_less: bool
) -> list[int]:
    """preprocess_v1 and preprocess_llama_2: rounds end with EOS, a fixed 2 tokens are taken off."""

    def measure(number: int, text: str, question: str) -> tuple[int, int]:
        less = 1 if number and legacy_less else 0
        return count(text) - less, count(question) - 2 - less

    return _counted(ids, rounds, between, measure)


def _mpt(
    original: Original, ids: list[int], prompt: str, count: Callable[[str], int], legacy: bool | None
) -> list[int]:
    parts = prompt.split(original.sep)
    rounds = [original.sep.join(parts[:3])]
    rounds += [original.sep.join(parts[n : n + 2]) for n in range(3, len(parts), 2)]

    def measure(number: int, text: str, question: str) -> tuple[int, int]:
        more = 1 if number and legacy else 0
        return count(text) + more, count(question) - 1 + more

    return _counted(ids, rounds, original.sep + original.roles[1], measure)


def _gemma(original: Original, ids: list[int], prompt: str, count: Callable[[str], int]) -> list[int]:
    parts = prompt.split(original.sep)
    rounds = [original.sep.join(parts[n : n + 2]) for n in range(0, len(parts), 2)]

    def measure(number: int, text: str, question: str) -> tuple[int, int]:
        return count(text) - 1 + 2, count(question) - 1

    return _counted(ids, rounds, original.sep + original.roles[1], measure)


def _turn_by_turn(original: Original, prompt: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """preprocess_qwen and preprocess_llama3: answers' whole turns, and control tokens of every turn."""
    start = "<|im_start|>" if original.style == "chatml" else "<|start_header_id|>"
    open_tokens = ["\n", "<|im_start|>", "<|im_end|>"]
    if original.style == "llama_3":
        open_tokens = ["\n\n", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    open_ids = [i for text in open_tokens for i in tokenizer(text, add_special_tokens=False).input_ids[-1:]]
    has_bos = get_ids(original, "a", tokenizer)[:1] == [tokenizer.bos_token_id]
    labels = [tokenizer.bos_token_id if original.style == "llama_3" else IGNORE] * has_bos
    for turn in prompt.split(start)[1:]:
        ids = tokenizer_image_token(start + turn, tokenizer)[has_bos:]
        is_answer = turn.startswith("assistant")
        labels += [i if i != IMAGE and (is_answer or i in open_ids) else IGNORE for i in ids]
    return labels


def right_labels(
    original: Original, messages: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """Each answer and what ends it: the tokens that every beginning of the prompt string adds."""
    pieces = get_pieces(original, messages, tokenizer)
    labels: list[int] = []
    prompt = ""
    for text, is_answer in pieces:
        if not text:
            continue
        prompt += text
        ids = get_ids(original, prompt, tokenizer)
        labels += ids[len(labels) :] if is_answer else [IGNORE] * (len(ids) - len(labels))
    return labels
