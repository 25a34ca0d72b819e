"""Scenes from the files that people have: JSONL, COCO, Visual Genome, figures with mentions, tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pumice.data.checks import as_list, bad, image_name, is_number, words
from pumice.data.problems import Problems
from pumice.data.rights import RIGHTS_KEYS, read_rights
from pumice.data.rows import kind, no_rows, read_items, read_objects, read_rows
from pumice.data.tombstones import name_digest, read_tombstones
from pumice.errors import DataError, UsageError, suggest
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.scenes import read_each, read_scenes
from pumice.types import NO_RIGHTS, Box, Rights

LAYOUTS = {
    "scenes": "JSONL of captions and boxes",
    "coco": "COCO's captions or instances",
    "vg": "Visual Genome's region_descriptions.json",
    "figures": "figure captions with sentences that mention them",
    "csv": "a table with a column of pictures and one of captions",
}
IMAGE_COLUMNS = ("image", "image_path", "filepath", "file_name", "filename", "file", "path", "img")
CAPTION_COLUMNS = ("caption", "captions", "text", "title", "description", "comment", "sentence")
IMAGE_DATA = "image_data.json"


def open_scenes(
    path: Path,
    layout: str | None = None,
    *,
    instances: Path | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
) -> list[SceneText]:
    """Read scenes of any layout.

    Args:
        path: the file.
        layout: one of ``LAYOUTS``; told from the file when None.
        instances: COCO's file of boxes, where ``path`` has its captions.
        image_column: the column of a table with pictures; the usual names are known.
        caption_column: the same for captions.

    Scenes whose pictures are erased (``data.tombstones``) are left out.

    Raises:
        UsageError: an option that does not belong to the layout.
        DataError: the file cannot be read, has rows that cannot be used, or all its pictures are erased.
    """
    erased = read_tombstones([path]).pictures
    scenes = _open(path, layout, instances, image_column, caption_column)
    left = [scene for scene in scenes if name_digest(scene.image) not in erased] if erased else scenes
    if scenes and not left:
        raise bad("the pictures of all scenes are erased", str(path), "leave this file out")
    return left


def _open(
    path: Path,
    layout: str | None,
    instances: Path | None,
    image_column: str | None,
    caption_column: str | None,
) -> list[SceneText]:
    found = layout or detect(path)
    if found not in LAYOUTS:
        raise UsageError(f"there is no layout {found!r}", where="--format", remedy=suggest(found, LAYOUTS))
    if instances is not None and found != "coco":
        raise UsageError(
            f"{path} is {LAYOUTS[found]}, which has no file of instances beside it",
            where="--instances",
            remedy="leave it out, or name COCO's captions first",
        )
    if (image_column or caption_column) and found != "csv":
        where = "--image-column" if image_column else "--caption-column"
        raise UsageError(f"{path} is {LAYOUTS[found]} and no table", where=where, remedy="leave it out")
    if found == "scenes":
        return read_scenes(path)
    if found == "coco":
        return list(_coco(path, instances))
    if found == "vg":
        return list(_visual_genome(path))
    if found == "figures":
        return read_each(path, _figure, "figure")
    return _table(path, image_column, caption_column)


def detect(path: Path) -> str:
    """The layout of a file, from its ending and its first row."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return "csv"
    try:
        with path.open("rb") as handle:
            head = handle.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError as error:
        raise DataError(
            f"the scenes file cannot be read ({error.strerror})", where=str(path), remedy="check the path"
        ) from error
    first = head.split(b"\n", 1)[0]
    if b'"regions"' in head and b'"captions"' not in head and head[:1] == b"[":
        return "vg"
    figure = any(f'"{key}"'.encode() in (head if head[:1] == b"[" else first) for key in _FIGURE_KEYS)
    if figure and b'"instances"' not in first:
        return "figures"
    if head[:1] == b"{" and b'"instances"' not in first and b'"captions"' not in first:
        return "coco"
    if head[:1] == b"{" and (b'"images"' in head or b'"annotations"' in head) and b'"captions"' not in head:
        return "coco"
    return "scenes"


# COCO


