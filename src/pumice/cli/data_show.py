"""`pumice data show`: a sample as the model sees it, in the terminal, as pictures, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples
from pumice.errors import DataError, PumiceError, UsageError, suggest
from pumice.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from pumice.data.table import SampleTable
    from pumice.image.layout import ImageLayout
    from pumice.image.video import Extent
    from pumice.model.geometry import Geometry
    from pumice.text.show import Piece
    from pumice.text.template import Template
    from pumice.types import Encoded, Picture, Sample

EPILOG = examples(
    ("the first row", "pumice data show talk.json --images photos"),
    (
        "another one, as a recipe's last stage sees it",
        "pumice data show talk.json --row 7 --recipe mine.yaml",
    ),
    ("each token with its number", "pumice data show talk.json --id harbour-1 --ids"),
    ("a page of eight, spread over the file", "pumice data show talk.json --n 8 --html talk.html"),
)
PathArgument = Annotated[
    str,
    typer.Argument(metavar="PATH", help="JSON, JSONL, parquet, .tar, a folder of these, or hub:ORG/NAME."),
]
STAND_IN = "embedded:lm-tiny"
"""Whose tokenizer shows text where no other is named or here."""
TEMPLATE = "v1"
ABSENT = (640, 480)
"""The size that stands for that of a picture that is not there."""
SIDE, PATCH = 336, 14
"""LLaVA-1.5's pictures, where no recipe says otherwise."""


