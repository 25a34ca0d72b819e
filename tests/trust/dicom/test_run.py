"""Folders of DICOM files into pictures: what is written names nobody, what cannot be used is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.data.problems import Problems
from pumice.data.rows import read_objects
from pumice.errors import DataError, UsageError
from pumice.generate.readers import open_scenes
from pumice.trust.dicom import Masks, Options, Secret, Settings, Summary, apply, read_terms, run
from pumice.trust.dicom.identify import Identifiers
from pumice.trust.dicom.verify import chunks_of, leaks

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")

from pumice.world.phantoms import write_phantoms  # noqa: E402
from pumice.world.phantoms.headers import patient_of  # noqa: E402

from ...image.dicom.made import item, ramp, write  # noqa: E402

KEY = Secret(b"k" * 32)
N = 12


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of three patients; read only."""
    folder = tmp_path_factory.mktemp("hospital")
    write_phantoms(folder, n=N)
    return folder


def settings(out: Path, **more: Any) -> Settings:
    return Settings(out, KEY, **{"options": Options(), "masks": Masks(regions=True), **more})


def records(path: Path) -> list[dict[str, Any]]:
    return [record for _, record in read_objects(path, Problems())]


def test_a_hospital_comes_out_without_names(hospital: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cleaned = Options("shift", frozenset({"patient"}), True, read_terms())
    rows = [hospital / "figures.jsonl", hospital / "vqa-test.jsonl"]
    summary = run(
        [hospital / "dicom"], settings(out, options=cleaned, write_dicom=True), rows=rows, workers=1
    )
    assert (summary.written, summary.refused, summary.pictures, summary.patients) == (N, 0, N, N // 4)
    everything = b"\0".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()).lower()
    names = "\0".join(str(path.relative_to(out)) for path in out.rglob("*")).lower().encode()
    for owner in range(N // 4):
        patient = patient_of(owner, 0)
        secrets = [patient.family, patient.given, patient.number, patient.number[3:], "portsea", "quimby",
                   "featherstonhaugh", "sn-559201", "1.2.826.0.1.3680043.10.1"]  # fmt: skip
        secrets += [
            f"{day:{form}}" for day in (patient.born, patient.examined) for form in ("%Y%m%d", "%Y-%m-%d")
        ]
        assert [one for one in secrets if one.lower().encode() in everything + names] == []
    scenes = open_scenes(out / "scenes.jsonl")
    assert len(scenes) == N
    assert all((out / "images" / scene.image).is_file() for scene in scenes)
    assert any("of the abdomen" in scene.captions[0] for scene in scenes)
    figures = open_scenes(out / "figures.jsonl")
    assert any("[removed]" in mention for figure in figures for mention in figure.mentions)
    assert all((out / "images" / row["image"]).is_file() for row in records(out / "vqa-test.jsonl"))
    pictures = records(out / "pictures.jsonl")
    assert {one["sex"] for one in pictures} == {"O"}
    assert "CT abdomen follow up" in {one.get("study_description") for one in pictures}
    told = json.loads((out / "report.json").read_text())
    assert told["options"].keys() == {"113100", "113105", "113107", "113108"}
    assert summary.rows["figures.jsonl"][1] == 0


def test_the_dicom_files_show_the_same_pictures(hospital: Path, tmp_path: Path) -> None:
    run([hospital / "dicom"], settings(tmp_path / "a", write_dicom=True), workers=1)
    twice = settings(
        tmp_path / "b", options=Options(keep=frozenset({"uids"})), masks=Masks(by_file=(("US 128x128", ()),))
    )
    run([tmp_path / "a" / "dicom"], twice, workers=1)
    first = sorted((tmp_path / "a" / "images").iterdir())
    assert [path.name for path in first] == sorted(
        path.name for path in (tmp_path / "b" / "images").iterdir()
    )
    for path in first:
        assert path.read_bytes() == (tmp_path / "b" / "images" / path.name).read_bytes()
    one = pydicom.dcmread(tmp_path / "a" / "dicom" / first[0].with_suffix(".dcm").name)
    assert one.preamble == bytes(128)
    assert one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert "SourceApplicationEntityTitle" not in one.file_meta


def test_the_banner_of_ultrasound_is_black(hospital: Path, tmp_path: Path) -> None:
    run([hospital / "dicom"], settings(tmp_path / "out"), workers=1)
    shown = [one for one in records(tmp_path / "out" / "pictures.jsonl") if one["modality"] == "US"]
    assert shown
    for one in shown:
        pixels = np.asarray(Image.open(tmp_path / "out" / "images" / one["image"]))
        assert not pixels[:16].any()
        assert pixels[16:].any()


def test_what_may_have_words_is_refused_without_a_mask(hospital: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run([hospital / "dicom"], settings(out), workers=1)  # its pictures must not stay beside the next one's
    summary = run(
        [hospital / "dicom"], settings(out, masks=Masks()), rows=[hospital / "vqa-test.jsonl"], workers=1
    )
    assert summary.refused > 0
    assert summary.written + summary.refused == N
    assert len(list((out / "images").iterdir())) == summary.written
    refused = [one for one in records(out / "report.jsonl") if one["status"] == "refused"]
    assert {one["modality"] for one in refused} == {"US"}
    assert all("FILE" in one["reason"] and "dicom" not in one["reason"] for one in refused)
    assert summary.rows["vqa-test.jsonl"][1] > 0
    assert "id" not in refused[0]


@pytest.mark.slow
def test_the_same_key_gives_the_same_bytes_with_more_workers(hospital: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 2)):
        run([hospital / "dicom"], settings(tmp_path / name, frames=3), workers=workers)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def one_file(folder: Path, **attributes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return write(folder / "a.dcm", ramp(), **{"PatientName": "Okonkwo^Adaeze", **attributes})


def only(out: Path) -> dict[str, Any]:
    (record,) = records(out / "report.jsonl")
    return record


def test_a_leak_that_the_rules_miss_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is read back: with the rules broken, nothing of the file stays."""
    one_file(tmp_path / "in", PatientID="MRN00412")

    def broken(dataset: Any, secret: Secret, options: Options) -> Any:
        found, log = whole(dataset, secret, options)
        dataset.SequenceName = "for okonkwo"
        return found, log

    whole = apply.deidentify
    monkeypatch.setattr("pumice.trust.dicom.convert.deidentify", broken)
    run([tmp_path / "in"], settings(tmp_path / "out", write_dicom=True), workers=1)
    record = only(tmp_path / "out")
    assert record["status"] == "refused"
    assert "(0018,0024) holds a value of (0010,0010)" in record["reason"]
    assert "okonkwo" not in str(record).lower()
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".png", ".dcm")]


def test_png_with_more_than_pixels_is_a_leak(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "hello")
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    assert b"tEXt" in chunks_of((tmp_path / "a.png").read_bytes())
    found = leaks(Identifiers(), (), [tmp_path / "a.png"], ())
    assert found == ["the PNG has a chunk b'tEXt'"]
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    with (tmp_path / "b.png").open("ab") as file:
        file.write(b"more")
    assert leaks(Identifiers(), (), [tmp_path / "b.png"], ()) == ["the PNG has a chunk b'more'"]


def test_a_patient_called_like_our_own_words(tmp_path: Path) -> None:
    one_file(tmp_path / "in", PatientName="Profile^Option", ReferringPhysicianName="May^Head", Modality="MR")
    run([tmp_path / "in"], settings(tmp_path / "out", write_dicom=True), workers=1)
    assert only(tmp_path / "out")["status"] == "written"


def test_a_uid_that_is_a_path_is_not_one(tmp_path: Path) -> None:
    one_file(tmp_path / "in", SOPInstanceUID="../../../evil")
    run([tmp_path / "in"], settings(tmp_path / "out", options=Options(keep=frozenset({"uids"}))), workers=1)
    assert only(tmp_path / "out")["id"].startswith("2.25.")
    assert [path.name for path in tmp_path.iterdir()] == ["in", "out"] or not (tmp_path / "evil.png").exists()


def test_files_that_are_there_twice(tmp_path: Path) -> None:
    path = one_file(tmp_path / "in")
    shutil.copy(path, tmp_path / "in" / "b.dcm")
    write(tmp_path / "in" / "c.dcm", ramp(low=0))
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "DICOMDIR").write_bytes(path.read_bytes())
    (tmp_path / "in" / "d.dcm").write_bytes(path.read_bytes()[:400])
    summary = run([tmp_path / "in"], settings(tmp_path / "out"), workers=1)
    assert (summary.written, summary.repeated, summary.refused, summary.passed_over) == (1, 1, 2, 2)
    reasons = " ".join(summary.reasons)
    assert "same SOP Instance UID, and other contents" in reasons


def test_several_windows_and_frames_have_names_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", np.stack([ramp()] * 7), frames=True, Modality="CT")
    summary = run(
        [tmp_path / "in"], settings(tmp_path / "out", windows=("lung", (40.0, 80.0)), frames=2), workers=1
    )
    names = [path.name.partition("-")[2] for path in sorted((tmp_path / "out" / "images").iterdir())]
    assert names == ["f00002-40_80.png", "f00002-lung.png", "f00006-40_80.png", "f00006-lung.png"]
    assert summary.pictures == 4
    first = records(tmp_path / "out" / "scenes.jsonl")[0]
    assert first["captions"] == ["Computed tomography, lung window."]


@pytest.mark.parametrize(
    ("row", "match"),
    [({"image": "z.dcm"}, "no input is called"), ({}, "has no image"), ({"image": "a.dcm"}, None)],
)
def test_rows_name_their_files(row: dict[str, Any], match: str | None, tmp_path: Path) -> None:
    one_file(tmp_path / "in")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": 1, "text": ["of ADAEZE"], **row}) + "\n")
    if match is None:
        run([tmp_path / "in"], settings(tmp_path / "out"), rows=[tmp_path / "rows.jsonl"], workers=1)
        (new,) = records(tmp_path / "out" / "rows.jsonl")
        assert new == {"id": 1, "text": ["of [removed]"], "image": f"{KEY.uid('1.2.3.4.5.6.7.8')}.png"}
    else:
        with pytest.raises(DataError, match=match):
            run([tmp_path / "in"], settings(tmp_path / "out"), rows=[tmp_path / "rows.jsonl"], workers=1)


def test_a_row_that_says_again_how_its_file_is_called(tmp_path: Path) -> None:
    one_file(tmp_path / "in", PatientName="")
    (tmp_path / "in" / "a.dcm").rename(tmp_path / "in" / "Lindqvist_Eva 7.dcm")
    row = {
        "image": "Lindqvist_Eva 7.dcm",
        "source": "x/lindqvist_eva 7.dcm",
        "text": ["Lindqvist_Eva 7.dcm shows"],
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    run([tmp_path / "in"], settings(tmp_path / "out"), rows=[tmp_path / "rows.jsonl"], workers=1)
    (new,) = records(tmp_path / "out" / "rows.jsonl")
    assert (new["source"], new["text"]) == ("x/[removed]", ["[removed] shows"])


def test_regions_that_are_the_whole_picture_hide_nothing(tmp_path: Path) -> None:
    """A machine that calls its banner a region: no mask, so a person must say that there are no words."""
    corners = {"MinX0": 0, "MinY0": 0, "MaxX1": 15, "MaxY1": 15}
    region = item(**{f"RegionLocation{name}": value for name, value in corners.items()})
    one_file(tmp_path / "in", Modality="US", SequenceOfUltrasoundRegions=[region])
    assert run([tmp_path / "in"], settings(tmp_path / "out"), workers=1).refused == 1
    looked = Masks(regions=True, by_file=(("a.dcm", ()),))
    assert run([tmp_path / "in"], settings(tmp_path / "out", masks=looked), workers=1).refused == 0


def test_the_table_of_names_is_private(tmp_path: Path) -> None:
    one_file(tmp_path / "in")
    place = tmp_path / "names.jsonl"
    run([tmp_path / "in"], settings(tmp_path / "out"), table=place, workers=1)
    assert place.stat().st_mode & 0o777 == 0o600
    assert records(place) == [{"input": "a.dcm", "id": KEY.uid("1.2.3.4.5.6.7.8")}]
    with pytest.raises(UsageError, match="given away"):
        run([tmp_path / "in"], settings(tmp_path / "out"), table=tmp_path / "out" / "names.jsonl", workers=1)


def test_nothing_of_the_hospital_lies_in_what_is_given_away(tmp_path: Path) -> None:
    one_file(tmp_path / "in")
    out = tmp_path / "out"
    run([tmp_path / "in"], settings(out, write_dicom=True), workers=1)
    with pytest.raises(UsageError, match="the input would lie"):  # it would be cleared before it is read
        run([out / "dicom"], settings(out), workers=1)
    assert len(list((out / "dicom").iterdir())) == 1
    with pytest.raises(UsageError, match="rows would lie"):
        run([tmp_path / "in"], settings(out), rows=[out / "scenes.jsonl"], workers=1)


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("a.dcm", "2 inputs are called"),
        ("y/b.dcm", "no input is called"),
        ("x/a.dcm", None),
        ("US 8x8", None),
    ],
)
def test_masks_name_one_input(pattern: str, match: str | None, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    one_file(tmp_path / "in" / "x", SOPInstanceUID="1.2.3.1")
    one_file(tmp_path / "in" / "y", SOPInstanceUID="1.2.3.2", BurnedInAnnotation="YES")
    named = settings(tmp_path / "out", masks=Masks(by_file=((pattern, ()),)))
    if match is None:
        assert run([tmp_path / "in"], named, workers=1).refused == 1
        return
    with pytest.raises(UsageError, match=match):
        run([tmp_path / "in"], named, workers=1)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    def start(inputs: list[Path], out: Path, **more: Any) -> Summary:
        return run(inputs, settings(out), workers=1, **more)

    one_file(tmp_path / "in")
    with pytest.raises(UsageError, match="there is no"):
        start([tmp_path / "none"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no DICOM file"):
        start([tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        start([tmp_path / "in"], tmp_path / "full")
    (tmp_path / "scenes.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=r"would be called scenes\.jsonl"):
        start([tmp_path / "in"], tmp_path / "new", rows=[tmp_path / "scenes.jsonl"])
