"""`pumice data`: check a data file, count it, turn it into another format, build LLaVA-1.5's mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli import (
    data_attribution,
    data_audit,
    data_dicom,
    data_erase,
    data_lineage,
    data_plant,
    data_show,
)
from pumice.cli.data_options import CACHE, CacheOption, Format, FormatOption, ImagesOption
from pumice.cli.data_show import PathArgument
from pumice.cli.help import examples
from pumice.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.data.index import Progress
    from pumice.data.llava_mix import Built
    from pumice.data.llava_mix.base import CountTokens
    from pumice.data.stats import Statistics
    from pumice.data.table import SampleTable

app = typer.Typer(no_args_is_help=True, help="Check, count, convert and build training data.")


@app.command(
    "check",
    epilog=examples(
        ("every row, and every picture's header", "pumice data check talk.json --images photos"),
        ("decode every picture, too", "pumice data check talk.json --images photos --decode"),
        ("the rows alone", "pumice data check talk.json --no-images"),
    ),
)
def check(
    path: PathArgument,
    images: ImagesOption = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Look at no picture.")] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture and frame, not headers alone.")
    ] = False,
    format: FormatOption = None,
    show: Annotated[int, typer.Option("--show", min=1, help="How many bad rows are listed.")] = 20,
    cache: CacheOption = CACHE,
) -> None:
    """Read every row and every picture as training would, and list what cannot be used."""
    import os

    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.data import check_images
    from pumice.data.samples import whole
    from pumice.errors import UsageError

    if no_images and (decode or images is not None):
        raise UsageError("--no-images looks at no picture", where="--no-images", remedy="leave it out")
    with counting() as count:
        table = _open(path, images, format, cache, check_files=not no_images, show=show, count=count)
        if not no_images:
            check_images(
                whole(table),
                decode=decode,
                cache_folder=cache,
                workers=os.cpu_count() or 1,
                progress=count,
                max_errors=show,
            )
    looked = "not looked at" if no_images else "all decoded" if decode else "all headers read"
    shown = _shown(table.pictures - table.videos, table.videos)
    pictures = f", {shown} ({looked})" if table.pictures else ", no pictures"
    out.print(
        f"{path}: {table.head.format}, {counted(len(table), 'row')}{pictures}; no bad row",
        soft_wrap=True,
        markup=False,
    )
    out.print(f"  SHA-256 {table.head.sha256}", soft_wrap=True, markup=False)
    commands(("see what is in it", f"pumice data stats {path}"))


@app.command(
    "stats",
    epilog=examples(
        ("rows, pictures, turns, words", "pumice data stats talk.json"),
        ("of a parquet file", "pumice data stats train.parquet"),
    ),
)
def stats(path: PathArgument, format: FormatOption = None, cache: CacheOption = CACHE) -> None:
    """Count rows, pictures, turns and words, in all and per data set, and draw their lengths."""
    from pumice.cli.progress import counting
    from pumice.data.stats import describe

    with counting() as count:
        table = _open(path, None, format, cache, check_files=False, show=20, count=count)
    _show_stats(path, describe(table))


app.command("show", epilog=data_show.EPILOG)(data_show.show)
app.command("audit", epilog=data_audit.EPILOG)(data_audit.audit)
app.command("plant", epilog=data_plant.EPILOG)(data_plant.plant)
app.command("attribution", epilog=data_attribution.EPILOG)(data_attribution.attribution)
app.command("dicom", epilog=data_dicom.EPILOG)(data_dicom.dicom)
app.command("lineage", epilog=data_lineage.EPILOG)(data_lineage.lineage)
app.command("erase", epilog=data_erase.EPILOG)(data_erase.erase)


@app.command(
    "convert",
    epilog=examples(
        (
            "shards that hold their pictures",
            "pumice data convert talk.json shards --to webdataset --images photos",
        ),
        ("back into LLaVA's format", "pumice data convert shards talk.json --to llava --pictures photos"),
        ("OpenAI's messages, one row a line", "pumice data convert talk.json talk.jsonl --to messages"),
    ),
)
def convert(
    path: PathArgument,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="A .json, .jsonl, .parquet or .tar file, or a new folder of shards."
        ),
    ],
    to: Annotated[Format, typer.Option("--to", help="The format of OUT; hub cannot be written.")],
    from_: Annotated[
        Format | None, typer.Option("--from", help="What PATH is.", show_default="told from the file")
    ] = None,
    images: ImagesOption = None,
    pictures: Annotated[
        Path | None,
        typer.Option("--pictures", metavar="DIR", help="Where pictures go that lie inside PATH."),
    ] = None,
    shard_rows: Annotated[int, typer.Option("--shard-rows", min=1, help="Rows of a shard.")] = 10_000,
) -> None:
    """Write a data file in another format; every row is read back as it is written."""
    from pumice.cli.console import note, out
    from pumice.cli.progress import counting
    from pumice.data.convert import convert as convert_data

    with counting() as count:
        done = convert_data(
            path,
            target,
            to.value,
            format=None if from_ is None else from_.value,
            image_root=images,
            picture_folder=pictures,
            shard_rows=shard_rows,
            progress=count,
        )
    written = f", {done.pictures:,} pictures written" if done.pictures else ""
    out.print(
        f"{target}: {counted(done.rows, 'row')} from {done.format} to {to.value}{written}",
        soft_wrap=True,
        markup=False,
    )
    if done.moved:
        note(
            f"In {counted(done.moved, 'row')} (the first is {done.first_moved}) the only picture did not "
            "stand at the front of its turn; LLaVA's format moves it there."
        )


@app.command(
    "fingerprints",
    epilog=examples(
        ("of the data of one stage", "pumice data fingerprints talk.json --images photos --out talk.npz"),
        (
            "then, what a benchmark has in common with it",
            "pumice eval MODEL --tasks pope --training talk.npz",
        ),
    ),
)
def fingerprints(
    path: PathArgument,
    target: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file that is written.")],
    images: ImagesOption = None,
    format: FormatOption = None,
    cache: CacheOption = CACHE,
) -> None:
    """Write what stands for all pictures and questions of a data file; neither can be read back."""
    import os

    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.data.fingerprints import build_index
    from pumice.errors import UsageError

    if not target.absolute().parent.is_dir():
        raise UsageError(
            f"there is no folder {target.parent}", where=f"--out {target}", remedy="make it, or name another"
        )
    with counting() as count:
        table = _open(path, images, format, cache, check_files=True, show=20, count=count)
        index = build_index([table], workers=os.cpu_count() or 1, progress=count)
    index.save(target)
    videos = f"; {index.head['videos']:,} videos left out" if index.head["videos"] else ""
    out.print(
        f"{target}: {index.pictures:,} different pictures, {index.questions:,} different questions of "
        f"{len(table):,} rows{videos}",
        soft_wrap=True,
        markup=False,
    )
    commands(("hold a benchmark against it", f"pumice eval MODEL --tasks NAME --training {target}"))


@app.command(
    "build-mix",
    epilog=examples(
        (
            "all ten sources",
            "pumice data build-mix --sources official --out mix665k.json --tokenizer vicuna-7b-v1.5",
        ),
        ("some of them", "pumice data build-mix --sources official --out vqa.json --only vqav2 --only gqa"),
    ),
)
def build_mix(
    sources: Annotated[
        Path,
        typer.Option("--sources", metavar="DIR", help="A folder with the official files of each source."),
    ],
    target: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The .json or .jsonl that is written.")
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--tokenizer", metavar="DIR", help="The language model's folder; sharegpt is cut by it."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A source that is wanted; may be given several times.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides the order and every draw.")] = 0,
) -> None:
    """Build LLaVA-1.5's instruction mixture (665,298 rows) from the files of its ten public sources."""
    from pumice.cli.console import commands, out
    from pumice.cli.progress import counting
    from pumice.data.llava_mix import build_mix as build

    with counting() as count:
        built = build(
            sources,
            target,
            seed=seed,
            only=only or (),
            count_tokens=None if tokenizer is None else _counter(tokenizer),
            progress=count,
        )
    _show_built(built)
    out.print(
        f"\n{target}: {counted(sum(source.rows for source in built), 'row')}", soft_wrap=True, markup=False
    )
    commands(
        ("see what is in it", f"pumice data stats {target}"),
        ("check rows and pictures", f"pumice data check {target} --images DIR"),
    )


