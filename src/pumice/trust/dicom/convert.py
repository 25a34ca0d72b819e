"""One DICOM file: read, de-identified, written as PNG and DICOM, and looked through again."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pumice.errors import ImageError, PumiceError
from pumice.files import replacing
from pumice.image.dicom import Frame, Window, frames_of, library, lone_pixels, quiet, read_dicom
from pumice.image.dicom.frames import MAX_FRAMES, PIXELS
from pumice.trust.dicom.apply import Log, deidentify, set_method
from pumice.trust.dicom.burned import (
    Box,
    Masks,
    leave_something,
    mask_pixels,
    risk_of,
    text_regions,
    ultrasound_regions,
)
from pumice.trust.dicom.describe import facts_of, modality_of, sentence_of
from pumice.trust.dicom.identify import Identifiers
from pumice.trust.dicom.profile import Options
from pumice.trust.dicom.secret import Secret
from pumice.trust.dicom.verify import leaks
from pumice.words import counted

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMAGES, FILES = "images", "dicom"
_IMPLEMENTATION = "2.25.213650938190113178412207229398712649733"
"""Implementation Class UID of what we write (PS3.10, 7.1)."""
_EXPLICIT = "1.2.840.10008.1.2.1"
HEADS = ("CT", "MR", "PT")


@dataclass(frozen=True)
class Settings:
    """What is done to every file.

    Attributes:
        out: the folder that is written.
        secret: what replacements are computed with.
        options: of the profile.
        masks: what is blackened.
        windows: as ``image.dicom.parse_window`` gave them.
        write_dicom: whether de-identified DICOM files are written beside PNG.
        square_pixels: whether pixels that are not square are scaled.
        frames: at most so many of a file, evenly spread; None for all.
    """

    out: Path
    secret: Secret
    options: Options
    masks: Masks = field(default_factory=Masks)
    windows: tuple[str | tuple[float, float], ...] = ("auto",)
    write_dicom: bool = False
    square_pixels: bool = False
    frames: int | None = None


@dataclass(frozen=True)
class Task:
    """One input: where it lies, what masks and rows call it, its rows; whether its UID is another's."""

    path: Path
    name: str
    rows: tuple[Mapping[str, Any], ...] = ()
    clash: bool = False


@dataclass
class Outcome:
    """What became of an input.

    Attributes:
        record: for the report; names nobody.
        scenes, pictures: records of its pictures.
        rows: those of the task with the picture's new name and without what names somebody, or the reason
            why there is none.
        error: why it was refused, for a terminal only: it may name the file.
    """

    record: dict[str, Any]
    scenes: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any] | str] = field(default_factory=list)
    error: PumiceError | None = None


def convert(task: Task, settings: Settings) -> Outcome:
    """Carry out one task. What cannot be used is refused, nothing of it stays, and nothing is raised."""
    record: dict[str, Any] = {"input": settings.secret.code(task.name), "status": "refused"}
    written: list[Path] = []
    try:
        try:
            return _convert(task, settings, record, written)
        except (PumiceError, OSError):
            raise
        except Exception as error:  # headers of hostile bytes raise almost anything
            raise ImageError(
                f"DICOM file {task.path} is damaged ({type(error).__name__})",
                remedy="fetch or export the file again",
            ) from error
    except PumiceError as error:
        for path in written:
            path.unlink(missing_ok=True)
        record.update(reason=error.what.replace(str(task.path), "FILE"), remedy=error.remedy)
        return Outcome(record, rows=["its picture was refused"] * len(task.rows), error=error)


