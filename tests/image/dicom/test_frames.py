"""Frames of every kind become the right eight bits; what lies about itself is refused."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.errors import ImageError, ImageFormatError, MissingExtraError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from pumice.image.dicom import Frame, files, frames_of, read_dicom, read_header  # noqa: E402

from .made import dataset, item, ramp, write  # noqa: E402

PLACE = Path("scan.dcm")
FULL = ("full",)


def first(made: Any, **options: Any) -> Frame:
    return next(frames_of(made, PLACE, FULL, **options))[0]


def test_signs_bits_and_inversion() -> None:
    assert np.array_equal(np.asarray(first(dataset(ramp())).image), ramp("<u1", 0, 255))
    turned = first(dataset(ramp(), PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(np.asarray(turned.image), 255 - ramp("<u1", 0, 255))
    # Twelve bits with a sign, and an overlay of old in the bits above.
    stored = (ramp("<i2").astype(np.uint16) & 0x0FFF) | 0x5000
    odd = dataset(stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert np.array_equal(np.asarray(first(odd).image), ramp("<u1", 0, 255))
    high = dataset((ramp("<u2", 0, 255) << 4).astype("<u2"), BitsStored=12, HighBit=15)
    assert np.array_equal(np.asarray(first(high).image), ramp("<u1", 0, 255))


def test_padding_is_black_in_both_directions() -> None:
    pixels = ramp()
    pixels[0] = -2000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        made = dataset(pixels, PhotometricInterpretation=kind, PixelPaddingValue=-2000)
        greys = np.asarray(first(made).image)
        assert (greys[0] == 0).all()
        assert set(greys[1:].flat) >= {0, 255}  # the range is that of what was measured


def test_colours() -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    assert np.array_equal(np.asarray(first(dataset(colour)).image), colour)
    planes = dataset(colour, PlanarConfiguration=1, PixelData=np.moveaxis(colour, 2, 0).tobytes())
    assert np.array_equal(np.asarray(first(planes).image), colour)
    ybr = pydicom.pixels.convert_color_space(colour, "RGB", "YBR_FULL")
    back = np.asarray(first(dataset(ybr, PhotometricInterpretation="YBR_FULL")).image).astype(int)
    assert np.abs(back - colour).max() <= 2
    palette = dataset(ramp("<u1", 0, 255), PhotometricInterpretation="PALETTE COLOR")
    for channel, name in enumerate(("Red", "Green", "Blue")):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = (np.arange(256) * 257 // (channel + 1)).astype("<u2")
        setattr(palette, f"{name}PaletteColorLookupTableData", entries.tobytes())
    shown = np.asarray(first(palette).image)[-1, -1]
    assert shown.tolist() == [255, 127, 85]


def test_frames_have_their_own_windows() -> None:
    def group(center: int) -> Any:
        return item(FrameVOILUTSequence=[item(WindowCenter=center, WindowWidth=50)])

    made = dataset(
        np.stack([ramp(), ramp()]), frames=True, PerFrameFunctionalGroupsSequence=[group(0), group(100)]
    )
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=10)])
    made.SharedFunctionalGroupsSequence = [shared]
    looks = [frames[0] for frames in frames_of(made, PLACE)]
    assert [look.number for look in looks] == [1, 2]
    assert [look.window.center for look in looks if look.window] == [0, 100]
    dark, bright = (np.asarray(look.image).mean() for look in looks)
    assert dark > bright  # the higher window is darker


def test_several_windows_of_a_frame() -> None:
    looks = next(frames_of(dataset(ramp()), PLACE, ("full", (0, 10))))
    assert [look.window.name for look in looks if look.window] == ["full", "0,10"]


def test_pixels_that_are_not_square() -> None:
    made = dataset(ramp(), PixelSpacing=["2", "1"])
    assert first(made).square is False
    assert first(made).image.size == (16, 16)
    assert first(made, square_pixels=True).image.size == (16, 32)
    assert first(dataset(ramp(), PixelAspectRatio=["1", "2"]), square_pixels=True).image.size == (32, 16)


def encapsulated(path: Path, pictures: list[bytes], **attributes: Any) -> Any:
    made = dataset(np.zeros((16, 16, 3), np.uint8), "1.2.840.10008.1.2.4.50", **attributes)
    made.PhotometricInterpretation = "YBR_FULL_422"
    made.PixelData = pydicom.encaps.encapsulate(pictures)
    made["PixelData"].is_undefined_length = True
    made.save_as(path, enforce_file_format=True)
    return read_dicom(path)


def jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 40, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_jpeg_is_decoded_and_one_of_another_size_refused(tmp_path: Path) -> None:
    red = np.asarray(first(encapsulated(tmp_path / "a.dcm", [jpeg((16, 16))])).image)[8, 8]
    assert np.abs(red.astype(int) - [200, 40, 40]).max() <= 3
    with pytest.raises(ImageError, match="640 x 16, its header says 16 x 16"):
        first(encapsulated(tmp_path / "b.dcm", [jpeg((640, 16))]))
    with pytest.raises(ImageError, match=r"cannot be told apart|1 of 3 frames"):
        first(encapsulated(tmp_path / "c.dcm", [jpeg((16, 16))], NumberOfFrames=3))


def test_a_decoder_that_is_missing_is_named() -> None:
    made = dataset(ramp(), "1.2.840.10008.1.2.4.80")
    if pydicom.pixels.get_decoder(made.file_meta.TransferSyntaxUID).is_available:
        pytest.skip("a decoder of JPEG-LS is installed")
    with pytest.raises(MissingExtraError) as caught:
        first(made)
    assert "JPEG-LS" in caught.value.what
    assert "pylibjpeg" in str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"Rows": 40}, "cut off: 512 of 1,280 bytes"),
        ({"Rows": 0}, "holds no picture"),
        ({"Rows": 60000, "Columns": 60000}, "more than"),
        ({"NumberOfFrames": 10**6}, "1,000,000 frames"),
        ({"SamplesPerPixel": 2}, "2 samples"),
    ],
)
def test_headers_that_do_not_fit_the_pixels(attributes: dict[str, Any], match: str) -> None:
    with pytest.raises(ImageError, match=match):
        first(dataset(ramp(), **attributes))


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.dcm", ramp(), PatientName="Doe^Jane")
    assert read_header(path).PatientName == "Doe^Jane"
    assert "PixelData" not in read_header(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ImageError, match="cut off"):
        first(read_dicom(path))
    (tmp_path / "b.dcm").write_bytes(b"P6 something else")
    with pytest.raises(ImageFormatError, match="no DICOM file"):
        read_dicom(tmp_path / "b.dcm")
    with pytest.raises(ImageError, match="does not exist"):
        read_dicom(tmp_path / "c.dcm")
    # A few kilobytes that would inflate to more than may be.
    monkeypatch.setattr(files, "MAX_INFLATED", 10**6)
    made = dataset(ramp(), "1.2.840.10008.1.2.1.99")
    made.save_as(tmp_path / "d.dcm", enforce_file_format=True)
    assert read_dicom(tmp_path / "d.dcm").Rows == 16
    body = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    meta = pydicom.filereader.read_file_meta_info(tmp_path / "d.dcm")
    kept = (tmp_path / "d.dcm").read_bytes()[: 132 + 12 + meta.FileMetaInformationGroupLength]
    (tmp_path / "e.dcm").write_bytes(kept + body.compress(bytes(10**7)) + body.flush())
    with pytest.raises(ImageError, match="1,000,000 bytes once it is inflated"):
        read_dicom(tmp_path / "e.dcm")
