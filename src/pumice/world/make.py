"""A world on disk: pictures, scenes, the teacher's data, test questions and a page to look at.

    OUT/
      images/ID.png            every picture
      scenes-SPLIT.jsonl       captions and boxes, all that a teacher sees (train, validation, test)
      align.json               captions with regions              (train)
      lookup.json              look-ups: attributes, places, relations, signs    (train)
      signs.json               what a sign says, alone            (train)
      instruct.json            the mixture: short turns, conversation, detail, reasoning    (train)
      val.json, val_align.json the same mixture and captions      (validation)
      test_questions.jsonl     questions with answers             (test)
      gallery.html             the first pictures, with boxes and what the teacher asks
      world.json               settings, counts and digests; written last, so it marks completion

A world is a pure function of its settings: the same bytes from any number of workers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import pumice
from pumice.errors import Interrupted, UsageError
from pumice.files import PARTIAL, replacing, write_text
from pumice.generate.protocol import Kind, Remembered, SceneText, Teacher, Turn
from pumice.generate.run import lines_file, question_rows, rows_of, to_line
from pumice.processes import runner
from pumice.world.draw import draw
from pumice.world.gallery import GALLERY_SIZE, gallery_page
from pumice.world.samples import scene_image, scene_text
from pumice.world.scene import SPLITS, Scene, Split, get_level, make_scene
from pumice.world.teacher import WorldTeacher, by_frequency, names_in

FORMAT = 3
"""Raised whenever the same settings would give other bytes."""

WORLD, UNFINISHED, GALLERY = "world.json", "world.unfinished.json", "gallery.html"
FILES: dict[Split, tuple[str, ...]] = {
    "train": ("scenes-train.jsonl", "align.json", "lookup.json", "signs.json", "instruct.json"),
    "validation": ("scenes-validation.jsonl", "val.json", "val_align.json"),
    "test": ("scenes-test.jsonl", "test_questions.jsonl"),
}
MIXTURE: tuple[Kind, ...] = ("short", "existence", "correction", "conversation", "detail", "reasoning")
SHARES: dict[Kind, float] = {"conversation": 0.3, "detail": 0.3, "reasoning": 0.3}
"""Share of pictures that get each kind of longer text."""
LOOKUPS = frozenset({"color", "shape", "size", "position", "relation", "sign"})
QUESTIONS = {"color": 1, "shape": 1, "size": 1, "position": 1, "relation": 1, "count": 2, "sign": 1}
"""Test questions per picture, at most, of each short type; existence pairs and a correction come on top."""

WALK, DRAW = 256, 64
"""Scenes per task when splits are filled, and when pictures are drawn."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a world is a function of."""

    level: str
    seed: int
    train: int
    validation: int
    test: int
    format: int = FORMAT

    def number(self, split: Split) -> int:
        """Pictures of a split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    @property
    def total(self) -> int:
        """Pictures in all."""
        return self.train + self.validation + self.test


def split_numbers(n: int, validation: int | None = None, test: int | None = None) -> dict[Split, int]:
    """How many of ``n`` pictures each split gets: a tenth each to validation and test unless told.

    Raises:
        UsageError: nothing would be left to train on.
    """
    tenth = max(1, n // 10)
    held = {
        "validation": tenth if validation is None else validation,
        "test": tenth if test is None else test,
    }
    train = n - sum(held.values())
    if train < 1 or min(held.values()) < 0:
        raise UsageError(
            f"{n} pictures with {held['validation']} for validation and {held['test']} for test"
            f" leave {max(train, 0)} to train on",
            remedy="ask for more pictures, or for fewer to hold back",
        )
    return {"train": train, "validation": held["validation"], "test": held["test"]}


def make_world(
    out: Path,
    *,
    n: int = 1000,
    validation: int | None = None,
    test: int | None = None,
    level: str = "full",
    seed: int = 0,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a world in the folder ``out``, or complete one that was begun there with the same settings.

    Args:
        out: the folder; new, empty, or a world of the same settings.
        n: pictures in all.
        validation: how many of them are for validation; a tenth when None.
        test: how many of them are for test; a tenth when None.
        level: ``easy`` or ``full`` (see ``pumice.world.scene.LEVELS``).
        seed: any whole number from 0.
        workers: processes that draw.
        progress: called with pictures done and pictures in all.

    Returns:
        What ``world.json`` holds: settings, pictures by split, rows and SHA-256 of every file.

    Raises:
        UsageError: numbers out of range, or the folder holds something else.
        Interrupted: the user stopped it; the same call goes on.
    """
    get_level(level)
    if seed < 0 or workers < 1 or n < 1:
        raise UsageError(
            f"n {n}, seed {seed}, workers {workers}", remedy="n and workers are at least 1, seed 0"
        )
    numbers = split_numbers(n, validation, test)
    settings = Settings(level, seed, numbers["train"], numbers["validation"], numbers["test"])
    done = _check_folder(out, settings)
    if done is not None and _complete(out, done):
        if progress is not None:
            progress(settings.total, settings.total)
        return done
    (out / "images").mkdir(parents=True, exist_ok=True)
    _write_json(out / UNFINISHED, asdict(settings))
    (out / WORLD).unlink(missing_ok=True)
    try:
        summary = _make(out, settings, workers, progress or (lambda done, total: None))
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped before the world was complete",
            where=str(out),
            remedy="run the same command again: pictures that are there are kept",
        ) from error
    # What a killed run was in the middle of writing.
    for left in (*out.glob(f"*{PARTIAL}"), *(out / "images").glob(f"*{PARTIAL}")):
        left.unlink(missing_ok=True)
    _write_json(out / WORLD, summary)
    (out / UNFINISHED).unlink(missing_ok=True)
    return summary


