"""The small world: a few pictures with rows of every kind that recipes take, for their small modes.

    FOLDER/
      align.json, instruct.json, test_questions.jsonl, ...   a world of easy pictures (``make_world``)
      mix.json       short conversations about pictures, and ones without any
      science.json   multiple choice with a lecture, an explanation and the answer; some without a picture
      wide.json      pictures twice as wide as tall and the reverse, and rows of two pictures
      videos.json    videos, each a folder of frames in which an object moves
      pairs.jsonl    a question with a right answer and a wrong one of the same kind; every fourth of a video
      small.json     settings and digests; written last, so it marks completion

It is a pure function of ``FORMAT`` and the world's own, and takes about a second to make.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pumice.errors import DataError
from pumice.files import write_json, write_text
from pumice.world import make
from pumice.world.describe import article, listing
from pumice.world.draw import draw
from pumice.world.pictures import scenes
from pumice.world.scene import COLOURS, SHAPES, SIDE, SIGN, Scene, Thing

FORMAT = 2
"""Raised whenever the same settings would give other bytes."""
SEED, LEVEL = 7, "easy"
PICTURES, VALIDATION, TEST = 48, 4, 8
ROWS = 24
"""Rows of ``science.json``, ``wide.json``, ``videos.json`` and ``pairs.jsonl``."""
FRAMES = 8
"""Frames of a video."""
PAIRS = 3
"""Questions of a conversation in ``mix.json``."""
RECORD = "small.json"

Row = dict[str, Any]

_CORNERS = {"triangle": 3, "square": 4, "star": 10, "cross": 12}
_LECTURE = "Things are told apart by their outline, their color and their size."
_WAYS = {
    "from left to right": (1.0, 0.0),
    "from right to left": (-1.0, 0.0),
    "from top to bottom": (0.0, 1.0),
    "from bottom to top": (0.0, -1.0),
}


def small_world(folder: Path) -> Path:
    """Make the small world, or take the one that is there; returns its folder.

    Raises:
        DataError: something else is in its place.
    """
    settings = {"format": FORMAT, "world": make.FORMAT}
    if _is_made(folder, settings):
        return folder
    if folder.exists() and not (folder / RECORD).is_file() and any(folder.iterdir()):
        raise DataError("something is where the small world goes", where=str(folder), remedy="move it away")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        make.make_world(partial, n=PICTURES, validation=VALIDATION, test=TEST, level=LEVEL, seed=SEED)
        _write(partial)
        write_json(partial / RECORD, settings)
        if not _is_made(folder, settings):  # another run may have made it meanwhile
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _is_made(folder: Path, settings: dict[str, int]) -> bool:
    try:
        return bool(json.loads((folder / RECORD).read_text("utf-8")) == settings)
    except (OSError, ValueError):
        return False


def _write(folder: Path) -> None:
    """What is there beside the world itself."""
    drawn = list(islice(scenes(SEED, LEVEL, "train"), PICTURES))
    talks = json.loads((folder / "instruct.json").read_text("utf-8"))
    _save(folder / "mix.json", _mixed(talks, list(_talk_rows())))
    shown = [scene for scene in drawn if (folder / f"images/{scene.id}.png").is_file()]
    _save(folder / "science.json", list(islice(_science_rows(shown), ROWS)))
    _save(folder / "wide.json", list(islice(_wide_rows(shown, folder), ROWS)))
    videos = list(islice(_video_rows(shown, folder), ROWS))
    _save(folder / "videos.json", videos)
    pairs = islice(_pair_rows(shown, videos), ROWS)
    write_text(folder / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in pairs))


def _save(path: Path, rows: list[Row]) -> None:
    write_text(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def _row(name: str, pairs: list[tuple[str, str]], **more: Any) -> Row:
    turns = [
        {"from": speaker, "value": text}
        for pair in pairs
        for speaker, text in zip(("human", "gpt"), pair, strict=True)
    ]
    return {"id": name, **more, "conversations": turns}


def _mixed(talks: list[Row], others: list[Row]) -> list[Row]:
    """Conversations cut to a few questions each, and after every third one that shows no picture."""
    rows: list[Row] = []
    for number, row in enumerate(talks):
        rows.append({**row, "conversations": row["conversations"][: 2 * PAIRS]})
        if number % 3 == 2 and others:
            rows.append(others.pop(0))
    return rows


def _talk_rows() -> Iterator[Row]:
    """Conversations without a picture."""
    for shape, corners in _CORNERS.items():
        for other, fewer in _CORNERS.items():
            if fewer < corners:
                yield _row(
                    f"text-{shape}-{other}",
                    [
                        (f"How many corners has {article(shape)}?", f"{corners}."),
                        (
                            f"Has {article(other)} more corners than {article(shape)}?",
                            f"No, {article(other)} has {fewer}.",
                        ),
                    ],
                )
    for shape in ("circle", "ring"):
        yield _row(f"text-{shape}", [(f"How many corners has {article(shape)}?", "None, it is round.")])


def _choices(rng: np.random.Generator, right: str, wrong: list[str]) -> tuple[str, str]:
    """Options in a drawn order, and the letter of the right one."""
    options = [right, *wrong]
    options = [options[i] for i in rng.permutation(len(options))]
    letters = "ABCD"[: len(options)]
    listed = " ".join(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return listed, letters[options.index(right)]


def _science_rows(shown: list[Scene]) -> Iterator[Row]:
    """Question, context and options; then lecture, explanation and answer. Every fourth has no picture."""
    rng = np.random.default_rng([SEED, *b"science"])
    names = list(_CORNERS)
    for number, scene in enumerate(shown):
        if number % 4 == 3:
            shape = names[number // 4 % len(names)]
            options, letter = _choices(rng, shape, [name for name in names if name != shape])
            question, context = f"Which of these shapes has {_CORNERS[shape]} corners?", "N/A"
            said, more = f"{article(shape).capitalize()} has {_CORNERS[shape]} corners.", {}
        else:
            there = {thing.shape for thing in scene.things}
            right = sorted(there - {SIGN} or there)[0]
            wrong = [shape for shape in SHAPES if shape not in there][:3]
            options, letter = _choices(rng, right, wrong)
            question, context = "Which of these is in the picture?", "Look at the picture."
            said = f"The picture shows {listing([article(_name(thing)) for thing in scene.things])}."
            more = {"image": f"images/{scene.id}.png"}
        asked = f"Question: {question}\nContext: {context}\nOptions: {options}"
        if more:
            asked = f"<image>\n{asked}"
        yield _row(f"science-{number}", [(asked, f"{_LECTURE} {said} The answer is ({letter}).")], **more)


def _name(thing: Thing) -> str:
    return f"sign that says {thing.text}" if thing.text else f"{thing.colour} {thing.shape}"


def _wide_rows(shown: list[Scene], folder: Path) -> Iterator[Row]:
    """Two scenes side by side, one above the other, and as two pictures of one row, in turn."""
    (folder / "wide").mkdir()
    for number, (first, second) in enumerate(pairwise(shown)):
        one, other = (listing([article(_name(thing)) for thing in scene.things]) for scene in (first, second))
        if number % 3 == 2:
            images = [f"images/{first.id}.png", f"images/{second.id}.png"]
            asked = "<image>\n<image>\nWhat does each picture show?"
            answer = f"The first shows {one}, the second {other}."
            yield _row(f"pair-{number}", [(asked, answer)], image=images)
            continue
        across = number % 3 == 0
        size, place = ((2 * SIDE, SIDE), (SIDE, 0)) if across else ((SIDE, 2 * SIDE), (0, SIDE))
        picture = Image.new("RGB", size)
        picture.paste(draw(first), (0, 0))
        picture.paste(draw(second), place)
        path = f"wide/{number}.png"
        picture.save(folder / path)
        halves = ("left", "right") if across else ("top", "bottom")
        pairs = [
            (f"<image>\nWhat is in the {halves[0]} half?", f"{one}."),
            (f"And in the {halves[1]} half?", f"{other}."),
        ]
        yield _row(f"wide-{number}", pairs, image=path)


def _video_rows(shown: list[Scene], folder: Path) -> Iterator[Row]:
    """One object of a scene crosses its backdrop; the frames are numbered pictures in a folder."""
    ways = list(_WAYS.items())
    for number, scene in enumerate(scene for scene in shown if scene.things[0].shape != SIGN):
        words, (dx, dy) = ways[number % len(ways)]
        name = f"videos/{number}"
        (folder / name).mkdir(parents=True)
        thing = scene.things[0]
        for frame in range(FRAMES):
            along = (frame / (FRAMES - 1) - 0.5) * (SIDE - 2 * thing.radius - 2)
            moved = replace(thing, x=SIDE / 2 + dx * along, y=SIDE / 2 + dy * along)
            draw(replace(scene, things=(moved,))).save(folder / name / f"{frame:03d}.png")
        pairs = [
            ("<image>\nWhat moves in the video?", f"{article(_name(thing)).capitalize()}."),
            ("Which way does it move?", f"It moves {words}."),
        ]
        yield _row(f"video-{number}", pairs, video=name)


def _pair_rows(shown: list[Scene], videos: list[Row]) -> Iterator[Row]:
    """Two answers of one form, one of them true: what is there, of which colour, or which way it moves."""
    rng = np.random.default_rng([SEED, *b"pairs"])
    moves = [f"It moves {way}." for way in _WAYS]
    for number, scene in enumerate(shown):
        if number % 4 == 3:
            row = videos[number // 4]
            right = str(row["conversations"][3]["value"])
            wrong = [move for move in moves if move != right]
            asked, more = "Which way does it move?", {"video": row["video"]}
        elif number % 4 == 2 or scene.things[0].shape == SIGN:
            there = {thing.shape for thing in scene.things}
            right = f"There is {article(_name(scene.things[0]))}."
            wrong = [f"There is {article(shape)}." for shape in SHAPES if shape not in there]
            asked, more = "What is in the picture?", {"image": f"images/{scene.id}.png"}
        else:
            thing = scene.things[0]
            same = {other.colour for other in scene.things if other.shape == thing.shape}
            right = f"The {thing.shape} is {thing.colour}."
            wrong = [f"The {thing.shape} is {colour}." for colour in COLOURS if colour not in same]
            asked = f"What color is the {thing.shape}?"
            more = {"image": f"images/{scene.id}.png"}
        rejected = wrong[int(rng.integers(len(wrong)))]
        yield {"id": f"pair-{number}", **more, "prompt": asked, "chosen": right, "rejected": rejected}
