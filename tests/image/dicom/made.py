"""Small DICOM files with any attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXPLICIT = "1.2.840.10008.1.2.1"


def dataset(pixels: NDArray[Any], syntax: str = EXPLICIT, **attributes: Any) -> Any:
    """A data set of pixels [H, W], [H, W, 3] or [F, H, W] (with frames=True), and more attributes."""
    import pydicom

    frames = attributes.pop("frames", False)
    out = pydicom.Dataset()
    shape = pixels.shape[1:] if frames else pixels.shape
    if frames:
        out.NumberOfFrames = len(pixels)
    out.Rows, out.Columns = shape[:2]
    out.SamplesPerPixel = shape[2] if len(shape) == 3 else 1
    out.PhotometricInterpretation = "RGB" if len(shape) == 3 else "MONOCHROME2"
    if len(shape) == 3:
        out.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    out.BitsAllocated, out.BitsStored, out.HighBit = bits, bits, bits - 1
    out.PixelRepresentation = int(pixels.dtype.kind == "i")
    out.Modality, out.SOPClassUID, out.SOPInstanceUID = "MR", "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4.5.6.7.8"
    data = pixels.tobytes()
    out.PixelData = data + b"\0" * (len(data) % 2)
    for name, value in attributes.items():
        setattr(out, name, value)
    out["PixelData"].VR = "OW" if bits > 8 else "OB"
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = out.SOPClassUID, out.SOPInstanceUID
    out.file_meta, out.preamble = meta, b"\0" * 128
    return out


def write(path: Path, pixels: NDArray[Any], **attributes: Any) -> Path:
    """The same in a file."""
    made = dataset(pixels, **attributes)
    made.save_as(path, enforce_file_format=True)
    return path


def item(**attributes: Any) -> Any:
    """An item of a sequence."""
    import pydicom

    out = pydicom.Dataset()
    for name, value in attributes.items():
        setattr(out, name, value)
    return out


def ramp(dtype: str = "<i2", low: int = -100, high: int = 155) -> NDArray[Any]:
    """All values from ``low`` to ``high``, row by row. [16, 16]"""
    return np.linspace(low, high, 256).round().astype(dtype).reshape(16, 16)
