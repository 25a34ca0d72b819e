"""Attributes of every kind, at every depth, become what the profile says; nothing of a person stays."""

from __future__ import annotations

import io
from datetime import date, timedelta
from typing import Any

import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from pumice.trust.dicom.apply import deidentify, patient_of  # noqa: E402
from pumice.trust.dicom.identify import Identifiers, collect  # noqa: E402
from pumice.trust.dicom.profile import Options, read_profile, read_terms  # noqa: E402
from pumice.trust.dicom.secret import Secret  # noqa: E402

from ...image.dicom.made import dataset, item, ramp  # noqa: E402

KEY = Secret(b"k" * 32)
TEXTS = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT", "UR", "PN")


def mark_of(number: int, vr: str) -> str | None:
    """A value that nothing else has, of a kind that can be one."""
    if vr in ("DA", "DT"):
        return (date(1902, 1, 1) + timedelta(days=31 * number)).strftime("%Y%m%d")
    return f"QZM{number:04d}M" if vr in TEXTS else f"1.2.99.{number + 1000}.99" if vr == "UI" else None


def person(**more: Any) -> Any:
    return dataset(
        ramp(),
        **{
            **{"PatientName": "Okonkwo^Adaeze", "PatientID": "MRN00412", "PatientBirthDate": "19610312"},
            **{"StudyDate": "20240315", "SeriesDate": "20240316", "StudyTime": "101500"},
            **{"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "Modality": "CT"},
            **{"StudyDescription": "CT chest Okonkwo", "PatientAge": "063Y"},
            "InstitutionName": "Portsea Infirmary",
            **more,
        },
    )


def saved(made: Any) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_no_value_of_any_attribute_of_the_table_stays() -> None:
    """Each of the table's attributes holds a mark, at the root and in an item; none of the marks is left."""
    made, inner, marks = dataset(ramp()), pydicom.Dataset(), []
    for number, (tag, rule) in enumerate(read_profile().items()):
        place = int(tag.replace("x", "0"), 16)
        if place >> 16 < 0x0008 or place >> 24 in (0x50, 0xFF):
            continue
        vr = pydicom.datadict.dictionary_VR(place).split(" ")[0]
        mark = mark_of(number, vr)
        if mark is not None:
            marks.append((rule.keyword, mark))
            for holder in (made, inner):
                holder.add_new(place, vr, mark)
    made.add_new(0x00081032, "SQ", [inner])  # Procedure Code Sequence, which the table does not name
    made.add_new(0x60003000, "OW", b"\1\2")
    made.add_new(0x60000010, "US", 4)
    made.add_new(0x50003000, "OW", b"\1\2")
    assert len(marks) > 350
    deidentify(made, KEY, Options())
    left = saved(made)
    assert [keyword for keyword, mark in marks if mark.encode() in left] == []
    assert not any(element.tag.group >> 8 in (0x50, 0x60) for element in made)


def test_what_takes_the_place_of_values() -> None:
    image = item(ReferencedSOPInstanceUID="1.2.3.9", ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    made = person(ReferencedImageSequence=[image])
    _, log = deidentify(made, KEY, Options())
    assert made.PatientName == made.PatientID == KEY.pseudonym("id\0MRN00412\0")
    assert made.StudyInstanceUID == KEY.uid("1.2.3.4")
    reference = made.ReferencedImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == KEY.uid("1.2.3.9")
    assert reference.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.4"
    assert not made.PatientBirthDate
    assert not made.StudyDate
    assert made.SeriesDate == "19000101"
    assert "StudyDescription" not in made
    assert made.PatientIdentityRemoved == "YES"
    assert made.LongitudinalTemporalInformationModified == "REMOVED"
    assert [one.CodeValue for one in made.DeidentificationMethodCodeSequence] == ["113100"]
    assert made.Rows == 16
    assert log.kept["Rows"] == 1
    assert log.actions["(0010,0010) PatientName"] == "Z: replaced by a pseudonym (Z)"
    assert "Okonkwo" not in str(log)


def test_options_keep_what_they_name() -> None:
    made = person(PatientSex="F", DeviceSerialNumber="SN55", PatientAge="093Y")
    options = Options("keep", frozenset({"uids", "patient", "device", "institution"}), True, read_terms())
    deidentify(made, KEY, options)
    assert made.StudyInstanceUID == "1.2.3.4"
    assert (made.StudyDate, made.StudyTime) == ("20240315", "101500")
    assert (made.PatientSex, made.PatientAge) == ("F", "090Y")
    assert (made.DeviceSerialNumber, made.InstitutionName) == ("SN55", "Portsea Infirmary")
    assert made.StudyDescription == "CT chest"
    assert made.PatientName != "Okonkwo^Adaeze"
    assert not made.PatientBirthDate


def test_dates_of_a_patient_are_shifted_alike() -> None:
    made = person(AcquisitionDateTime="20240316235959.5+0200", ContentDate="no date")
    deidentify(made, KEY, Options("shift"))
    days = [pydicom.valuerep.DA(value) for value in (made.StudyDate, made.SeriesDate)]
    assert (days[1] - days[0]).days == 1
    assert days[0].year < 2024
    assert made.AcquisitionDateTime == f"{made.SeriesDate}235959.5"  # the zone tells a place
    assert "ContentDate" not in made
    other = person(PatientID="MRN9")
    deidentify(other, KEY, Options("shift"))
    assert other.StudyDate != made.StudyDate


def test_kept_attributes_with_a_name_in_them_go() -> None:
    made = person(
        Manufacturer="Works for OKONKWO", BodyPartExamined="CHEST", SequenceName="mrn00412",
        KVP="120", FilterType="seen 2024-03-15", ScanOptions="ADAEZEX",
    )  # fmt: skip
    _, log = deidentify(made, KEY, Options())
    assert [name in made for name in ("Manufacturer", "SequenceName", "FilterType")] == [False] * 3
    assert (made.BodyPartExamined, made.KVP, made.ScanOptions) == ("CHEST", "120", "ADAEZEX")
    assert log.actions["(0008,0070) Manufacturer"] == "X: it held a value of (0010,0010)"
    assert len(log.warnings) == 3


def test_attributes_that_the_table_does_not_name() -> None:
    made = person(
        RetrieveURL="https://pacs.example/1", TypeOfPatientID="TEXT", ImageType=["ORIGINAL", "PRIMARY"]
    )
    made.add_new(0x00189999, "PN", "Someone^Else")
    made.add_new(0x00189997, "UN", b"Okonkwo")
    made.add_new(0x00189996, "LT", "long words")
    made.add_new(0x00189995, "UI", "1.2.777.1")
    made.add_new(0x00189994, "DA", "20240101")
    made.add_new(0x00282000, "OB", b"profile of a camera of Okonkwo ")
    made.add_new(0x00189993, "SQ", [item(PixelData=b"\1\2", PatientName="Okonkwo", KVP="1")])
    deidentify(made, KEY, Options())
    gone = (0x00081190, 0x00100022, 0x00189999, 0x00189997, 0x00189996, 0x00189994, 0x00282000)
    assert [tag for tag in gone if tag in made] == []
    assert made[0x00189995].value == KEY.uid("1.2.777.1")
    assert "PixelData" not in made[0x00189993].value[0]
    assert made[0x00189993].value[0].KVP == "1"
    assert made.ImageType == ["ORIGINAL", "PRIMARY"]


def test_private_attributes() -> None:
    def with_private() -> Any:
        made = person()
        block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", "1000")
        block.add_new(0x0D, "LO", "free words")
        block.add_new(0x55, "IS", "7")
        made.private_block(0x0021, "SOMEBODY", create=True).add_new(0x0C, "IS", "4711")
        return made

    made = with_private()
    _, log = deidentify(made, KEY, Options())
    assert not any(element.tag.is_private for element in made)
    assert log.private == 6
    made = with_private()
    deidentify(made, KEY, Options(keep=frozenset({"private"})))
    assert [(element.tag, element.value) for element in made if element.tag.is_private] == [
        (0x00190010, "SIEMENS MR HEADER"), (0x0019100C, "1000")
    ]  # fmt: skip


def test_values_that_cannot_be_read_go() -> None:
    made = person()
    made._dict[pydicom.tag.Tag(0x00180050)] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00180050), "FD", 3, b"abc", 0, False, True
    )
    _, log = deidentify(made, KEY, Options())
    assert "SliceThickness" not in made
    assert any("could not be read" in action for action in log.actions.values())


