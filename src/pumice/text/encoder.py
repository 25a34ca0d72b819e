"""Text to token ids, such that text never becomes a control token.

``tokenizer(text)`` looks for the tokenizer's added tokens in what a person wrote: ``</s>`` in a
question would end the answer, ``<image>`` would ask for an image. The library's own switch
(``split_special_tokens``) covers the tokens flagged special and not the other added ones. Here the
text goes through the same normaliser, pre-tokeniser and model with no added tokens at all, so that
there is nothing to find.

Where a text stands matters to tokenizers that put a space before it (the Llama family):

    start    the beginning of the sequence, or right after an image: a text of its own. This is how
             LLaVA encodes the pieces around an image (``tokenizer_image_token``).
    control  right after a control token: as the tokenizer goes on after one.
    inside   it goes on from text before it: never a space that is not there.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from tokenizers import Tokenizer
from tokenizers.models import BPE

from pumice.errors import DataError, TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Place = Literal["start", "control", "inside"]
Prefix = Literal["none", "first", "always"]

_CACHED_CHARS = 512
_CACHED_TEXTS = 8192


class TextEncoder:
    """Encodes plain text with one tokenizer, and knows its control tokens.

    Get one with ``text_encoder``, which keeps it for the tokenizer's life.

    Attributes:
        bos: id of the tokenizer's BOS, None where it has none.
        eos: id of the tokenizer's EOS, None where it has none.
        adds_bos: whether the tokenizer itself begins a text with BOS.
        prefix: where the tokenizer puts a space before a text: at each piece between added tokens
            ("always"), only at the first ("first"), or nowhere.

    Raises:
        TemplateError: the tokenizer has no ``tokenizers`` backend.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, image_token_id: int) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise TemplateError(
                f"the tokenizer {type(tokenizer).__name__} has no tokenizers backend",
                remedy="load it with AutoTokenizer, or save a tokenizer.json for it",
            )
        self.bos: int | None = tokenizer.bos_token_id
        self.eos: int | None = tokenizer.eos_token_id
        added = tokenizer.added_tokens_decoder
        self._control_ids = {str(token): id_ for id_, token in added.items()}
        self._takes_blanks = {id_: (token.lstrip, token.rstrip) for id_, token in added.items()}
        self.adds_bos = self.bos is not None and backend.encode("a").ids[:1] == [self.bos]
        blank = {id_: token for id_, token in added.items() if is_blank(str(token)) and not token.special}
        self._forbidden = _forbidden_ids(tokenizer, image_token_id, set(added) - set(blank))
        self.prefix, normalizer, pre_tokenizer = _unprefixed(backend)
        self._own = _bare_copy(backend, backend.normalizer, backend.pre_tokenizer)
        self._inside = self._own
        if self.prefix != "none":
            self._inside = _bare_copy(backend, normalizer, pre_tokenizer)
        # Runs of blanks are added tokens in some tokenizers (GPT-NeoX) and control nothing.
        self._renumber: dict[int, int] = {}
        for id_, token in blank.items():
            for copy in (self._own, self._inside):
                copy.add_tokens([token])
            given = self._own.token_to_id(str(token))
            assert given is not None
            self._renumber[given] = id_
        self._unspellable = _unspellable_bytes(backend)
        self._cached = lru_cache(maxsize=_CACHED_TEXTS)(self._encode)

    def encode(self, text: str, place: Place) -> tuple[int, ...]:
        """Ids of ``text`` as it reads at ``place``; none of them is a control token.

        Raises:
            DataError: the text is not valid Unicode, the tokenizer would leave characters of it
                out, or one character has no spelling but a control token.
        """
        bare = place == "inside" or (place == "control" and self.prefix == "first")
        return self._cached(text, bare) if len(text) <= _CACHED_CHARS else self._encode(text, bare)

    def control_id(self, token: str) -> int:
        """The id of a control token that a template writes.

        Raises:
            TemplateError: the tokenizer has no such added token.
        """
        id_ = self._control_ids.get(token)
        if id_ is None:
            raise TemplateError(
                f"the template writes the control token {token!r}, which the tokenizer does not have",
                remedy="choose the template that belongs to this language model",
            )
        return id_

    def has_control(self, token: str) -> bool:
        """Whether this string is an added token of the tokenizer."""
        return token in self._control_ids

    def takes_blanks(self, id_: int) -> tuple[bool, bool]:
        """Whether the tokenizer swallows the blanks before and after this added token (Phi-3's do)."""
        return self._takes_blanks.get(id_, (False, False))

    def _encode(self, text: str, bare: bool) -> tuple[int, ...]:
        if not text:
            return ()
        if self._unspellable and not self._unspellable.isdisjoint(text.encode("utf-8", "replace")):
            raise DataError(
                f"the tokenizer has no token for a byte of {_excerpt(text)}, and would leave it out",
                remedy="train the tokenizer with the whole byte alphabet (initial_alphabet)",
            )
        try:
            encoding = (self._inside if bare else self._own).encode(text, add_special_tokens=False)
        except TypeError as error:
            # The backend takes Python strings that are valid Unicode; JSON can hold others.
            raise DataError(
                f"the text {_excerpt(text)} holds half of a surrogate pair and is not Unicode",
                remedy="repair the character in the file, or drop the row",
            ) from error
        ids = encoding.ids
        if self._renumber:
            ids = [self._renumber.get(id_, id_) for id_ in ids]
        if self._forbidden.isdisjoint(ids):
            return tuple(ids)
        # The model's own merges spelt a control token (some converted vocabularies do): take its
        # first character away from the rest, so that they cannot meet.
        at = next(place for place, id_ in enumerate(ids) if id_ in self._forbidden)
        start, end = encoding.offsets[at]
        cut = start + 1
        if end - start < 2 or cut >= len(text):
            raise DataError(
                f"the text {text[start:end]!r} has no spelling in this tokenizer but a control token",
                remedy="take it out of the text, or use another tokenizer",
            )
        return self._encode(text[:cut], bare) + self._encode(text[cut:], True)


