"""Which files may have words in their pixels, what masks do, and what the finder sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from pumice.errors import ImageError, UsageError
from pumice.trust.dicom.burned import (
    Masks,
    mask_pixels,
    read_masks,
    risk_of,
    text_regions,
    ultrasound_regions,
)

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from ...image.dicom.made import dataset, item, ramp  # noqa: E402


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({}, None),
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES"),
        ({"Modality": "US"}, "ultrasound"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.4"}, "secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4"}, "photograph"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.71"}, None),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "screen"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, None),
        ({"ConversionType": "SD"}, "scanned document"),
    ],
)
def test_which_files_may_have_words(attributes: dict[str, Any], says: str | None) -> None:
    found = risk_of(dataset(ramp(), **attributes))
    assert (found is None) if says is None else says in (found or "")


def test_masks_are_read_and_found(tmp_path: Path) -> None:
    file = tmp_path / "masks.yaml"
    file.write_text("US 16x16: [[0, 0, 16, 4]]\nnone/at/all.dcm: []\n")
    masks = read_masks(["1,2,3,4", "us-regions"], file)
    assert masks.regions
    assert masks.of("x.dcm", dataset(ramp(), Modality="US")) == ((1, 2, 3, 4), (0, 0, 16, 4))
    assert masks.of("none/at/all.dcm", dataset(ramp())) == ((1, 2, 3, 4),)
    assert masks.of("other.dcm", dataset(ramp())) == ((1, 2, 3, 4),)
    assert Masks().of("other.dcm", dataset(ramp())) is None
    assert read_masks([], file).of("all.dcm", dataset(ramp())) is None
    for wrong in ("1,2,3", "1,2,0,4", "a,b,c,d", "-1,2,3,4"):
        with pytest.raises(UsageError, match="is no mask"):
            read_masks([wrong], None)
    file.write_text("- 1\n")
    with pytest.raises(UsageError, match="no mapping"):
        read_masks([], file)


def test_what_is_blackened() -> None:
    pixels = ramp()
    grey = mask_pixels(pixels, [(2, 3, 4, 5)], (), inverted=False)
    assert (grey[3:8, 2:6] == pixels.min()).all()
    assert (grey != pixels).sum() <= 20
    assert (mask_pixels(pixels, [(2, 3, 4, 5)], (), inverted=True)[3:8, 2:6] == pixels.max()).all()
    regions = [
        item(RegionLocationMinX0=4, RegionLocationMinY0=4, RegionLocationMaxX1=11, RegionLocationMaxY1=11)
    ]
    outside = ultrasound_regions(dataset(pixels, SequenceOfUltrasoundRegions=regions))
    assert outside == ((4, 4, 8, 8),)
    colour = mask_pixels(np.full((16, 16, 3), 9, np.uint8), [(5, 5, 1, 1)], outside, inverted=False)
    assert colour[:, :, 0].astype(bool).sum() == 63
    assert ultrasound_regions(dataset(pixels)) == ()
    with pytest.raises(ImageError, match="not inside the picture of 16 x 16"):
        mask_pixels(pixels, [(20, 0, 3, 3)], (), inverted=False)


def phantom(rng: np.random.Generator) -> Image.Image:
    """Ovals of tissue with some noise. [256, 256]"""
    y, x = np.mgrid[:256, :256]
    out = np.zeros((256, 256))
    for _ in range(6):
        cy, cx, a, b = rng.uniform(50, 200), rng.uniform(50, 200), rng.uniform(15, 80), rng.uniform(15, 80)
        out[((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1] += rng.uniform(-80, 120)
    return Image.fromarray(np.clip(out + rng.normal(0, 10, out.shape), 0, 255).astype(np.uint8))


def test_the_finder_sees_words_and_leaves_tissue() -> None:
    rng = np.random.default_rng(0)
    found = 0
    for size in (10, 12, 16, 20, 10, 12, 16, 20, 10, 12):
        picture = phantom(rng)
        assert text_regions(np.asarray(picture)) == []
        ImageDraw.Draw(picture).text(
            (4, 4), "OKONKWO 12.03.1961", fill=255, font=ImageFont.load_default(size)
        )
        found += any(x < 100 and y < 24 for x, y, _, _ in text_regions(np.asarray(picture)))
    assert found >= 9
    faint = Image.new("L", (256, 64))
    ImageDraw.Draw(faint).text((4, 4), "OKONKWO 12.03.1961", fill=130, font=ImageFont.load_default(12))
    assert text_regions(np.asarray(faint)) == []
    assert text_regions(np.asarray(faint), faint=True)
    assert text_regions(np.zeros((4, 4), np.uint8)) == []
