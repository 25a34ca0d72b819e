"""From an RGB image to the tower's input: resize, crop or pad, rescale, normalise.

Equal to transformers' Pillow processors of CLIP, SigLIP, BiT and LLaVA on RGB input, without
torchvision and without importing torch. Pictures that are cut into tiles go through
``pumice.image.anyres``, which uses the same steps.
Shape legend: H, W = pixels of the tower's square input; channel first, as vision towers expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import CheckpointError, UsageError, suggest
from pumice.image.config import parse_config, read_config, write_pinpoints
from pumice.image.decode import MAX_PIXELS
from pumice.image.grid import Size
from pumice.image.settings import check_pinpoints

Mode = Literal["crop", "pad", "squash", "anyres"]
"""``crop``: shortest edge to size, centre crop (CLIP). ``pad``: to a square with the mean colour, then
resize (LLaVA-1.5's instruction tuning). ``squash``: resize to the square, aspect ratio lost (SigLIP).
``anyres``: several squares, the whole picture squashed and tiles of it (LLaVA-NeXT)."""


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """The image side of a checkpoint's processor.

    ``image_size`` is the side of the square output in pixels; ``shortest_edge`` is what ``crop`` resizes
    the shorter side to before cropping; ``mean`` and ``std`` are per channel, of values already
    multiplied by ``rescale_factor``; ``resample`` is Pillow's filter number. ``pinpoints`` are the
    canvases of ``anyres``, (width, height) in pixels; other modes have none.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: Mode = "crop"
    shortest_edge: int = 0
    resample: int = int(Image.Resampling.BICUBIC)
    rescale_factor: float = 1 / 255
    pinpoints: tuple[Size, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"unknown image mode {self.mode!r}", remedy=suggest(self.mode, get_args(Mode)))
        if self.shortest_edge == 0:
            object.__setattr__(self, "shortest_edge", self.image_size)
        if not 0 < self.image_size <= self.shortest_edge:
            raise CheckpointError(
                f"a crop of {self.image_size} pixels does not fit into an edge of {self.shortest_edge}",
                remedy="check size and crop_size of the image processor's config",
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise CheckpointError(
                f"image_mean {self.mean} and image_std {self.std} must be three numbers each, std positive",
                remedy="check the image processor's config",
            )
        if (self.mode == "anyres") != bool(self.pinpoints):
            raise UsageError(
                f"the image mode is {self.mode!r}, with {len(self.pinpoints)} grid pinpoints",
                remedy="anyres needs the pinpoints of a LLaVA-NeXT checkpoint, and nothing else has any",
            )
        check_pinpoints(self.pinpoints, self.image_size)

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """The tower's input for one RGB image: float32 [3, H, W].

        Raises:
            CheckpointError: the mode is ``anyres``, which makes several inputs of one picture.
        """
        return self.normalised(self.squared(image))

    def normalised(self, square: Image.Image) -> NDArray[np.float32]:
        """Float32 [3, H, W] of a square that is cut already: rescaled, mean and deviation taken out."""
        pixels_HW3 = np.asarray(square, dtype=np.uint8)
        # float64 before the product, as transformers' rescale; float32 from there on
        scaled_HW3 = (pixels_HW3.astype(np.float64) * self.rescale_factor).astype(np.float32)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.ascontiguousarray(((scaled_HW3 - mean) / std).transpose(2, 0, 1))

    def squared(self, image: Image.Image) -> Image.Image:
        """The RGB image that the tower sees, ``image_size`` pixels square, before rescaling.

        Raises:
            CheckpointError: the mode is ``anyres``.
        """
        assert image.mode == "RGB", f"open_image gives RGB, this is {image.mode}"
        if self.mode == "anyres":
            raise CheckpointError(
                "this checkpoint cuts a picture into several tiles (anyres), and one square was asked for",
                where="image_grid_pinpoints",
                remedy="choose the image mode crop, pad or squash",
            )
        side = self.image_size
        resample = Image.Resampling(self.resample)
        if self.mode == "squash":
            return image.resize((side, side), resample)
        if self.mode == "pad":
            return self._padded(image).resize((side, side), resample)
        return self._cropped(image, resample)

    @property
    def background(self) -> tuple[int, ...]:
        """The colour of padding: the mean, 0 to 255, rounded down as LLaVA's ``expand2square``."""
        return tuple(int(value * 255) for value in self.mean)

    def with_mode(self, mode: Mode, pinpoints: tuple[Size, ...] = ()) -> ImageProcessor:
        """The same normalisation and output size under another ``mode``.

        Args:
            mode: the new mode.
            pinpoints: the canvases of ``anyres``; without them, those this processor has.

        Raises:
            UsageError: ``anyres`` without canvases.
        """
        edge = self.shortest_edge if self.mode == "crop" else self.image_size
        return replace(
            self,
            mode=mode,
            shortest_edge=edge if mode == "crop" else self.image_size,
            pinpoints=(pinpoints or self.pinpoints) if mode == "anyres" else (),
        )

    def _cropped(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        width, height = image.size
        edge, side = self.shortest_edge, self.image_size
        # int(), not round(): get_resize_output_image_size of transformers
        wide = edge if width <= height else int(edge * width / height)
        high = edge if height <= width else int(edge * height / width)
        resized = image.resize((wide, high), resample)
        left, top = (wide - side) // 2, (high - side) // 2
        return resized.crop((left, top, left + side, top + side))

    def _padded(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        longest = max(width, height)
        if longest * longest > MAX_PIXELS:
            # The square of a long strip would not fit into memory; it is shrunk first, still far above
            # any tower's resolution.
            scale = MAX_PIXELS**0.5 / longest
            width, height = max(1, int(width * scale)), max(1, int(height * scale))
            image = image.resize((width, height), Image.Resampling(self.resample))
            longest = max(width, height)
        if width == height:
            return image
        square = Image.new("RGB", (longest, longest), self.background)
        square.paste(image, ((longest - width) // 2, (longest - height) // 2))
        return square

    def to_dict(self) -> dict[str, Any]:
        """``preprocessor_config.json`` for transformers, equal in effect to this processor.

        ``crop_size`` is there in every mode because ``LlavaProcessor`` counts tokens by it.
        """
        side = {"height": self.image_size, "width": self.image_size}
        kinds = {"pad": "LlavaImageProcessor", "anyres": "LlavaNextImageProcessor"}
        edged = self.mode in ("crop", "anyres")
        config: dict[str, Any] = {
            "image_processor_type": kinds.get(self.mode, "CLIPImageProcessor"),
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": self.shortest_edge} if edged else dict(side),
            "resample": self.resample,
            "do_center_crop": edged,
            "crop_size": side,
            "do_rescale": True,
            "rescale_factor": self.rescale_factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }
        if self.mode in kinds:
            config["do_pad"] = True
        if self.mode == "anyres":
            config["image_grid_pinpoints"] = write_pinpoints(self.pinpoints)
        return config

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, where: str | None = None) -> ImageProcessor:
        """The processor that a transformers image processor config describes.

        Raises:
            CheckpointError: a step this class does not do, a missing key or a size that is no square.
        """
        return cls(**parse_config(config, where))

    @classmethod
    def from_pretrained(cls, folder: Path, *, mode: Mode | None = None) -> ImageProcessor:
        """Read a checkpoint's image processor; ``mode`` replaces the one its config implies.

        Raises:
            CheckpointError: no readable config, or one that ``from_dict`` refuses.
        """
        config, where = read_config(Path(folder))
        processor = cls.from_dict(config, where=where)
        return processor if mode is None else processor.with_mode(mode)
