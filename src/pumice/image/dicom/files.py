"""Opening DICOM files that nobody has vouched for; pydicom is an extra: ``pip install pumice[medical]``.

What pydicom warns of holds values of the file, names of patients among them. So it is quiet here, and errors
name the kind of what went wrong and never its words.
"""

from __future__ import annotations

import importlib
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pumice.errors import ImageError, ImageFormatError, MissingExtraError
from pumice.image.source import open_picture

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MARK = b"DICM"
"""Stands behind a preamble of 128 bytes (PS3.10, 7.1)."""
PREAMBLE = 128
MAX_INFLATED = 2**30
"""Bytes to which a deflated file may grow: a few kilobytes of zeros could ask for all memory."""
_DEFLATED = "1.2.840.10008.1.2.1.99"


def library() -> Any:
    """pydicom, set to keep values of files to itself.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        pydicom = importlib.import_module("pydicom")
    except ImportError as error:
        raise MissingExtraError(
            "to read DICOM files the library pydicom is needed",
            where="pydicom",
            remedy="pip install pumice[medical]",
        ) from error
    settings = pydicom.config.settings
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    return pydicom


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of pydicom's gets out of the block."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def is_dicom(path: Path) -> bool:
    """Whether a file begins as PS3.10 has it. A file that cannot be read does not."""
    try:
        with path.open("rb") as handle:
            return handle.read(PREAMBLE + len(MARK))[PREAMBLE:] == MARK
    except OSError:
        return False


def read_header(path: Path) -> Dataset:
    """All that stands before the pixels; errors as ``read_dicom``."""
    return _read(path, stop_before_pixels=True)


def read_dicom(path: Path) -> Dataset:
    """The whole file.

    Raises:
        ImageFormatError: it is no DICOM file.
        ImageError: it is missing, empty, damaged, or would grow beyond ``MAX_INFLATED``.
        MissingExtraError: pydicom is not installed.
    """
    return _read(path, stop_before_pixels=False)


def _read(path: Path, *, stop_before_pixels: bool) -> Dataset:
    pydicom = library()
    open_picture(path).close()  # missing, empty, no file
    if not is_dicom(path):
        raise ImageFormatError(
            f"{path} is no DICOM file: DICM does not stand behind its first {PREAMBLE} bytes",
            remedy="name DICOM files, or a folder with them; convert older files first (dcmconv +F)",
        )
    try:
        with quiet():
            _check_inflated(pydicom, path)
            dataset: Dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
            if not isinstance(getattr(dataset, "file_meta", None), pydicom.dataset.FileMetaDataset):
                raise EOFError
            return dataset
    except ImageError:
        raise
    except Exception as error:  # hostile bytes raise almost anything
        raise ImageError(
            f"DICOM file {path} is damaged or cut off ({type(error).__name__})",
            remedy="fetch or export the file again",
        ) from error


def _check_inflated(pydicom: Any, path: Path) -> None:
    """Refuse a deflated file that would grow without bound, before pydicom inflates it."""
    with path.open("rb") as handle:
        handle.seek(PREAMBLE + len(MARK))
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != _DEFLATED:
            return
        # Behind the group length's own element (12 bytes) stand as many bytes as it says.
        handle.seek(PREAMBLE + len(MARK) + 12 + int(meta.FileMetaInformationGroupLength))
        inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := handle.read(2**20):
            while piece:
                size += len(inflater.decompress(piece, 2**24))
                piece = inflater.unconsumed_tail
                if size > MAX_INFLATED:
                    raise ImageError(
                        f"DICOM file {path} holds over {MAX_INFLATED:,} bytes once it is inflated",
                        remedy="convert it to another transfer syntax, if it can be trusted",
                    )