# The folder


def _check_folder(out: Path, settings: Settings) -> dict[str, Any] | None:
    """The summary of a finished world of these settings; None where there is work to do."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise UsageError("the world's place is taken by a file", where=str(out), remedy="name a new folder")
    found = {name: _read_json(out / name) for name in (WORLD, UNFINISHED) if (out / name).exists()}
    if not found:
        # A run stopped within its first instant leaves an empty images folder, and half a file.
        left = [path for path in out.iterdir() if path.suffix != PARTIAL]
        if any(path.name != "images" or any(path.iterdir()) for path in left):
            raise UsageError(
                "the folder is not empty and not a world",
                where=str(out),
                remedy="name a new or an empty folder",
            )
        return None
    for name, held in found.items():
        wanted = asdict(settings)
        if held.get("format") != FORMAT:
            raise UsageError(
                f"another version of Pumice made this world (format {held.get('format')!r}, not {FORMAT})",
                where=str(out / name),
                remedy="delete the folder, and the same command makes it anew; or name another folder",
            )
        other = [
            f"{key} {held.get(key)!r}, not {wanted[key]!r}" for key in wanted if held.get(key) != wanted[key]
        ]
        if other:
            raise UsageError(
                f"the folder holds another world: {'; '.join(other)}",
                where=str(out / name),
                remedy="name another folder, delete this one, or ask for the world that is there",
            )
    return found.get(WORLD)


def _complete(out: Path, summary: dict[str, Any]) -> bool:
    """Whether all files are as written and every picture is there."""
    files = summary.get("files")
    if not isinstance(files, dict) or not files:
        return False
    if any(
        not isinstance(entry, dict) or _digest(out / name) != entry.get("sha256")
        for name, entry in files.items()
    ):
        return False
    there = (
        {f"images/{entry.name}" for entry in os.scandir(out / "images")}
        if (out / "images").is_dir()
        else set()
    )
    scenes = (name for name in files if name.startswith("scenes-"))
    lines = (line for name in scenes for line in (out / name).read_text("utf-8").splitlines())
    return all(json.loads(line)["image"] in there for line in lines)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the world's record cannot be read ({error})",
            where=str(path),
            remedy="delete the folder and make it again",
        ) from error
    if not isinstance(value, dict):
        raise UsageError("the world's record is no object", where=str(path), remedy="delete the folder")
    return value


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n", shared=True)


# Making


def _make(out: Path, settings: Settings, workers: int, progress: Progress) -> dict[str, Any]:
    rows: Counter[str] = Counter()
    drawn = 0
    with runner(workers) as run:
        chosen, popular = _choose(run, settings)
        for split in SPLITS:
            tasks = [
                _Task(str(out), settings.level, settings.seed, split, indices, popular)
                for indices in _chunks(chosen[split], DRAW)
            ]
            if not tasks:
                continue
            with ExitStack() as stack:
                add = {
                    name: stack.enter_context(lines_file(out / name, llava=name.endswith(".json")))
                    for name in FILES[split]
                }
                for task, lines in zip(tasks, run(_draw_and_write, tasks), strict=True):
                    for name, written in lines.items():
                        rows[name] += len(written)
                        for line in written:
                            add[name](line)
                    drawn += len(task.indices)
                    progress(drawn, settings.total)
    summary = {
        **asdict(settings),
        "pumice": pumice.__version__,
        "pictures": {split: settings.number(split) for split in SPLITS},
        "files": {name: {"rows": rows[name], "sha256": _digest(out / name)} for name in rows},
    }
    first = sorted((i, split) for split in SPLITS for i in chosen[split])[:GALLERY_SIZE]
    scenes = [(make_scene(settings.seed, i, settings.level), split) for i, split in first]
    page = gallery_page(scenes, WorldTeacher(settings.seed, popular), summary)
    write_text(out / GALLERY, page + "\n", shared=True)
    summary["files"][GALLERY] = {"rows": len(first), "sha256": _digest(out / GALLERY)}
    return summary


@dataclass(frozen=True, slots=True)
class _Task:
    """Scenes of one split to draw and to write about."""

    out: str
    level: str
    seed: int
    split: Split
    indices: tuple[int, ...]
    popular: tuple[str, ...]


def _choose(run: Any, settings: Settings) -> tuple[dict[Split, list[int]], tuple[str, ...]]:
    """Walks scene numbers until every split is full: numbers by split, and names by falling frequency."""
    chosen: dict[Split, list[int]] = {split: [] for split in SPLITS}
    names: Counter[str] = Counter()
    start = 0
    while any(len(chosen[split]) < settings.number(split) for split in SPLITS):
        # Whole rounds, sized by what is missing: which scenes are taken does not depend on it.
        missing = settings.total - sum(map(len, chosen.values()))
        end = start + max(64, missing)
        tasks = [(settings.seed, settings.level, i, min(i + WALK, end)) for i in range(start, end, WALK)]
        start = end
        for index, split, found in (row for rows in run(_walk, tasks) for row in rows):
            if len(chosen[split]) < settings.number(split):
                chosen[split].append(index)
                if split == "train":
                    names.update(found)
    return chosen, tuple(by_frequency(names))


def _walk(task: tuple[int, str, int, int]) -> list[tuple[int, Split, list[str]]]:
    """Number, split and names of the scenes from ``start`` up to ``end``."""
    seed, level, start, end = task
    out = []
    for index in range(start, end):
        scene = make_scene(seed, index, level)
        out.append((index, scene.split, names_in(scene_text(scene))))
    return out


def _draw_and_write(task: _Task) -> dict[str, list[str]]:
    """Draws the pictures that are missing; returns the lines of each file of the split."""
    teacher = WorldTeacher(task.seed, task.popular)
    lines: dict[str, list[str]] = {name: [] for name in FILES[task.split]}
    for index in task.indices:
        scene = make_scene(task.seed, index, task.level)
        assert scene.split == task.split, f"{scene.id} is a {scene.split} scene"
        _save(scene, Path(task.out))
        lines[f"scenes-{task.split}.jsonl"].append(to_line(scene.record(scene_image(scene))))
        text = scene_text(scene)
        for name, row in _written(text, Remembered(teacher, text), task):
            lines[name].append(to_line(row))
    return lines


def _save(scene: Scene, out: Path) -> None:
    path = out / scene_image(scene)
    if not path.exists():
        with replacing(path, shared=True) as partial:
            # Noise hardly compresses: level 1 is as small as the best and much quicker.
            draw(scene).save(partial, "PNG", compress_level=1)


def _written(scene: SceneText, teacher: Teacher, task: _Task) -> Iterator[tuple[str, dict[str, Any]]]:
    """The file and the row of everything the teacher writes about a scene."""
    seed = task.seed
    if task.split == "test":
        for row in question_rows(scene, pick_questions(scene, teacher, seed)):
            yield "test_questions.jsonl", row
        return
    mixture = "instruct.json" if task.split == "train" else "val.json"
    for row in rows_of(scene, teacher, MIXTURE, seed=seed, shares=SHARES):
        yield mixture, row
    captions = "align.json" if task.split == "train" else "val_align.json"
    for row in rows_of(scene, teacher, ("caption",), seed=seed, regions=True):
        yield captions, row
    if task.split == "train":
        for row in rows_of(scene, teacher, ("short",), seed=seed, keep=is_lookup):
            yield "lookup.json", row
        for row in rows_of(scene, teacher, ("short",), seed=seed, keep=is_sign):
            yield "signs.json", row


def is_lookup(turn: Turn) -> bool:
    """Whether a turn asks for something that stands at one place of the picture (or two)."""
    return turn.type.split("-")[0] in LOOKUPS


def is_sign(turn: Turn) -> bool:
    """Whether a turn asks what a sign says, and there is one."""
    return turn.type.startswith("sign-")


def pick_questions(scene: SceneText, teacher: Teacher, seed: int) -> list[Turn]:
    """The test questions about a scene: a few of each type, the same for the same scene and seed."""
    rng = np.random.default_rng([seed, *scene.id.encode(), *b"test questions"])
    short = teacher.write(scene, "short")
    picked: list[Turn] = []
    for kind, most in QUESTIONS.items():
        turns = [turn for turn in short if turn.type.split("-")[0] == kind]
        picked += [turns[i] for i in sorted(rng.permutation(len(turns))[:most])]
    wrong = teacher.write(scene, "correction")
    picked += [wrong[int(rng.integers(len(wrong)))]] if wrong else []
    return [*picked, *teacher.write(scene, "existence")]


def _chunks(indices: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    rest = iter(indices)
    while chunk := tuple(islice(rest, size)):
        yield chunk
