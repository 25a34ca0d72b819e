"""A tokenizer's own chat template as a ``Template``.

``probe`` finds the words between messages; here they are given to the fields of a template. Which
words belong to what can be told in more than one way, so each is tried until the template, turned
into Jinja again, gives what the original gives for every conversation that was asked, and its ids
are the tokenizer's.

What is supervised follows from the words after an answer: its end is what stands before and in the
first control tokens that come after every answer, the last one too. The line break that many
templates write behind them belongs to the next message and carries no loss.

Example, ChatML with a default system prompt::

    opening       <|im_start|>system\\nBe kind.<|im_end|>\\n<|im_start|>user\\n
    between       <|im_end|>\\n<|im_start|>assistant\\n
    after         <|im_end|>\\n<|im_start|>user\\n
    end           <|im_end|>\\n
    ->  system "Be kind."   user_prefix "<|im_start|>user\\n"   user_suffix "<|im_end|>\\n"
        assistant_prefix "<|im_start|>assistant\\n"   assistant_suffix "<|im_end|>"   separator "\\n"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from pumice.errors import TemplateError
from pumice.text.chat import chat_template
from pumice.text.encoder import is_blank, text_encoder
from pumice.text.jinja import compile_jinja
from pumice.text.probe import Marks, NotWordsOnlyError, Pieces, Prober, probe
from pumice.text.render import render
from pumice.text.template import Bos, Template
from pumice.text.templates import CHAT
from pumice.text.writer import split_control
from pumice.types import Message, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REMEDY = "choose the template that the model was trained with by its name, or write one"
_VARIABLES: tuple[tuple[tuple[str, Any], ...], ...] = ((), (("enable_thinking", False),))
"""What a template may need to hear before it leaves room for an answer at once."""

_WORD_FIELDS = (
    "system_prefix",
    "system_suffix",
    "without_system",
    "user_prefix",
    "user_suffix",
    "assistant_prefix",
    "last_assistant_prefix",
    "assistant_suffix",
    "separator",
)
_WORDS = ("What is in the picture?", "A red circle.", "Where is it?", "It is on the left, I think.")


def learn_template(jinja: str, tokenizer: PreTrainedTokenizerBase, name: str = CHAT) -> Template:
    """The template that writes what a Jinja chat template writes.

    Args:
        jinja: the chat template's source.
        tokenizer: the tokenizer that it belongs to.
        name: the name of the result.

    Raises:
        TemplateError: the chat template is more than words around messages, or its answers end with
            no token of the tokenizer, so that a model could not learn to stop.
    """
    known = tokenizer.special_tokens_map
    others = tuple((key, value) for key, value in known.items() if _is_other(key, value))
    reasons = []
    for variables in _VARIABLES:
        try:
            pieces, prober = probe(jinja, (*others, *variables))
            return _learn(pieces, prober, tokenizer, name)
        except NotWordsOnlyError as error:
            reasons.append(error.what)
    raise TemplateError(
        f"the tokenizer's chat template cannot be written as words around messages: {reasons[0]}",
        remedy=_REMEDY,
    )


def _is_other(key: str, value: object) -> bool:
    return key not in ("bos_token", "eos_token") and isinstance(value, str)


def _learn(pieces: Pieces, prober: Prober, tokenizer: PreTrainedTokenizerBase, name: str) -> Template:
    if pieces.prompt.rstrip(" ") != pieces.between_last.rstrip(" "):
        raise NotWordsOnlyError(
            f"a prompt ends with {pieces.prompt!r}, but an answer comes after {pieces.between_last!r}"
        )
    reader = _Reader(pieces, prober.marks, tokenizer, name)
    failed: NotWordsOnlyError | None = None
    for template in reader.candidates():
        try:
            _check_text(template, pieces, prober, tokenizer)
            _check_ids(template, prober, tokenizer)
            return template
        except NotWordsOnlyError as error:
            failed = failed or error
    raise failed or NotWordsOnlyError("its words before the first question and the next ones do not agree")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the fields of a template out of the words."""

    pieces: Pieces
    marks: Marks
    tokenizer: PreTrainedTokenizerBase
    name: str

    def candidates(self) -> Iterator[Template]:
        """Every way to tell the words apart, the most likely first."""
        suffix, eos, rest = self._end()
        bos, opening, separator, question = self._bos(rest)
        base = Template(
            name=self.name,
            assistant_suffix=suffix,
            eos=eos,
            bos=bos,
            chunks=False,
            strip=self.pieces.stripped,
            unwritable=("</think>",) if self.pieces.rewrites_thinking else (),
        )
        base = self._with_answers(base)
        for prefix in _user_prefixes(opening, question):
            between = separator + question.removesuffix(prefix)
            if bos == "pair" and between != separator:
                continue  # BOS stands before the whole prefix
            for template in self._with_system(replace(base, user_prefix=prefix, separator=between), opening):
                yield self._spelt(template)

    def _control(self, words: str) -> list[tuple[str, bool]]:
        """Words as (piece, whether it is a token); marks of BOS and EOS are tokens too."""
        found = [token for token in self._tokens() if token in words]
        return list(split_control(words, tuple(found)))

    def _tokens(self) -> list[str]:
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values()]
        return [self.marks.bos, self.marks.eos, *(token for token in added if not is_blank(token))]

    def _spelt(self, template: Template) -> Template:
        """With the tokenizer's own BOS and EOS in the words, and all tokens in them known as such."""
        words: dict[str, Any] = {
            field: self.marks.spell(getattr(template, field) or "", self.tokenizer) for field in _WORD_FIELDS
        }
        found = (piece for part in words.values() for piece, is_control in self._control(part) if is_control)
        control = tuple(dict.fromkeys(found))
        if template.last_assistant_prefix is None:
            del words["last_assistant_prefix"]
        return replace(template, **words, control=control)

    def _end(self) -> tuple[str, bool, str]:
        """What ends an answer, whether EOS does, and the words from there to the next question."""
        shared = _shared(self.pieces.after, self.pieces.end)
        end, ended = "", False
        for piece, is_control in self._control(shared):
            if ended and not is_control:
                break
            end += piece
            ended = is_control
            if piece == self.marks.eos:
                break
        if not ended:
            raise NotWordsOnlyError(
                f"its answers end with {shared!r} and no token of the tokenizer: no model could learn to stop"
            )
        eos = end.endswith(self.marks.eos)
        return end.removesuffix(self.marks.eos), eos, self.pieces.after[len(end) :]

    def _bos(self, rest: str) -> tuple[Bos, str, str, str]:
        """Where BOS stands; the opening without it; the words between answers and BOS, and after BOS."""
        mark = self.marks.bos
        opening = self.pieces.opening.removeprefix(mark)
        starts = opening != self.pieces.opening
        separator, again, question = rest.partition(mark)
        if again:
            if not starts:
                raise NotWordsOnlyError("BOS stands before later questions and not before the first")
            return "pair", opening, separator, question
        # A processor of transformers writes BOS where the text has none and the tokenizer adds it.
        return "conversation" if starts else "tokenizer", opening, "", rest

    def _with_answers(self, template: Template) -> Template:
        first, last = self.pieces.between, self.pieces.between_last
        shared = _shared(first, last)
        head = shared[: shared.rfind("\n") + 1] or shared.rstrip(" ")
        pieces = self._control(shared)
        first_token = next((at for at, (_, is_control) in enumerate(pieces) if is_control), None)
        if first_token is not None:
            head = "".join(piece for piece, _ in pieces[: first_token + 1])
            rest = shared[len(head) :]
            head += rest[: len(rest) - len(rest.lstrip("\r\n"))]
        return replace(
            template,
            user_suffix=head,
            assistant_prefix=first[len(head) :],
            last_assistant_prefix=None if first == last else last[len(head) :],
        )

    def _with_system(self, template: Template, opening: str) -> Iterator[Template]:
        """The template with all that may stand before the first question."""
        prefix = template.user_prefix
        block = opening.removesuffix(prefix)
        words = self.pieces.system
        if words is None:
            yield replace(template, takes_system=False, without_system=block)
            return
        before = words.before.removeprefix(self.marks.bos)
        if words.after.endswith(prefix):
            own = replace(template, system_prefix=before, system_suffix=words.after.removesuffix(prefix))
            yield _with_default(own, block)
        if before.startswith(prefix) and not block:
            yield replace(
                template,
                system_inside_user=True,
                system_prefix=before.removeprefix(prefix),
                system_suffix=words.after,
            )


