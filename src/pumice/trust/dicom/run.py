"""Folders of DICOM files, de-identified into a folder of pictures with records beside them."""

from __future__ import annotations

import filecmp
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pumice.data.checks import bad
from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError, PumiceError, UsageError
from pumice.files import replacing, write_json, write_text
from pumice.image.dicom import is_dicom, library, quiet
from pumice.processes import runner
from pumice.trust.dicom.burned import check_masks
from pumice.trust.dicom.convert import FILES, IMAGES, Outcome, Settings, Task, convert
from pumice.trust.dicom.profile import EDITION, MEANINGS, read_profile
from pumice.types import Origin

REPORT, RECORDS, SCENES, PICTURES = "report.json", "report.jsonl", "scenes.jsonl", "pictures.jsonl"
DIRECTORY = "DICOMDIR"
Progress = Callable[[str, int, int], None]


@dataclass
class Summary:
    """What became of all inputs.

    Attributes:
        written, refused: numbers of files.
        passed_over: files in folders that are no DICOM files, and directories of media.
        pictures: how many PNG were written.
        reasons: of refusals, with how many.
        warnings: with the number of files.
        rows: for each file of rows how many were written, and how many were left out.
        errors: of the refused inputs, for a terminal; they may name files.
    """

    written: int = 0
    refused: int = 0
    passed_over: int = 0
    repeated: int = 0
    pictures: int = 0
    patients: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    rows: dict[str, tuple[int, int]] = field(default_factory=dict)
    errors: list[tuple[int, PumiceError]] = field(default_factory=list)


def dicom_files(inputs: Sequence[Path]) -> tuple[list[tuple[Path, str]], int]:
    """All DICOM files with their names below what was named, sorted; and how many others folders hold.

    Raises:
        UsageError: an input is not there, or there is no DICOM file at all.
    """
    found: list[tuple[Path, str]] = []
    others = 0
    for given in inputs:
        if given.is_dir():
            for folder, folders, names in os.walk(given):
                folders.sort()
                for name in sorted(names):
                    path = Path(folder, name)
                    if name.upper() != DIRECTORY and path.is_file() and is_dicom(path):
                        found.append((path, path.relative_to(given).as_posix()))
                    else:
                        others += 1
        elif given.exists():
            found.append((given, given.name))
        else:
            raise UsageError(
                f"there is no {given}", where="IN", remedy="name DICOM files, or folders with them"
            )
    if not found:
        raise UsageError(
            "there is no DICOM file", where="IN", remedy="name DICOM files, or folders with them"
        )
    return found, others


