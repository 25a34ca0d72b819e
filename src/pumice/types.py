"""The frozen types that travel between packages.

Nothing here imports torch, so that readers, planners and audits start fast.
Shape legend for array fields: T = tokens of one sequence, B = rows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = -100
"""Label of a token that is not supervised (the value torch's cross entropy ignores)."""

PLACEHOLDER = "<image>"
"""The text that stands for an image inside LLaVA JSON. Nowhere else has it a meaning."""

VIDEO_PLACEHOLDER = "<video>"
"""The same for a video, in rows that have one; there ``<image>`` may stand for it, too."""

DataFormat = Literal["llava", "sharegpt", "messages", "preference", "parquet", "hub", "webdataset"]
"""What data may look like on disk; the first four are JSON or JSONL."""

HUB = "hub:"
"""Begins the name of a dataset on the hub: ``hub:ORG/NAME/CONFIG@SPLIT``, the last two optional."""

Role = Literal["system", "user", "assistant"]
Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 as fractions of width and height, as LLaVA writes boxes."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a message that is words and stays words."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """The place of one image inside a message; ``index`` counts within the sample."""

    index: int


Part = Text | Image


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks, and text and images in the order in which they stand."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All text parts joined, images left out."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sample was read: the file and its row, counted from 0."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}"


@dataclass(frozen=True, slots=True)
class Region:
    """A box of an image and the words for what is in it (optional data, for grounding)."""

    box: Box
    phrase: str
    image: int = 0


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A picture inside a container: ``length`` bytes of ``file`` from ``offset``, a whole image file.

    ``name`` says which picture it is to a reader: a member of a tar file, a row's picture in a table.
    """

    file: Path
    offset: int
    length: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} in {self.file}"


@dataclass(frozen=True, slots=True)
class Video:
    """A video: a file, or a folder of frames. It stands where a picture stands."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


Still = Path | ImageRef
"""Where a picture is: a file of its own, or a part of one."""

Picture = Still | Video
"""What a sample shows, and where it is."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Where a row is from and who may do what with it, as it says itself; "" where it does not.

    ``licence`` is as written (``pumice.licences.read_licence`` understands it), ``attribution`` names whoever
    must be named, ``url`` is where it is from, ``dataset`` the data set it belongs to.
    """

    licence: str = ""
    attribution: str = ""
    url: str = ""
    dataset: str = ""

    def over(self, other: Rights) -> Rights:
        """These, and ``other``'s where these say nothing."""
        return Rights(
            self.licence or other.licence,
            self.attribution or other.attribution,
            self.url or other.url,
            self.dataset or other.dataset,
        )


NO_RIGHTS = Rights()
"""Of a row that says nothing of itself."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of training data: a conversation over zero or more images.

    ``rejected`` is a worse answer to the last question, where the row compares two. ``rights`` are the row's
    own, and those of its source where it has none.
    """

    id: str
    messages: tuple[Message, ...]
    images: tuple[Picture, ...]
    source: str
    origin: Origin
    regions: tuple[Region, ...] = ()
    rejected: str | None = None
    rights: Rights = NO_RIGHTS


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """Which tokens of a sequence one image fills: ``length`` tokens from ``start``."""

    image: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """A rendered conversation, every array int64 of shape [T].

    ``labels[i]`` is ``input_ids[i]`` where token i is supervised, else ``IGNORE_INDEX``
    (not shifted: the loss shifts). ``branch_ids`` is 0 on the trunk; tokens of branch k > 0
    see the trunk and their own branch only, and their positions go on from the trunk's end.
    An ordinary conversation is all trunk, with positions 0..T-1.
    """

    input_ids: IntArray
    labels: IntArray
    position_ids: IntArray
    branch_ids: IntArray
    image_spans: tuple[ImageSpan, ...]

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])

    @property
    def supervised(self) -> int:
        """How many tokens carry a loss."""
        return int((self.labels != IGNORE_INDEX).sum())


@dataclass(frozen=True, slots=True)
class PackedImage:
    """One image of a batch: where it is, and the tokens it fills in row ``row``."""

    path: Picture
    row: int
    start: int
    length: int
    sample: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of packed samples, every array int64 of shape [B, T].

    ``segment_ids`` numbers the samples within a row from 1; 0 is padding. Token q sees token k
    when k <= q, both have one segment, and k is on the trunk or on q's own branch.
    ``samples`` are the dataset indices of everything in the batch, in packing order.
    """

    input_ids: IntArray
    labels: IntArray
    position_ids: IntArray
    segment_ids: IntArray
    branch_ids: IntArray
    images: tuple[PackedImage, ...]
    samples: tuple[int, ...]

    @property
    def supervised(self) -> int:
        """How many label positions carry a loss."""
        return int((self.labels != IGNORE_INDEX).sum())


def text_message(role: Role, text: str, images: Sequence[int] = ()) -> Message:
    """A message whose images stand before its text, each followed by a newline (LLaVA's order)."""
    parts: list[Part] = []
    for index in images:
        parts += [Image(index), Text("\n")]
    parts.append(Text(text))
    return Message(role, tuple(parts))