@dataclass(frozen=True, slots=True)
class Lens:
    """Through what a sample is looked at."""

    tokenizer: Any
    template: Template
    geometry: Geometry
    image_token_id: int
    branch_turns: bool
    prefers: bool
    row_length: int | None
    too_long: Any
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample as the model sees it: rendered, cut into pieces, and its pictures as the tower sees them."""

    sample: Sample
    encoded: Encoded
    pieces: list[Piece]
    tokens: list[tuple[int, int, str, bool]]
    layouts: tuple[ImageLayout, ...]
    extents: tuple[Extent | None, ...]
    pictures: tuple[Image | None, ...]
    problems: tuple[str, ...]


def show(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="JSON, JSONL, parquet, .tar, a folder of these, or hub:ORG/NAME."
        ),
    ],
    row: Annotated[
        int | None, typer.Option("--row", min=0, metavar="N", help="Show this row, counted from 0.")
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="Show the row of this id.")] = None,
    count: Annotated[
        int, typer.Option("--n", min=1, metavar="K", help="Show so many rows, spread evenly over the file.")
    ] = 1,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="The folder that names of pictures are relative to."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="Show it as a stage of this recipe sees it."),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option("--stage", metavar="NAME", help="Which stage.", show_default="the recipe's last"),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", metavar="NAME", help="A conversation template.", show_default=TEMPLATE),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option("--tokenizer", metavar="DIR", help="A language model's folder.", show_default=STAND_IN),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="List each token with its number.")] = False,
    pictures: Annotated[
        Path,
        typer.Option(
            "--pictures", metavar="DIR", help="Where pictures go, as the tower sees them: a folder."
        ),
    ] = Path("shown"),
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page that holds all.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="What PATH is.", show_default="told from the file")
    ] = None,
    cache: Annotated[
        Path, typer.Option("--cache", metavar="DIR", help="Where what was read is kept.")
    ] = Path("runs") / ".cache",
) -> None:
    """Print samples as the model sees them: turns, tokens, what is supervised, and its pictures."""
    from pumice.cli.console import note, out
    from pumice.cli.sample_view import page, print_sample
    from pumice.data import open_table

    if row is not None and id_ is not None:
        raise UsageError("both --row and --id choose a row", where="--id", remedy="keep one of them")
    lens = _lens(recipe, stage, template, tokenizer, cache)
    table = open_table(
        path, images, Path(path).stem, format=format, check_files=False, cache_folder=cache, allow_bad=None
    )
    chosen = _chosen(table, row, id_, count)
    for text in lens.said:
        note(f"Note: {text}.")
    if table.refused:
        note(f"Note: {counted(len(table.refused), 'row')} cannot be read; pumice data check lists them.")
    found = [look(table[number], lens) for number in chosen]
    for one in found:
        out.print()
        print_sample(one, ids=ids)
        for file in _save(one, pictures):
            out.print(f"  {file}", soft_wrap=True, markup=False)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(f"{path}", lens.said, found), encoding="utf-8")
        out.print(f"page {html}", soft_wrap=True, markup=False)


def look(sample: Sample, lens: Lens) -> Shown:
    """Render a sample and prepare its pictures; a picture that is not there is said, not an error.

    Raises:
        PumiceError: the sample does not render.
    """
    from pumice.image.view import seen
    from pumice.text import render
    from pumice.text.show import pieces_of, tokens_of

    geometry = lens.geometry
    problems: list[str] = []
    extents = [_extent(picture, problems) for picture in sample.images]
    known = [ABSENT if extent is None else extent for extent in extents]
    if None in extents and not geometry.fixed:
        problems.append("a picture that is not there counts as one of 640 x 480 pixels")
    layouts = geometry.layouts(known)
    try:
        encoded = render(
            sample.messages,
            lens.tokenizer,
            lens.template,
            image_lengths=[geometry.tokens(layout) for layout in layouts],
            image_token_id=lens.image_token_id,
            branch_turns=lens.branch_turns,
            rejected=sample.rejected if lens.prefers else None,
            max_length=lens.row_length,
            too_long=lens.too_long,
        )
    except PumiceError as error:
        error.where = f"{sample.origin}, {error.where}" if error.where else str(sample.origin)
        raise
    made = [
        None if extent is None else seen(_inputs(picture, layout, geometry), layout, geometry.processor)
        for picture, extent, layout in zip(sample.images, extents, layouts, strict=True)
    ]
    return Shown(
        sample,
        encoded,
        pieces_of(encoded, lens.tokenizer),
        tokens_of(encoded, lens.tokenizer),
        layouts,
        tuple(extents),
        tuple(made),
        tuple(dict.fromkeys(problems)),
    )


def _extent(picture: Picture, problems: list[str]) -> Extent | None:
    """Size or frames of a picture or video; None, and a word of it, where it cannot be used."""
    from pumice.image.decode import open_image
    from pumice.image.video import video_info
    from pumice.types import Video

    try:
        if isinstance(picture, Video):
            return video_info(picture.path)
        return open_image(picture).size
    except PumiceError as error:
        if isinstance(picture, Video):
            raise
        problems.append(error.what)
        return None


def _inputs(picture: Picture, layout: ImageLayout, geometry: Geometry) -> Any:
    from pumice.image.decode import open_image
    from pumice.types import Video

    if isinstance(picture, Video):
        return geometry.frames(picture.path, layout)
    return geometry.tiles(open_image(picture), layout)


def _chosen(table: SampleTable, row: int | None, id_: str | None, count: int) -> Sequence[int]:
    """The numbers of rows in the table; a row that could not be read is not in it."""
    numbers = table.columns.row_number.tolist()
    if row is not None:
        if row not in numbers:
            bad = next((one for one in table.refused if one.row == row), None)
            if bad is not None:
                raise bad.error()
            raise UsageError(
                f"there is no row {row}: the file has {len(table):,}", where="--row", remedy="count from 0"
            )
        return [numbers.index(row)]
    if id_ is not None:
        for number, sample in enumerate(table):
            if sample.id == id_:
                return [number]
        raise DataError(
            f"no row has the id {id_!r}", where=table.head.path, remedy="see the file, or use --row"
        )
    count = min(count, len(table))
    return [number * len(table) // count for number in range(count)]


def _save(shown: Shown, folder: Path) -> list[Path]:
    files = []
    for number, image in enumerate(shown.pictures, start=1):
        if image is not None:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"{shown.sample.source}-{shown.sample.origin.row}-{number}.png"
            image.save(file)
            files.append(file)
    return files


def _lens(
    recipe: str | None, stage: str | None, template: str | None, tokenizer: Path | None, cache: Path
) -> Lens:
    if recipe is None:
        if stage is not None:
            raise UsageError("--stage belongs to a recipe", where="--stage", remedy="add --recipe NAME")
        return _plain_lens(template, tokenizer)
    for option, given in (("--template", template), ("--tokenizer", tokenizer)):
        if given is not None:
            raise UsageError(
                f"both --recipe and {option} are given, and a recipe has its own",
                where=option,
                remedy="keep one of them",
            )
    return _recipe_lens(recipe, stage, cache)


def _plain_lens(template: str | None, folder: Path | None) -> Lens:
    """Pictures as LLaVA-1.5 prepares them, and any template and tokenizer."""
    from pumice.image.config import CLIP_MEAN, CLIP_STD
    from pumice.image.process import ImageProcessor
    from pumice.image.settings import LayoutSettings
    from pumice.model.geometry import Geometry
    from pumice.model.parts import load_tokenizer
    from pumice.text.resolve import resolve_template
    from pumice.text.templates import CHAT, get_template
    from pumice.world.embedded import resolve

    name = template or TEMPLATE
    found = load_tokenizer(resolve(STAND_IN) if folder is None else folder)
    chosen = resolve_template(name, found) if name == CHAT and folder is not None else get_template(name)
    geometry = Geometry(
        ImageProcessor(SIDE, CLIP_MEAN, CLIP_STD, mode="pad"),
        LayoutSettings(side=SIDE, features=SIDE // PATCH, aspect="pad"),
    )
    whose = f"the tokenizer of {STAND_IN}" if folder is None else f"the tokenizer in {folder}"
    said = f"{whose}, template {name}, pictures as LLaVA-1.5 prepares them ({(SIDE // PATCH) ** 2} tokens)"
    number = _with_tokens(found, chosen if folder is None else None)
    return Lens(found, chosen, geometry, number, False, True, None, "refuse", (said,))


def _recipe_lens(name: str, stage: str | None, cache: Path) -> Lens:
    """As a stage of a recipe sees a sample; where its tokenizer is not here, another shows the text."""
    from pumice.cli.plan import finder
    from pumice.model.geometry import model_geometry
    from pumice.model.parts import load_tokenizer
    from pumice.model.planned import plan_model
    from pumice.recipes import load_recipe
    from pumice.world.embedded import resolve

    loaded = load_recipe(name)
    names = [one.name for one in loaded.stages]
    wanted = stage or names[-1]
    if wanted not in names:
        raise UsageError(f"there is no stage {wanted!r}", where="--stage", remedy=suggest(wanted, names))
    own = loaded.stages[names.index(wanted)]
    planned = plan_model(loaded.model, finder(cache.parent))
    template = planned.template(own.template)
    geometry = model_geometry(planned.model.config, planned.model.tower, planned.processor, own.aspect)
    said = [f"as stage {wanted} of {loaded.name} sees it, template {template.name}"]
    tokenizer = planned.tokenizer
    length: int | None = own.row_length
    if planned.estimated:
        tokenizer, length = load_tokenizer(resolve(STAND_IN)), None
        said.append(
            f"the language model's tokenizer is not here: that of {STAND_IN} shows the text, in more tokens"
        )
    number = _with_tokens(tokenizer, template if planned.estimated else None)
    return Lens(
        tokenizer,
        template,
        geometry,
        number,
        own.branch_turns,
        own.kind == "prefer",
        length,
        own.too_long,
        tuple(said),
    )


def _with_tokens(tokenizer: Any, template: Template | None) -> int:
    """Give a tokenizer ``<image>`` (its id is returned), and a stand-in the tokens that a template writes."""
    from tokenizers import AddedToken

    from pumice.types import PLACEHOLDER

    wanted = [PLACEHOLDER, *(template.control if template is not None else ())]
    missing = [token for token in wanted if token not in tokenizer.get_vocab()]
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in missing], special_tokens=True
    )
    number = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    assert isinstance(number, int)
    return number
