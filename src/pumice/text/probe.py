"""What a Jinja chat template writes around messages, found out by asking it.

Conversations of marks, strings that no template can hold, are rendered with one, two and three
pairs, as a whole and as a prompt, with and without a system prompt. Between the marks stand the
template's own words. Where they are not the same in every conversation the template does more than
to write words around messages, and that is an error: nobody could say which words belong to what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jinja2

from pumice.errors import TemplateError
from pumice.text.jinja import Program, compile_jinja
from pumice.types import Role

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PAIRS = (1, 2, 3)
_THINKING = "</think>"


@dataclass(frozen=True, slots=True)
class Marks:
    """Strings that stand for messages and for BOS and EOS; one template cannot know its own."""

    salt: str

    @property
    def bos(self) -> str:
        """Stands for the tokenizer's BOS."""
        return f"Bos{self.salt}z"

    @property
    def eos(self) -> str:
        """Stands for the tokenizer's EOS."""
        return f"Eos{self.salt}z"

    def of(self, role: Role, number: int = 0) -> str:
        """Stands for the words of a message; ``number`` counts pairs."""
        return f"{role.capitalize()}{number}x{self.salt}z"

    def spell(self, words: str, tokenizer: PreTrainedTokenizerBase) -> str:
        """Words with the tokenizer's BOS and EOS in the place of their marks."""
        bos, eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        return words.replace(self.bos, bos).replace(self.eos, eos)


@dataclass(frozen=True, slots=True)
class SystemWords:
    """The words before and after a system prompt, up to the first question."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """The words of a chat template; BOS and EOS stand in them as marks.

    Attributes:
        opening: before the first question, without a system prompt.
        system: the same with one; None where the template takes none.
        between: between a question and its answer, for all pairs but the last.
        between_last: the same for the last pair.
        prompt: after the last question of a generation prompt.
        after: between an answer and the next question.
        end: after the last answer.
        stripped: roles whose texts lose the blanks at both ends.
        rewrites_thinking: an answer with reasoning in it comes out changed.
        with_image: a prompt with one image before its question; None where the template takes no
            images.
        parts: messages must be lists of parts.
    """

    opening: str
    system: SystemWords | None
    between: str
    between_last: str
    prompt: str
    after: str
    end: str
    stripped: frozenset[Role]
    rewrites_thinking: bool
    with_image: str | None
    parts: bool


class NotWordsOnlyError(TemplateError):
    """A chat template that is more than words around messages."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Asks one chat template.

    Attributes:
        program: the compiled template.
        marks: its marks.
        parts: write messages as lists of parts.
        variables: further variables of the template.
    """

    program: Program
    marks: Marks
    parts: bool
    variables: tuple[tuple[str, Any], ...]

    def ask(self, messages: Sequence[tuple[Role, str]], *, prompt: bool) -> str:
        """The template's text for (role, text) pairs; jinja2.TemplateError where it refuses them."""
        return self.render([self._message(role, text) for role, text in messages], prompt=prompt)

    def render(self, messages: list[dict[str, Any]], *, prompt: bool) -> str:
        """The same for messages as they are."""
        names = {"bos_token": self.marks.bos, "eos_token": self.marks.eos, "tools": None, "documents": None}
        names.update(self.variables)
        try:
            return self.program(messages=messages, add_generation_prompt=prompt, **names)
        except jinja2.TemplateError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from error

    def conversation(self, pairs: int, *, system: bool, prompt: bool) -> list[tuple[Role, str]]:
        """A conversation of marks; a prompt lacks its last answer."""
        messages: list[tuple[Role, str]] = [("system", self.marks.of("system"))] if system else []
        for number in range(pairs):
            messages.append(("user", self.marks.of("user", number)))
            messages.append(("assistant", self.marks.of("assistant", number)))
        return messages[:-1] if prompt else messages

    def words(self, messages: Sequence[tuple[Role, str]], *, prompt: bool = False) -> list[str]:
        """The template's words before, between and after these texts."""
        rest = self.ask(messages, prompt=prompt)
        words = []
        for role, text in messages:
            before, found, rest = rest.partition(text)
            if not found:
                raise NotWordsOnlyError(f"the words of a message ({role}) are missing or changed")
            words.append(before)
        for role, text in messages:
            if text in rest or any(text in word for word in words):
                raise NotWordsOnlyError(f"the words of a message ({role}) stand there twice or out of order")
        return [*words, rest]

    def _message(self, role: Role, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}] if self.parts else text}


