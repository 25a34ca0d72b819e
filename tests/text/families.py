"""Chat templates with the structure of published ones, and the tokenizers that they go with.

Written anew from what each family's template does: which words it puts around messages, what it
does without a system prompt, what it strips, refuses and rewrites.
"""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from .kinds import build

_ALTERNATE = """
{%- if (message.role == 'user') != (loop.index0 is even) %}
{{- raise_exception('roles must alternate') }}
{%- endif %}
"""

QWEN_2 = """
{%- for m in messages %}
{%- if loop.first and m.role != 'system' %}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

SMOLLM = QWEN_2.replace("You are a helpful assistant.", "You are named SmolLM")

QWEN_2_5 = """
{%- if tools %}{{ raise_exception('no tools here') }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>system\\nYou are Qwen, a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}
{%- if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN_3 = """
{%- if messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=messages|length - 1) %}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for m in messages %}
{%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}
{%- elif m.role == 'assistant' %}
{%- set text = m.content %}{% set thought = '' %}
{%- if '</think>' in text %}
{%- set thought = text.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set text = text.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{%- if loop.index0 > ns.last and (loop.last or thought) %}
{{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + text.lstrip('\\n') }}
{%- else %}
{{- '<|im_start|>assistant\\n' + text }}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}"""

LLAMA_3 = """
{%- for m in messages %}
{%- set head = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' %}
{%- set text = head + m['content'] | trim + '<|eot_id|>' %}
{%- if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}
{{- text }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

LLAMA_3_2 = """
{{- bos_token }}
{%- if tools is not none or documents is not none %}{{ raise_exception('no tools here') }}{% endif %}
{%- if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
{%- set prompt = messages[0]['content'] | trim %}{% set messages = messages[1:] %}
{%- else %}{% set prompt = '' %}{% endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Cutting Knowledge Date: December 2023\\n' }}
{{- 'Today Date: ' + date_string + '\\n\\n' }}
{{- prompt }}{{ '<|eot_id|>' }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL_1 = (
    "{{ bos_token }}{% for message in messages %}"
    + _ALTERNATE
    + """{%- if message.role == 'user' %}{{ '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ message.content + eos_token + ' ' }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}
{%- endfor %}"""
)

MISTRAL_2 = (
    """
{%- if messages[0].role == 'system' %}{% set prompt = messages[0].content %}{% set rest = messages[1:] %}
{%- else %}{% set rest = messages %}{% endif %}
{{- bos_token }}
{%- for message in rest %}"""
    + _ALTERNATE
    + """{%- if message.role == 'user' %}
{%- if loop.first and prompt is defined %}{{ ' [INST] ' + prompt + '\\n\\n' + message.content + ' [/INST]' }}
{%- else %}{{ ' [INST] ' + message.content + ' [/INST]' }}{% endif %}
{%- else %}{{ ' ' + message.content + eos_token }}{% endif %}
{%- endfor %}"""
)

MISTRAL_3 = MISTRAL_2.replace("loop.first and", "loop.last and").replace("' [INST] '", "'[INST] '")
"""The system prompt moves to the last question, and only where that is the last message."""

LLAMA_2 = (
    """
{%- if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set prompt = messages[0].content %}
{%- else %}{% set rest = messages %}{% set prompt = false %}{% endif %}
{%- for message in rest %}"""
    + _ALTERNATE
    + """{%- set text = message.content %}
{%- if loop.index0 == 0 and prompt %}
{%- set text = '<<SYS>>\\n' + prompt + '\\n<</SYS>>\\n\\n' + text %}
{%- endif %}
{%- if message.role == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""
)

GEMMA_2 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    + _ALTERNATE
    + """{%- set role = 'model' if message.role == 'assistant' else message.role %}
{{- '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
)

GEMMA_3 = (
    """{{ bos_token }}
{%- if messages[0].role == 'system' %}
{%- set prompt = messages[0].content %}
{%- set first = (prompt if prompt is string else prompt[0].text) + '\\n\\n' %}
{%- set rest = messages[1:] %}
{%- else %}{% set first = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}"""
    + _ALTERNATE
    + """{%- set role = 'model' if message.role == 'assistant' else message.role %}
{{- '<start_of_turn>' + role + '\\n' + (first if loop.first else '') }}
{%- if message.content is string %}{{ message.content | trim }}
{%- else %}{% for item in message.content %}
{%- if item.type == 'image' %}{{ '<start_of_image>' }}{% else %}{{ item.text | trim }}{% endif %}
{%- endfor %}{% endif %}
{{- '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""
)

PHI_3 = """
{%- for m in messages %}
{%- if m.role in ['system', 'user', 'assistant'] %}
{{- '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

ZEPHYR = """
{%- for m in messages %}
{{- '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""
"""Its role words are text, not tokens."""

_IMAGES = "{%- for p in m.content if p.type == 'image' %}{{ '<image>\\n' }}{% endfor %}"
_TEXTS = "{%- for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}"
_TEXTS_AND_BLANK = "{%- for p in m.content if p.type == 'text' %}{{ p.text + ' ' }}{% endfor %}"
_MARKED = "{% generation %}" + _TEXTS_AND_BLANK + "{% endgeneration %}"

LLAVA_1_5_HF = (
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
    + _IMAGES
    + "{% if m.role != 'assistant' %}"
    + _TEXTS_AND_BLANK
    + "{% else %}"
    + _MARKED
    + "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""llava-1.5-hf: no system prompt, and a blank where the model was trained with </s>."""

LLAVA_1_6_VICUNA_HF = (
    "{% if messages[0].role != 'system' %}{{ 'A chat between a curious human and an artificial intelligence "
    "assistant. The assistant gives helpful, detailed, and polite answers to the human\\'s questions. ' }}"
    "{% endif %}" + LLAVA_1_5_HF
)
LLAVA_1_6_MISTRAL_HF = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ '<<SYS>>\\n' + m.content[0].text + '\\n<</SYS>>\\n\\n' }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' }}" + _IMAGES + _TEXTS + "{{ ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content[0].text + '<\\\\s> ' }}{% endif %}{% endfor %}"
)
"""llava-v1.6-mistral-hf: the end of an answer is misspelt, the system prompt stands before [INST]."""

LLAVA_1_6_34B_HF = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}" + _IMAGES + _TEXTS + "{{ '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""llava-v1.6-34b-hf: ChatML without the system prompt that the original adds."""

FAMILIES = {
    "qwen2": (QWEN_2, "qwen"),
    "qwen2.5": (QWEN_2_5, "qwen"),
    "qwen3": (QWEN_3, "qwen"),
    "smollm": (SMOLLM, "smollm"),
    "llama3": (LLAMA_3, "tiktoken"),
    "llama3.2": (LLAMA_3_2, "tiktoken"),
    "mistral1": (MISTRAL_1, "legacy"),
    "mistral2": (MISTRAL_2, "first"),
    "mistral2-tokens": (MISTRAL_2, "mistral"),
    "mistral3": (MISTRAL_3, "mistral"),
    "llama2": (LLAMA_2, "legacy"),
    "llama2-first": (LLAMA_2, "first"),
    "gemma2": (GEMMA_2, "unigram"),
    "gemma3": (GEMMA_3, "gemma"),
    "phi3": (PHI_3, "phi"),
    "zephyr": (ZEPHYR, "llama"),
    "zephyr-bytes": (ZEPHYR, "qwen"),
}
"""A name, its Jinja, and the kind of tokenizer."""


@cache
def family(name: str) -> tuple[str, PreTrainedTokenizerBase]:
    """The Jinja and the tokenizer of a family; always the same objects, so leave them as they are."""
    jinja, kind = FAMILIES[name]
    return jinja, _tokenizer(kind)


def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    import copy

    if kind == "smollm":  # BOS and EOS are the tokens around a message, and BOS is not added
        tokenizer = copy.deepcopy(build("gpt2"))
        tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
        return tokenizer
    if kind == "mistral":  # [INST] is a token here
        tokenizer = copy.deepcopy(build("first"))
        tokens = [AddedToken(token, normalized=False, special=True) for token in ("[INST]", "[/INST]")]
        tokenizer.add_tokens(tokens, special_tokens=True)
        return tokenizer
    if kind == "gemma":  # no prefix space, and runs of line breaks are added tokens
        tokenizer = copy.deepcopy(build("tiktoken"))
        tokenizer.add_tokens([AddedToken("\n\n", normalized=False), AddedToken("\n\n\n", normalized=False)])
        return tokenizer
    return build(kind)
