"""De-identification of DICOM files by PS3.15 Annex E, into pictures that a model may be trained on."""

from pumice.trust.dicom.burned import Masks, read_masks
from pumice.trust.dicom.convert import Settings
from pumice.trust.dicom.profile import KEEP, Options, read_profile, read_terms
from pumice.trust.dicom.run import Summary, check_outside, run
from pumice.trust.dicom.secret import Secret, open_key

__all__ = [
    "KEEP",
    "Masks",
    "Options",
    "Secret",
    "Settings",
    "Summary",
    "check_outside",
    "open_key",
    "read_masks",
    "read_profile",
    "read_terms",
    "run",
]
