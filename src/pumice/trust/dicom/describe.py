"""What may be said of a picture once it names nobody: a sentence for a teacher, and fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pumice.image.dicom import PRESETS, Frame
from pumice.trust.dicom.profile import Options, clean_words

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MODALITIES = {
    **{"CT": "Computed tomography", "MR": "Magnetic resonance image", "US": "Ultrasound image"},
    **{"CR": "X-ray", "DX": "X-ray", "RG": "X-ray", "MG": "Mammogram", "IO": "Intra-oral X-ray"},
    **{"PX": "Panoramic X-ray", "XA": "X-ray angiogram", "RF": "Fluoroscopy image", "PT": "PET image"},
    **{"NM": "Scintigram", "IVUS": "Intravascular ultrasound image", "ES": "Endoscopic image"},
    **{"GM": "Microscope image", "SM": "Slide microscope image", "XC": "Photograph"},
    **{"OP": "Ophthalmic photograph", "OPT": "Optical coherence tomography"},
    **{"OCT": "Optical coherence tomography", "RTIMAGE": "Radiotherapy image"},
    **{"BMD": "Bone densitometry image"},
}
"""What a modality is called in a sentence."""
_MORE_MODALITIES = frozenset({
    "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "CD", "CF", "CFM", "CP", "CS", "CTPROTOCOL", "DD",
    "DF", "DG", "DM", "DMS", "DOC", "DS", "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "FA", "FID",
    "FS", "HC", "HD", "IOL", "IVOCT", "KER", "KO", "LEN", "LP", "LS", "M3D", "MA", "MS", "NEARIR",
    "OAM", "OPM", "OPR", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS", "PR", "PX",
    "REG", "RESP", "RTDOSE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT",
    "RWV", "SEG", "SMR", "SR", "SRF", "ST", "STAIN", "TEXTUREMAP", "TG", "VA", "VF", "XAPROTOCOL",
})  # fmt: skip
"""What else may stand there (PS3.3, C.7.3.1.1.1, with the retired ones)."""
_DESCRIPTIONS = (
    *(("study_description", "StudyDescription"), ("series_description", "SeriesDescription")),
    ("protocol", "ProtocolName"),
)
_SIDES = {"R": "right", "L": "left", "B": "both sides"}


def facts_of(dataset: Dataset, options: Options) -> dict[str, Any]:
    """Fields of a de-identified data set that describe its pictures; those without a value are left out."""
    spacing = _floats(dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing"))
    facts: dict[str, Any] = {
        "modality": modality_of(dataset),
        "body_part": _known(dataset, "BodyPartExamined", options),
        "view": _known(dataset, "ViewPosition", options),
        "side": _SIDES.get(_code(dataset, "ImageLaterality") or _code(dataset, "Laterality") or ""),
        "plane": plane_of(_floats(dataset.get("ImageOrientationPatient"))),
        "spacing_mm": [round(one, 4) for one in spacing] if len(spacing) == 2 else None,
        "slice_mm": next(iter(_floats(dataset.get("SliceThickness"))), None),
        "patient": str(dataset.get("PatientID") or "") or None,
        "study": str(dataset.get("StudyInstanceUID") or "") or None,
        "series": str(dataset.get("SeriesInstanceUID") or "") or None,
    }
    if options.clean:
        for key, name in _DESCRIPTIONS:
            facts[key] = str(dataset.get(name) or "") or None
    if "patient" in options.keep:
        facts["sex"] = next((sex for sex in "MFO" if sex == _code(dataset, "PatientSex")), None)
        facts["age"] = str(dataset.get("PatientAge") or "") or None
    if options.dates != "remove":
        facts["study_date"] = str(dataset.get("StudyDate") or "") or None
    return {key: value for key, value in facts.items() if value is not None}


def modality_of(dataset: Dataset) -> str | None:
    """The modality, where it is one of the standard's; anybody can write a name there."""
    found = _code(dataset, "Modality")
    return found if found in MODALITIES or found in _MORE_MODALITIES else None


def sentence_of(facts: dict[str, Any], frame: Frame) -> str:
    """``Computed tomography of the chest, axial, lung window.``"""
    name = MODALITIES.get(facts.get("modality", ""), "Medical image")
    part = f" of the {facts['body_part'].lower()}" if "body_part" in facts else ""
    window = frame.window.name if frame.window is not None else ""
    more = [facts.get("side"), facts.get("plane"), f"{facts['view']} view" if "view" in facts else None]
    more += [f"{window} window" if window in PRESETS else None]
    return f"{name}{part}{''.join(f', {one}' for one in more if one)}."


def plane_of(directions: list[float]) -> str | None:
    """Axial, sagittal or coronal, from the directions of a row and of a column; None where it is oblique."""
    if len(directions) != 6:
        return None
    a, b = directions[:3], directions[3:]
    normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    for name, size in zip(("sagittal", "coronal", "axial"), normal, strict=True):
        if abs(size) > 0.9:
            return name
    return None


def _code(dataset: Dataset, name: str) -> str | None:
    value = dataset.get(name)
    return str(value).strip().upper() or None if isinstance(value, str) else None


def _known(dataset: Dataset, name: str, options: Options) -> str | None:
    """A coded value whose words are all on the list; free words have been written there, too."""
    value = _code(dataset, name)
    cleaned = clean_words(value or "", options.terms)
    return cleaned if value and cleaned.replace(" ", "") == "".join(filter(str.isalnum, value)) else None


def _floats(value: Any) -> list[float]:
    many = value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    try:
        found = [float(one) for one in many]
        return found if all(map(math.isfinite, found)) else []
    except (TypeError, ValueError):
        return []
