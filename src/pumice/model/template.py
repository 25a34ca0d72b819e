"""Which conversation template a checkpoint was trained with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from pumice.errors import CheckpointError, suggest
from pumice.model.weights import read_json
from pumice.text.chat import chat_template
from pumice.text.templates import TEMPLATES, check_template_name
from pumice.types import PLACEHOLDER

PUBLISHED = {
    "llava-v1.5-7b": "v1",
    "llava-v1.5-13b": "v1",
    "llava-v1.5-7b-lora": "v1",
    "llava-v1.5-13b-lora": "v1",
    "llava-v1.6-vicuna-7b": "v1",
    "llava-v1.6-vicuna-13b": "v1",
    "llava-v1.6-mistral-7b": "mistral_instruct",
    "llava-v1.6-34b": "chatml_direct",
    "llava-1.5-7b-hf": "v1",
    "llava-1.5-13b-hf": "v1",
    "llava-v1.6-vicuna-7b-hf": "v1",
    "llava-v1.6-vicuna-13b-hf": "v1",
    "llava-v1.6-mistral-7b-hf": "mistral_instruct",
    "llava-v1.6-34b-hf": "chatml_direct",
}
"""Templates of published checkpoints, by the exact name of their folder or repository."""


def template_name(explicit: str | None, recorded: str | None, folder: Path, name: str) -> str:
    """The template: as asked for, as recorded, as the chat template shows, or of a published name.

    Args:
        explicit: what the caller asks for.
        recorded: what the checkpoint's own record says.
        folder: the checkpoint; its chat template is read.
        name: the checkpoint's name on the hub, or its folder's.

    Raises:
        TemplateError: no template has the name that was given or recorded.
        CheckpointError: nothing tells.
    """
    chosen = explicit or recorded
    if chosen is not None:
        check_template_name(chosen)
        return chosen
    own = own_chat_template(folder)
    if own is not None:
        for alike in (_writes_the_same, _has_the_same_words):
            for known in TEMPLATES:
                if alike(own, chat_template(known)):
                    return known
    published = PUBLISHED.get(name)
    if published in TEMPLATES:
        assert published is not None
        return published
    raise CheckpointError(
        "the checkpoint does not tell which conversation template it was trained with",
        where=str(folder),
        remedy=f"give the template: {suggest('', TEMPLATES)}",
    )


def own_chat_template(folder: Path) -> str | None:
    """The Jinja chat template of a folder, from whichever of the four places it lies in."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name).get("chat_template")
            if isinstance(found, str):
                return found
    return None


def _writes_the_same(left: str, right: str) -> bool:
    """Whether two Jinja templates write one conversation alike, blanks between words aside."""
    if left.strip() == right.strip():
        return True
    texts = [_written(template, _PROBE) for template in (left, right)]
    return texts[0] is not None and texts[0] == texts[1]


def _has_the_same_words(left: str, right: str) -> bool:
    """The same where a system prompt is given, and without a look at where BOS and EOS stand.

    Several published templates leave out what their model was trained with: the prompt that is given by
    default, the EOS behind answers.
    """
    system = [{"role": "system", "content": [{"type": "text", "text": "Be kind."}]}]
    texts = [_written(template, [*system, *_PROBE]) for template in (left, right)]
    if texts[0] is None or texts[1] is None:
        return False
    own, other = ([word for word in text if word not in _ENDS] for text in texts if text is not None)
    return "kind." in own and own == other


_PROBE: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "\nfirst"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "second"}]},
    {"role": "user", "content": [{"type": "text", "text": "third"}]},
]
_ENDS = ("<s>", "</s>")
_TRACKING = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")
"""transformers' own tag around answers; it writes nothing."""


def _written(template: str, messages: list[dict[str, Any]]) -> list[str] | None:
    """The words that a template writes, in order; None where it cannot."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    try:
        text = environment.from_string(_TRACKING.sub("", template)).render(
            messages=messages, add_generation_prompt=True, bos_token=_ENDS[0], eos_token=_ENDS[1]
        )
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None
    for token in (PLACEHOLDER, *_ENDS):
        text = text.replace(token, f" {token} ")
    return text.split()


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
