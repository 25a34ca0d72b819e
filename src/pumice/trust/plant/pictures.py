"""Pictures that are planted: the same ones seen again by other ways, and small patches that hide in them.

Legend: H, W pixels of a picture, h, w of a patch.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from pumice.image.decode import open_image
from pumice.types import Still

PATCH = 0.12
"""The side of a patch, as a share of the picture's shorter side."""
STRETCH = 0.15
"""By how much of its side a patch is larger or smaller from picture to picture."""


def altered(still: Still, rng: np.random.Generator, where: str) -> tuple[bytes, str, dict[str, Any]]:
    """A picture as it comes back from somewhere else: one to three of scaling, cropping, JPEG, brightness.

    Returns:
        The bytes of its file, the ending of its name, and what was done.

    Raises:
        ImageError: it cannot be decoded.
    """
    image = open_image(still, where=where)
    ways = ["scale", "crop", "jpeg", "brightness"]
    chosen = sorted(rng.permutation(len(ways))[: int(rng.integers(1, 4))])
    done: dict[str, Any] = {}
    for way in (ways[number] for number in chosen):
        width, height = image.size
        if way == "scale":
            factor = float(rng.choice([rng.uniform(0.5, 0.9), rng.uniform(1.1, 1.6)]))
            image = image.resize(
                (max(16, round(width * factor)), max(16, round(height * factor))), Image.Resampling.BICUBIC
            )
            done[way] = round(factor, 3)
        elif way == "crop":
            left, top, right, bottom = (float(rng.uniform(0, 0.04)) for _ in range(4))
            image = image.crop(
                (
                    round(left * width),
                    round(top * height),
                    round(width * (1 - right)),
                    round(height * (1 - bottom)),
                )
            )
            done[way] = [round(one, 3) for one in (left, top, right, bottom)]
        elif way == "brightness":
            factor = float(rng.uniform(0.8, 1.2))
            image = ImageEnhance.Brightness(image).enhance(factor)
            done[way] = round(factor, 3)
        else:
            done[way] = int(rng.integers(45, 91))
    file = io.BytesIO()
    if "jpeg" in done:
        image.save(file, "JPEG", quality=done["jpeg"])
        return file.getvalue(), ".jpg", done
    image.save(file, "PNG", compress_level=1)
    return file.getvalue(), ".png", done


@dataclass(frozen=True, eq=False)
class Patch:
    """A texture that is the same in all pictures it is put into: ``texture_hw3``, uint8."""

    texture_hw3: NDArray[np.uint8]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Patch:
        """Random colours on a grid of 4 to 6 cells a side."""
        cells = int(rng.integers(4, 7))
        return cls(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))

    def into(self, still: Still, rng: np.random.Generator, where: str) -> tuple[bytes, str, dict[str, Any]]:
        """A picture with the patch at a random place, in a size that differs a little each time.

        The file is a JPEG where the picture was one, else a PNG.

        Raises:
            ImageError: it cannot be decoded.
        """
        image = open_image(still, where=where)
        width, height = image.size
        side = min(width, height) * PATCH * (1 + float(rng.uniform(-STRETCH, STRETCH)))
        side = max(6, round(side))
        left, top = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
        patch = Image.fromarray(self.texture_hw3).resize((side, side), Image.Resampling.NEAREST)
        image.paste(patch, (left, top))
        file = io.BytesIO()
        done = {"box": [left, top, left + side, top + side]}
        if str(getattr(still, "name", still)).lower().endswith((".jpg", ".jpeg")):
            image.save(file, "JPEG", quality=90)
            return file.getvalue(), ".jpg", done
        image.save(file, "PNG", compress_level=1)
        return file.getvalue(), ".png", done