def test_who_a_patient_is() -> None:
    assert patient_of(person()) == patient_of(person(PatientName="Other"))
    assert patient_of(person()) != patient_of(person(IssuerOfPatientID="B"))
    assert patient_of(person(PatientID="")) == patient_of(person(PatientID="", PatientName="okonkwo^adaeze"))
    assert patient_of(person(PatientID="", PatientName="")).startswith("study")


def test_what_is_looked_for() -> None:
    made = person(
        StationName="CT", ReferringPhysicianName="Li^Wu", AccessionNumber="A1", OtherPatientNames="山田^太郎"
    )
    made.private_block(0x0021, "SOMEBODY", create=True).add_new(0x10, "PN", "Hidden^Person")
    found = collect(made, Options())
    for words in ("okonkwo", "adaeze", "mrn00412", "19610312", "1961-03-12", "12.03.1961", "20240315",
                  "portsea infirmary", "hidden", "山田", "1.2.3.4.5.6.7.8"):  # fmt: skip
        assert words in found.found, words
    assert found.short == 6  # Li, Wu, A1, CT, and two UIDs of seven characters
    assert not any(one in found.found for one in ("ct", "ct chest okonkwo", "063y"))
    text, count = found.without(
        "Mrs. OKONKWO, b. 12.03.1961, Okonkwo's 山田さん of Portsea  Infirmary; Okonkwos"
    )
    assert count == 5
    assert text == "Mrs. [removed], b. [removed], [removed]'s [removed]さん of [removed]; Okonkwos"


def test_bytes_in_every_encoding() -> None:
    found = Identifiers()
    found.add("Müller-Lüdenscheidt", "(0010,0010)", 3)
    found.add("4711223", "(0010,0020)", 3)
    sought = {one.words: one for one in found.raw()}
    name = sought["müller-lüdenscheidt"]
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        for form in ("Müller-Lüdenscheidt", "MÜLLER-LÜDENSCHEIDT"):
            assert name.stands_in(b"\0" + form.encode(encoding).lower())
    number = sought["4711223"]
    assert number.stands_in(b" 4711223 ")
    assert not number.stands_in(b"0.4711223")
    assert not number.stands_in(b"47112234")
