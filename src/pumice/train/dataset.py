"""A stage's samples, rendered and with their pictures as the tower sees them.

Shapes: N pictures, P patches, V tower width, H = W the tower's input, K token slots of a cell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

import pumice.text
from pumice.data.collate import collate
from pumice.data.problems import Problems, place
from pumice.data.samples import distinct, pictures_of, take
from pumice.errors import DataError
from pumice.image.boxes import map_box
from pumice.image.decode import image_size, open_image
from pumice.image.process import ImageProcessor
from pumice.model import VisionLanguageModel
from pumice.recipes.schema import Grounding, Stage
from pumice.text.render import count_turns, render
from pumice.text.templates import Template
from pumice.train.grounding import Cells, lay_out
from pumice.train.remember import Budget, Remembered, pack_cells, pack_encoded, unpack_cells, unpack_encoded
from pumice.types import Batch, Encoded, IntArray, Origin, Picture, Region, Sample

CHUNK = 64
"""Pictures that go through a frozen tower together, at most."""

MULTIPLE = 4
"""Chunks are padded to a multiple of this. On one to three threads of a CPU a picture's features then have
the same bits in chunks of any size (docs/LOG.md), so that keeping them changes nothing there at all."""

FEATURE_BYTES = 2 * 1024**3
"""Features of a frozen tower are kept in memory while those of all pictures fit into this."""

Progress = Callable[[str, int, int], None]
Key = tuple[str, Origin]


class Pictures:
    """Pictures by path: decoded and preprocessed, and as features of a frozen tower.

    A matrix product may round differently for other sizes of a chunk, and for another place in it. So which
    pictures share a chunk, and where each stands, must not depend on where a run was interrupted. Features
    that are not kept are computed with those of their batch, which the plan decides. Those that are kept are
    computed in the chunks of ``expect``, which all stages of a run share.
    """

    def __init__(self, processor: ImageProcessor) -> None:
        self.processor = processor
        self._features: dict[Picture, Tensor] = {}
        self._origins: dict[Picture, Origin] = {}
        self._chunks: list[list[Picture]] = []
        self._chunk_of: dict[Picture, int] = {}

    def know(self, samples: Sequence[Sample]) -> None:
        """Remember the first row that shows each picture, for errors."""
        for picture, origin in pictures_of(samples).items():
            self._origins.setdefault(picture, origin)

    def pixels(self, paths: Sequence[Picture]) -> Tensor:
        """float32 [N, 3, H, W]; ImageError (with the row, if known) for one that cannot be decoded."""
        return torch.from_numpy(np.stack([self.processor(self._open(path)) for path in paths]))

    def _open(self, path: Picture) -> Image:
        origin = self._origins.get(path)
        return open_image(path, where=None if origin is None else str(origin))

    def keeps(self, model: VisionLanguageModel, count: int) -> bool:
        """Whether the features of ``count`` pictures are kept: a frozen tower, and they fit."""
        return bool(model.tower.frozen) and self.fits(model, count)

    def fits(self, model: VisionLanguageModel, count: int) -> bool:
        """Whether the features of ``count`` pictures fit into memory, were the tower frozen."""
        return bool(count * model.tower.length * model.tower.dim * 4 <= FEATURE_BYTES)

    def expect(self, paths: Iterable[Picture]) -> None:
        """Put pictures that are in no chunk yet into new ones, in this order.

        A run calls it for every stage whose features are kept, in order, finished ones too: a chunk is then
        the same whether an earlier stage computed it or a resumed run does.
        """
        new = [path for path in dict.fromkeys(paths) if path not in self._chunk_of]
        for start in range(0, len(new), CHUNK):
            chunk = new[start : start + CHUNK]
            self._chunk_of.update(dict.fromkeys(chunk, len(self._chunks)))
            self._chunks.append(chunk)

    @torch.no_grad()
    def prepare(self, model: VisionLanguageModel, paths: Sequence[Picture], progress: Progress) -> None:
        """Keep the features of these pictures and no others; those not known yet are computed."""
        self.expect(paths)
        self._features = {path: self._features[path] for path in paths if path in self._features}
        wanted = set(paths) - self._features.keys()
        total = len(wanted)
        for number in sorted({self._chunk_of[path] for path in wanted}):
            chunk = self._chunks[number]
            for path, feature in zip(chunk, self._encode(model, chunk), strict=True):
                if path in wanted:
                    self._features[path] = feature.clone()
                    wanted.remove(path)
            progress("reading pictures", total - len(wanted), total)

    def _encode(self, model: VisionLanguageModel, paths: Sequence[Picture]) -> Tensor:
        pixels = self.pixels(paths)
        padded = torch.zeros(-(-len(paths) // MULTIPLE) * MULTIPLE, *pixels.shape[1:])
        padded[: len(paths)] = pixels
        # Without autocast: a stage's precision must not decide what features are, or keeping them would.
        with torch.autocast(model.device.type, enabled=False):
            features: Tensor = model.encode_tower(padded.to(model.device))
        return features[: len(paths)].float().cpu()

    def features(self, model: VisionLanguageModel, paths: Sequence[Picture]) -> Tensor:
        """Features [N, P, V] of a batch's pictures, in order; with a graph if the tower trains."""
        if paths and all(path in self._features for path in paths) and model.tower.frozen:
            return torch.stack([self._features[path] for path in paths]).to(model.device)
        if not model.tower.frozen:
            trained: Tensor = model.encode_tower(self.pixels(paths).to(model.device))
            return trained
        chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
        return torch.cat([self._encode(model, chunk) for chunk in chunks]).to(model.device)

    def forget(self) -> None:
        """Drop kept features (the tower changes, or a stage keeps none)."""
        self._features.clear()


