"""What decides a picture's features, as keys: of a view, and of the tower's way of computing.

Two runs that find the same key may share what stands under it, to the last bit. Whatever might change a bit
is therefore in a key: bytes of the picture, how it is cut and normalised, the tower's weights and settings,
the device and its number of threads, versions of the libraries, and the code that does all this.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import pumice
from pumice.data.contents import Content
from pumice.image.anyres import processor_for
from pumice.image.layout import ImageLayout
from pumice.image.process import ImageProcessor
from pumice.image.video import VideoInfo, frame_indices, video_files
from pumice.model import Tower
from pumice.model.digest import tower_digest
from pumice.recipes.features import FeatureType
from pumice.train.seats import SEATS
from pumice.types import Picture, Still, Video

FORMAT = 1
"""Raised when what is kept changes in a way that nothing else in a key tells."""
_LIBRARIES = ("torch", "transformers", "numpy", "pillow", "av")
_CODE = (
    "image/*.py",
    "model/geometry.py",
    "model/tower.py",
    "model/towers.py",
    "train/codec.py",
    "train/pictures.py",
    "train/seats.py",
    "train/shelved.py",
)


def space_of(tower: Tower, device: torch.device, kind: FeatureType, half: bool) -> tuple[str, dict[str, Any]]:
    """The name of the folder for what a tower gives on a device, multiplying in bfloat16 or not, and what it
    stands for."""
    about = {
        "format": FORMAT,
        "tower": tower_digest(tower),
        "shape": [tower.length, tower.dim],
        "dtype": kind,
        "half": half,
        "seats": SEATS,
        "device": _device(device),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "code": _code(),
    }
    text = json.dumps(about, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24], about


def view_key(
    content: Content, processor: ImageProcessor, layout: ImageLayout, frames: Sequence[int]
) -> bytes:
    """16 bytes that stand for a picture or video as a tower is shown it.

    Args:
        content: of its files.
        processor: the model's.
        layout: how it is cut. What becomes of its features behind the tower is not in the key.
        frames: which ones of a video are taken.
    """
    return hashlib.blake2b(
        _preparation(processor, layout, tuple(frames)) + content.digest, digest_size=16
    ).digest()


def files_of(picture: Picture, extent: Any, layout: ImageLayout) -> tuple[list[Still], list[int]]:
    """The files whose content is a view's, and of a video which frames are taken."""
    if not isinstance(picture, Video):
        return [picture], []
    assert isinstance(extent, VideoInfo)
    frames = frame_indices(extent, layout.video)
    return list(video_files(extent, frames)), frames


@lru_cache(maxsize=1 << 12)  # few sizes are different
def _preparation(processor: ImageProcessor, layout: ImageLayout, frames: tuple[int, ...]) -> bytes:
    if layout.is_video:
        own = processor.with_mode(layout.video.aspect)
    else:
        own = processor_for(processor, layout.settings)
    facts = [asdict(own), layout.tiles, layout.grid, frames]
    return json.dumps(facts, sort_keys=True).encode()


def _device(device: torch.device) -> dict[str, Any]:
    """What decides how a device rounds."""
    if device.type == "cuda":
        cudnn: Any = torch.backends.cudnn.version
        return {
            "name": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": cudnn(),
            "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32],
            "precision": torch.get_float32_matmul_precision(),
        }
    return {
        "name": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": torch.get_float32_matmul_precision(),
    }


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def _code() -> str:
    """A digest of the files of this program that decide what features are."""
    root, sha = Path(pumice.__file__).parent, hashlib.sha256()
    for pattern in _CODE:
        for path in sorted(root.glob(pattern)):
            sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()
