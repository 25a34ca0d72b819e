"""An audit as a whole: chunks, workers, the cache, what is written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from pumice.data.mixture import Source
from pumice.errors import UsageError
from pumice.trust.audit import (
    PIXELS,
    ROWS,
    Audit,
    Check,
    Finding,
    Row,
    Seen,
    View,
    Wishes,
    choose,
    look,
    open_material,
    run_audit,
)
from pumice.trust.audit.registry import Listed

from . import data


@dataclass(frozen=True)
class Counting(Check):
    """Finds every row and picture whose number is odd; its notes are arrays in part."""

    name: ClassVar[str] = "counting"
    reads: ClassVar[frozenset[Any]] = frozenset({ROWS, PIXELS})
    side: ClassVar[int] = 16
    calls: str = ""

    def row(self, row: Row) -> Any:
        with Path(self.calls).open("a") as file:
            file.write(f"row {row.number}\n")
        return len(row.sample.messages)

    def picture(self, view: View) -> Any:
        assert view.image is not None
        with Path(self.calls).open("a") as file:
            file.write(f"picture {view.number}\n")
        return min(view.image.size)

    def pack(self, values: Any) -> dict[str, Any]:
        return {"number": np.array([-1 if value is None else value for value in values]), "words": ["x"]}

    def finish(self, notes: Any) -> Any:
        return {**notes, "number": notes["number"] * 10}

    def conclude(self, seen: Seen) -> Iterable[Finding]:
        rows, pictures = (seen.column(self, of, "number") for of in ("rows", "pictures"))
        yield from (
            Finding(self.name, "odd", "note", f"{value}", row=n) for n, value in enumerate(rows) if n % 2
        )
        for number, value in enumerate(pictures):
            yield Finding(self.name, "size", "warning", f"{value}", picture=number, score=float(value))


def made(folder: Path, rows: int = 7) -> Source:
    """Rows of four pictures: one is shown by several rows, one is missing."""
    for number in range(3):
        data.noise(folder / "photos" / f"{number}.png", number)
    names = [f"{number % 4}.png" for number in range(rows)]
    lines = [data.row(f"r{n}", ("What?", "Noise."), image=name) for n, name in enumerate(names)]
    return Source("talk", data.write(folder / "talk.json", lines), folder / "photos")


def audited(source: Source, folder: Path, check: Check, workers: int = 1) -> tuple[Audit, list[Any]]:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    listed = Listed(check.name, "odd ones", lambda wishes: check)
    idle = Listed("idle", "nothing", lambda wishes: "it needs what is not here")
    done = run_audit(
        open_material([source]), [listed, idle], Wishes(), out=out, notes=folder / "notes", workers=workers
    )
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    return done, lines


@pytest.mark.parametrize("workers", [1, 2])
def test_every_row_and_picture_is_looked_at_once_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(look, "ROW_CHUNK", 3)
    monkeypatch.setattr(look, "PICTURE_CHUNK", 2)
    calls = tmp_path / "calls"
    source, check = made(tmp_path), Counting(str(calls))
    done, lines = audited(source, tmp_path, check, workers)
    told = sorted(calls.read_text().split("\n"))
    assert told == sorted(["", *(f"row {n}" for n in range(7)), *(f"picture {n}" for n in range(3))])
    assert [line["row"] for line in lines if line["kind"] == "odd"] == [1, 3, 5]
    first = lines[3]
    assert first == {
        "check": "counting", "kind": "size", "severity": "warning", "source": "talk",
        "file": str(source.file), "row": 0, "id": "r0", "picture": str(tmp_path / "photos" / "0.png"),
        "what": "200", "score": 200.0, "group": None, "also": [[str(source.file), 4]],
    }  # fmt: skip
    assert lines[-1]["what"] == "-10", "a missing picture is not shown to it"
    assert done.record["not_run"] == [{"check": "idle", "why": "it needs what is not here"}]
    (entry,) = done.record["checks"]
    assert (entry["findings"], entry["rows"], entry["pictures"]) == (7, 7, 4)
    assert entry["kinds"]["odd"]["samples"][0]["pairs"] == [["\n" + "What?", "Noise."]]
    assert done.worst() == "warning"
    calls.write_text("")
    assert audited(source, tmp_path, check)[1] == lines
    assert calls.read_text() == "", "what was noticed is kept"
    data.noise(tmp_path / "photos" / "2.png", 9, (160, 120))
    rows = json.loads(Path(source.file).read_text())
    rows[6]["id"] = "another"
    data.write(Path(source.file), rows)
    again = audited(source, tmp_path, check)[1]
    assert sorted(calls.read_text().split()) == sorted(["row", "6", "picture", "2"])
    assert next(line for line in again if line["picture"] and line["row"] == 2)["score"] != 200.0


def test_the_pictures_of_a_part_are_those_its_rows_show(tmp_path: Path) -> None:
    source = made(tmp_path, 40)
    part = open_material([source], sample=5, seed=3)
    assert part.rows == 5
    assert part.pictures == len({name for row in part.chosen[0] for name in part.tables[0].names(row)})
    for picture, still in enumerate(part.stills):
        for row in part.showing(picture).tolist():
            table, number = part.find(row)
            assert still in table.images(number)
    assert open_material([source], limit=2).chosen[0].tolist() == [0, 1]
    two = open_material([source, Source("more", source.file, source.image_root)])
    assert (two.rows, two.pictures) == (80, 4)
    assert two.showing(0).tolist() == [*range(0, 80, 4)]
    starts, numbers = two.shown()
    assert [numbers[starts[row] : starts[row + 1]].tolist() for row in (0, 5, 79)] == [[0], [1], [3]]


def test_what_cannot_be_read_is_found(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for number in range(7):
        data.noise(photos / f"{number}.png", number)
    Image.new("RGB", (90, 70), (9, 80, 200)).save(photos / "1.png")
    whole = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(whole[: len(whole) // 2])
    (photos / "3.png").unlink()
    data.noise(photos / "4.png", 4, (20, 90))
    data.noise(photos / "5.png", 5, (640, 64))
    rows = [data.row(f"r{n}", ("What?", "Noise."), image=f"{n}.png") for n in range(7)]
    file = data.write(tmp_path / "talk.jsonl", [*rows, {"id": "bad", "conversations": []}])
    out = tmp_path / "out"
    out.mkdir()
    done = run_audit(
        open_material([Source("talk", file, photos)]),
        choose(["readable"]),
        Wishes(),
        out=out,
        notes=None,
        workers=1,
    )
    lines = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["row"]) for line in lines] == [
        ("row", 7), ("one-colour", 1), ("unreadable", 2), ("missing", 3), ("tiny", 4), ("odd-shape", 5),
    ]  # fmt: skip
    assert "(9, 80, 200)" in lines[1]["what"]
    assert lines[0]["id"] == "bad"
    assert done.worst() == "serious"


def test_names_of_checks_are_exact() -> None:
    with pytest.raises(UsageError, match="there is no check 'readible'") as error:
        choose(["readible"])
    assert error.value.remedy is not None
    assert "did you mean 'readable'" in error.value.remedy
    with pytest.raises(UsageError, match="no check is left"):
        choose(["readable"], ["readable"])