class StageData:
    """Samples of one stage, rendered on demand and remembered while the budget lasts.

    Args:
        samples: in mixture order; a plan's indices point into it.
        tokenizer: the model's.
        template: the stage's.
        length: tokens of one picture.
        image_token_id: the id that fills its place.
        stage: for ``branch_turns``, ``row_length`` and ``grounding``.
        processor: for how boxes move when pictures are cropped or padded.
        budget: the bytes for what is remembered, shared by the stages of a run.
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
        budget: Budget,
    ) -> None:
        self.samples, self.tokenizer, self.template = samples, tokenizer, template
        self.length, self.image_token_id, self.stage = length, image_token_id, stage
        self.processor = processor
        self._encoded = Remembered[Key, Encoded](budget, pack_encoded, unpack_encoded)
        self._cells = Remembered[tuple[Key, Picture], Cells](budget, pack_cells, unpack_cells)

    def encode(self, sample: Sample, sizes: Sequence[tuple[int, int]] = ()) -> Encoded:
        """Render one sample (``sizes`` is what preflight passes; a square tower needs none)."""

        def made() -> Encoded:
            return render(
                sample.messages,
                self.tokenizer,
                self.template,
                image_lengths=[self.length] * len(sample.images),
                image_token_id=self.image_token_id,
                branch_turns=self.stage.branch_turns,
                max_length=self.stage.row_length,
                too_long=self.stage.too_long,
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
            self.length,
            self.image_token_id,
            self.stage.branch_turns,
            self.stage.row_length,
            self.stage.too_long,
            sorted(map(str, self.tokenizer.added_tokens_decoder.items())),
            self.tokenizer.bos_token_id,
            self.tokenizer.eos_token_id,
        )
        digest = hashlib.sha256(repr(facts).encode())
        digest.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for file in sorted(Path(pumice.text.__file__).parent.glob("*.py")):
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

    def check_context(self, config: Any, lengths: IntArray) -> None:
        """Compare every sample's last position with what the language model was made for.

        Args:
            config: the language model's; ``max_position_embeddings`` is read. An attention window
                (``sliding_window``) bounds nothing: the masks have it.
            lengths: tokens of each sample; positions are no more than these.

        Raises:
            DataError: a sample is longer.
        """
        limit = getattr(config, "max_position_embeddings", None)
        if limit is None:
            return
        problems = Problems()
        first, _ = distinct(self.samples)
        for sample in take(self.samples, first[lengths[first] > limit]):
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
        for sample in take(self.samples, distinct(self.samples)[0]):
            for path in dict.fromkeys(sample.images):
                try:
                    self.picture_cells(sample, path, grounding)
                except DataError as error:
                    place(error, sample.origin)
                    raise

    def picture_cells(self, sample: Sample, path: Picture, grounding: Grounding) -> Cells:
        """What the patches of one picture of a sample should say."""
        grid = math.isqrt(self.length)
        if grid * grid != self.length:
            raise DataError(
                f"grounding needs a square of patches, and a picture has {self.length} tokens",
                remedy="use select_feature: patch, or leave grounding out",
            )

        def made() -> Cells:
            regions = self._moved(_regions(sample, path), path)
            return lay_out(regions, grid, self._ids, grounding.center_word)

        return self._cells.get((_key(sample), path), made)

    def _moved(self, regions: Sequence[Region], path: Picture) -> list[Region]:
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


def _key(sample: Sample) -> Key:
    """What tells a stage's samples apart: objects come and go, a row stays the same row."""
    return sample.source, sample.origin


def _regions(sample: Sample, path: Picture) -> list[Region]:
    """The boxes of one of a sample's pictures."""
    return [region for region in sample.regions if sample.images[region.image] == path]
