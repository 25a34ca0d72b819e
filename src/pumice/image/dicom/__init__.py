"""DICOM files as pictures of eight bits, by PS3.3 C.7.6.3, C.11.1, C.11.2; pydicom is an extra (medical)."""

from pumice.image.dicom.files import is_dicom, library, quiet, read_dicom, read_header
from pumice.image.dicom.frames import Frame, frames_of, lone_pixels
from pumice.image.dicom.voi import PRESETS, Window, choose_window, listed_windows, parse_window

__all__ = [
    "PRESETS",
    "Frame",
    "Window",
    "choose_window",
    "frames_of",
    "is_dicom",
    "library",
    "listed_windows",
    "lone_pixels",
    "parse_window",
    "quiet",
    "read_dicom",
    "read_header",
]
