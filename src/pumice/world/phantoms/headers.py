"""Headers of invented patients around phantoms, with identity wherever hospitals leave it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from pumice.image.dicom import library
from pumice.world.phantoms.draw import SIDE, Phantom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ROOT = "1.2.826.0.1.3680043.10.1"
"""Begins the UIDs of phantoms."""
BANNER = 16
"""Rows above an ultrasound picture with the patient's name in its pixels."""
_FAMILIES = (
    *("Okonkwo", "Lindqvist", "Abernathy", "Castellanos", "Vandermeer", "Hadjiev", "Oyelaran"),
    *("Szczepanski", "Thorvaldsen", "Brathwaite", "Kuznetsova", "Mahlangu"),
)
_GIVEN = (
    "Adaeze",
    "Birgitta",
    "Cornelius",
    "Dolores",
    "Evert",
    "Florentina",
    "Gwendolyn",
    "Hyacinth",
    "Ignatius",
)
_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4",
            "CR": "1.2.840.10008.5.1.4.1.1.1", "US": "1.2.840.10008.5.1.4.1.1.6.1"}  # fmt: skip


@dataclass(frozen=True)
class Patient:
    """An invented person."""

    family: str
    given: str
    number: str
    born: date
    examined: date

    @property
    def folder(self) -> str:
        """As archives name folders, with all that should not be there."""
        return f"{self.family}_{self.given}_{self.number}"


def patient_of(owner: int, seed: int) -> Patient:
    """The patient of a number."""
    rng = random.Random(f"patient {seed} {owner}")
    born = date(1931, 1, 1) + timedelta(days=rng.randrange(25_000))
    examined = date(2019, 1, 1) + timedelta(days=rng.randrange(2_000))
    return Patient(
        rng.choice(_FAMILIES), rng.choice(_GIVEN), f"MRN{owner:03d}{rng.randrange(10**5):05d}", born, examined
    )


def dataset_of(phantom: Phantom, patient: Patient, number: int, seed: int) -> Dataset:
    """A whole DICOM file of a phantom."""
    pydicom = library()
    dataset: Dataset = pydicom.Dataset()
    _pixels(dataset, phantom, patient)
    dataset.SOPClassUID, dataset.Modality = _CLASSES[phantom.kind], phantom.kind
    dataset.SOPInstanceUID = f"{ROOT}.{seed}.{number}.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (
        f"{ROOT}.{seed}.{number}.2",
        f"{ROOT}.{seed}.{number}.3",
    )
    dataset.BodyPartExamined, dataset.InstanceNumber = phantom.part.upper(), number + 1
    _person(pydicom, dataset, phantom, patient)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.SourceApplicationEntityTitle = "SCANNER_7"
    dataset.file_meta, dataset.preamble = (
        meta,
        f"{patient.family} {patient.number}".encode().ljust(128, b"\0"),
    )
    return dataset


def _person(pydicom: Any, dataset: Dataset, phantom: Phantom, patient: Patient) -> None:
    day = patient.examined.strftime("%Y%m%d")
    name = f"{patient.family}^{patient.given}"
    dataset.PatientName, dataset.PatientID = name, patient.number
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = (
        patient.born.strftime("%Y%m%d"),
        "O",
        "061Y",
    )
    dataset.OtherPatientIDs, dataset.PatientAddress = f"OLD-{patient.number}", "14 Harbour Lane, Portsea"
    dataset.PatientComments = f"{patient.given} prefers the morning"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = day
    dataset.StudyTime = dataset.ContentTime = "093015"
    dataset.AccessionNumber, dataset.StudyID = f"ACC{patient.number[3:]}", f"S{patient.number[3:]}"
    dataset.ReferringPhysicianName, dataset.OperatorsName = "Featherstonhaugh^Maud", "Quimby^Basil"
    dataset.InstitutionName, dataset.InstitutionAddress = (
        "Portsea General Infirmary",
        "1 Harbour Lane, Portsea",
    )
    dataset.StationName, dataset.Manufacturer = "PORTSEA-CT-2", "Phantom Works"
    dataset.DeviceSerialNumber, dataset.ProtocolName = "SN-559201", f"{phantom.part} routine"
    dataset.StudyDescription = f"{phantom.kind} {phantom.part} {patient.family} follow up"
    dataset.SeriesDescription = f"axial {phantom.part} 5 mm"
    dataset.ImageComments = f"seen by Dr. Featherstonhaugh on {patient.examined.isoformat()}"
    dataset.FrameOfReferenceUID = f"{ROOT}.9.{int(patient.number[3:])}"
    # Where nobody looks: a kept attribute with a name in it, an item of a sequence, a private block.
    dataset.ContrastBolusAgent, dataset.FilterType = "Omnipaque", f"for {patient.family}"
    request = pydicom.Dataset()
    request.ScheduledProcedureStepDescription = f"{phantom.kind} for {patient.given} {patient.family}"
    request.RequestedProcedureID = f"RP{patient.number[3:]}"
    dataset.RequestAttributesSequence = [request]
    block = dataset.private_block(0x0029, "PHANTOM WORKS", create=True)
    block.add_new(0x10, "LO", f"{patient.family}, {patient.given}")
    block.add_new(0x11, "UN", patient.number.encode())


def _pixels(dataset: Dataset, phantom: Phantom, patient: Patient) -> None:
    tissue = phantom.tissue()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = SIDE, SIDE, 1
    dataset.BitsAllocated, dataset.PixelRepresentation, dataset.PhotometricInterpretation = (
        16,
        0,
        "MONOCHROME2",
    )
    dataset.PixelSpacing = ["0.7", "0.7"]
    if phantom.kind == "CT":
        units = np.where(tissue > 0, tissue * 360 - 140, -1000)
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "-1024", "HU"
        dataset.WindowCenter, dataset.WindowWidth = ["40", "300"], ["400", "1500"]
        dataset.WindowCenterWidthExplanation = ["SOFT", "BONE"]
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        _grey(dataset, units + 1024, 12)
    elif phantom.kind == "MR":
        dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        _grey(dataset, tissue * 900 + 40, 12)
    elif phantom.kind == "CR":
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.WindowCenter, dataset.WindowWidth, dataset.ViewPosition = "2048", "4096", "AP"
        _grey(dataset, 4095 - tissue * 3000 - 500, 12)
    else:
        _ultrasound(dataset, tissue, patient)


def _grey(dataset: Dataset, values: Any, bits: int) -> None:
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelData = np.clip(values, 0, 2**bits - 1).astype("<u2").tobytes()


def _ultrasound(dataset: Dataset, tissue: Any, patient: Patient) -> None:
    """In colours, with a banner above that says who it is; the region below is declared."""
    pydicom = library()
    picture = Image.fromarray((tissue * 255).astype(np.uint8)).convert("RGB")
    ImageDraw.Draw(picture).rectangle((0, 0, SIDE, BANNER - 1), "black")
    ImageDraw.Draw(picture).text((2, 2), f"{patient.family.upper()} {patient.number}", "white")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = picture.tobytes()
    region = pydicom.Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, BANNER
    region.RegionLocationMaxX1 = region.RegionLocationMaxY1 = SIDE - 1
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    dataset.SequenceOfUltrasoundRegions = [region]