def run(
    inputs: Sequence[Path],
    settings: Settings,
    *,
    rows: Sequence[Path] = (),
    table: Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Summary:
    """De-identify files into ``settings.out``.

    Args:
        inputs: files and folders.
        settings: what is done to each.
        rows: files of rows whose ``image`` names an input (or its SOP Instance UID): each is written into the
            folder under its own name, with the pictures' new names and without what names somebody.
        table: where a table of old and new names goes. It names patients and is for its owner alone.
        workers: processes.
        progress: told how many files are done.

    Raises:
        UsageError: inputs that are not there, a folder that holds something else, a table, rows or inputs
            inside it, masks that name no input or several.
        DataError: rows that cannot be read, or name no input.
        MissingExtraError: pydicom is not installed.
    """
    library()
    check_outside(settings.out, [(path, "the input", "IN") for path in inputs])
    check_outside(settings.out, [(path, "a file of rows", "--rows") for path in rows])
    if table is not None:
        check_outside(settings.out, [(table, "the table of names", "--table")])
    files, passed_over = dicom_files(inputs)
    check_masks(settings.masks, [name for _, name in files])
    _prepare(settings, rows)
    tasks, repeated = _tasks(files, rows)
    summary = Summary(passed_over=passed_over, repeated=repeated)
    names: list[tuple[str, str]] = []
    patients: set[str] = set()
    written_rows: dict[tuple[str, int], dict[str, Any]] = {}
    with (
        _lines(settings.out / RECORDS) as records,
        _lines(settings.out / SCENES) as scenes,
        _lines(settings.out / PICTURES) as pictures,
        runner(workers) as mapped,
    ):
        bare = [replace(task, rows=tuple(row for _, _, row in own)) for task, own in tasks]
        for number, outcome in enumerate(mapped(partial(convert, settings=settings), bare)):
            records(outcome.record)
            for one in outcome.scenes:
                scenes(one)
            for one in outcome.pictures:
                pictures(one)
                patients.add(one.get("patient", ""))
            _count(summary, number, outcome)
            names.append((tasks[number][0].name, outcome.record.get("id", "")))
            for (file, place, _), new in zip(tasks[number][1], outcome.rows, strict=True):
                if isinstance(new, dict):
                    written_rows[file, place] = new
            if progress is not None:
                progress("files", number + 1, len(tasks))
    summary.patients = len(patients - {""})
    _write_rows(settings.out, rows, [own for _, own in tasks], written_rows, summary)
    write_json(settings.out / REPORT, _report(summary, settings))
    if table is not None:
        _write_table(table, names)
    return summary


def check_outside(out: Path, files: Iterable[tuple[Path, str, str]]) -> None:
    """Files, what they are and the option that names them: none may lie in the folder that is given away.

    Raises:
        UsageError: one would be given away, or an input would be cleared away with an earlier run's files.
    """
    for path, what, where in files:
        if out.resolve() in (path.resolve(), *path.resolve().parents):
            raise UsageError(
                f"{what} would lie in the folder that is given away", where=where, remedy="name another place"
            )


def _prepare(settings: Settings, rows: Sequence[Path]) -> None:
    out = settings.out
    names = [file.name for file in rows]
    for name in names:
        if names.count(name) > 1 or name in (REPORT, RECORDS, SCENES, PICTURES):
            raise UsageError(
                f"two files in the folder would be called {name}", where="--rows", remedy="rename one of them"
            )
    if out.exists() and not (out / REPORT).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} holds something else",
            where="--out",
            remedy="name a new folder, or one made by this verb",
        )
    _clear(out)
    for folder in (IMAGES, *([FILES] if settings.write_dicom else [])):
        (out / folder).mkdir(parents=True, exist_ok=True)
    write_json(out / REPORT, {"status": "not finished"})


def _clear(out: Path) -> None:
    """Take away what an earlier run wrote: made with other options, it must not stay beside the new."""
    for folder, ending in ((IMAGES, "png"), (FILES, "dcm")):
        for path in (out / folder).glob(f"*.{ending}"):
            path.unlink()
    try:
        before = json.loads((out / REPORT).read_text("utf-8"))
    except (OSError, ValueError):
        before = {}
    for name in (RECORDS, SCENES, PICTURES, *before.get("rows", ())):
        (out / Path(name).name).unlink(missing_ok=True)


def _lines(path: Path) -> _Lines:
    return _Lines(path)


class _Lines:
    """A JSONL file that appears when all of its lines are written."""

    def __init__(self, path: Path) -> None:
        self._place = replacing(path)

    def __enter__(self) -> Callable[[Mapping[str, Any]], None]:
        self._file = self._place.__enter__().open("w", encoding="utf-8")

        def write(record: Mapping[str, Any]) -> None:
            self._file.write(json.dumps(record, ensure_ascii=False) + "\n")

        return write

    def __exit__(self, *error: Any) -> None:
        self._file.close()
        self._place.__exit__(*error)


Row = tuple[str, int, Mapping[str, Any]]
"""A row of texts: its file, its number, what it says."""


