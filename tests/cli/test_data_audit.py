"""`pumice data audit`: files and recipes in, findings, page and exit code out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..trust.audit import data
from .conftest import run_pumice

HOSTILE = "<script>alert(1)</script>"


def talk(folder: Path) -> None:
    """Two good rows, one whose picture is missing and whose words are HTML."""
    for number in range(2):
        data.noise(folder / "photos" / f"{number}.png", number)
    rows = [data.row(f"r{n}", (f"What {HOSTILE}?", "Noise."), image=f"{n}.png") for n in range(3)]
    data.write(folder / "talk.json", rows)


def test_findings_page_and_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    talk(tmp_path)
    words = ["data", "audit", "talk.json", "--images", "photos", "--checks", "readable"]
    done = run_pumice(*words)
    assert done.code == 0, done.both
    assert "missing" in done.out
    page = Path("audit/index.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "default-src &#x27;none&#x27;" in page
    record = json.loads(Path("audit/audit.json").read_text())
    assert (record["rows"], record["pictures"], record["severities"]) == (3, 3, {"serious": 1})
    assert run_pumice(*words, "--fail-on", "serious").code == 1
    assert run_pumice(*words, "--fail-on", "note", "--limit", "2").code == 0
    assert "readable" in run_pumice("data", "audit", "--list").out
    assert run_pumice("data", "audit", "talk.json", "--checks", "readable").code == 0
    (line,) = map(json.loads, Path("audit/findings.jsonl").read_text().splitlines())
    assert "3 pictures of talk cannot be found, and no folder of pictures is given" in line["what"]
    assert [line["row"], *(row for _, row in line["also"])] == [0, 1, 2]


def test_a_recipe_stands_for_all_of_its_data(
    recipe: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run_pumice("data", "audit", recipe, "--data", world, "--checks", "readable", "--workers", "1")
    assert done.code == 0, done.both
    record = json.loads(Path("audit/audit.json").read_text())
    assert [one["name"] for one in record["sources"]] == ["align", "instruct", "val"]
    assert record["pictures"] >= 12
    assert not record["severities"].get("serious")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "there is nothing to audit"),
        (["talk.json", "--checks", "readible"], "did you mean 'readable'"),
        (["talk.json", "--data", "x"], "--data is for a recipe"),
        (
            ["talk.json", "--checks", "readable,tower"],
            "the check tower cannot run: it sees with a vision tower",
        ),
        (["talk.json", "--drop", "against", "--write-clean", "x.json"], "the check against cannot run"),
        (
            ["talk.json", "--checks", "readable", "--model", "tiny"],
            "it is for the check answers, which is not run",
        ),
        (["tiny", "talk.json"], "a recipe is audited alone"),
        (["tiny", "--images", "x"], "the recipe says where pictures are"),
        (["talk.json", "--out", "talk.json"], "there is a file of that name"),
    ],
)
def test_what_cannot_be_done_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    talk(tmp_path)
    done = run_pumice("data", "audit", *words)
    assert done.code == 2, done.both
    assert said in done.err.replace("\n", " ")


def test_the_file_is_written_again_without_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {**data.row("a", ("Who?", "Write to jane.miller@uni-x.de")), "meta": [1, 2]},
        {**data.row("b", ("Who?", "Nobody.")), "meta": {"x": "ä"}},
        data.row("c", ("Who?", "nobody")),
        data.row("d", ("What?", "Nothing.")),
    ]
    before = data.write(tmp_path / "talk.json", rows).read_bytes()
    words = ["data", "audit", "talk.json", "--checks", "personal,duplicate-rows"]
    done = run_pumice(*words, "--drop", "personal:email,duplicate-rows", "--write-clean", "clean.json")
    assert done.code == 0, done.both
    assert "clean.json: 2 rows; 2 rows left out" in done.out
    assert json.loads(Path("clean.json").read_bytes()) == [rows[1], rows[3]]
    assert Path("talk.json").read_bytes() == before
    assert "jane" not in Path("audit/findings.jsonl").read_text()
    assert "jane" not in Path("audit/index.html").read_text()
    for path in Path("runs").rglob("audit/*/*.npz"):
        assert b"miller" not in path.read_bytes(), "what is kept of personal data is where it stands"
    assert run_pumice(*words, "--show-values").code == 0
    assert "jane.miller@uni-x.de" in Path("audit/findings.jsonl").read_text()
    for wrong, said in (
        (["--drop", "personal"], "--write-clean says where to"),
        (["--drop", "quality", "--write-clean", "x.json"], "no check 'quality' is run"),
        (["--drop", "personal:mail", "--write-clean", "x.json"], "did you mean 'email'"),
        (["--drop", "personal", "--write-clean", "talk.json"], "the data itself is never written to"),
        (["--drop", "personal", "--write-clean", "x.json", "--limit", "2"], "one whole file"),
    ):
        told = run_pumice(*words, *wrong)
        assert told.code == 2, told.both
        assert said in told.err, told.err


def test_licences_are_held_against_a_purpose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rights = [
        {}, {"license": "CC-BY-4.0", "author": "Jane"}, {"license": "CC-BY-4.0"}, {"license": "CC-BY-NC-4.0"},
        {"license": "my own words"}, {"license": "CC0-1.0"},
    ]  # fmt: skip
    rows = [{**data.row(f"r{n}", ("Who?", "I.")), **more} for n, more in enumerate([*rights, *rights[:1]])]
    data.write(tmp_path / "talk.json", rows)

    def kinds(*words: str) -> list[tuple[str, str, int, int]]:
        assert run_pumice("data", "audit", "talk.json", "--checks", "licences", *words).code == 0
        lines = [json.loads(line) for line in Path("audit/findings.jsonl").read_text().splitlines()]
        return [(line["kind"], line["severity"], line["row"], len(line["also"])) for line in lines]

    plain = [("none", "warning", 0, 1), ("unnamed", "warning", 2, 0), ("unnamed", "warning", 3, 0)]
    assert sorted(kinds()) == sorted([*plain, ("unknown", "warning", 4, 0)])
    assert ("refused", "serious", 3, 0) in kinds("--purpose", "commercial")