def _shared(one: str, other: str) -> str:
    """The longest beginning of both."""
    same = takewhile(lambda two: two[0] == two[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in same)


def _user_prefixes(opening: str, question: str) -> list[str]:
    """Words that may be the prefix of every question: the endings that the first and the next share."""
    length = len(_shared(opening[::-1], question[::-1]))
    shared = question[len(question) - length :]
    # Blanks before a role's words separate messages; only where the first question has them too they
    # are its own.
    ordered = [shared, shared.lstrip()] if shared == opening else [shared.lstrip(), shared]
    return list(dict.fromkeys([*ordered, ""]))


def _with_default(template: Template, block: str) -> Template:
    """The template with the block that stands where no system prompt is given."""
    prefix, suffix = template.system_prefix, template.system_suffix
    around = len(prefix) + len(suffix)
    if len(block) > around and block.startswith(prefix) and block.endswith(suffix):
        return replace(template, system=block[len(prefix) : len(block) - len(suffix)])
    return replace(template, without_system=block)


def _check_text(
    template: Template, pieces: Pieces, prober: Prober, tokenizer: PreTrainedTokenizerBase
) -> None:
    """The template's own Jinja gives what the original gives."""
    ours = replace(prober, program=compile_jinja(chat_template(template, tokenizer)), parts=False)

    def spell(text: str) -> str:
        return prober.marks.spell(text, tokenizer)

    eos = (tokenizer.eos_token or "") if template.eos else ""
    tail = spell(pieces.end).removeprefix(template.assistant_suffix + eos)
    bos = spell(prober.marks.bos) if template.bos == "tokenizer" else ""
    for pairs in (1, 2, 3):
        for system in (False, True) if template.takes_system else (False,):
            for prompt in (False, True):
                messages = prober.conversation(pairs, system=system, prompt=prompt)
                wanted = spell(prober.ask(messages, prompt=prompt))
                wanted = wanted.rstrip(" ") if prompt else wanted.removesuffix(tail)
                got = spell(ours.ask(messages, prompt=prompt))
                if wanted not in (got, got.removeprefix(bos)):
                    raise NotWordsOnlyError(f"it gives {wanted!r} and its words give {got!r}")


def _check_ids(template: Template, prober: Prober, tokenizer: PreTrainedTokenizerBase) -> None:
    """For ordinary words the renderer's ids are the tokenizer's own, of a whole and of a prompt."""
    question, answer, *more = (Text(words) for words in _WORDS)
    messages = (
        Message("user", (question,)),
        Message("assistant", (answer,)),
        Message("user", (more[0],)),
        Message("assistant", (more[1],)),
    )
    encoder = text_encoder(tokenizer, -1)
    names = {"bos_token": tokenizer.bos_token or "", "eos_token": tokenizer.eos_token or ""}
    asked = replace(prober, variables=(*prober.variables, *names.items()))
    for prompt in (False, True):
        some = messages[:-1] if prompt else messages
        text = asked.ask([(message.role, message.text) for message in some], prompt=prompt)
        wanted = tokenizer(text, add_special_tokens=False).input_ids
        encoded = render(
            some, tokenizer, template, image_lengths=(), image_token_id=-1, generation_prompt=prompt
        )
        got = encoded.input_ids.tolist()
        if template.bos == "tokenizer" and encoder.adds_bos:
            got = got[1:]
        if got != wanted[: len(got)] or (prompt and len(got) < len(wanted) and not text.endswith(" ")):
            raise NotWordsOnlyError("the tokenizer joins its words with those of the messages")
