"""The conversation templates that have a name.

System prompts, role words and separators are those of the two originals, haotian-liu/LLaVA and
LLaVA-VL/LLaVA-NeXT (``llava/conversation.py`` in both); ``docs/templates.md`` shows each with an
example, says which checkpoint uses it and lists what differs. A new template is a new entry here.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from pumice.errors import TemplateError, suggest
from pumice.text.template import Template as Template
from pumice.types import Role

CHAT = "chat"
"""The name that stands for the tokenizer's own chat template; see ``resolve_template``."""

_EVERYONE: frozenset[Role] = frozenset({"system", "user", "assistant"})
_CURIOUS_USER = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
_CURIOUS_HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
_TAGGED = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant is able to understand the visual content that the user provides, and assist the user "
    "with a variety of tasks using natural language."
    "The visual content will be provided with the following format: <Image>visual content</Image>."
)
_VISION = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
_RESPECTFUL = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while "
    "being safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, "
    "or illegal content. Please ensure that your responses are socially unbiased and positive in nature."
    "\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering "
    "something not correct. If you don't know the answer to a question, please don't share false "
    "information."
)
_ENERGY = (
    "What are the key differences between renewable and non-renewable energy sources?",
    "Renewable energy sources are those that can be replenished naturally in a relatively "
    "short amount of time, such as solar, wind, hydro, geothermal, and biomass. "
    "Non-renewable energy sources, on the other hand, are finite and will eventually be "
    "depleted, such as coal, oil, and natural gas. Here are some key differences between "
    "renewable and non-renewable energy sources:\n"
    "1. Availability: Renewable energy sources are virtually inexhaustible, while non-renewable "
    "energy sources are finite and will eventually run out.\n"
    "2. Environmental impact: Renewable energy sources have a much lower environmental impact "
    "than non-renewable sources, which can lead to air and water pollution, greenhouse gas emissions, "
    "and other negative effects.\n"
    "3. Cost: Renewable energy sources can be more expensive to initially set up, but they typically "
    "have lower operational costs than non-renewable sources.\n"
    "4. Reliability: Renewable energy sources are often more reliable and can be used in more remote "
    "locations than non-renewable sources.\n"
    "5. Flexibility: Renewable energy sources are often more flexible and can be adapted to different "
    "situations and needs, while non-renewable sources are more rigid and inflexible.\n"
    "6. Sustainability: Renewable energy sources are more sustainable over the long term, while "
    "non-renewable sources are not, and their depletion can lead to economic and social instability.\n",
)

PLAIN = Template(
    name="plain",
    assistant_suffix="\n",
    eos=False,
    images_only=True,
)
"""Alignment on captions: image, caption, newline; no EOS. LLaVA's ``preprocess_plain``."""

TINY = Template(
    name="tiny",
    system_suffix="\n",
    user_prefix="Q: ",
    user_suffix="\n",
    assistant_prefix="A: ",
)
"""The embedded language model's own: few tokens, no system prompt."""

V1 = Template(
    name="v1",
    system=_CURIOUS_USER,
    system_suffix=" ",
    user_prefix="USER: ",
    user_suffix=" ",
    assistant_prefix="ASSISTANT: ",
)
"""LLaVA 1.5's training and evaluation (vicuna_v1), with separators " " and the EOS."""

LLAVA_V1 = replace(V1, name="llava_v1", system=_CURIOUS_HUMAN)
"""The demo's: as ``v1``, but its user is a human."""

LLAVA_1_5_HF = replace(V1, name="llava_1_5_hf", system="")
"""As ``v1`` without a system prompt: how transformers' llava-1.5-hf asks."""

V1_MMTAG = replace(V1, name="v1_mmtag", system=_TAGGED, image_prefix="<Image>", image_suffix="</Image>")
"""As ``v1``, with tags around each image and a system prompt that says so."""

LLAVA_V0 = Template(
    name="llava_v0",
    system=_CURIOUS_HUMAN,
    system_suffix="###",
    user_prefix="Human: ",
    user_suffix="###",
    assistant_prefix="Assistant: ",
    assistant_suffix="###",
    eos=False,
)
"""LLaVA 1.0's first models: ``###`` ends every message."""

V0 = replace(LLAVA_V0, name="v0", examples=(_ENERGY,))
"""Vicuna v0's own: as ``llava_v0``, after an example of a question and its answer."""

V0_MMTAG = replace(LLAVA_V0, name="v0_mmtag", system=_TAGGED, image_prefix="<Image>", image_suffix="</Image>")
"""As ``llava_v0``, with tags around each image and a system prompt that says so."""

MISTRAL_INSTRUCT = Template(
    name="mistral_instruct",
    system_prefix="<<SYS>>\n",
    system_suffix="\n<</SYS>>\n\n",
    system_inside_user=True,
    user_prefix="[INST] ",
    user_suffix=" [/INST]",
    assistant_prefix=" ",
    assistant_suffix=" ",
    optional_control=("[INST]", "[/INST]"),
)
"""LLaVA 1.6 on Mistral: one BOS for the conversation, a blank before each EOS."""

