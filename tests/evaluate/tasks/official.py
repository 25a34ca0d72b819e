"""Small folders in the layouts in which benchmarks are published, and what every task must satisfy."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pyarrow
import pyarrow.parquet

from pumice.evaluate.samples import Loaded, Stored
from pumice.score import Result, score


def png(shade: int) -> bytes:
    """A picture that no other shade equals."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 3), (shade, shade, 255 - shade)).save(file, "PNG")
    return file.getvalue()


def cell(shade: int | None, name: str | None = "x.png") -> dict[str, Any] | None:
    """A picture as the hub's tables hold it."""
    return None if shade is None else {"bytes": png(shade), "path": name}


def parquet(path: Path, rows: Sequence[Mapping[str, Any]], *, group: int = 2) -> Path:
    """Writes a table in groups of few rows. Columns that are empty in all rows are pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = pyarrow.table(
        {
            key: pyarrow.array([row[key] for row in rows], picture if key.startswith("image") else None)
            for key in rows[0]
        }
    )
    pyarrow.parquet.write_table(table, path, row_group_size=group)
    return path


def whole(path: Path, value: Any) -> Path:
    """Writes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def pictures(folder: Path, shades: Mapping[str, int]) -> None:
    """Writes picture files by name."""
    for name, shade in shades.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(shade))


def shown(loaded: Loaded) -> dict[str, list[bytes]]:
    """The bytes of every question's pictures."""
    return {
        sample.id: [
            image.read() if isinstance(image, Stored) else image.read_bytes() for image in sample.images
        ]
        for sample in loaded.samples
    }


def scored(loaded: Loaded, folder: Path, say: Callable[[str], str] | None = None) -> Result:
    """The score of answers: the true ones, or what ``say`` makes of them. The rows are written as a run does.

    What is asked satisfies the contract, too: ids are unique, and answers' rows hold JSON alone.
    """
    ids = [sample.id for sample in loaded.samples]
    assert len(set(ids)) == len(ids)
    for sample in loaded.samples:
        assert sample.row["prompt"] == sample.text
        assert str(sample.row["question_id"]) == sample.id
        assert sample.truth
    folder.mkdir(exist_ok=True)
    answers = folder / "answers.jsonl"
    rows = [
        {**sample.row, "text": sample.truth if say is None else say(sample.truth)}
        for sample in loaded.samples
    ]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return score(loaded.task, loaded.inputs(answers))
