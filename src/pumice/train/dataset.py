"""A stage's samples, rendered and with their pictures as the tower sees them.

Shapes: N pictures, P patches, V tower width, H = W the tower's input, K token slots of a cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from pumice.data.collate import collate
from pumice.data.problems import Problems, place
from pumice.errors import DataError
from pumice.image.boxes import map_box
from pumice.image.decode import image_size, open_image
from pumice.image.process import ImageProcessor
from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Grounding, Stage
from pumice.text.render import render
from pumice.text.templates import Template
from pumice.train.grounding import Cells, lay_out
from pumice.types import Batch, Encoded, Origin, Region, Sample

CHUNK = 64
"""Pictures that go through the tower together. Always the same number, padded where fewer are left:
a matrix product may round differently for other sizes, and a resumed run must see the same features."""

FEATURE_BYTES = 2 * 1024**3
"""Features of a frozen tower are kept in memory while those of all pictures fit into this."""

Progress = Callable[[str, int, int], None]


class Pictures:
    """Pictures by path: decoded and preprocessed, and as features of a frozen tower.

    Features are exact (the tower's own dtype), so whether they are kept changes no result.
    """

    def __init__(self, processor: ImageProcessor) -> None:
        self.processor = processor
        self._features: dict[Path, Tensor] = {}
        self._origins: dict[Path, Origin] = {}

    def know(self, samples: Iterable[Sample]) -> None:
        """Remember the first row that shows each picture, for errors."""
        for sample in samples:
            for path in sample.images:
                self._origins.setdefault(path, sample.origin)

    def pixels(self, paths: Sequence[Path]) -> Tensor:
        """float32 [N, 3, H, W]; ImageError (with the row, if known) for one that cannot be decoded."""
        return torch.from_numpy(np.stack([self.processor(self._open(path)) for path in paths]))

    def _open(self, path: Path) -> Image:
        origin = self._origins.get(path)
        return open_image(path, where=None if origin is None else str(origin))

    def keeps(self, model: VisionLanguageModel, count: int) -> bool:
        """Whether the features of ``count`` pictures are kept: a frozen tower, and they fit."""
        return bool(model.tower.frozen) and self.fits(model, count)

    def fits(self, model: VisionLanguageModel, count: int) -> bool:
        """Whether the features of ``count`` pictures fit into memory, were the tower frozen."""
        return bool(count * model.tower.length * model.tower.dim * 4 <= FEATURE_BYTES)

    @torch.no_grad()
    def prepare(self, model: VisionLanguageModel, paths: Sequence[Path], progress: Progress) -> None:
        """Compute the features of all pictures that are not known yet, in the order given."""
        wanted = [path for path in dict.fromkeys(paths) if path not in self._features]
        for start in range(0, len(wanted), CHUNK):
            part = wanted[start : start + CHUNK]
            for path, feature in zip(part, self._encode(model, part), strict=True):
                self._features[path] = feature
            progress("reading pictures", min(start + CHUNK, len(wanted)), len(wanted))

    def _encode(self, model: VisionLanguageModel, paths: Sequence[Path]) -> Tensor:
        pixels = self.pixels(paths)
        padded = torch.zeros(CHUNK, *pixels.shape[1:])
        padded[: len(paths)] = pixels
        # Without autocast: a stage's precision must not decide what features are, or keeping them would.
        with torch.autocast(model.device.type, enabled=False):
            features: Tensor = model.encode_tower(padded.to(model.device))
        return features[: len(paths)].float().cpu()

    def features(self, model: VisionLanguageModel, paths: Sequence[Path]) -> Tensor:
        """Features [N, P, V] of a batch's pictures, in order; with a graph if the tower trains."""
        if paths and all(path in self._features for path in paths) and model.tower.frozen:
            return torch.stack([self._features[path] for path in paths]).to(model.device)
        if not model.tower.frozen:
            trained: Tensor = model.encode_tower(self.pixels(paths).to(model.device))
            return trained
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        return torch.cat([self._encode(model, chunk) for chunk in chunks]).to(model.device)

    def forget(self) -> None:
        """Drop kept features (the tower changed)."""
        self._features.clear()


class StageData:
    """Samples of one stage, rendered on demand and remembered.

    Args:
        samples: in mixture order; a plan's indices point into it.
        tokenizer: the model's.
        template: the stage's.
        length: tokens of one picture.
        image_token_id: the id that fills its place.
        stage: for ``branch_turns``, ``row_length`` and ``grounding``.
        processor: for how boxes move when pictures are cropped or padded.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        tokenizer: Any,
        template: Template,
        *,
        length: int,
        image_token_id: int,
        stage: Stage,
        processor: ImageProcessor,
    ) -> None:
        self.samples, self.tokenizer, self.template = samples, tokenizer, template
        self.length, self.image_token_id, self.stage = length, image_token_id, stage
        self.processor = processor
        self._encoded: dict[int, Encoded] = {}
        self._cells: dict[tuple[int, Path], Cells] = {}

    def encode(self, sample: Sample, sizes: Sequence[tuple[int, int]] = ()) -> Encoded:
        """Render one sample (``sizes`` is what preflight passes; a square tower needs none)."""
        key = id(sample)
        if key not in self._encoded:
            self._encoded[key] = render(
                sample.messages,
                self.tokenizer,
                self.template,
                image_lengths=[self.length] * len(sample.images),
                image_token_id=self.image_token_id,
                branch_turns=self.stage.branch_turns,
                max_length=self.stage.row_length,
            )
        return self._encoded[key]

    def batch(self, rows: Sequence[Sequence[int]]) -> Batch:
        """One padded batch of rows of sample indices."""
        filled = [[(i, self.encode(self.samples[i]), self.samples[i]) for i in row] for row in rows]
        return collate(filled, None, int(self.tokenizer.pad_token_id or 0))

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

    def check_context(self, config: Any) -> None:
        """Compare every sample's last position with what the language model was made for.

        Args:
            config: the language model's; ``max_position_embeddings`` is read. An attention window
                (``sliding_window``) bounds nothing: the masks have it.

        Raises:
            DataError: a sample is longer.
        """
        limit = getattr(config, "max_position_embeddings", None)
        if limit is None:
            return
        problems = Problems()
        for sample in {id(sample): sample for sample in self.samples}.values():
            longest = int(self.encode(sample).position_ids.max()) + 1
            if longest > limit:
                problems.add(
                    DataError(
                        f"the sample has {longest} positions, the language model's context "
                        f"(max_position_embeddings) is {limit}",
                        where=str(sample.origin),
                        remedy="split the conversation, remove the row, or choose another language model",
                    )
                )
        problems.raise_if_any("samples are too long for the language model")

    def check_cells(self, grounding: Grounding) -> None:
        """Lay out the words of every picture once, so that none fails while training.

        Raises:
            DataError: the tower's features are no square, or a phrase fits no cell (the row is named).
        """
        for sample in self.samples:
            for path in dict.fromkeys(sample.images):
                try:
                    self.picture_cells(sample, path, grounding)
                except DataError as error:
                    place(error, sample.origin)
                    raise

    def picture_cells(self, sample: Sample, path: Path, grounding: Grounding) -> Cells:
        """What the patches of one picture of a sample should say."""
        grid = math.isqrt(self.length)
        if grid * grid != self.length:
            raise DataError(
                f"grounding needs a square of patches, and a picture has {self.length} tokens",
                remedy="use select_feature: patch, or leave grounding out",
            )
        key = (id(sample), path)
        if key not in self._cells:
            regions = self._moved(_regions(sample, path), path)
            self._cells[key] = lay_out(regions, grid, self._ids, grounding.center_word)
        return self._cells[key]

    def _moved(self, regions: Sequence[Region], path: Path) -> list[Region]:
        if self.processor.mode == "squash":
            return list(regions)
        size = image_size(path)
        moved = []
        for region in regions:
            box = map_box(region.box, size, self.processor)
            if box is not None:
                moved.append(Region(box, region.phrase, region.image))
        return moved

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def _regions(sample: Sample, path: Path) -> list[Region]:
    """The boxes of one of a sample's pictures."""
    return [region for region in sample.regions if sample.images[region.image] == path]
