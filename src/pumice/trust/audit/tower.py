"""The check ``tower``: pictures as a vision tower sees them, and texts where it has a text half.

looks-alike    pictures that are one: near each other among embeddings of which all directions count alike,
               and alike pixel by pixel at 16 x 16; looks-alike-against with those of other data
unusual        pictures that lie far from all others
mismatch       a text that fits its picture no better than texts of other pictures do
unjudged       so many texts do that the tower cannot know the subject
unsafe         what a linear head says of the embedding, where one is given

Legend: V pictures, E width of an embedding, S texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pumice.trust.audit import alike, mixed, pieces
from pumice.trust.audit.check import PIXELS, Check, Finding, Need, Notes, View
from pumice.trust.audit.elsewhere import looks_alike_against
from pumice.trust.audit.embeds import Views, Whitening, all_views
from pumice.trust.audit.unsafe import UnsafeHead
from pumice.trust.audit.unusual import unusual

if TYPE_CHECKING:
    from pumice.image.process import ImageProcessor
    from pumice.trust.audit.against import Other
    from pumice.trust.audit.seen import Seen

NEAR = 0.55
"""Cosine of two embeddings, whitened, from which pictures are compared pixel by pixel."""
SAME = 0.9
"""Correlation of two pictures at 16 x 16 from which they are one."""
THUMB = 16
DRAWN = 4
"""Texts of other pictures that each picture is compared with."""
REFERENCES = 1024
"""Pictures, and texts, whose scores say what is usual."""


@dataclass(frozen=True)
class Tower(Check):
    """What a tower sees; see the module's text.

    Attributes:
        folder: the tower's.
        identity: stands for its weights.
        processor: how its pixels are made.
        texts: whether it has a text half.
        head: says how unsafe an embedding is; None where none is given.
        others: data whose pictures are compared too; what can be seen of it was seen with this check.
    """

    name: ClassVar[str] = "tower"
    reads: ClassVar[frozenset[Need]] = frozenset({PIXELS})

    folder: str
    identity: str
    processor: ImageProcessor = field(repr=False)
    texts: bool
    head: UnsafeHead | None = None
    others: tuple[Other, ...] = field(default=(), compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Those who look need not know what comes after."""
        return {**self.__dict__, "others": ()}

    @property
    def side(self) -> int:  # type: ignore[override]
        """Pixels that the tower wants."""
        return self.processor.shortest_edge

    @property
    def key(self) -> str:
        return dumps([self.name, self.version, self.identity, repr(self.processor)])

    def picture(self, view: View) -> Any:
        assert view.image is not None
        small = view.image.resize((THUMB, THUMB), 4).convert("L")
        thumb = np.asarray(small, np.float32).reshape(-1)
        thumb = alike.unit((thumb - thumb.mean())[None])[0]
        return self.processor(view.image), np.round(thumb * 127).astype(np.int8)

    def pack(self, values: Any) -> Notes:
        there = np.array([value is not None for value in values])
        told = [value for value in values if value is not None]
        side = self.processor.image_size
        pixels = np.stack([one[0] for one in told]) if told else np.zeros((0, 3, side, side), np.float32)
        thumbs = np.zeros((len(values), THUMB * THUMB), np.int8)
        if told:
            thumbs[there] = np.stack([one[1] for one in told])
        return {"there": there, "pixels": pixels, "thumb": thumbs}

    def finish(self, notes: Notes) -> Notes:
        from pumice.trust.sight.tower import open_eye

        pixels, there = notes["pixels"], notes["there"]
        assert isinstance(pixels, np.ndarray)
        assert isinstance(there, np.ndarray)
        found = open_eye(Path(self.folder)).pictures(pixels) if len(pixels) else None
        embeds = np.zeros((len(there), 0 if found is None else found.shape[1]), np.float32)
        if found is not None:
            embeds[there] = found
        return {"there": there, "embed": embeds, "thumb": notes["thumb"]}

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        own = all_views(seen, self.name)
        if own is not None:
            yield from self._looks_alike(own)
            yield from self._against(own)
            if self.texts:
                yield from self._mismatches(seen, own.numbers, own.embeds_VE)
            if self.head is not None:
                yield from self.head.findings(self.name, own.numbers, own.embeds_VE)
            yield from unusual(self.name, own.numbers, own.embeds_VE)

    def _against(self, own: Views) -> Iterator[Finding]:
        for other in self.others:
            if other.seen is None:
                why = f"{other.name} are fingerprints, without pictures: theirs are compared by hashes alone"
                yield Finding(self.name, "unjudged", "note", why + ", by the check against")
            else:
                yield from looks_alike_against(self.name, own, other.name, other.seen, NEAR, SAME)

    def _looks_alike(self, own: Views) -> Iterator[Finding]:
        white_VE = Whitening.of([own.embeds_VE])(own.embeds_VE)
        numbers, thumbs_V = own.numbers, own.thumbs_VT
        left, right, cosine = alike.pairs_above(white_VE, None, NEAR)
        same = (thumbs_V[left] * thumbs_V[right]).sum(1) if len(left) else np.zeros(0)
        keep = same >= SAME
        left, right, cosine = left[keep], right[keep], cosine[keep]
        best = np.zeros(len(numbers), np.float32)
        for ends in (left, right):
            np.maximum.at(best, ends, cosine)
        group = alike.groups(len(numbers), left, right)
        sizes = np.bincount(group, minlength=len(numbers))
        for place in np.flatnonzero(sizes[group] > 1).tolist():
            yield Finding(
                self.name,
                "looks-alike",
                "warning",
                f"the tower sees {sizes[group[place]]} pictures as one",
                picture=int(numbers[place]),
                score=round(float(best[place]), 4),
                group=f"alike {int(numbers[group[place]])}",
            )

    def _mismatches(
        self, seen: Seen, numbers: NDArray[np.int64], embeds_VE: NDArray[np.float32]
    ) -> Iterator[Finding]:
        from pumice.trust.sight.tower import open_eye

        told = pieces.of(seen, numbers)
        if len(told.rows) < mixed.FEWEST:
            return
        eye = open_eye(Path(self.folder))
        texts_SE = eye.texts(told.texts)
        own, wrong = fits(embeds_VE * eye.scale, texts_SE, told)
        why = mixed.blind(own, wrong, "the tower")
        if why:
            yield Finding(self.name, "unjudged", "warning", why)
            return
        chances = mixed.wrong_chances(own, wrong)
        share = mixed.wrong_share(own, wrong)
        for place in np.flatnonzero(chances >= mixed.SURE).tolist():
            yield Finding(
                self.name,
                "mismatch",
                "serious",
                "what it says fits its picture no better than what others say (of the rows that fit so "
                f"badly {chances[place]:.0%} are expected to be mismatched, of all {share:.2%})",
                row=int(told.rows[place]),
                score=round(float(own[place]), 3),
                details={"expected": round(float(chances[place]), 4)},
            )


