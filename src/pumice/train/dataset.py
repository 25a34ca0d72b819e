"""A stage's samples, rendered, and what the patches of their pictures should say.

Shapes: N pictures, P patches.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pumice
from pumice.data.collate import MULTIPLE, collate
from pumice.data.problems import place
from pumice.data.samples import distinct, images_at, take
from pumice.errors import DataError
from pumice.image.boxes import map_box
from pumice.image.decode import image_size
from pumice.image.video import Extent
from pumice.recipes.schema import Grounding, Stage
from pumice.text.render import count_turns, render
from pumice.text.templates import Template
from pumice.train.grounding import Cells, lay_out
from pumice.train.pictures import Pictures, View
from pumice.train.preference import References
from pumice.train.remember import Budget, Remembered, pack_cells, pack_encoded, unpack_cells, unpack_encoded
from pumice.types import IGNORE_INDEX, Batch, Encoded, Origin, Picture, Region, Sample, Video

Key = tuple[str, Origin]


class StageData:
    """Samples of one stage, rendered on demand and remembered while the budget lasts.

    Args:
        samples: in mixture order; a plan's indices point into it.
        tokenizer: the model's.
        template: the stage's.
        pictures: how pictures and videos are laid out.
        image_token_id: the id that fills their places.
        stage: for ``kind``, ``branch_turns``, ``row_length`` and ``grounding``.
        budget: the bytes for what is remembered, shared by the stages of a run.

    Attributes:
        references: what the model gave to all pairs of answers before a stage of kind prefer, once known.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tokenizer: Any,
        template: Template,
        *,
        pictures: Pictures,
        image_token_id: int,
        stage: Stage,
        budget: Budget,
    ) -> None:
        self.samples, self.tokenizer, self.template = samples, tokenizer, template
        self.pictures, self.image_token_id, self.stage = pictures, image_token_id, stage
        self.geometry = pictures.geometry
        self.references: References | None = None
        self._encoded = Remembered[Key, Encoded](budget, pack_encoded, unpack_encoded)
        self._cells = Remembered[tuple[Key, Picture], Cells](budget, pack_cells, unpack_cells)

    def encode(self, sample: Sample, extents: Sequence[Extent] | None = None) -> Encoded:
        """Render one sample; ``extents`` is what preflight passes, later it is known."""

        prefers = self.stage.kind == "prefer"
        if prefers and sample.rejected is None:
            raise DataError(
                "the row has no rejected answer, and the stage prefers one answer to another",
                where=str(sample.origin),
                remedy="write chosen and rejected (docs/preference.md), or make the stage's kind instruct",
            )

        def made() -> Encoded:
            known = extents
            if known is None:
                known = [self.pictures.extent(picture) for picture in sample.images]
            return render(
                sample.messages,
                self.tokenizer,
                self.template,
                image_lengths=[self.geometry.tokens(layout) for layout in self.geometry.layouts(known)],
                image_token_id=self.image_token_id,
                branch_turns=self.stage.branch_turns,
                max_length=self.stage.row_length,
                too_long=self.stage.too_long,
                rejected=sample.rejected if prefers else None,
            )

        return self._encoded.get(_key(sample), made)

    def forget(self) -> None:
        """Drop what is remembered: the stage is over, and another may use its bytes."""
        self._encoded.forget()
        self._cells.forget()

    def settings(self) -> str:
        """A digest of all that decides how samples are rendered, the renderer's own code among it."""
        template = json.dumps(dataclasses.asdict(self.template), default=sorted, sort_keys=True)
        facts = (
            template,  # its sets sorted: their own order changes from one process to the next
            self.geometry.settings,
            self.geometry.marks,
            self.image_token_id,
            self.stage.branch_turns,
            self.stage.kind == "prefer",
            self.stage.row_length,
            self.stage.too_long,
            sorted(map(str, self.tokenizer.added_tokens_decoder.items())),
            self.tokenizer.bos_token_id,
            self.tokenizer.eos_token_id,
        )
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for file in _counting_code():
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _shown(self, sample: Sample) -> tuple[Encoded, Sample]:
        """A sample's tokens, and the sample without the pictures of turns that were cut off."""
        encoded = self.encode(sample)
        left = len(encoded.image_spans)
        if self.stage.too_long != "cut" or left == len(sample.images):
            return encoded, sample
        # Pictures are numbered in the order of their turns, and turns are cut from the end.
        regions = tuple(region for region in sample.regions if region.image < left)
        return encoded, dataclasses.replace(sample, images=sample.images[:left], regions=regions)

    def cut(self) -> int:
        """How many samples lost turns at their end to fit into a row (``too_long: cut``)."""
        if self.stage.too_long != "cut":
            return 0
        return sum(
            count_turns(self.encode(sample)) < sum(m.role == "assistant" for m in sample.messages)
            for sample in self.samples
        )

    def batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """One padded batch of rows of sample indices."""
        # Each is read once: a sequence may make its samples as they are asked for.
        wanted = [[(i, self.samples[i]) for i in row] for row in rows]
        filled = [[(i, *self._shown(sample)) for i, sample in row] for row in wanted]
        return collate(filled, None, int(self.tokenizer.pad_token_id or 0))

    def empty(self) -> Batch:
        """A batch that teaches nothing, for a rank that has no rows while others do."""
        pad = int(self.tokenizer.pad_token_id or 0)
        zeros = np.zeros((1, MULTIPLE), np.int64)
        ids, labels = np.full_like(zeros, pad), np.full_like(zeros, IGNORE_INDEX)
        return Batch(ids, labels, zeros, zeros, zeros, (), ())

    def views(self, batch: Batch) -> list[View]:
        """The pictures and videos of a batch, laid out as its rows were counted."""
        views = []
        for image in batch.images:
            # All that the row shows, also what was cut off with its turn, decides how each is laid out.
            shown = images_at(self.samples, image.sample)
            view = self.pictures.views(shown)[shown.index(image.path)]
            tokens = self.geometry.tokens(view.layout)
            assert tokens == image.length, f"{image.path}: {tokens} tokens, {image.length} in the row"
            views.append(view)
        return views

    def cells(self, batch: Batch, grounding: Grounding) -> tuple[Cells, NDArray[np.bool_]]:
        """What the patches of a batch's pictures should say, with a leading axis N; which have boxes, [N]."""
        rows, known = [], []
        for image in batch.images:
            sample = self.samples[image.sample]
            rows.append(self.picture_cells(sample, image.path, grounding))
            known.append(bool(_regions(sample, image.path)))
        cells = Cells(np.stack([row.words for row in rows]), np.stack([row.places for row in rows]))
        return cells, np.array(known)

    def grounded(self, batch: Batch) -> int:
        """How many of a batch's pictures have boxes."""
        return sum(bool(_regions(self.samples[image.sample], image.path)) for image in batch.images)

    def check_cells(self, grounding: Grounding) -> None:
        """Lay out the words of every picture once, so that none fails while training.

        Raises:
            DataError: a picture is not one square of patches, or a phrase fits no cell (the row is named).
        """
        for sample in take(self.samples, distinct(self.samples)[0]):
            for path in dict.fromkeys(sample.images):
                try:
                    self.picture_cells(sample, path, grounding)
                except DataError as error:
                    place(error, sample.origin)
                    raise

    def picture_cells(self, sample: Sample, path: Picture, grounding: Grounding) -> Cells:
        """What the patches of one picture of a sample should say."""
        grid = self._square(path)

        def made() -> Cells:
            regions = self._moved(_regions(sample, path), path)
            return lay_out(regions, grid, self._ids, grounding.center_word)

        return self._cells.get((_key(sample), path), made)

    def _square(self, path: Picture) -> int:
        """Patches along a side of the one square that a picture is, with nothing beside them."""
        geometry = self.geometry
        if isinstance(path, Video):
            raise DataError(
                f"grounding needs one square of patches a picture, and {path} is a video",
                remedy="leave grounding out, or train videos in a stage of their own",
            )
        if not geometry.fixed:
            raise DataError(
                "grounding needs one square of patches a picture, and the model cuts pictures into tiles",
                remedy="set the stage's aspect to pad, crop or squash, or leave grounding out",
            )
        settings = geometry.settings
        extra = settings.class_tokens + geometry.marks
        if extra:
            raise DataError(
                f"grounding needs one square of patches a picture, and {extra} tokens stand beside them",
                remedy="use select_feature: patch and a model without <im_start>, or leave grounding out",
            )
        return settings.features

    def _moved(self, regions: Sequence[Region], path: Picture) -> list[Region]:
        if self.geometry.processor.mode == "squash":
            return list(regions)
        assert not isinstance(path, Video), "videos have no regions"
        size = image_size(path)
        moved = []
        for region in regions:
            box = map_box(region.box, size, self.geometry.processor)
            if box is not None:
                moved.append(Region(box, region.phrase, region.image))
        return moved

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _counting_code() -> list[Path]:
    """The files of this program that decide how many tokens a sample has."""
    root = Path(pumice.__file__).parent
    texts = sorted((root / "text").glob("*.py"))
    images = [root / "image" / f"{name}.py" for name in ("grid", "layout", "settings", "video")]
    return [*texts, *images, root / "model" / "geometry.py"]


def _key(sample: Sample) -> Key:
    """What tells a stage's samples apart: objects come and go, a row stays the same row."""
    return sample.source, sample.origin


def _regions(sample: Sample, path: Picture) -> list[Region]:
    """The boxes of one of a sample's pictures."""
    return [region for region in sample.regions if sample.images[region.image] == path]
