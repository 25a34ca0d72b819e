"""Words where the standard has none, and names as nobody's header has them: none of it comes out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.trust.dicom import Masks, Options, Secret, Settings, read_terms, run
from pumice.trust.dicom.profile import clean_words

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from ...image.dicom.made import dataset, item, ramp  # noqa: E402

KEY = Secret(b"k" * 32)
ALL = frozenset({"patient", "device", "institution", "private"})
BASIC, SHIFTED, KEPT = (
    Options(),
    Options("shift", ALL, True, read_terms()),
    Options("keep", ALL | {"uids"}, True, read_terms()),
)
PERSON = {"PatientName": "Okonkwo^Adaeze", "PatientID": "MRN00412", "StudyInstanceUID": "1.2.3.4"}


def converted(folder: Path, options: Options, *, name: str = "a.dcm", row: Any = None, **more: Any) -> Path:
    """A file with such attributes, de-identified with all that is written; the folder.

    ``row`` is the text of a row beside it. Attributes in a list are added as they are: tag, kind, value.
    """
    raw = more.pop("raw", ())
    made = dataset(ramp(), **{**PERSON, **more})
    for one in raw:
        made.add_new(*one)
    (folder / "in").mkdir()
    made.save_as(folder / "in" / name, enforce_file_format=True)
    rows = []
    if row is not None:
        rows = [folder / "rows.jsonl"]
        rows[0].write_text(json.dumps({"image": name, "text": row}), "utf-8")
    settings = Settings(folder / "out", KEY, options, Masks(), write_dicom=True)
    run([folder / "in"], settings, rows=rows, table=folder / "names.jsonl", workers=1)
    return folder / "out"


def holding(folder: Path, words: str) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and words.lower() in path.read_bytes().lower().decode("latin-1")
    ]


def written(out: Path) -> Any:
    (path,) = (out / "dicom").iterdir()
    return pydicom.dcmread(path)


LEAVES: list[dict[str, Any]] = [
    {"ReferencedImageSequence": [{"DeidentificationMethod": "for Jones", "PatientIdentityRemoved": "JONES"}]},
    {"FrameOfReferenceUID": "1.2.840.10008.JONES", "raw": [(0x00081150, "UI", "1.2.jones")]},
    {"raw": [(0x7FE00001, "OV", b"Mrs Jones1234567"), (0x7FE00002, "OV", b"Mrs Jones1234567")]},
    {"raw": [(0x7FE00020, "OW", b"Mrs Jones "), (0x00280500, "OW", b"Mrs Jones ")]},
    {"Modality": "JONES", "PatientSex": "JONES", "PatientAge": "Jones"},
    {"AcquisitionDateTime": "20240316 Jones", "StudyTime": "Jones", "StudyDate": "20240316 jones"},
    {"WindowCenter": 1, "WindowWidth": 9, "WindowCenterWidthExplanation": "FOR MRS JONES"},
    {"IconImageSequence": [{"ImageComments": "Jones"}], "raw": [(0x00420011, "OB", b"%PDF Jones")]},
    {"OriginalAttributesSequence": [{"SourceOfPreviousValues": "Jones"}]},
    {"raw": [(0xFFFCFFFC, "OB", b"Jones "), (0x60001500, "LO", "Jones"), (0x54001010, "OB", b"Jones ")]},
    {"raw": [(0x00189999, "SH", "Jones"), (0x00189997, "CS", "JONES")]},
    {"raw": [(0x00290010, "LO", "JONES"), (0x00291010, "SQ", [{"PatientName": "Jones"}])]},
]  # fmt: skip


@pytest.mark.parametrize("attributes", LEAVES, ids=lambda one: "-".join(one))
@pytest.mark.parametrize("options", [BASIC, KEPT], ids=["basic", "kept"])
def test_words_where_there_should_be_none(
    attributes: dict[str, Any], options: Options, tmp_path: Path
) -> None:
    def of(value: Any) -> Any:
        return [item(**one) for one in value] if isinstance(value, list) else value

    made = {name: of(value) for name, value in attributes.items() if name != "raw"}
    raw = [(tag, vr, of(value)) for tag, vr, value in attributes.get("raw", ())]
    out = converted(tmp_path, options, raw=raw, **made)
    assert written(out)
    assert holding(out, "jones") == []


def test_what_is_said_of_a_refused_file(tmp_path: Path) -> None:
    out = converted(tmp_path, BASIC, Modality="OKONKWO", BurnedInAnnotation="YES")
    assert "refused" in (out / "report.jsonl").read_text()
    assert holding(out, "okonkwo") == []


@pytest.mark.parametrize(
    ("age", "left"),
    [("093Y", "090Y"), ("1116M", None), ("999M", "999M"), ("090Y", "090Y"), ("089Y", "089Y"), ("93", None)],
)
def test_ages(age: str, left: str | None, tmp_path: Path) -> None:
    nested = [item(PatientAge=age)]
    made = written(converted(tmp_path, KEPT, PatientAge=age, ReferencedPerformedProcedureStepSequence=[],
                             ProcedureCodeSequence=nested))  # fmt: skip
    assert made.get("PatientAge") == made.ProcedureCodeSequence[0].get("PatientAge") == left


def test_uids_that_begin_like_the_standards(tmp_path: Path) -> None:
    made = written(
        converted(tmp_path, BASIC, StudyInstanceUID="1.2.840.10008.19610312.4711",
                  FrameOfReferenceUID="1.2.840.10008.1.4.1.1")
    )  # fmt: skip
    assert made.StudyInstanceUID == KEY.uid("1.2.840.10008.19610312.4711")
    assert made.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_a_uid_that_stays_but_holds_a_number_of_the_patient(tmp_path: Path) -> None:
    made = written(converted(tmp_path, KEPT, PatientID="4711223", StudyInstanceUID="1.2.4711223.9",
                             SeriesInstanceUID="1.2.8.9"))  # fmt: skip
    assert made.StudyInstanceUID == KEY.uid("1.2.4711223.9")
    assert made.SeriesInstanceUID == "1.2.8.9"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CT chest 943 476 5919", "CT chest"),
        ("SSN 123-45 6789 head", "head"),
        ("ACC 77 123 45", ""),
        ("MRN12X345 lung", "X lung"),
        ("head T2w 3 mm, 12, 5.0 mm", "head T 2 w 3 mm 12 5.0 mm"),
        ("L4/5 spine 3T", "L spine 3 T"),
        ("T1 T2 5 6 mm", "T 1 T 2 5 6 mm"),
    ],
)
def test_numbers_in_parts(text: str, left: str) -> None:
    assert clean_words(text, read_terms()) == left


@pytest.mark.parametrize(
    ("charset", "name", "text", "left"),
    [
        ("ISO_IR 192", "Müller-Lüdenscheidt^Zoë=山田^太郎",
         "MÜLLER, Mueller, Muller, Luedenscheidt, Zoe\u0308, Zoe, 山田太郎さん", 7),
        ("ISO_IR 100", "O'Brien^Séan", "OBrien, O\u2019Brien, Sean, SéanO'Brien", 4),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう",
         "yamadatarou, 山田, やまだたろう, TarouYamada", 4),
        (["", "ISO 2022 IR 149"], "Kim^Heejung=金^喜中=김^희중", "김희중, 金喜中, Heejung, KimHeejung", 4),
        ("GB18030", "Wang^XiaoDong=王^小东", "王小东, Wang XiaoDong", 3),
    ],
    ids=["utf8", "latin1", "jp", "kr", "cn"],
)  # fmt: skip
def test_names_in_other_spellings(charset: Any, name: str, text: str, left: int, tmp_path: Path) -> None:
    out = converted(tmp_path, BASIC, SpecificCharacterSet=charset, PatientName=name, row=text)
    ((_, row),) = read_objects(out / "rows.jsonl", Problems())
    assert row["text"].replace("さん", "").replace(",", "").split() == ["[removed]"] * left


def test_names_written_as_one_word_or_as_another_kind(tmp_path: Path) -> None:
    raw = [(0x00081070, "LO", "Featherston^Hugh")]  # Operators' Name, which is a PN
    made = written(
        converted(tmp_path, BASIC, Manufacturer="OkonkwoAdaeze", SequenceName="hugh", raw=raw)
    )  # fmt: skip
    assert ("Manufacturer" in made, "SequenceName" in made) == (False, False)


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"Okonkwo_M\xfcller.dcm")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    out = converted(tmp_path, BASIC, name=name)
    assert written(out)
    ((_, line),) = read_objects(tmp_path / "names.jsonl", Problems())
    assert line["input"] == name


def test_a_header_without_a_number_of_the_patient(tmp_path: Path) -> None:
    """Pictures are parted by patient, so each must say whose it is."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        made = dataset(ramp(), PatientName="Okonkwo^Adaeze", SOPInstanceUID=f"1.2.3.{number}")
        made.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
    summary = run([tmp_path / "in"], Settings(tmp_path / "out", KEY, BASIC), workers=1)
    assert (summary.written, summary.patients) == (2, 1)


def test_numbers_that_are_none(tmp_path: Path) -> None:
    out = converted(tmp_path, BASIC, raw=[(0x00180050, "DS", "NaN"), (0x00280030, "DS", ["inf", "1"])])
    ((_, picture),) = read_objects(out / "pictures.jsonl", Problems())
    assert not {"slice_mm", "spacing_mm"} & picture.keys()
