"""Which template a checkpoint or a recipe means."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pumice.errors import TemplateError
from pumice.text.chat import chat_template
from pumice.text.encoder import text_encoder
from pumice.text.learn import learn_template
from pumice.text.probe import Marks, NotWordsOnlyError, Pieces, SystemWords, probe
from pumice.text.template import Template
from pumice.text.templates import CHAT, TEMPLATES, get_template, template_names
from pumice.types import PLACEHOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUESTION = "\0question\0"


def resolve_template(name: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template of a name; ``chat`` is learned from the tokenizer's own chat template.

    Raises:
        TemplateError: no template has this name; or ``chat``, and the tokenizer has no chat template
            or one that is more than words around messages.
    """
    if name != CHAT:
        return get_template(name)
    jinja = tokenizer.chat_template
    if isinstance(jinja, dict):
        jinja = jinja.get("default")
    if not jinja:
        raise TemplateError(
            "the template 'chat' is the tokenizer's own, and this tokenizer has no chat template",
            remedy=f"choose one of: {', '.join(other for other in template_names() if other != CHAT)}",
        )
    return learn_template(jinja, tokenizer)


def template_of_chat(jinja: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template that a checkpoint's Jinja chat template stands for.

    Told by what the chat template writes, not by how it is spelt:

    1. a named template that writes the same words;
    2. else a template learned from it, called ``chat``;
    3. else, where nothing can be learned because no token ends its answers, a named template that
       asks the first question with the same words. transformers' LLaVA 1.5 and 1.6 checkpoints leave
       out or misspell the ``</s>`` that they were trained with; the named template writes it.

    Raises:
        TemplateError: none of these.
    """
    try:
        pieces, prober = probe(jinja)
    except NotWordsOnlyError:
        return learn_template(jinja, tokenizer)  # it may need to hear more than messages, or says why not
    words = _spelt(pieces, prober.marks, tokenizer)
    known = [(template, _spelt(other, marks, tokenizer)) for template, other, marks in _known()]
    for template, expected in known:
        if _asks_the_same(words, template, expected, tokenizer) and _goes_on_the_same(words, expected):
            return template
    try:
        return learn_template(jinja, tokenizer)
    except TemplateError:
        for template, expected in known:
            if _asks_the_same(words, template, expected, tokenizer):
                return template
        raise


@lru_cache(maxsize=1)
def _known() -> tuple[tuple[Template, Pieces, Marks], ...]:
    """Every named template that holds a conversation, with its words."""
    found = []
    for template in TEMPLATES.values():
        if not template.images_only:
            pieces, prober = probe(chat_template(template))
            found.append((template, pieces, prober.marks))
    return tuple(found)


def _spelt(pieces: Pieces, marks: Marks, tokenizer: PreTrainedTokenizerBase) -> Pieces:
    """Words with the tokenizer's own BOS and EOS in the place of marks."""

    def spell(words: str) -> str:
        return marks.spell(words, tokenizer).replace(marks.of("user"), _QUESTION)

    system, image = pieces.system, pieces.with_image
    return replace(
        pieces,
        opening=spell(pieces.opening),
        system=None if system is None else SystemWords(spell(system.before), spell(system.after)),
        between=spell(pieces.between),
        between_last=spell(pieces.between_last),
        prompt=spell(pieces.prompt),
        after=spell(pieces.after),
        with_image=None if image is None else spell(image),
    )


def _without_bos(words: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Without a BOS at the start, where transformers' processors would add it themselves."""
    return words.removeprefix(tokenizer.bos_token) if text_encoder(tokenizer, -1).adds_bos else words


def _asks_the_same(
    words: Pieces, template: Template, expected: Pieces, tokenizer: PreTrainedTokenizerBase
) -> bool:
    """Whether a first question reads the same, with an image too, and later ones begin alike."""
    opening = _without_bos(expected.opening, tokenizer)
    prompt = expected.prompt.rstrip(" ")
    if _without_bos(words.opening, tokenizer) != opening or words.prompt.rstrip(" ") != prompt:
        return False
    if not words.after.endswith(template.user_prefix) or words.stripped != expected.stripped:
        return False
    if words.with_image is None:
        return True
    image = f"{opening}{template.image_prefix}{PLACEHOLDER}{template.image_suffix}"
    shown = _without_bos(words.with_image, tokenizer).rstrip(" ")
    return shown in (f"{image}\n{_QUESTION}{prompt}", f"{image}{_QUESTION}{prompt}")


def _goes_on_the_same(words: Pieces, expected: Pieces) -> bool:
    """Whether answers and system prompts have the same words around them."""
    return (words.between, words.between_last, words.after, words.system) == (
        expected.between,
        expected.between_last,
        expected.after,
        expected.system,
    )