def _coco(path: Path, instances: Path | None) -> Iterator[SceneText]:
    images: dict[int, dict[str, Any]] = {}
    licences: dict[int, str] = {}
    captions: dict[int, list[str]] = {}
    boxes: dict[int, list[Instance]] = {}
    for file in filter(None, (path, instances)):
        for number, image in read_items(file, "images", what="COCO file"):
            where = f"{file}, image {number}"
            images.setdefault(_whole(image, "id", where), image)
        licences |= _licences(file)
        names = _categories(file)
        for number, one in read_items(file, "annotations", what="COCO file"):
            where = f"{file}, annotation {number}"
            image_id = _whole(one, "image_id", where)
            if image_id not in images:
                raise bad(f"there is no image {image_id}", where, "take files that belong together")
            if "caption" in one:
                captions.setdefault(image_id, []).append(
                    " ".join(words(one["caption"], "caption", where).split())
                )
            elif "bbox" in one:
                box = _pixels(one["bbox"], images[image_id], where)
                category = names.get(_whole(one, "category_id", where))
                if category is None:
                    raise bad("the category is not in categories", where, "take the whole file")
                if box is not None:
                    boxes.setdefault(image_id, []).append(Instance(category, box, bool(one.get("iscrowd"))))
    found = False
    for image_id, image in images.items():
        told, seen = captions.get(image_id, []), boxes.get(image_id, [])
        if told or seen:
            found = True
            where = f"{path}, image {image_id}"
            name = image_name(image.get("file_name", f"{image_id:012d}.jpg"), where)
            rights = _coco_rights(image, licences, where)
            yield SceneText(str(image_id), name, tuple(told), tuple(seen), size=_size(image), rights=rights)
    if not found:
        raise no_rows(path, "COCO file")


def _categories(file: Path) -> dict[int, str]:
    return {
        _whole(one, "id", where): words(one.get("name"), "name", where)
        for where, one in _listed(file, "categories", "category")
    }


def _licences(file: Path) -> dict[int, str]:
    """What the numbers of a file's licences stand for: the address, or the name where there is none."""
    return {
        _whole(one, "id", where): words(one.get("url") or one.get("name"), "name", where)
        for where, one in _listed(file, "licenses", "licence")
    }