def _counter(folder: Path) -> CountTokens:
    """Counts a conversation's tokens as LLaVA-1.5 writes it."""
    from pumice.model.parts import load_tokenizer
    from pumice.text import get_template, render
    from pumice.types import Message

    loaded, template = load_tokenizer(folder), get_template("v1")

    def count(messages: Sequence[Message]) -> int:
        # No picture is rendered, so any id that no text has stands for one.
        return len(render(messages, loaded, template, image_lengths=(), image_token_id=len(loaded)))

    return count


def _show_built(built: Sequence[Built]) -> None:
    from rich.table import Table

    from pumice.cli.console import out
    from pumice.data.llava_mix import PUBLISHED

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("source")
    table.add_column("rows", justify="right")
    table.add_column("published", justify="right")
    table.add_column("left out")
    for source in built:
        reasons = "; ".join(f"{count:,}: {reason}" for reason, count in source.left_out.items())
        table.add_row(source.name, f"{source.rows:,}", f"{source.published:,}", reasons)
    table.add_row("all", f"{sum(source.rows for source in built):,}", f"{PUBLISHED:,}", "", style="bold")
    out.print(table)


def _shown(pictures: int, videos: int) -> str:
    """How many pictures, and videos where there are any."""
    return f"{pictures:,} pictures" + (f", {videos:,} videos" if videos else "")


