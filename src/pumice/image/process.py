"""From an RGB image to the tower's input: resize, crop or pad, rescale, normalise.

Equal to transformers' Pillow processors (``CLIPImageProcessorPil``, ``LlavaImageProcessorPil``) on
RGB input, without torchvision and without importing torch.
Shape legend: H, W = pixels of the tower's square input; channel first, as vision towers expect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import CheckpointError, UsageError, suggest
from pumice.image.decode import MAX_PIXELS

Mode = Literal["crop", "pad", "squash"]
"""``crop``: shortest edge to size, centre crop (CLIP). ``pad``: to a square with the mean colour, then
resize (LLaVA-1.5's instruction tuning). ``squash``: resize to the square, aspect ratio lost (SigLIP)."""

_CLIP_LIKE = frozenset({"CLIPImageProcessor", "CLIPFeatureExtractor", "LlavaImageProcessor"})
_CLIP_DEFAULTS: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "do_center_crop": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_UNDERSTOOD_ELSEWHERE = (
    "image_grid_pinpoints",
    "min_pixels",
    "max_pixels",
    "size_divisor",
    "spatial_merge_size",
)
"""Keys of processors whose token count depends on the image; this class would get them wrong."""


@dataclass(frozen=True, slots=True)
class ImageProcessor:
    """The image side of a checkpoint's processor.

    ``image_size`` is the side of the square output in pixels; ``shortest_edge`` is what ``crop`` resizes
    the shorter side to before cropping; ``mean`` and ``std`` are per channel, of values already
    multiplied by ``rescale_factor``; ``resample`` is Pillow's filter number.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: Mode = "crop"
    shortest_edge: int = 0
    resample: int = int(Image.Resampling.BICUBIC)
    rescale_factor: float = 1 / 255

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

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """The tower's input for one RGB image: float32 [3, H, W]."""
        square = self.squared(image)
        pixels_HW3 = np.asarray(square, dtype=np.uint8)
        # float64 before the product, as transformers' rescale; float32 from there on
        scaled_HW3 = (pixels_HW3.astype(np.float64) * self.rescale_factor).astype(np.float32)
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.ascontiguousarray(((scaled_HW3 - mean) / std).transpose(2, 0, 1))

    def squared(self, image: Image.Image) -> Image.Image:
        """The RGB image that the tower sees, ``image_size`` pixels square, before rescaling."""
        assert image.mode == "RGB", f"open_image gives RGB, this is {image.mode}"
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

    def with_mode(self, mode: Mode) -> ImageProcessor:
        """The same normalisation and output size under another ``mode``."""
        edge = self.shortest_edge if self.mode == "crop" else self.image_size
        return replace(self, mode=mode, shortest_edge=edge if mode == "crop" else self.image_size)

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
        kind = "LlavaImageProcessor" if self.mode == "pad" else "CLIPImageProcessor"
        config: dict[str, Any] = {
            "image_processor_type": kind,
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": self.shortest_edge} if self.mode == "crop" else dict(side),
            "resample": self.resample,
            "do_center_crop": self.mode == "crop",
            "crop_size": side,
            "do_rescale": True,
            "rescale_factor": self.rescale_factor,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }
        if self.mode == "pad":
            config["do_pad"] = True
        return config

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, where: str | None = None) -> ImageProcessor:
        """The processor that a transformers image processor config describes.

        Raises:
            CheckpointError: a step this class does not do, a missing key or a size that is no square.
        """
        return _parse(config, where)

    @classmethod
    def from_pretrained(cls, folder: Path, *, mode: Mode | None = None) -> ImageProcessor:
        """Read a checkpoint's image processor; ``mode`` replaces the one its config implies.

        The order of transformers: ``image_processor`` inside ``processor_config.json``, else
        ``preprocessor_config.json``.

        Raises:
            CheckpointError: no readable config, or one that ``from_dict`` refuses.
        """
        folder = Path(folder)
        nested, flat = folder / "processor_config.json", folder / "preprocessor_config.json"
        config = _read_json(nested).get("image_processor") if nested.is_file() else None
        file = nested
        if config is None:
            if not flat.is_file():
                raise CheckpointError(
                    f"{folder} has no image processor",
                    where=str(flat),
                    remedy="copy preprocessor_config.json of the vision tower into the folder",
                )
            config, file = _read_json(flat), flat
        processor = _parse(_mapping(config, str(file)), str(file))
        return processor if mode is None else processor.with_mode(mode)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        return dict(_mapping(json.loads(file.read_text(encoding="utf-8")), str(file)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file.name} cannot be read ({error})", where=str(file), remedy="fetch the checkpoint again"
        ) from error


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise CheckpointError(
            "the image processor's config is no JSON object", where=where, remedy="fetch the checkpoint again"
        )
    return value


