"""The frames of a DICOM file: decoded, windowed, eight bits."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import ImageError, MissingExtraError
from pumice.image.decode import MAX_PIXELS, check_size
from pumice.image.dicom.files import library, quiet
from pumice.image.dicom.voi import AUTO, Window, choose_window, greys_of, modality_values

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_FRAMES = 20_000
WIDE = 1 / 7
"""The share of a frame's range of values that ``Frame.wide`` spans at least."""
_PER_FRAME = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")
"""Functional groups whose attributes older objects have at their root (PS3.3 C.7.6.16)."""
_SHOWN = (
    *("Modality", "BodyPartExamined", "PhotometricInterpretation", "PixelRepresentation", "BitsStored"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth"),
    *("WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "PixelSpacing", "PixelAspectRatio", "ImagerPixelSpacing"),
)
_MONOCHROME = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Frame:
    """One picture of a file.

    Attributes:
        number: from 1.
        image: L or RGB.
        window: how its values became greys; None for colours.
        square: whether a pixel is as high as it is wide; None where nothing tells.
        wide: greys of a window so wide that noise has no edges; ``image`` where its own is. [H, W]
    """

    number: int
    image: Image.Image
    window: Window | None
    square: bool | None
    wide: NDArray[np.uint8]


def frames_of(
    dataset: Dataset,
    path: Path,
    windows: Sequence[str | tuple[float, float]] = (AUTO,),
    *,
    square_pixels: bool = False,
    max_pixels: int = MAX_PIXELS,
    pixels: Iterator[NDArray[Any]] | None = None,
) -> Iterator[tuple[Frame, ...]]:
    """Each frame, once for each window; a picture in colours comes once.

    Args:
        dataset: a file with its pixels.
        path: names it in errors.
        windows: as ``parse_window`` gave them.
        square_pixels: scale the shorter direction up where pixels are not square.
        max_pixels: of one frame.
        pixels: what ``lone_pixels`` gave, where they were changed; else they are decoded here.

    Raises:
        ImageError: there are no pixels, too many, fewer than the header says, or ones that cannot be decoded.
        MissingExtraError: the transfer syntax needs a decoder that is not installed.
    """
    for number, stored in enumerate(lone_pixels(dataset, path, max_pixels) if pixels is None else pixels):
        view = view_of(dataset, number)
        ratio = _ratio(view)
        shown: list[tuple[Image.Image, Window | None, NDArray[np.uint8] | None]]
        if str(dataset.get("PhotometricInterpretation")) in _MONOCHROME:
            shown = [_grey(stored, view, wanted, path) for wanted in windows]
        else:
            shown = [(_colour(stored, dataset, path), None, None)]
        frames = []
        for image, window, broad in shown:
            wide = np.asarray(image.convert("L")) if broad is None else broad
            if square_pixels and ratio is not None and ratio != 1:
                image = _squared(image, ratio)
                check_size(image.size, path, max_pixels=max_pixels)
            square = None if ratio is None else abs(ratio - 1) < 1e-3
            frames.append(Frame(number + 1, image, window, square, wide))
        yield tuple(frames)


def lone_pixels(dataset: Dataset, path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[NDArray[Any]]:
    """The stored values of each frame, with no bits beside them: [H, W], or [H, W, 3] in RGB.

    Palette colours stay numbers of the palette. Overlays that old files keep in unused bits are gone.

    Raises:
        ImageError, MissingExtraError: as ``frames_of``.
    """
    pydicom = library()
    count = _check(dataset, path, max_pixels)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:
        raise ImageError(
            f"DICOM file {path} does not say its transfer syntax", remedy="export the file again"
        )
    native = not syntax.is_encapsulated
    if not native:
        _check_decoder(pydicom, syntax, path)
        _check_codestreams(pydicom, dataset, path, count)
    try:
        with quiet():
            if syntax in pydicom.uid.JPEG2000TransferSyntaxes:
                # Where a JPEG 2000 has another sign than the header, iter_pixels of pydicom 3.0 fails.
                frames = (pydicom.pixels.pixel_array(dataset, index=number) for number in range(count))
            else:
                frames = pydicom.pixels.iter_pixels(dataset)
            for frame in itertools.islice(frames, count):
                yield _bits(frame, dataset, native=native)
    except (ImageError, MissingExtraError):
        raise
    except Exception as error:  # decoders of hostile bytes raise almost anything
        raise ImageError(
            f"the pixels of DICOM file {path} cannot be decoded ({type(error).__name__}; {syntax.name})",
            remedy="fetch or export the file again; it may be cut off or damaged"
            + _other_decoders(pydicom, syntax),
        ) from error


def _other_decoders(pydicom: Any, syntax: Any) -> str:
    """What could be installed for a transfer syntax that the decoders at hand read in part only."""
    try:
        missing = pydicom.pixels.get_decoder(syntax).missing_dependencies
    except NotImplementedError:
        return ""
    return f"; or install another decoder: {'; '.join(missing)}" if missing else ""


def view_of(dataset: Dataset, number: int) -> Dataset:
    """What says how a frame (from 0) is shown: its functional groups where it has such, over the root."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*(shared[:1]), *(own[number : number + 1])]
    if not groups:
        return dataset
    view: Dataset = library().Dataset()
    for name in _SHOWN:
        if name in dataset:
            view[name] = dataset[name]
    for group in groups:
        for name in _PER_FRAME:
            for item in (group.get(name) or [])[:1]:
                view.update(item)
    return view


def _check(dataset: Dataset, path: Path, max_pixels: int) -> int:
    """How many frames there are, once all that the header says of them holds."""
    kind = next((name for name in PIXELS if name in dataset), None)
    rows, columns = (int(dataset.get(name) or 0) for name in ("Rows", "Columns"))
    if kind is None or not rows or not columns:
        raise ImageError(
            f"DICOM file {path} holds no picture",
            remedy="leave it out if it is a report or a plan; else it was cut off: fetch it again",
        )
    check_size((columns, rows), path, max_pixels=max_pixels)
    count = int(dataset.get("NumberOfFrames") or 1)
    if not 1 <= count <= MAX_FRAMES:
        raise ImageError(
            f"DICOM file {path} says that it has {count:,} frames", remedy=f"at most {MAX_FRAMES:,} are read"
        )
    samples = int(dataset.get("SamplesPerPixel") or 1)
    bits = int(dataset.get("BitsAllocated") or 0)
    if samples not in (1, 3) or not 1 <= bits <= 64:
        raise ImageError(
            f"DICOM file {path} has {samples} samples of {bits} bits in a pixel",
            remedy="it is damaged: export it again",
        )
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax and not syntax.is_encapsulated:
        wanted = rows * columns * count * samples * bits
        if str(dataset.get("PhotometricInterpretation")) == "YBR_FULL_422":
            wanted = wanted * 2 // 3
        have = len(dataset[kind].value or b"") * 8
        if have < wanted:
            raise ImageError(
                f"DICOM file {path} is cut off: {have // 8:,} of {wanted // 8:,} bytes of pixels are there",
                remedy="fetch or export the file again",
            )
    return count


def _check_decoder(pydicom: Any, syntax: Any, path: Path) -> None:
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(
            f"DICOM file {path} is written as {syntax.name}, which pydicom cannot decode",
            remedy="convert it to Explicit VR Little Endian",
        ) from error
    if not decoder.is_available:
        needs = "; ".join(decoder.missing_dependencies)
        raise MissingExtraError(
            f"DICOM file {path} is written as {syntax.name}, and no decoder of it is installed",
            where=needs,
            remedy="pip install one of them, such as pylibjpeg with pylibjpeg-libjpeg and pylibjpeg-openjpeg",
        )


def _check_codestreams(pydicom: Any, dataset: Dataset, path: Path, count: int) -> None:
    """A JPEG inside that says another size than the header must not be decoded: it may be a bomb."""
    size = (int(dataset.Columns), int(dataset.Rows))
    if not isinstance(dataset.get("PixelData"), bytes):
        raise ImageError(
            f"the pixels of DICOM file {path} are no bytes", remedy="fetch or export the file again"
        )
    found = 0
    try:
        for frame in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count):
            found += 1
            try:
                with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
                    inside = image.size
            except (OSError, SyntaxError, Image.DecompressionBombError):
                continue  # RLE, JPEG-LS and their like: their decoders are bound by the header
            if inside != size:
                raise ImageError(
                    f"a frame of DICOM file {path} is {inside[0]} x {inside[1]}, "
                    f"its header says {size[0]} x {size[1]}",
                    remedy="it is damaged: fetch or export the file again",
                )
            if found == count:
                break
    except ImageError:
        raise
    except Exception as error:  # as in ``lone_pixels``
        raise ImageError(
            f"the frames of DICOM file {path} cannot be told apart ({type(error).__name__})",
            remedy="fetch or export the file again; it is cut off or damaged",
        ) from error
    if found < count:
        raise ImageError(
            f"DICOM file {path} is cut off: {found:,} of {count:,} frames are there",
            remedy="fetch or export the file again",
        )


def _bits(frame: NDArray[Any], dataset: Dataset, *, native: bool) -> NDArray[Any]:
    """The BitsStored bits below HighBit, with their sign (PS3.5, 8.1.1)."""
    if frame.dtype.kind not in "ui":
        return frame
    allocated = frame.dtype.itemsize * 8
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") or stored - 1) if native else stored - 1
    if not 0 < stored <= allocated or not stored - 1 <= high < allocated or stored == allocated:
        return frame
    signed = bool(dataset.get("PixelRepresentation"))
    whole = frame.view(f"{'i' if signed else 'u'}{frame.dtype.itemsize}")
    bits: NDArray[Any] = np.right_shift(np.left_shift(whole, allocated - 1 - high), allocated - stored)
    return bits


def _grey(
    stored: NDArray[Any], view: Dataset, wanted: str | tuple[float, float], path: Path
) -> tuple[Image.Image, Window, NDArray[np.uint8] | None]:
    if stored.ndim != 2:
        raise ImageError(f"DICOM file {path} says it is grey, and is not", remedy="export the file again")
    padding = _padding(stored, view)
    try:
        values = modality_values(stored, view)
        window = choose_window(wanted, view, values, ~padding)
        greys = greys_of(values, view, window)
    except ImageError as error:
        raise ImageError(f"{error.what} ({path})", where=error.where, remedy=error.remedy) from error
    if view.get("PhotometricInterpretation", "") == "MONOCHROME1":
        greys = 255 - greys
    greys[padding] = 0
    least = (float(values.max()) - float(values.min())) * WIDE
    if window.table is not None or window.width >= least:
        return Image.fromarray(greys), window, None
    return Image.fromarray(greys), window, Window("", window.center, least, "LINEAR_EXACT").greys(values)


def _padding(stored: NDArray[Any], view: Dataset) -> NDArray[np.bool_]:
    """Which values stand for no measurement (PS3.3 C.7.5.1.1.2)."""
    value, limit = view.get("PixelPaddingValue"), view.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return np.zeros(stored.shape, np.bool_)
    bounds = [value, limit if isinstance(limit, int) else value]
    if stored.dtype.kind == "i":  # some files write a negative number as one without a sign
        bounds = [
            bound - 2**16 if bound >= 2**15 and stored.dtype.itemsize == 2 else bound for bound in bounds
        ]
    low, high = sorted(bounds)
    return (stored >= low) & (stored <= high)


def _colour(stored: NDArray[Any], dataset: Dataset, path: Path) -> Image.Image:
    kind = str(dataset.get("PhotometricInterpretation"))
    bits = int(dataset.get("BitsStored") or 8)
    if kind == "PALETTE COLOR":
        try:
            with quiet():
                stored = library().pixels.apply_color_lut(stored, dataset)
        except Exception as error:  # as in ``lone_pixels``
            raise ImageError(
                f"the palette of DICOM file {path} cannot be read ({type(error).__name__})",
                remedy="fetch or export the file again",
            ) from error
        bits = stored.dtype.itemsize * 8
    if stored.ndim != 3 or stored.shape[2] not in (3, 4):
        raise ImageError(
            f"the pixels of DICOM file {path} are of a kind that is not known",
            remedy="convert it to RGB or MONOCHROME2",
        )
    colour = stored[..., :3]
    if bits > 8:
        colour = (colour.astype(np.float64) * (255 / (2**bits - 1)) + 0.5).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(colour.astype(np.uint8)))


def _ratio(view: Dataset) -> float | None:
    """How high a pixel is, over how wide; None where nothing tells."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        value = view.get(name)
        try:
            high, wide = (float(one) for one in value or ())
        except (TypeError, ValueError):
            continue
        if high > 0 and wide > 0:
            return high / wide
    return None


def _squared(image: Image.Image, ratio: float) -> Image.Image:
    width, height = image.size
    size = (width, round(height * ratio)) if ratio > 1 else (round(width / ratio), height)
    return image.resize(size, Image.Resampling.BICUBIC)