def _open(
    path: str,
    images: Path | None,
    format: Format | None,
    cache: Path,
    *,
    check_files: bool,
    show: int,
    count: Progress,
) -> SampleTable:
    from pumice.data import open_table

    return open_table(
        path,
        images,
        Path(path).stem,
        format=None if format is None else format.value,
        check_files=check_files,
        cache_folder=cache,
        progress=count,
        max_errors=show,
    )


GROUPS = 30
"""Data sets that the table shows by name; the rest is one line."""
BAR = 40


def _show_stats(path: str, found: Statistics) -> None:
    from rich.table import Table

    from pumice.cli.console import note, out
    from pumice.data.stats import Count

    total = found.total
    out.print(
        f"{path}: {counted(total.rows, 'row')}, {found.text_only:,} of them text only; "
        f"{_shown(found.pictures, found.videos)}; "
        f"{total.pairs:,} questions with answers; {total.words:,} words",
        soft_wrap=True,
        markup=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("data set")
    for title in ("rows", "pictures shown", "pairs/row", "words/question", "words/answer", "answer words"):
        table.add_column(title, justify="right")
    rest = found.groups[GROUPS:]
    rows = list(found.groups[:GROUPS])
    if rest:
        sums = [
            sum(getattr(group, key) for group in rest) for key in Count.__dataclass_fields__ if key != "name"
        ]
        rows.append(Count(f"{len(rest):,} more", *sums))
    for group in rows:
        table.add_row(
            group.name,
            f"{group.rows:,}",
            f"{group.shown:,}",
            f"{group.pairs / group.rows:.1f}",
            f"{group.question_words / group.pairs:.1f}",
            f"{group.answer_words / group.pairs:.1f}",
            f"{group.answer_words / max(total.answer_words, 1):.1%}",
        )
    out.print(table)
    out.print("\nWords of a row", style="bold")
    edges, counts = found.histogram.edges, found.histogram.counts
    for index, count in enumerate(counts):
        span = (
            f"{edges[index]:,} to {edges[index + 1] - 1:,}"
            if index + 1 < len(edges)
            else f"{edges[index]:,} and more"
        )
        bar = "█" * round(BAR * count / max(counts))
        out.print(f"  {span:>16} {count:>9,} {bar}", markup=False)
    note(f"The longest is {found.longest}.")
