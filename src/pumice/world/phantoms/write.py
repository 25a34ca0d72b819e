"""A folder as a hospital might have it: DICOM files of invented patients, captions, questions."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pumice.errors import UsageError
from pumice.files import write_json, write_text
from pumice.image.dicom import library, quiet
from pumice.world.phantoms.draw import PARTS, SHAPES, Phantom
from pumice.world.phantoms.headers import dataset_of, patient_of

FIGURES, TRAIN, TEST = "figures.jsonl", "vqa-train.json", "vqa-test.jsonl"
FOLDER = "dicom"
PER_PATIENT = 4
HELD_OUT = 5
"""Of so many patients, the second is held out for the test."""
NOUNS = {"CT": "CT scan", "MR": "MR image", "CR": "X-ray", "US": "ultrasound image"}
_ORDER = ("CT", "MR", "CR", "CT", "MR", "CT", "US", "MR", "CR", "CT", "MR", "CR")


def write_phantoms(
    folder: Path, *, n: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write ``n`` DICOM files and the texts about them; what is written depends on ``n`` and ``seed`` alone.

    ``dicom/`` holds the files, in a folder for each patient, with names and numbers of invented people in
    their headers; those of ultrasound also in the pixels. ``figures.jsonl`` has a caption and the sentences
    that mention it for each picture of the training patients, ``vqa-train.json`` their questions (LLaVA
    JSON), ``test.json`` those of the patients held out (LLaVA-Med's form). ``image`` is the file below
    ``dicom/``.

    Args:
        folder: the folder to make.
        n: how many files.
        seed: another seed draws others.
        progress: told how many files are written, and how many there will be.

    Returns:
        Numbers: patients, files, figures, questions to train on, questions of the test.

    Raises:
        UsageError: the folder holds something else.
        MissingExtraError: pydicom is not installed.
    """
    pydicom = library()
    if folder.exists() and any(folder.iterdir()) and not (folder / FOLDER).is_dir():
        raise UsageError(f"{folder} holds something else", where="OUT", remedy="name a new folder")
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    figures: list[dict[str, Any]] = []
    questions: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    patients = set()
    for number, (phantom, owner) in enumerate(_phantoms(n, seed)):
        patient = patient_of(owner, seed)
        patients.add(owner)
        name = f"{patient.folder}/{phantom.kind}{number:05d}.dcm"
        path = folder / FOLDER / name
        path.parent.mkdir(exist_ok=True)
        with quiet():
            pydicom.dcmwrite(path, dataset_of(phantom, patient, number, seed), enforce_file_format=True)
        held_out = owner % HELD_OUT == 1
        if not held_out:
            figures.append(_figure(phantom, name, number, patient.family))
        questions[held_out] += _questions(phantom, name, number, training=not held_out)
        if progress is not None:
            progress(number + 1, n)
    _write_lines(folder / FIGURES, figures)
    write_json(folder / TRAIN, questions[False])
    _write_lines(folder / TEST, questions[True])
    return {"patients": len(patients), "files": n, "figures": len(figures),
            "questions": len(questions[False]), "test questions": len(questions[True])}  # fmt: skip


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _phantoms(n: int, seed: int) -> Iterator[tuple[Phantom, int]]:
    rng = random.Random(f"phantoms {seed}")
    for number in range(n):
        kind = _ORDER[number % len(_ORDER)]
        part = rng.choice(PARTS) if kind in ("CT", "MR") else "abdomen"
        shape = rng.choice(SHAPES) if rng.random() < 0.75 else None
        phantom = Phantom(kind, part, shape, rng.random() < 0.5, rng.random() < 0.5, rng.getrandbits(32))
        yield phantom, number // PER_PATIENT


def caption_of(phantom: Phantom) -> str:
    """What a paper would say below the picture."""
    noun = NOUNS[phantom.kind]
    article = "An" if noun[0] in "aeiouMX" else "A"
    begins = f"{article} {noun} of the {phantom.part}"
    if phantom.shape is None:
        return f"{begins} without a lesion."
    return f"{begins} with a {phantom.size} {phantom.shape} lesion on the {phantom.side}."


def _figure(phantom: Phantom, name: str, number: int, family: str) -> dict[str, Any]:
    if phantom.shape is None:
        mentions = [
            f"No lesion was found in the {phantom.part}.",
            f"Nothing else is to be seen in this {NOUNS[phantom.kind]}.",
        ]
    else:
        mentions = [
            f"The {phantom.shape} lesion lies on the {phantom.side} side of the {phantom.part}.",
            f"The lesion of {family} is {phantom.size}.",
        ]
    return {"id": f"figure-{number}", "image": name, "fig_caption": caption_of(phantom), "mentions": mentions}


def _questions(phantom: Phantom, name: str, number: int, *, training: bool) -> list[dict[str, Any]]:
    asked: list[tuple[str, str, str]] = [
        ("Is there a lesion in this image?", "no" if phantom.shape is None else "yes", "closed"),
        ("What kind of image is this?", NOUNS[phantom.kind], "open"),
        ("Is this the brain?", "yes" if phantom.part == "brain" else "no", "closed"),
    ]
    if phantom.shape is not None:
        asked += [
            ("Is the lesion on the left?", "no" if phantom.right else "yes", "closed"),
            ("What shape is the lesion?", phantom.shape, "open"),
        ]
    rows = []
    for place, (question, answer, kind) in enumerate(asked):
        row: dict[str, Any] = {"id": f"{number}-{place}", "image": name}
        if training:
            turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
            rows.append({**row, "type": kind, "conversations": turns})
        else:
            rows.append({**row, "question": question, "answer": answer, "kind": kind})
    return rows