_ENCODERS: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[object, ...], TextEncoder]]
_ENCODERS = WeakKeyDictionary()


def text_encoder(tokenizer: PreTrainedTokenizerBase, image_token_id: int) -> TextEncoder:
    """The encoder of a tokenizer, made once and made again when tokens were added to it."""
    known = _ENCODERS.setdefault(tokenizer, {})
    adds_bos = getattr(tokenizer, "add_bos_token", None)
    key = (image_token_id, len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, adds_bos)
    encoder = known.get(key)
    if encoder is None:
        known.clear()
        encoder = known[key] = TextEncoder(tokenizer, image_token_id)
    return encoder


def _excerpt(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _unspellable_bytes(backend: Tokenizer) -> frozenset[int]:
    """Bytes that a byte-level BPE model drops without a word, for want of a token.

    Complete vocabularies have none; one trained on little text without ``initial_alphabet`` has many.
    """
    model, pre_tokenizer = backend.model, backend.pre_tokenizer
    if not isinstance(model, BPE) or model.unk_token is not None or model.byte_fallback:
        return frozenset()
    if pre_tokenizer is None or '"ByteLevel"' not in pre_tokenizer.__getstate__().decode():
        return frozenset()
    vocab = backend.get_vocab(with_added_tokens=False)
    used = (byte for byte in range(0xF5) if byte not in (0xC0, 0xC1))  # the others are not in UTF-8
    letters = _byte_letters()
    return frozenset(byte for byte in used if letters[byte] not in vocab)


def _byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it prints, else the next after U+00FF (GPT-2)."""
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printing else next(others)) for byte in range(0x100)]


def is_blank(token: str) -> bool:
    """Whether an added token is blanks alone, which control nothing."""
    return token.replace("▁", " ").isspace()


def _forbidden_ids(tokenizer: PreTrainedTokenizerBase, image: int, added: set[int]) -> frozenset[int]:
    control = {id_ for id_ in (image, tokenizer.bos_token_id, tokenizer.eos_token_id) if id_ is not None}
    # What a vocabulary cannot spell may read as "unknown", unless that is also BOS or EOS.
    return frozenset(added - {tokenizer.unk_token_id} | control)


def _bare_copy(backend: Tokenizer, normalizer: Any, pre_tokenizer: Any) -> Tokenizer:
    """The same model (shared, not copied) with no added tokens, post-processor or truncation."""
    copy = Tokenizer(backend.model)
    if normalizer is not None:
        copy.normalizer = normalizer
    if pre_tokenizer is not None:
        copy.pre_tokenizer = pre_tokenizer
    return copy


def _unprefixed(backend: Tokenizer) -> tuple[Prefix, Any, Any]:
    """Where the tokenizer adds a space, and its normaliser and pre-tokeniser without that."""
    found: set[Prefix] = set()
    parts: dict[str, Any] = {}
    for name in ("normalizer", "pre_tokenizer"):
        part = getattr(backend, name)
        parts[name] = None if part is None else _strip_prefix(json.loads(part.__getstate__()), found)
    if not found:
        return "none", backend.normalizer, backend.pre_tokenizer
    # The library reads components only as parts of a whole tokenizer.
    whole = json.loads(Tokenizer(BPE()).to_str()) | parts
    rebuilt = Tokenizer.from_str(json.dumps(whole))
    return ("first" if found == {"first"} else "always"), rebuilt.normalizer, rebuilt.pre_tokenizer


def _strip_prefix(state: dict[str, Any], found: set[Prefix]) -> dict[str, Any] | None:
    """One component's description without the space it adds; ``found`` gathers where it added it."""
    kind = state["type"]
    if kind == "Sequence":
        key = "normalizers" if "normalizers" in state else "pretokenizers"
        kept = [part for part in (_strip_prefix(part, found) for part in state[key]) if part is not None]
        return {**state, key: kept}
    if kind == "Prepend":
        found.add("always")
        return None
    if kind == "Metaspace" and state.get("prepend_scheme", "always") != "never":
        found.add(state.get("prepend_scheme", "always"))
        return {**state, "prepend_scheme": "never"}
    if kind == "ByteLevel" and state.get("add_prefix_space", False):
        found.add("always")
        return {**state, "add_prefix_space": False}
    return state