def _tasks(
    files: Sequence[tuple[Path, str]], rows: Sequence[Path]
) -> tuple[list[tuple[Task, list[Row]]], int]:
    """A task for each file with the rows that name it; a file that is there twice is taken once."""
    pydicom = library()
    tasks: list[tuple[Task, list[Row]]] = []
    by_name: dict[str, list[int]] = {}
    uids: dict[str, int] = {}
    repeated = 0
    for path, name in files:
        uid = _instance(pydicom, path)
        if uid and uid in uids and filecmp.cmp(path, tasks[uids[uid]][0].path, shallow=False):
            repeated += 1
            place = uids[uid]
        else:
            place = len(tasks)
            tasks.append((Task(path, name, clash=uid in uids), []))
            if uid:
                uids.setdefault(uid, place)
        for key in {name, Path(name).name, uid}:
            if place not in by_name.setdefault(key, []):
                by_name[key].append(place)
    problems = Problems()
    for file in rows:
        for number, row in read_objects(file, problems, what="file of texts"):
            try:
                tasks[_meant(row, by_name, str(Origin(str(file), number)))][1].append(
                    (str(file), number, row)
                )
            except DataError as error:
                problems.add(error)
    problems.raise_if_any("rows of texts cannot be used")
    return tasks, repeated


def _meant(row: Mapping[str, Any], by_name: Mapping[str, list[int]], where: str) -> int:
    image = row.get("image")
    if not isinstance(image, str) or not image:
        raise bad("the row has no image", where, "name the DICOM file, or its SOP Instance UID")
    found = by_name.get(image, [])
    if len(found) != 1:
        what = "no input is" if not found else f"{len(found)} inputs are"
        raise bad(f"{what} called as its image is", where, "write the path below IN, or the SOP Instance UID")
    return found[0]


def _instance(pydicom: Any, path: Path) -> str:
    """The SOP Instance UID; empty where the file cannot be read, which is told later."""
    try:
        with quiet():
            head = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
            return str(head.get("SOPInstanceUID") or "")
    except Exception:  # hostile bytes raise almost anything
        return ""


def _count(summary: Summary, number: int, outcome: Outcome) -> None:
    if outcome.error is not None:
        summary.refused += 1
        summary.reasons[str(outcome.record["reason"])] += 1
        summary.errors.append((number + 1, outcome.error))
        return
    summary.written += 1
    summary.pictures += len(outcome.pictures)
    summary.warnings.update({_general(one) for one in outcome.record.get("warnings", ())})
    summary.actions.update(action.split(":")[0] for action in outcome.record["actions"].values())


def _general(warning: str) -> str:
    """A warning without its numbers, so that many files have the same."""
    words = re.sub(r"^\d+ identifiers?", "identifiers", warning.partition(" at ")[0])
    return re.sub(r"^frame \d+", "a frame", words)


def _write_rows(
    out: Path,
    files: Sequence[Path],
    own: Sequence[Sequence[Row]],
    written: Mapping[tuple[str, int], Mapping[str, Any]],
    summary: Summary,
) -> None:
    for file in files:
        places = sorted(number for rows in own for name, number, _ in rows if name == str(file))
        new = [written[str(file), number] for number in places if (str(file), number) in written]
        if file.suffix.lower() == ".json":
            write_json(out / file.name, new)
        else:
            write_text(out / file.name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in new))
        summary.rows[file.name] = len(new), len(places) - len(new)


def _report(summary: Summary, settings: Settings) -> dict[str, Any]:
    options = settings.options
    return {
        "status": "finished",
        "profile": f"DICOM PS3.15 {EDITION} Annex E, {len(read_profile())} attributes",
        "options": {code: MEANINGS[code] for code in options.codes(masked=False)},
        "dates": options.dates,
        "files": {"written": summary.written, "refused": summary.refused, "repeated": summary.repeated,
                  "passed_over": summary.passed_over},
        "pictures": summary.pictures,
        "patients": summary.patients,
        "actions": dict(sorted(summary.actions.items())),
        "warnings": dict(summary.warnings.most_common()),
        "refusals": dict(summary.reasons.most_common()),
        "rows": {name: {"written": done, "left_out": lost} for name, (done, lost) in summary.rows.items()},
    }  # fmt: skip


def _write_table(path: Path, names: Sequence[tuple[str, str]]) -> None:
    """Old and new names, for the eyes of the owner of the file alone."""
    with replacing(path) as place:
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        # A name that is not UTF-8 has its bytes as JSON writes them: \udcfc.
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            for old, new in names:
                file.write(json.dumps({"input": old, "id": new}, ensure_ascii=False) + "\n")