def probe(jinja: str, variables: tuple[tuple[str, Any], ...] = ()) -> tuple[Pieces, Prober]:
    """Find the words of a chat template.

    Args:
        jinja: the template's source.
        variables: further variables to render it with.

    Raises:
        NotWordsOnlyError: the template is not one, refuses an ordinary conversation, or is more
            than words around messages.
    """
    marks = Marks(hashlib.sha256(jinja.encode()).hexdigest()[:16])
    try:
        program = compile_jinja(jinja)
    except jinja2.TemplateError as error:
        raise NotWordsOnlyError(f"it is not a Jinja template: {error}") from error
    prober = Prober(program, marks, False, variables)
    prober = replace(prober, parts=not _takes_strings(prober))
    try:
        return _pieces(prober, thinks=_THINKING in jinja), prober
    except jinja2.TemplateError as error:
        raise NotWordsOnlyError(f"it refuses an ordinary conversation: {error}") from error


def _takes_strings(prober: Prober) -> bool:
    """Whether a message may be a string; templates for images know lists of parts only."""
    messages = prober.conversation(1, system=False, prompt=True)
    with suppress(jinja2.TemplateError):
        return messages[0][1] in prober.ask(messages, prompt=True)
    return False


def _pieces(prober: Prober, *, thinks: bool) -> Pieces:
    wholes = [prober.words(prober.conversation(n, system=False, prompt=False)) for n in _PAIRS]
    prompts = [prober.words(prober.conversation(n, system=False, prompt=True), prompt=True) for n in _PAIRS]
    between, after = wholes[-1][1], wholes[-1][2]
    system = _system(prober, wholes, prompts)
    pieces = Pieces(
        opening=wholes[0][0],
        system=system,
        between=between,
        between_last=wholes[0][1],
        prompt=prompts[0][-1],
        after=after,
        end=wholes[0][-1],
        stripped=_stripped(prober, system=system is not None),
        rewrites_thinking=thinks and _rewrites_thinking(prober),
        with_image=_with_image(prober),
        parts=prober.parts,
    )
    for n, whole, prompt in zip(_PAIRS, wholes, prompts, strict=True):
        turns = [word for _ in range(n - 1) for word in (between, after)]
        expected = [pieces.opening, *turns, pieces.between_last, pieces.end]
        _compare(whole, expected, f"a conversation of {n} pairs")
        _compare(prompt, [pieces.opening, *turns, pieces.prompt], f"a prompt with {n} questions")
    return pieces


def _compare(words: list[str], expected: list[str], what: str) -> None:
    for got, wanted in zip(words, expected, strict=True):
        if got != wanted:
            raise NotWordsOnlyError(
                f"{what} has {got!r} where other conversations have {wanted!r}: "
                "the words depend on how long the conversation is"
            )


def _system(prober: Prober, wholes: list[list[str]], prompts: list[list[str]]) -> SystemWords | None:
    """The words around a system prompt; None if it is refused, left out or moves with the last question."""
    found: set[SystemWords] = set()
    try:
        for n, whole, prompt in zip(_PAIRS, wholes, prompts, strict=True):
            for plain, is_prompt in ((whole, False), (prompt, True)):
                messages = prober.conversation(n, system=True, prompt=is_prompt)
                before, behind, *rest = prober.words(messages, prompt=is_prompt)
                if rest != plain[1:]:
                    return None
                found.add(SystemWords(before, behind))
    except (jinja2.TemplateError, NotWordsOnlyError):
        return None
    return found.pop() if len(found) == 1 else None


def _stripped(prober: Prober, *, system: bool) -> frozenset[Role]:
    """The roles whose texts lose all blanks at their ends, wherever they stand."""
    roles: tuple[Role, ...] = ("system", "user", "assistant") if system else ("user", "assistant")
    return frozenset(role for role in roles if _loses_blanks(prober, role))


def _loses_blanks(prober: Prober, role: Role) -> bool:
    messages = prober.conversation(2, system=role == "system", prompt=False)
    padded: list[tuple[Role, str]] = [(who, f"\n {t} \n " if who == role else t) for who, t in messages]
    with suppress(jinja2.TemplateError):
        return prober.ask(padded, prompt=False) == prober.ask(messages, prompt=False)
    return False


def _rewrites_thinking(prober: Prober) -> bool:
    messages = prober.conversation(2, system=False, prompt=False)
    for at in (1, 3):
        role, text = messages[at]
        thought = f"<think>\n{prober.marks.of('assistant', 9)}\n{_THINKING}\n\n{text}"
        changed = [*messages[:at], (role, thought), *messages[at + 1 :]]
        with suppress(jinja2.TemplateError):
            if prober.ask(changed, prompt=False) == prober.ask(messages, prompt=False).replace(text, thought):
                continue
        return True
    return False


def _with_image(prober: Prober) -> str | None:
    text = prober.marks.of("user")
    content = [{"type": "image"}, {"type": "text", "text": text}]
    try:
        shown = prober.render([{"role": "user", "content": content}], prompt=True)
    except jinja2.TemplateError:
        return None
    # A template for text alone may write the list itself, as Python would.
    return shown if "<image>" in shown and shown.count(text) == 1 and "'type'" not in shown else None
