"""A tokenizer that only counts, for planning where the real one is not at hand.

It has the control tokens of Llama's and cuts text by a rule that comes close to how many pieces a
vocabulary of 32,000 makes of English: a short word with the space before it is one piece, a long one is
cut, digits and marks stand alone. Its ids mean nothing (every piece is ``<unk>``); only their number does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PIECES = r" ?[A-Za-z]{1,7}|[A-Za-z]{1,5}| ?\p{L}|\d| ?[^\sA-Za-z\d]|\s"
"""What is one piece. Words of up to seven letters are whole; what is beyond is cut every five."""

NOTE = "token counts are an estimate: the language model's tokenizer is not here"


@lru_cache(maxsize=8)
def sizing_tokenizer(control: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """The counting tokenizer, with ``<s>``, ``</s>``, ``<pad>`` and ``<image>``.

    Args:
        control: further control tokens, which a template writes (``<|im_start|>``).
    """
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))
    backend.pre_tokenizer = Split(Regex(PIECES), behavior="isolated")
    backend.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in ("<s>", "</s>", "<pad>", "<image>", *control)
        ]
    )
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = fast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    return made