def _parse(config: Mapping[str, Any], where: str | None) -> ImageProcessor:
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    kind = kind.removesuffix("Fast").removesuffix("Pil")
    foreign = [key for key in _UNDERSTOOD_ELSEWHERE if config.get(key) is not None]
    if foreign:
        raise CheckpointError(
            f"{kind or 'this image processor'} sizes each image by itself ({', '.join(foreign)})",
            where=where,
            remedy="use a vision tower with a fixed square input, such as CLIP or SigLIP",
        )
    fields = {**(_CLIP_DEFAULTS if kind in _CLIP_LIKE else {}), **config}
    for step in ("do_resize", "do_rescale"):
        if fields.get(step) is False:
            raise CheckpointError(
                f"{step} is off: pixels of any size or scale would reach the tower",
                where=where,
                remedy=f"set {step} to true in the image processor's config",
            )
    normalised = fields.get("do_normalize") is not False
    mode, side, edge = _geometry(fields, kind, where)
    return ImageProcessor(
        image_size=side,
        shortest_edge=edge,
        mode=mode,
        resample=_resample(_needed(fields, "resample", where), where),
        rescale_factor=_number(fields.get("rescale_factor", 1 / 255), "rescale_factor", where),
        mean=_triple(_needed(fields, "image_mean", where), "image_mean", where) if normalised else (0.0,) * 3,
        std=_triple(_needed(fields, "image_std", where), "image_std", where) if normalised else (1.0,) * 3,
    )


def _geometry(fields: Mapping[str, Any], kind: str, where: str | None) -> tuple[Mode, int, int]:
    """Mode, side of the output and shortest edge before the crop."""
    size = _needed(fields, "size", where)
    crops = bool(fields.get("do_center_crop", False))
    side = _square(fields["crop_size"], "crop_size", where) if crops and fields.get("crop_size") else None
    pads = bool(fields.get("do_pad", False))
    if pads and kind != "LlavaImageProcessor":
        raise CheckpointError(
            f"do_pad of {kind or 'this image processor'} is not supported",
            where=where,
            remedy="set do_pad to false and choose the image mode in the recipe",
        )
    if isinstance(size, int):  # configs of 2021-2022: CLIP's int is the shortest edge, others' the square
        size = {"shortest_edge": size} if kind in _CLIP_LIKE or crops else {"height": size, "width": size}
    if isinstance(size, Mapping) and "shortest_edge" in size and size.get("longest_edge") is None:
        edge = _whole(size["shortest_edge"], "size", where)
        if side is None and not pads:
            raise CheckpointError(
                "size names a shortest edge but nothing crops to a square",
                where=where,
                remedy="set do_center_crop and crop_size in the image processor's config",
            )
        return ("pad", side or edge, side or edge) if pads else ("crop", side or edge, edge)
    squashed = _square(size, "size", where)
    if side not in (None, squashed):
        raise CheckpointError(
            f"images are resized to {squashed} pixels square and then cropped to {side}",
            where=where,
            remedy="give size as shortest_edge, or crop_size equal to size",
        )
    return ("pad" if pads else "squash"), squashed, squashed


def _needed(fields: Mapping[str, Any], key: str, where: str | None) -> Any:
    if fields.get(key) is None:
        raise CheckpointError(
            f"the image processor's config lacks {key}", where=where, remedy=f"add {key} to the config"
        )
    return fields[key]


def _whole(value: object, key: str, where: str | None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{key} {value!r} is no size in pixels", where=where, remedy=f"mend {key}")
    return value


def _square(value: object, key: str, where: str | None) -> int:
    if isinstance(value, Mapping):
        if value.get("height") != value.get("width"):
            raise CheckpointError(
                f"{key} is {value.get('width')} x {value.get('height')}: only square inputs are supported",
                where=where,
                remedy="use a vision tower with a square input",
            )
        value = value.get("height")
    return _whole(value, key, where)


def _number(value: object, key: str, where: str | None) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CheckpointError(f"{key} {value!r} is no number", where=where, remedy=f"mend {key}")
    return float(value)


def _triple(value: object, key: str, where: str | None) -> tuple[float, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise CheckpointError(f"{key} {value!r} is no list of numbers", where=where, remedy=f"mend {key}")
    return tuple(_number(item, key, where) for item in value)


def _resample(value: object, where: str | None) -> int:
    choices = {int(item): item for item in Image.Resampling}
    if isinstance(value, bool) or not isinstance(value, int) or value not in choices:
        names = ", ".join(f"{number} {item.name.lower()}" for number, item in sorted(choices.items()))
        raise CheckpointError(
            f"resample {value!r} is no filter", where=where, remedy=f"choose one of: {names}"
        )
    return value
