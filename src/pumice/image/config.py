"""transformers' image processor configs, read as the fields of our ``ImageProcessor``.

A config may leave out what its class has by default, so those defaults stand here, by class. Whatever
would make other pixels than the class in transformers makes, and is not understood, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pumice.errors import CheckpointError
from pumice.image.grid import Size
from pumice.image.settings import NEXT_PINPOINTS, parse_pinpoints

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of SigLIP's processors."""

_CLIP: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "resample": 3,
    "do_center_crop": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
_ONEVISION: dict[str, Any] = {
    "size": {"height": 384, "width": 384},
    "resample": 3,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
    "image_grid_pinpoints": [[high * 384, wide * 384] for high in range(1, 7) for wide in range(1, 7)],
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": _CLIP,
    "CLIPFeatureExtractor": _CLIP,
    "LlavaImageProcessor": _CLIP,
    "BitImageProcessor": _CLIP,
    "SiglipImageProcessor": {
        "size": {"height": 224, "width": 224},
        "resample": 3,
        "image_mean": HALF,
        "image_std": HALF,
    },
    "LlavaNextImageProcessor": {**_CLIP, "image_grid_pinpoints": [list(pair) for pair in NEXT_PINPOINTS]},
    "LlavaOnevisionImageProcessor": _ONEVISION,
}
"""What transformers' classes take where a config is silent, by class without ``Fast`` or ``Pil``.

transformers' default list of LLaVA-NeXT's canvases has the original's numbers and reads them as
(height, width)."""

TILED = ("LlavaNextImageProcessor", "LlavaOnevisionImageProcessor")
"""The classes that cut pictures into tiles."""

_OLD_INT_IS_EDGE = frozenset({"CLIPImageProcessor", "CLIPFeatureExtractor", "LlavaImageProcessor"})
_UNDERSTOOD_ELSEWHERE = (
    "image_grid_pinpoints",
    "min_pixels",
    "max_pixels",
    "max_num_patches",
    "size_divisor",
    "spatial_merge_size",
    "crop_pct",
)
"""Keys of processors whose output depends on the picture in ways that are not ours."""


def read_config(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The image processor's config of a checkpoint folder, and the file it stands in.

    The order of transformers: ``image_processor`` inside ``processor_config.json``, else
    ``preprocessor_config.json``.

    Raises:
        CheckpointError: there is none that can be read.
    """
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
    return _mapping(config, str(file)), str(file)


def parse_config(config: Mapping[str, Any], where: str | None) -> dict[str, Any]:
    """The keyword arguments of ``ImageProcessor`` that a transformers config describes.

    Raises:
        CheckpointError: a step that is not ours, a missing key or a size that is no square.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    kind = kind.removesuffix("Fast").removesuffix("Pil")
    tiled = kind in TILED
    foreign = [
        key
        for key in _UNDERSTOOD_ELSEWHERE
        if config.get(key) is not None and not (tiled and key == "image_grid_pinpoints")
    ]
    if foreign:
        raise CheckpointError(
            f"{kind or 'this image processor'} sizes each image by itself ({', '.join(foreign)})",
            where=where,
            remedy="use a vision tower with a fixed square input, such as CLIP or SigLIP",
        )
    fields = {**DEFAULTS.get(kind, {}), **{key: value for key, value in config.items() if value is not None}}
    for step in ("do_resize", "do_rescale"):
        if fields.get(step) is False:
            raise CheckpointError(
                f"{step} is off: pixels of any size or scale would reach the tower",
                where=where,
                remedy=f"set {step} to true in the image processor's config",
            )
    normalised = fields.get("do_normalize") is not False
    return {
        **(_tiles(fields, kind, where) if tiled else _geometry(fields, kind, where)),
        "resample": _resample(_needed(fields, "resample", where), where),
        "rescale_factor": _number(fields.get("rescale_factor", 1 / 255), "rescale_factor", where),
        "mean": _numbers(fields, "image_mean", where) if normalised else (0.0,) * 3,
        "std": _numbers(fields, "image_std", where) if normalised else (1.0,) * 3,
    }


def _tiles(fields: Mapping[str, Any], kind: str, where: str | None) -> dict[str, Any]:
    """Mode, sizes and canvases of LLaVA-NeXT's and LLaVA-OneVision's processors.

    Their ``do_pad`` fills a batch up with empty tiles and concerns no single picture.
    """
    size, crop = _needed(fields, "size", where), fields.get("crop_size")
    if isinstance(size, Mapping) and size.get("shortest_edge") is not None:
        side = _whole(size["shortest_edge"], "size", where)
    else:
        side = _square(size, "size", where)
    if crop and _square(crop, "crop_size", where) != side:
        # transformers would enlarge each tile to `size` and cut its edges off.
        raise CheckpointError(
            f"{kind} has tiles of {_square(crop, 'crop_size', where)} pixels and a size of {side}",
            where=where,
            remedy="give size and crop_size the side of the tower's input",
        )
    key = "image_grid_pinpoints"
    place = f"{where}: {key}" if where else key
    pinpoints = parse_pinpoints(fields[key], side, "transformers", place)
    return {"mode": "anyres", "image_size": side, "shortest_edge": side, "pinpoints": pinpoints}


def write_pinpoints(pinpoints: Sequence[Size]) -> list[list[int]]:
    """``image_grid_pinpoints`` as transformers writes them: (height, width)."""
    return [[high, wide] for wide, high in pinpoints]


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


def _geometry(fields: Mapping[str, Any], kind: str, where: str | None) -> dict[str, Any]:
    """Mode, side of the output and shortest edge before the crop, of processors that make one square."""
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
        is_edge = kind in _OLD_INT_IS_EDGE or crops
        size = {"shortest_edge": size} if is_edge else {"height": size, "width": size}
    if isinstance(size, Mapping) and "shortest_edge" in size and size.get("longest_edge") is None:
        edge = _whole(size["shortest_edge"], "size", where)
        if side is None and not pads:
            raise CheckpointError(
                "size names a shortest edge but nothing crops to a square",
                where=where,
                remedy="set do_center_crop and crop_size in the image processor's config",
            )
        if pads:
            return {"mode": "pad", "image_size": side or edge, "shortest_edge": side or edge}
        return {"mode": "crop", "image_size": side, "shortest_edge": edge}
    squashed = _square(size, "size", where)
    if side not in (None, squashed):
        raise CheckpointError(
            f"images are resized to {squashed} pixels square and then cropped to {side}",
            where=where,
            remedy="give size as shortest_edge, or crop_size equal to size",
        )
    return {"mode": "pad" if pads else "squash", "image_size": squashed, "shortest_edge": squashed}


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


def _numbers(fields: Mapping[str, Any], key: str, where: str | None) -> tuple[float, ...]:
    value = _needed(fields, key, where)
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
