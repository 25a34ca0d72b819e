"""How a LLaVA checkpoint reads the answers of a data set: in nats, with their own picture and with another's.

Any checkpoint can be asked, for what is needed is its loss alone. Of an answer a to a question q about a
picture p three things are told:

  own    log P(a | q, p)
  best   the sum over a's tokens of the most likely token's log-probability, a's tokens before it given
  other  log P(a | q, p'), for p' the picture of another row

Questions of one conversation are put each by itself (``branch_turns``), so that an answer is judged by its
picture and its question and not by what was said before, which may be wrong too.

``own - other`` is the pointwise mutual information of picture and answer, up to how well one other picture
stands for all: near 0 or below it where the answer does not speak of the picture. ``best - own`` is what the
answer costs against what the model would have said.

Legend: A answers (every assistant message of every row that was read), K other pictures, T tokens of a packed
row, S supervised tokens of it, V vocabulary, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.data import collate
from pumice.errors import DataError, ImageError, TemplateError
from pumice.image.decode import open_image
from pumice.infer.ends import context_of
from pumice.infer.pictures import ImageSource, PictureEncoder, Shown
from pumice.model.pieces import Checkpoint
from pumice.model.vlm import predecessors
from pumice.text.render import render
from pumice.text.resolve import resolve_template
from pumice.types import IGNORE_INDEX, Encoded, Image, Picture, Sample, Video

GROUP = 48
"""Rows whose pictures are at hand together; a row's other pictures are those of its group."""
TOKENS = 2048
"""Tokens that pass the language model at once."""
OTHERS = 2
"""Other pictures that each answer is read with: one to compare with, one for what a wrong picture gives."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Reading:
    """What a model makes of answers.

    Attributes:
        row_A: int64, the row's number in what was given.
        turn_A: int64, which of the row's answers, from 0.
        tokens_A: int64, its tokens, that which ends it among them.
        own_A, best_A: float64, nats.
        other_AK, other_best_AK: float64, nats; NaN where there was no other picture to show.
        unread: rows that were not read, by number, and why.
    """

    row_A: NDArray[np.int64]
    turn_A: NDArray[np.int64]
    tokens_A: NDArray[np.int64]
    own_A: NDArray[np.float64]
    best_A: NDArray[np.float64]
    other_AK: NDArray[np.float64]
    other_best_AK: NDArray[np.float64]
    unread: dict[int, str]


@dataclass(frozen=True, eq=False)
class _Row:
    number: int
    sample: Sample
    encoded: Encoded
    shown: tuple[Shown, ...]
    lengths: tuple[int, ...]


class Reader:
    """Reads rows with one model.

    Args:
        checkpoint: the model; it is not changed.
        others: K, how many other pictures each row is read with.
        template: the conversation template's name; the model's own by default.
    """

    def __init__(self, checkpoint: Checkpoint, *, others: int = OTHERS, template: str | None = None) -> None:
        self.model, self.tokenizer = checkpoint.model, checkpoint.tokenizer
        self.pictures = PictureEncoder(checkpoint.model, checkpoint.processor)
        self.template = resolve_template(template or checkpoint.model.config.template, checkpoint.tokenizer)
        self.others = others
        self.context = context_of(checkpoint.model)

    @torch.inference_mode()
    def read(self, samples: Sequence[Sample], *, seed: int = 0, progress: Progress | None = None) -> Reading:
        """Read every answer of some rows.

        Args:
            samples: the rows; one that cannot be read is left out, and the result says why.
            seed: decides which rows' pictures are shown to which others.
            progress: told how many rows were read.
        """
        unread: dict[int, str] = {}
        parts: list[NDArray[np.float64]] = []
        order = np.random.default_rng(seed).permutation(len(samples))
        for start in range(0, len(order), GROUP):
            rows = list(self._rows(samples, order[start : start + GROUP], unread))
            if rows:
                parts.append(self._group(rows))
            if progress is not None:
                progress("reading answers", min(start + GROUP, len(order)), len(order))
        columns = 5 + 2 * self.others
        found = np.concatenate(parts) if parts else np.zeros((0, columns))
        found = found[np.lexsort([found[:, 1], found[:, 0]])]
        whole = found[:, :3].astype(np.int64)
        return Reading(
            row_A=whole[:, 0],
            turn_A=whole[:, 1],
            tokens_A=whole[:, 2],
            own_A=found[:, 3],
            best_A=found[:, 4],
            other_AK=found[:, 5::2],
            other_best_AK=found[:, 6::2],
            unread=unread,
        )

    def _rows(
        self, samples: Sequence[Sample], numbers: NDArray[np.int64], unread: dict[int, str]
    ) -> Iterator[_Row]:
        opened: dict[Picture, ImageSource] = {}
        for number in map(int, numbers):
            sample = samples[number]
            try:
                sources = [opened.setdefault(one, _open(one, sample)) for one in sample.images]
                shown = self.pictures.lay_out(sources)
                lengths = tuple(self.pictures.tokens(one) for one in shown)
                encoded = render(
                    sample.messages, self.tokenizer, self.template, image_lengths=lengths,
                    image_token_id=self.model.config.image_token_id, max_length=self.context,
                    branch_turns=_asked_once(sample),
                )  # fmt: skip
            except (DataError, ImageError, TemplateError) as error:
                unread[number] = error.what
                continue
            yield _Row(number, sample, encoded, shown, lengths)

    def _group(self, rows: Sequence[_Row]) -> NDArray[np.float64]:
        """Rows [A, 5 + 2 K]: number, turn, tokens, own, best, and own and best with each other picture."""
        embeds = self.pictures.embed([one for row in rows for one in row.shown])
        own: list[Sequence[Tensor]] = [[embeds[one.key] for one in row.shown] for row in rows]
        told = self._told(rows, own)
        found = [
            np.column_stack([np.full(len(one), row.number), np.arange(len(one)), one])
            for row, one in zip(rows, told, strict=True)
        ]
        for k in range(self.others):
            partners = [_partner(rows, place, k) for place in range(len(rows))]
            there = [place for place, partner in enumerate(partners) if partner is not None]
            swapped = self._told(
                [rows[place] for place in there],
                [own[partner] for partner in partners if partner is not None],
            )
            others = {place: one[:, 1:] for place, one in zip(there, swapped, strict=True)}
            found = [
                np.column_stack([one, others.get(place, np.full((len(one), 2), np.nan))])
                for place, one in enumerate(found)
            ]
        return np.concatenate(found)

    def _told(self, rows: Sequence[_Row], embeds: Sequence[Sequence[Tensor]]) -> list[NDArray[np.float64]]:
        """Of each row [answers, 3]: tokens, own, best; with these embeddings of its pictures."""
        found: list[NDArray[np.float64]] = [np.zeros((0, 3))] * len(rows)
        pack: list[int] = []
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place].encoded)):
            filled = sum(len(rows[one].encoded) for one in pack)
            if pack and filled + len(rows[place].encoded) > TOKENS:
                self._pack(rows, embeds, pack, found)
                pack = []
            pack.append(place)
        if pack:
            self._pack(rows, embeds, pack, found)
        return found

    def _pack(
        self,
        rows: Sequence[_Row],
        embeds: Sequence[Sequence[Tensor]],
        pack: Sequence[int],
        found: list[NDArray[np.float64]],
    ) -> None:
        model: Any = self.model
        line = [(place, rows[place].encoded, rows[place].sample) for place in pack]
        batch = collate([line], None, self.tokenizer.pad_token_id or 0)
        device = model.device
        ids, labels, positions, segments, branches = (
            torch.from_numpy(one).to(device)
            for one in (
                batch.input_ids, batch.labels, batch.position_ids, batch.segment_ids, batch.branch_ids
            )
        )  # fmt: skip
        order = [
            embeds[place][span.image]
            for place in pack
            for span in sorted(rows[place].encoded.image_spans, key=lambda span: span.start)
        ]
        places = [(one.row, one.start, one.length) for one in batch.images]
        hidden_1TD = model.hidden(
            model.embed(ids, order or None, places), positions, model.see(segments, branches)
        )
        rows_S, columns_S = torch.nonzero(labels != IGNORE_INDEX, as_tuple=True)
        before_S = predecessors(rows_S, columns_S, segments, branches)
        own_S, best_S = [], []
        for some in torch.split(torch.arange(len(columns_S), device=device), 1024):
            logs_sV = torch.log_softmax(model.logits(hidden_1TD[0, before_S[some]]).float(), -1)
            own_S.append(logs_sV.gather(1, labels[0, columns_S[some], None])[:, 0])
            best_S.append(logs_sV.amax(-1))
        values_S2 = torch.stack([torch.cat(own_S), torch.cat(best_S)], 1).double().cpu().numpy()
        columns, owners = columns_S.cpu().numpy(), batch.segment_ids[0][columns_S.cpu().numpy()]
        for segment, place in enumerate(pack, start=1):
            mine = owners == segment
            found[place] = _by_answer(columns[mine], values_S2[mine])


def _by_answer(columns_S: NDArray[np.int64], values_S2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over runs of neighbouring supervised tokens: one answer each; [answers, 3] with their number."""
    starts = np.flatnonzero(np.diff(columns_S, prepend=-2) > 1)
    sums = np.add.reduceat(values_S2, starts, axis=0)
    counts = np.diff(np.append(starts, len(columns_S)))
    return np.column_stack([counts, sums])


def _partner(rows: Sequence[_Row], place: int, k: int) -> int | None:
    """The k-th other row of the group whose pictures fill as many tokens and are not the same."""
    row = rows[place]
    for step in range(1, len(rows)):
        other = rows[(place + step) % len(rows)]
        if row.lengths and other.lengths == row.lengths and other.sample.images != row.sample.images:
            if k == 0:
                return (place + step) % len(rows)
            k -= 1
    return None


def _asked_once(sample: Sample) -> bool:
    """Whether all pictures stand in the first question, so that each question can be put by itself."""
    asked = [message for message in sample.messages if message.role == "user"]
    return not any(isinstance(part, Image) for message in asked[1:] for part in message.parts)


def _open(picture: Picture, sample: Sample) -> ImageSource:
    return picture if isinstance(picture, Video) else open_image(picture, where=str(sample.origin))