def made_tower(folder: Path | None, head: Path | None = None, others: tuple[Other, ...] = ()) -> Tower | str:
    """The check with a tower, or why it does not run.

    Raises:
        CheckpointError: the folder holds no tower, or the file no head.
    """
    if folder is None:
        return "it sees with a vision tower: give one with --tower"
    from pumice.trust.sight.tower import has_text, identity, tile_processor

    return Tower(
        str(folder),
        identity(folder),
        tile_processor(folder),
        has_text(folder),
        None if head is None else UnsafeHead.read(head),
        others,
    )


def fits(
    scaled_VE: NDArray[np.float32], texts_SE: NDArray[np.float32], told: pieces.Pieces
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well the texts of rows fit their pictures, and how well those of other rows do.

    The cosine, times the tower's scale, less half of what the picture has with texts in general and half of
    what the text has with pictures in general (log-mean-exp, as in the loss that the tower was trained with).
    A row's score is the mean over its pieces.

    Returns:
        float64 [rows] and [rows x DRAWN].
    """
    rng = np.random.default_rng(0)
    some_V = np.sort(rng.permutation(len(scaled_VE))[:REFERENCES])
    some_S = np.sort(rng.permutation(len(texts_SE))[:REFERENCES])
    usual_S = _log_mean(texts_SE @ scaled_VE[some_V].T)
    usual_V = _log_mean(scaled_VE @ texts_SE[some_S].T)

    def scored(picture_S: NDArray[np.int64], piece_S: NDArray[np.int64]) -> NDArray[np.float64]:
        near: NDArray[np.float64] = (scaled_VE[picture_S] * texts_SE[piece_S]).sum(1, dtype=np.float64)
        return near - (usual_V[picture_S] + usual_S[piece_S]) / 2

    count = len(told.rows)
    own = told.mean(scored(told.picture_R[told.row_S], np.arange(len(texts_SE))))
    wrong = []
    for _ in range(DRAWN):
        other = (np.arange(count) + rng.integers(1, count, count)) % count
        picture_R = told.picture_R[other]
        drawn = told.mean(scored(picture_R[told.row_S], np.arange(len(texts_SE))))
        wrong.append(drawn[picture_R != told.picture_R])
    return own, np.concatenate(wrong)


def _log_mean(values_NM: NDArray[np.float32]) -> NDArray[np.float64]:
    top = values_NM.max(1, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(values_NM - top).mean(1, dtype=np.float64)) + top[:, 0]
    return found