def _convert(task: Task, settings: Settings, record: dict[str, Any], written: list[Path]) -> Outcome:
    if task.clash:
        raise ImageError(
            f"another file than {task.path} has the same SOP Instance UID, and other contents",
            remedy="find out which of them is right, and leave the other out",
        )
    dataset = read_dicom(task.path)
    head = {"modality": modality_of(dataset), "sop_class": _class_name(dataset)}
    record.update({key: value for key, value in head.items() if value})
    boxes, outside, masked = _masks(task, settings, dataset)
    inverted = str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1"

    def pixels() -> Iterator[NDArray[Any]]:
        for frame in lone_pixels(dataset, task.path):
            yield mask_pixels(frame, boxes, outside, inverted=inverted) if masked else frame

    count = int(dataset.get("NumberOfFrames") or 1)
    chosen = _chosen(count, settings.frames)
    # Headers are changed after the pixels are read: windows and palettes are attributes, too.
    copies: list[NDArray[Any]] = []
    shown: list[tuple[Frame, ...]] = []
    looks = frames_of(dataset, task.path, settings.windows, square_pixels=settings.square_pixels,
                      pixels=_teed(pixels(), copies if settings.write_dicom else None))  # fmt: skip
    for frames in looks:
        if frames[0].number in chosen:
            shown.append(tuple(_packed(frame) for frame in frames))
    identifiers, log = deidentify(dataset, settings.secret, settings.options)
    uid = str(dataset.get("SOPInstanceUID") or "")
    if not re.fullmatch(r"[0-9.]{1,64}", uid):  # it becomes a file's name
        uid = settings.secret.uid(task.name)
    record["id"] = uid
    if masked:
        dataset.BurnedInAnnotation = "NO"
        set_method(dataset, settings.options, masked=True)
    outcome = Outcome(record)
    facts = facts_of(dataset, settings.options)
    for frames in shown:
        for frame in frames:
            name = _name(uid, frame, many=count > 1, windows=len(frames))
            path = settings.out / IMAGES / name
            with replacing(path) as partial:
                partial.write_bytes(frame.image.info["png"])
            written.append(path)
            _describe(outcome, name, frame, facts, log)
    if settings.write_dicom:
        path = settings.out / FILES / f"{uid}.dcm"
        _write(dataset, copies, path)
        written.append(path)
    _rows(outcome, task, identifiers, log)
    _finish(outcome, dataset, log, identifiers, (boxes, outside), count)
    # Of the records only what comes from the file: a patient may be called like a word of our sentences.
    values = [*map(str, facts.values()), *(str(row) for row in outcome.rows if isinstance(row, dict))]
    found = leaks(identifiers, log.written, written, values)
    if found:
        raise ImageError(
            f"what was written of {task.path} still names somebody: {'; '.join(found[:5])}",
            remedy="nothing of it stays; please report this, with the places and without the file",
        )
    outcome.record["status"] = "written"
    return outcome


def _masks(task: Task, settings: Settings, dataset: Dataset) -> tuple[tuple[Box, ...], tuple[Box, ...], bool]:
    """What is blackened in a file, what is left beyond which all is, and whether anybody said anything."""
    said = settings.masks.of(task.name, dataset)
    outside = ultrasound_regions(dataset) if settings.masks.regions else ()
    risk = risk_of(dataset)
    if outside and not leave_something(outside, dataset):
        outside = ()
    if risk is not None and said is None and not outside:
        lacking = " (it declares no regions of ultrasound that leave anything out)" * settings.masks.regions
        raise ImageError(
            f"words may be written into the pixels of {task.path}: {risk}{lacking}",
            remedy="look at it, then blacken them: --mask x,y,width,height for all, --masks FILE for some; "
            "an empty list there says that there is nothing to blacken",
        )
    return said or (), outside, said is not None or bool(outside)