def _listed(file: Path, key: str, noun: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a list that a COCO file may have or not, each with its place."""
    try:
        for number, one in read_items(file, key, what="COCO file"):
            yield f"{file}, {noun} {number}", one
    except DataError as error:
        if key not in error.what:
            raise


def _coco_rights(image: Mapping[str, Any], licences: Mapping[int, str], where: str) -> Rights:
    """Of an image: its number of a licence may be told in the file, else it is one of COCO's own."""
    told = read_rights({key: image[key] for key in RIGHTS_KEYS if key in image}, where)
    number = image.get("license")
    licence = licences.get(number, told.licence) if type(number) is int else told.licence
    places = (image.get(key) for key in ("flickr_url", "coco_url"))
    url = told.url or next((place for place in places if isinstance(place, str) and place), "")
    return Rights(licence, told.attribution, url, told.dataset)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if type(width) is int and type(height) is int and width > 0 and height > 0:
        return width, height
    return None


def _whole(value: Any, key: str, where: str) -> int:
    found = value.get(key) if isinstance(value, dict) else None
    if type(found) is not int:
        raise bad(f"{key} is {kind(found)}", where, "write a whole number")
    return found


def _pixels(value: Any, image: Mapping[str, Any], where: str) -> Box | None:
    """A box in pixels [x, y, width, height] as fractions; None where nothing of it is inside the picture."""
    size = _size(image)
    if size is None:
        raise bad("the image has no width and height", where, "they turn boxes in pixels into fractions")
    if not isinstance(value, list) or len(value) != 4 or not all(map(is_number, value)):
        raise bad("the bbox is not four numbers", where, "write [x, y, width, height] in pixels")
    x, y, w, h = value
    corners = [
        round(min(max(side / whole, 0.0), 1.0), 4)
        for side, whole in zip((x, y, x + w, y + h), (*size, *size), strict=True)
    ]
    x1, y1, x2, y2 = corners
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


# Visual Genome


def _visual_genome(path: Path) -> Iterator[SceneText]:
    sizes: dict[int, dict[str, Any]] = {}
    beside = path.with_name(IMAGE_DATA)
    problems = Problems()
    for number, image in read_objects(beside, problems, what="image data file"):
        where = f"{beside}, row {number}"
        sizes[_whole(image, "image_id" if "image_id" in image else "id", where)] = image
    problems.raise_if_any(f"{beside} has rows that cannot be used")
    for row in read_rows(path, problems, what="regions file"):
        where = f"{path}, row {row.number}"
        listed = as_list(row.value.get("regions") if isinstance(row.value, dict) else None, "regions", where)
        number = row.value.get("id", row.value.get("image_id"))
        if number is None and listed:
            number = listed[0].get("image_id")
        if number not in sizes:
            raise bad(f"image {number} is not in {IMAGE_DATA}", where, "take files that belong together")
        image = sizes[number]
        regions = []
        for region in listed:
            phrase = " ".join(str(region.get("phrase", "")).split())
            box = _pixels([region.get(key) for key in ("x", "y", "width", "height")], image, where)
            if phrase and box is not None:
                regions.append(Instance(phrase, box))
        if regions:
            name = "/".join(str(image["url"]).split("/")[-2:]) if "url" in image else f"{number}.jpg"
            yield SceneText(
                str(number),
                image_name(name, where),
                (),
                (),
                regions=tuple(regions),
                size=_size(image),
                rights=read_rights(image, where),
            )
    problems.raise_if_any(f"{path} has rows that cannot be used")


# Figures

_FIGURE_KEYS = ("fig_caption", "mentions", "in_text_mention", "inline_mentions")
_MENTION = ("text", "sentence", "mention", "tokens")


def _figure(row: Mapping[str, Any], where: str) -> SceneText:
    caption = row.get("fig_caption", row.get("caption", row.get("captions")))
    captions = caption if isinstance(caption, list) else [caption]
    listed: Any = next((row[key] for key in _FIGURE_KEYS[1:] if row.get(key)), [])
    mentions = []
    for one in [listed] if isinstance(listed, str) else as_list(listed, "mentions", where):
        said = next((one[key] for key in _MENTION if key in one), None) if isinstance(one, dict) else one
        mentions.append(" ".join(words(said, "a mention", where).split()))
    id = next((row[key] for key in ("id", "pair_id", "figure_id") if key in row), None)
    if id is None or id == "":
        raise bad("the figure has no id", where, "write id, pair_id or figure_id")
    return SceneText(
        str(id),
        image_name(row.get("image", f"{id}.jpg"), where),
        tuple(" ".join(words(one, "the caption", where).split()) for one in captions),
        (),
        mentions=tuple(dict.fromkeys(mentions)),
        rights=read_rights(row, where),
    )


# Tables


def _table(path: Path, image_column: str | None, caption_column: str | None) -> list[SceneText]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    found: dict[str, list[str]] = {}
    rights: dict[str, Rights] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            sample = handle.read(8192)
            if delimiter == "," and sample.split("\n", 1)[0].count("|") > sample.split("\n", 1)[0].count(","):
                delimiter = "|"  # Flickr30k's
            handle.seek(0)
            rows = csv.DictReader(handle, delimiter=delimiter, skipinitialspace=True)
            columns = [str(name).strip() for name in rows.fieldnames or []]
            rows.fieldnames = columns
            image = _column(path, columns, image_column, IMAGE_COLUMNS, "--image-column")
            caption = _column(path, columns, caption_column, CAPTION_COLUMNS, "--caption-column")
            for number, row in enumerate(rows):
                where = f"{path}, row {number}"
                name = image_name((row.get(image) or "").strip(), where)
                text = " ".join((row.get(caption) or "").split())
                if text:
                    found.setdefault(name, []).append(text)
                    told = {str(key).lower(): cell for key, cell in row.items() if cell and key != image}
                    rights[name] = rights.get(name, NO_RIGHTS).over(read_rights(told, where))
    except (OSError, UnicodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"the table cannot be read ({reason})", where=str(path), remedy="save it as UTF-8"
        ) from error
    if not found:
        raise no_rows(path, "table")
    return [
        SceneText(name, name, tuple(captions), (), rights=rights[name]) for name, captions in found.items()
    ]


def _column(path: Path, columns: list[str], wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise UsageError(f"there is no column {wanted!r}", where=option, remedy=suggest(wanted, columns))
    lower = {name.lower(): name for name in reversed(columns)}
    for name in usual:
        if name in lower:
            return lower[name]
    raise UsageError(
        f"no column of {path} has one of the usual names",
        where=option,
        remedy=f"say which: {', '.join(columns)}",
    )
