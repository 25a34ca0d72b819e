"""Small benchmarks of the embedded world, in the layouts of the published ones.

    DIR/
      NAME/             one a benchmark, with the files that its authors publish, under their names
      benchmarks.json   settings, and how many questions each has; written last, so it marks completion

What is asked is drawn from scenes of the test split and their true content, so loaders and scorers of the
published benchmarks run on them, and an embedded model can be measured with nothing downloaded. The folder is
a pure function of its settings.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pumice.errors import UsageError, suggest
from pumice.files import write_json
from pumice.world.benchmarks import choices, judged, probes, words, yes_no
from pumice.world.benchmarks.material import Material

FORMAT = 1
"""Raised whenever the same settings would give other bytes."""
RECORD = "benchmarks.json"
QUESTIONS = 96
"""Of a benchmark, unless told."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedded:
    """A benchmark that can be written.

    Attributes:
        name: of its folder: a task of ``pumice.score``, or a dimension of ``pumice.evaluate.dimensions``.
        write: into an empty folder, from the scenes of the task, some so many questions; returns how many.
        judged: its answers are read by a judge: it is written where it is asked for by name.
        needs: a package without which it cannot be written; empty where it needs none.
    """

    name: str
    write: Callable[[Path, Material, int], int]
    judged: bool = False
    needs: str = ""


_ALL = (
    Embedded("vqav2", words.write_vqav2),
    Embedded("gqa", words.write_gqa),
    Embedded("vizwiz", words.write_vizwiz),
    Embedded("scienceqa", choices.write_scienceqa),
    Embedded("textvqa", words.write_textvqa),
    Embedded("pope", yes_no.write_pope),
    Embedded("mme", yes_no.write_mme),
    Embedded("mmbench", choices.write_mmbench),
    Embedded("mmbench-cn", choices.write_mmbench_cn),
    Embedded("seed", choices.write_seed),
    Embedded("llava-bench", judged.write_llava_bench, judged=True),
    Embedded("mm-vet", judged.write_mm_vet, judged=True),
    Embedded("mmstar", choices.write_mmstar, needs="pyarrow"),
    Embedded("docvqa", words.write_docvqa),
    Embedded("retrieval", probes.write_retrieval),
    Embedded("instructions", probes.write_instructions),
    Embedded("reasoning", probes.write_reasoning),
    Embedded("domain", probes.write_domain),
)
BENCHMARKS: dict[str, Embedded] = {one.name: one for one in _ALL}


def write_benchmarks(
    folder: Path,
    *,
    seed: int = 0,
    n: int = QUESTIONS,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the embedded benchmarks into a folder, or complete one that was begun with the same settings.

    Args:
        folder: new, empty, or one of the same settings.
        seed: another one gives other pictures.
        n: questions of each benchmark, about.
        names: which; when empty, all that no judge has to read and that can be written here.
        progress: called with benchmarks done and all.

    Returns:
        What ``benchmarks.json`` holds: settings, ``questions`` by name, and ``left_out`` with the package
        that is missing.

    Raises:
        UsageError: an unknown name, a number out of range, or a folder that holds something else.
    """
    if seed < 0 or n < 1:
        raise UsageError(f"seed {seed}, n {n}", remedy="n is at least 1, seed at least 0")
    for name in names:
        if name not in BENCHMARKS:
            raise UsageError(
                f"there is no embedded benchmark {name!r}", where="--only", remedy=suggest(name, BENCHMARKS)
            )
    settings = {"format": FORMAT, "seed": seed, "n": n}
    found = _found(folder, settings)
    asked = [one for one in _ALL if (one.name in names if names else not one.judged)]
    left_out = {one.name: one.needs for one in asked if one.needs and find_spec(one.needs) is None}
    wanted = [one for one in asked if one.name not in left_out]
    folder.mkdir(parents=True, exist_ok=True)
    questions: dict[str, int] = dict(found)
    for done, one in enumerate(wanted):
        if progress is not None:
            progress(done, len(wanted))
        if one.name not in questions or not (folder / one.name).is_dir():
            questions[one.name] = _write(folder, one, seed, n)
            write_json(folder / RECORD, _record(settings, questions, {}, whole=False))
    record = _record(settings, questions, left_out, whole=True)
    write_json(folder / RECORD, record)
    if progress is not None:
        progress(len(wanted), len(wanted))
    return record


def _record(
    settings: dict[str, int], questions: dict[str, int], left_out: dict[str, str], *, whole: bool
) -> dict[str, Any]:
    ordered = {name: questions[name] for name in BENCHMARKS if name in questions}
    return {**settings, "questions": ordered, "left_out": left_out, "whole": whole}


def _write(folder: Path, one: Embedded, seed: int, n: int) -> int:
    """Write one beside its place, then move it there."""
    partial = folder / f".{one.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    questions = one.write(partial, Material(seed, list(BENCHMARKS).index(one.name)), n)
    shutil.rmtree(folder / one.name, ignore_errors=True)
    partial.rename(folder / one.name)
    return questions


def _found(folder: Path, settings: dict[str, int]) -> dict[str, int]:
    """The benchmarks that are there already, with their numbers of questions."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            "the folder's place is taken by a file", where=str(folder), remedy="name a new folder"
        )
    path = folder / RECORD
    if not path.is_file():
        if folder.is_dir() and any(not entry.name.endswith(".partial") for entry in folder.iterdir()):
            raise UsageError(
                "the folder is not empty and holds no embedded benchmarks",
                where=str(folder),
                remedy="name a new or an empty folder",
            )
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
        other = [
            f"{key} {found.get(key)!r}, not {value!r}"
            for key, value in settings.items()
            if found.get(key) != value
        ]
        questions = {str(name): int(count) for name, count in found["questions"].items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"the record cannot be read ({error})",
            where=str(path),
            remedy="delete the folder and write it again",
        ) from error
    if other:
        raise UsageError(
            f"the folder holds other benchmarks: {'; '.join(other)}",
            where=str(path),
            remedy="name another folder, delete this one, or ask for what is there",
        )
    return questions