def _chosen(count: int, most: int | None) -> frozenset[int]:
    """Numbers of frames, from 1."""
    if most is None or count <= most:
        return frozenset(range(1, min(count, MAX_FRAMES) + 1))
    return frozenset(1 + (2 * place + 1) * count // (2 * most) for place in range(most))


def _teed(pixels: Iterable[NDArray[Any]], copies: list[NDArray[Any]] | None) -> Iterator[NDArray[Any]]:
    for frame in pixels:
        if copies is not None:
            copies.append(frame)
        yield frame


def _packed(frame: Frame) -> Frame:
    """The frame as the bytes of a PNG: files of many frames would fill the memory as pixels."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(frame.image)).save(buffer, "PNG")
    light = Image.new("L", (1, 1))
    light.info = {
        "png": buffer.getvalue(),
        "size": frame.image.size,
        "regions": text_regions(frame.wide, faint=frame.window is None),
    }
    return Frame(frame.number, light, frame.window, frame.square, frame.wide[:0])


def _name(uid: str, frame: Frame, *, many: bool, windows: int) -> str:
    name = uid + (f"-f{frame.number:05d}" if many else "")
    if windows > 1 and frame.window is not None:
        name += "-" + frame.window.name.replace(":", "").replace(",", "_")
    return f"{name}.png"


def _describe(outcome: Outcome, name: str, frame: Frame, facts: Mapping[str, Any], log: Log) -> None:
    width, height = frame.image.info["size"]
    id = name.removesuffix(".png")
    outcome.scenes.append(
        {"id": id, "image": name, "captions": [sentence_of(dict(facts), frame)], "instances": [],
         "width": width, "height": height}
    )  # fmt: skip
    window = frame.window
    more: dict[str, Any] = {"frame": frame.number, "width": width, "height": height}
    if window is not None:
        more["window"] = {"name": window.name, **_numbers(window)}
    outcome.pictures.append({"id": id, "image": name, **facts, **more})
    if regions := frame.image.info["regions"]:
        said = "; ".join(",".join(map(str, box)) for box in regions[:4])
        log.warnings.append(f"frame {frame.number} looks as if words were written at {said}")
    if frame.square is False:
        log.warnings.append("pixels are not square (--square-pixels scales them)")


def _numbers(window: Window) -> dict[str, Any]:
    if window.table is not None:
        return {"table": window.table + 1}
    return {"center": round(window.center, 3), "width": round(window.width, 3), "function": window.function}


def _write(dataset: Dataset, frames: Sequence[NDArray[Any]], path: Path) -> None:
    """Write the data set with plain pixels: what a compressor wrote beside them is gone."""
    pydicom = library()
    first = frames[0]
    if dataset.original_encoding[1] is False and "RedPaletteColorLookupTableData" in dataset:
        raise ImageError(
            "a palette of big-endian numbers cannot be written", remedy="write pictures alone: --write png"
        )
    kind = next(name for name in PIXELS if name in dataset)
    if kind != "PixelData":
        dataset[kind].value = b"".join(
            frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames
        )
    else:
        bits = int(dataset.get("BitsAllocated") or 8)
        if first.ndim == 3:
            dataset.PhotometricInterpretation, dataset.PlanarConfiguration, dataset.SamplesPerPixel = (
                "RGB",
                0,
                3,
            )
        if bits == 1:
            data = pydicom.pixels.pack_bits(
                np.concatenate([frame.ravel() for frame in frames]).astype(np.uint8)
            )
        else:
            data = b"".join(frame.astype(frame.dtype.newbyteorder("<")).tobytes() for frame in frames)
            dataset.BitsAllocated = first.dtype.itemsize * 8
            dataset.HighBit = int(dataset.get("BitsStored") or bits) - 1
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if int(dataset.BitsAllocated) > 8 else "OB"
        dataset["PixelData"].is_undefined_length = False
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID") or path.stem
    meta.TransferSyntaxUID = pydicom.uid.UID(_EXPLICIT)
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION, "PUMICE"
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    try:
        with quiet(), replacing(path) as partial:
            pydicom.dcmwrite(
                partial, dataset, implicit_vr=False, little_endian=True, enforce_file_format=True
            )
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ImageError(
            f"the DICOM file cannot be written ({type(error).__name__}): an attribute is not as it must be",
            remedy="write pictures alone: --write png",
        ) from error


def _rows(outcome: Outcome, task: Task, identifiers: Identifiers, log: Log) -> None:
    """The rows of texts that belong to this file, under its new name and without what names somebody."""
    by_frame = {picture["frame"]: picture["image"] for picture in reversed(outcome.pictures)}
    paths = (
        Identifiers()
    )  # a row may say once more how its file is called, and files are called like patients
    for name in {task.name, Path(task.name).name}:
        if not name.isdigit():
            paths.add(name, "the name of the file", 1, name=True)
    for row in task.rows:
        frame = row.get("frame", min(by_frame))
        if frame not in by_frame:
            outcome.rows.append(f"its picture has no frame {frame!r} that was written")
            continue
        struck = [0]
        new = {
            key: _struck(value, (paths, identifiers), struck)
            for key, value in row.items()
            if key not in ("image", "frame")
        }
        if struck[0]:
            log.warnings.append(f"{counted(struck[0], 'identifier')} struck out of texts beside the picture")
        outcome.rows.append({**new, "image": by_frame[frame]})


def _struck(value: Any, sought: Sequence[Identifiers], struck: list[int]) -> Any:
    if isinstance(value, str):
        for identifiers in sought:
            value, count = identifiers.without(value)
            struck[0] += count
        return value
    if isinstance(value, list):
        return [_struck(one, sought, struck) for one in value]
    if isinstance(value, dict):
        return {key: _struck(one, sought, struck) for key, one in value.items()}
    return value


def _finish(
    outcome: Outcome,
    dataset: Dataset,
    log: Log,
    identifiers: Identifiers,
    blackened: tuple[Sequence[Box], Sequence[Box]],
    count: int,
) -> None:
    """What the report says of a file that was written."""
    part = str(dataset.get("BodyPartExamined") or "").upper()
    if str(dataset.get("RecognizableVisualFeatures") or "").upper() == "YES":
        log.warnings.append("the file says that a face or the like can be recognised in it")
    elif str(dataset.get("Modality")) in HEADS and any(
        one in part for one in ("HEAD", "BRAIN", "FACE", "SKULL", "NECK")
    ):
        log.warnings.append("slices of a head: together they may show a face")
    if identifiers.short:
        log.warnings.append(
            f"{counted(identifiers.short, 'identifier')} too short to be looked for elsewhere"
        )
    record: dict[str, Any] = {
        "frames": count,
        "pictures": len(outcome.pictures),
        "actions": dict(sorted(log.actions.items())),
        "private_removed": log.private,
        "kept_unlisted": dict(sorted(log.kept.items())),
        "masks": [list(box) for box in blackened[0]],
        "kept_regions": [list(box) for box in blackened[1]],
        "warnings": sorted(set(log.warnings)),
        "looked_for": len(identifiers.found),
    }
    outcome.record.update({key: value for key, value in record.items() if value not in ([], {})})


def _class_name(dataset: Dataset) -> str:
    uid = dataset.get("SOPClassUID")
    name = str(getattr(uid, "name", "") or "")
    return "" if name == str(uid or "") else name
