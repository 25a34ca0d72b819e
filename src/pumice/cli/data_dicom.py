"""`pumice data dicom`: DICOM files into pictures that name nobody."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.dicom import Summary

EPILOG = examples(
    (
        "a folder of DICOM files into PNG with scenes beside them",
        "pumice data dicom archive --out pictures --key hospital.key",
    ),
    (
        "a lung window and a bone window of each CT",
        "pumice data dicom archive --out pictures --key hospital.key --window lung --window bone",
    ),
    (
        "ultrasound, all beyond its declared regions blackened; DICOM files, too",
        "pumice data dicom archive --out pictures --key hospital.key --mask us-regions --write png,dcm",
    ),
    (
        "captions that name the files go with them",
        "pumice data dicom archive --out pictures --key hospital.key --rows figures.jsonl",
    ),
)
SHOWN = 20
"""Refused files that --show-paths names."""


class Dates(StrEnum):
    """What becomes of dates."""

    remove = "remove"
    shift = "shift"
    keep = "keep"


def dicom(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="DICOM files, or folders with them.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that is made.")],
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="The secret that pseudonyms, UIDs and dates hang on; made where it is not there.",
        ),
    ],
    window: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WINDOW",
            help="auto, full, file, file:2, file:NAME, lung, bone, ..., or CENTRE,WIDTH; may be repeated.",
            show_default="auto",
        ),
    ] = None,
    dates: Annotated[
        Dates, typer.Option(help="Remove them, shift each patient's by secret days, or keep them.")
    ] = Dates.remove,
    keep: Annotated[
        str, typer.Option(metavar="LIST", help="uids, patient, device, institution, private, with commas.")
    ] = "",
    clean: Annotated[
        bool,
        typer.Option("--clean-descriptors", help="Keep listed words of descriptions; else they go whole."),
    ] = False,
    terms: Annotated[
        Path | None, typer.Option(metavar="FILE", help="More words that may stay, one a line.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Blacken it in every picture; us-regions: all beyond those of ultrasound; may be repeated.",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML: rectangles by file name, or by kind (US 640x480)."),
    ] = None,
    write: Annotated[str, typer.Option(metavar="LIST", help="png, or png,dcm.")] = "png",
    frames: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures of a file, evenly spread.")
    ] = None,
    square_pixels: Annotated[
        bool, typer.Option("--square-pixels", help="Scale pictures whose pixels are not square.")
    ] = False,
    rows: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="JSON or JSONL whose image names an input; written with the new names. May be repeated.",
        ),
    ] = None,
    table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where old and new names go. It names patients.")
    ] = None,
    show_paths: Annotated[
        bool, typer.Option("--show-paths", help="Name refused files on the screen, as they are called.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="one per CPU core")
    ] = None,
) -> None:
    """Turn DICOM files into pictures, de-identified by PS3.15 Annex E, with a report of every attribute."""
    import os

    from pumice.cli.console import commands, note
    from pumice.cli.progress import counting
    from pumice.errors import RunError, UsageError, suggest
    from pumice.image.dicom import library, parse_window
    from pumice.trust.dicom import Options, Settings, check_outside, open_key, read_masks, read_terms, run

    library()
    kinds = _listed(write)
    for kind in kinds:
        if kind not in ("png", "dcm"):
            remedy = suggest(kind, ("png", "dcm"))
            raise UsageError(f"{kind!r} cannot be written", where="--write", remedy=remedy)
    if "png" not in kinds:
        raise UsageError("pictures are always written", where="--write", remedy="write png, or png,dcm")
    if terms is not None and not clean:
        raise UsageError("no description is kept", where="--terms", remedy="add --clean-descriptors")
    options = Options(dates.value, frozenset(_listed(keep)), clean, read_terms(terms))
    windows = tuple(dict.fromkeys(parse_window(one) for one in window or ["auto"]))
    blackened = read_masks(mask or [], masks)
    check_outside(out, [(key, "the key", "--key")])
    secret, made = open_key(key)
    if made:
        note(f"{key}: a new key. The same key gives the same pseudonyms again. Keep it, and to yourself.")
    settings = Settings(out, secret, options, blackened, windows, "dcm" in kinds, square_pixels, frames)
    many = workers or os.cpu_count() or 1
    with counting() as count:
        summary = run(inputs, settings, rows=rows or (), table=table, workers=many, progress=count)
    _tell(summary, out, show_paths)
    if summary.refused:
        raise RunError(
            f"{counted(summary.refused, 'file')} of {summary.refused + summary.written:,} refused; "
            "nothing of them is written",
            where=str(out / "report.jsonl"),
            remedy="see why above; --show-paths names them here, --table in a file of yours",
        )
    commands(
        ("see what was done to each attribute", f"less {out / 'report.jsonl'}"),
        ("see what a teacher would be asked", f"pumice generate {out / 'scenes.jsonl'} --dry-run"),
    )


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _tell(summary: Summary, out: Path, show_paths: bool) -> None:
    """What was written, and what a person should look at."""
    from rich.table import Table

    from pumice.cli.console import out as console
    from pumice.cli.console import print_table, visible

    said = f"{out}: {counted(summary.pictures, 'picture')} of {counted(summary.written, 'file')}"
    said += f", {counted(summary.patients, 'patient')}"
    said += f"; {summary.repeated:,} the same as another" if summary.repeated else ""
    said += f"; {counted(summary.passed_over, 'other file')} passed over" if summary.passed_over else ""
    console.print(said, soft_wrap=True, markup=False)
    for name, (done, lost) in summary.rows.items():
        left = f", {lost:,} left out with their pictures" if lost else ""
        console.print(f"  {out / name}: {counted(done, 'row')}{left}", soft_wrap=True, markup=False)
    listed = [*summary.warnings.most_common()]
    listed += [(f"refused: {words}", count) for words, count in summary.reasons.most_common()]
    if listed:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("files", justify="right")
        table.add_column("what to look at")
        for words, count in listed:
            table.add_row(f"{count:,}", visible(words))
        print_table(table)
    for number, error in summary.errors[:SHOWN] if show_paths else ():
        console.print(f"input {number}: {visible(error.what)}", soft_wrap=True, markup=False)
