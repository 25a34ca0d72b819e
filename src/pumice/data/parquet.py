"""Parquet files and hub datasets: tables whose pictures lie inside them, or beside them by name.

Columns are the keys of a row format. A column ``image`` or ``images`` may hold names, bytes, or what the
Hugging Face libraries write, ``{"bytes", "path"}``. Needs the extra ``tables``.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pumice.data.checks import bad
from pumice.data.rights import WRITTEN_KEYS
from pumice.errors import DataError, MissingExtraError
from pumice.types import HUB

BATCH = 64
"""Rows that are taken out of a table at once; with pictures they may be large."""


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, or of all in a folder, sorted by name.

    Raises:
        DataError: a file cannot be read.
        MissingExtraError: pyarrow is not installed.
    """
    pq = need("pyarrow.parquet", "pyarrow")
    arrow = need("pyarrow", "pyarrow")
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError("the folder holds no parquet file", where=str(path), remedy="check the path")
    for file in files:
        try:
            with pq.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=BATCH):
                    yield from batch.to_pylist()
        except (OSError, arrow.ArrowException) as error:
            raise DataError(
                f"the parquet file cannot be read ({error})",
                where=str(file),
                remedy="check the path, or fetch the file again",
            ) from error


def hub_rows(name: str) -> Iterator[dict[str, Any]]:
    """The rows of a hub dataset, or of a folder that ``save_to_disk`` wrote.

    Args:
        name: ``hub:ORG/NAME/CONFIG@SPLIT`` (config and split are optional; ``train`` unless told), or a
            folder, ``@SPLIT`` behind it where it holds several.

    Raises:
        DataError: there is no such dataset or split, or it cannot be fetched.
        MissingExtraError: datasets is not installed.
    """
    datasets = need("datasets", "datasets")
    place, _, split = name.partition("@")
    try:
        if place.startswith(HUB):
            parts = place.removeprefix(HUB).split("/")
            config = parts[2] if len(parts) > 2 else None
            table = datasets.load_dataset("/".join(parts[:2]), config, split=split or "train")
        else:
            table = datasets.load_from_disk(place)
            if hasattr(table, "keys"):
                if (split or "train") not in table:
                    raise bad(f"there is no split {split or 'train'!r}", name, f"choose: {', '.join(table)}")
                table = table[split or "train"]
    except (OSError, ValueError) as error:  # what the library raises for a missing name, split or network
        raise DataError(
            f"the dataset cannot be read ({error})", where=name, remedy="write hub:ORG/NAME/CONFIG@SPLIT"
        ) from error
    # As Arrow tables, so that no picture is decoded on the way.
    for batch in table.with_format("arrow").iter(batch_size=BATCH):
        yield from batch.to_pylist()


def copy_rows(files: Sequence[Path], out: Path, rows: Container[int]) -> None:
    """Write some rows of parquet files into one, all columns as they are.

    Args:
        files: read one behind the other.
        out: the file that is written.
        rows: numbers over all files, from 0.

    Raises:
        DataError: a file has other columns than the first.
    """
    arrow = need("pyarrow", "pyarrow")
    pq = need("pyarrow.parquet", "pyarrow")
    schema = pq.read_schema(files[0])
    number = 0
    with pq.ParquetWriter(out, schema) as writer:
        for file in files:
            with pq.ParquetFile(file) as source:
                if not source.schema_arrow.equals(schema):
                    raise DataError(
                        f"it has other columns than {files[0].name}",
                        where=str(file),
                        remedy="clean the files one by one",
                    )
                for batch in source.iter_batches(BATCH):
                    keep = arrow.array([number + place in rows for place in range(len(batch))], arrow.bool_())
                    number += len(batch)
                    writer.write_batch(batch.filter(keep))


def write_parquet(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows with the keys ``id``, ``messages``, ``images``, ``regions``, ``rejected``, and those of
    rights.

    Args:
        rows: ``messages`` as in the messages format; ``images`` a list of ``{"bytes", "path"}``.
        path: the file.
    """
    arrow = need("pyarrow", "pyarrow")
    pq = need("pyarrow.parquet", "pyarrow")
    text = arrow.string()
    part = arrow.struct([("type", text), ("text", text), ("image", text)])
    schema = arrow.schema(
        [
            ("id", text),
            ("messages", arrow.list_(arrow.struct([("role", text), ("content", arrow.list_(part))]))),
            ("images", arrow.list_(arrow.struct([("bytes", arrow.binary()), ("path", text)]))),
            (
                "regions",
                arrow.list_(
                    arrow.struct(
                        [("bbox", arrow.list_(arrow.float64())), ("phrase", text), ("image", arrow.int64())]
                    )
                ),
            ),
            ("rejected", text),
            *((key, text) for key in WRITTEN_KEYS),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == BATCH:
                writer.write_table(arrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


Picked = tuple[bytes, str | None]
"""A picture's bytes, and its name if it has one."""


def take_pictures(row: dict[str, Any], where: str) -> tuple[dict[str, Any], list[Picked] | None]:
    """A table's row without its empty cells, and the pictures that lie in it; None where none do.

    Raises:
        DataError: a picture is neither bytes nor a name, or some of a row's are inside and some are not.
    """
    rest: dict[str, Any] = _filled(row)
    for key in ("image", "images"):
        value = rest.get(key)
        cells = value if isinstance(value, list) else [value]
        if value is None or all(isinstance(cell, str) for cell in cells):
            continue
        pictures = [_picture(cell, where) for cell in cells]
        if all(isinstance(picture, str) for picture in pictures):
            return {**rest, key: pictures}, None
        del rest[key]
        inside = [picture for picture in pictures if not isinstance(picture, str)]
        if len(inside) < len(pictures):
            raise bad("some pictures lie in the row and some are named", where, "embed all, or none")
        return rest, inside
    return rest, None


def _picture(cell: object, where: str) -> str | Picked:
    if isinstance(cell, bytes):
        return cell, None
    if isinstance(cell, dict) and isinstance(cell.get("bytes"), bytes):
        path = cell.get("path")
        return cell["bytes"], path if isinstance(path, str) else None
    if isinstance(cell, dict) and isinstance(cell.get("path"), str):
        return str(cell["path"])
    if isinstance(cell, str):
        return cell
    raise bad("a picture is neither bytes nor the name of a file", where, "write {bytes, path}, or a name")


def _filled(value: Any) -> Any:
    """A cell without what is null in it: in a table every row has every key."""
    if isinstance(value, dict):
        return {key: _filled(cell) for key, cell in value.items() if cell is not None}
    return [_filled(cell) for cell in value] if isinstance(value, list) else value


def need(module: str, package: str) -> ModuleType:
    """A module of the extra ``tables``.

    Raises:
        MissingExtraError: its package is not installed.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"reading this needs {package}, which is not installed",
            remedy='install it: pip install "pumice[tables]"',
        ) from error