LLAMA_2 = replace(MISTRAL_INSTRUCT, name="llama_2", system=_RESPECTFUL, bos="pair")
"""Llama 2's own, with its long system prompt: a BOS before every pair."""

LLAVA_LLAMA_2 = replace(LLAMA_2, name="llava_llama_2", system=_VISION)
"""LLaVA on Llama 2: as ``llama_2`` with a system prompt about vision."""

MPT = Template(
    name="mpt",
    system=(
        "A conversation between a user and an LLM-based AI assistant. "
        "The assistant gives helpful and honest answers."
    ),
    system_prefix="<|im_start|>system\n",
    system_suffix="<|im_end|>",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>",
    bos="tokenizer",
    eos=False,
    control=("<|im_start|>", "<|im_end|>"),
)
"""LLaVA on MPT: ChatML with no newline between messages."""

CHATML_DIRECT = replace(MPT, name="chatml_direct", system="Answer the questions.")
"""LLaVA 1.6 34B: as ``mpt`` with a short system prompt."""

QWEN_1_5 = replace(
    MPT,
    name="qwen_1_5",
    system="You are a helpful assistant.",
    system_suffix="<|im_end|>\n",
    user_suffix="<|im_end|>\n",
    separator="\n",
)
"""LLaVA-NeXT and OneVision on Qwen 1.5 and 2: ChatML with a newline between messages."""

LLAVA_LLAMA_3 = Template(
    name="llava_llama_3",
    system=_VISION,
    system_prefix="<|start_header_id|>system<|end_header_id|>\n\n",
    system_suffix="<|eot_id|>",
    user_prefix="<|start_header_id|>user<|end_header_id|>\n\n",
    user_suffix="<|eot_id|>",
    assistant_prefix="<|start_header_id|>assistant<|end_header_id|>\n\n",
    assistant_suffix="<|eot_id|>",
    eos=False,
    strip=_EVERYONE,
    control=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
"""LLaVA-NeXT on Llama 3: its chat template, which strips every message."""

GEMMA_INSTRUCT = Template(
    name="gemma_instruct",
    takes_system=False,
    user_prefix="<start_of_turn>user\n",
    user_suffix="<end_of_turn>\n",
    assistant_prefix="<start_of_turn>model\n",
    assistant_suffix="<end_of_turn>",
    separator="\n",
    eos=False,
    control=("<start_of_turn>", "<end_of_turn>"),
)
"""LLaVA-NeXT on Gemma: no system prompt."""

TEMPLATES: MappingProxyType[str, Template] = MappingProxyType(
    {
        template.name: template
        for template in (
            PLAIN,
            TINY,
            V1,
            LLAVA_V1,
            LLAVA_1_5_HF,
            V1_MMTAG,
            V0,
            LLAVA_V0,
            V0_MMTAG,
            MISTRAL_INSTRUCT,
            LLAMA_2,
            LLAVA_LLAMA_2,
            MPT,
            CHATML_DIRECT,
            QWEN_1_5,
            LLAVA_LLAMA_3,
            GEMMA_INSTRUCT,
        )
    }
)
"""Every template by its own name."""

ALIASES: MappingProxyType[str, str] = MappingProxyType(
    {
        "default": "v0",
        "vicuna_v1": "v1",
        "v0_plain": "plain",
        "mistral_direct": "chatml_direct",
        "llava_mistral_instruct": "mistral_instruct",
        "llava_v0_mmtag": "v0_mmtag",
        "llava_v1_mmtag": "v1_mmtag",
        "qwen_2": "qwen_1_5",
    }
)
"""Second names of the originals; each is the template of the first, with the first's name."""


def get_template(name: str) -> Template:
    """The template of exactly this name or alias.

    Raises:
        TemplateError: no template has this name (the error lists all and names the nearest), or the
            name is ``chat``, whose template only a tokenizer can tell (``resolve_template``).
    """
    if name == CHAT:
        raise TemplateError(
            "the template 'chat' is the tokenizer's own, and here is no tokenizer to ask",
            remedy="give the template of the checkpoint by its name",
        )
    template = TEMPLATES.get(ALIASES.get(name, name))
    if template is None:
        raise TemplateError(f"there is no template {name!r}", remedy=suggest(name, template_names()))
    return template


def check_template_name(name: str) -> None:
    """Check that a recipe may name this template, before there is a tokenizer.

    Raises:
        TemplateError: no template has this name.
    """
    if name != CHAT:
        get_template(name)


def template_names() -> tuple[str, ...]:
    """All names that a recipe may use: templates, aliases and ``chat``."""
    return (*TEMPLATES, *ALIASES, CHAT)
