"""Erasing rows: what a request means, all that it touches, and carrying it out.

First everything is found out and nothing is changed (``prepare``); a person reads that. Then tombstones are
written, so that a kill at any later moment leaves no way to train on the rows; the rest may be done again
(``carry_out``). What is kept of the rows goes before that, while they can still be found, and once more
behind it: another process may have kept it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pumice.data.formats import content_files, detect_format
from pumice.data.index import CACHE_FOLDER
from pumice.data.tombstones import add_tombstones, name_digest, read_tombstones
from pumice.errors import PumiceError
from pumice.lineage.quarantine import quarantine
from pumice.lineage.record import unrecorded
from pumice.recipes.text import read_yaml
from pumice.trust.lineage.exposure import Exposure, Verdict, exposures, judge
from pumice.trust.lineage.found import Found, look_through, recipe_data
from pumice.trust.lineage.log import append, read_log
from pumice.trust.lineage.purge import GENERATION, Purge, purges
from pumice.trust.lineage.retrain import Retraining, retraining
from pumice.trust.lineage.rewrite import check_rewrite, rewrite
from pumice.trust.lineage.select import (
    Chosen,
    DataFile,
    Progress,
    Wanted,
    check_named,
    choose,
    is_digest,
    note_beside,
    tombstones_of,
)
from pumice.types import HUB

_TEXTS = (".json", ".jsonl", ".html", ".csv", ".md", ".txt")
_LONG = 6
"""Names of fewer characters stand in every file."""
_MOST = 64 << 20
"""Bytes of a file that is searched for names."""
_OWN = ("rows.npz", "erasures.jsonl", "QUARANTINED.json")


@dataclass
class Erasure:
    """A request for erasure and all that it touches; nothing is changed yet.

    Attributes:
        wanted: what was asked for.
        name: of the erasure, in tombstones, markers and the log.
        chosen: the rows, by file.
        purges: what is kept of them.
        verdicts: of every folder of weights.
        retrainings: of every run that saw them.
        mentions: files that name the rows or their pictures, and how often.
        unread: files of data that could not be looked through, and why.
        unrecorded_runs: runs that were made without records, with the data files they name.
        earlier: digests of rows that are erased already, and are looked for again.
        scenes: files of scenes, in which the rows' pictures are erased, too.
        gone: ids that were named, of rows that are erased already.
    """

    wanted: Wanted
    name: str
    found: Found
    chosen: list[Chosen] = field(default_factory=list)
    purges: list[Purge] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    retrainings: list[Retraining] = field(default_factory=list)
    mentions: list[tuple[Path, int]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    unrecorded_runs: list[tuple[Path, list[str]]] = field(default_factory=list)
    earlier: set[bytes] = field(default_factory=set)
    scenes: Sequence[Path] = ()
    gone: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many there are, over all files."""
        return sum(len(one.rows) for one in self.chosen)

    @property
    def digests(self) -> set[bytes]:
        """Of all rows, those that were erased earlier and are looked for again among them."""
        return self.earlier.union(*(one.digests for one in self.chosen))

    @property
    def exposed(self) -> list[Verdict]:
        """Weights that saw the rows."""
        return [one for one in self.verdicts if one.exposed]

    @property
    def bases(self) -> list[str]:
        """Weights that something was made of and of which nothing is known."""
        records = [one.weights.record for one in self.verdicts if one.weights.record is not None]
        return sorted({str(parent["name"]) for record in records for parent in unrecorded(record)})


def prepare(
    files: Sequence[DataFile],
    wanted: Wanted,
    *,
    runs: Path,
    models: Sequence[Path] = (),
    cache: Path | None = None,
    again: bool = False,
    scenes: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Erasure:
    """Find the rows and all that they touch; nothing is changed.

    Args:
        files: data files that are looked through, beside those that runs name.
        wanted: what is to be erased.
        runs: the folder of runs.
        models: folders in which other weights lie.
        cache: that `pumice data` uses; those of runs are known.
        again: look for the weights that saw any row that is erased already, too.
        scenes: files of scenes from which data is generated.
        progress: told how far it is.

    Raises:
        DataError: a file that was named cannot be read, or no row has an id that was named.
    """
    found = look_through([place for place in (runs, *models) if place.is_dir()])
    of_runs = {str(Path(file.path).resolve()): file for file in _of_runs(found.runs)}
    files = [_with_images(file, of_runs.get(str(Path(file.path).resolve()))) for file in files]
    chosen = choose(files, wanted, cache, progress)
    erasure = Erasure(wanted, "", found, chosen, scenes=scenes)
    if files:  # an id means a row of the files that were named; elsewhere the same row is meant
        same = [digest.hex() for digest in erasure.digests]
        rest = replace(wanted, rows=(*filter(is_digest, wanted.rows), *same))
    else:
        rest = wanted
    known = {str(Path(file.path).resolve()) for file in files}
    for place, file in of_runs.items():
        if place in known or file.path.startswith(HUB):
            continue
        known.add(place)
        try:
            erasure.chosen += choose([file], rest, cache, progress)
        except PumiceError as error:
            erasure.unread.append((file.path, error.what))
    looked = [*files, *(() if files else of_runs.values())]
    erasure.gone = check_named(erasure.chosen, looked, wanted)
    note_beside(erasure.chosen)
    if again:
        erasure.earlier |= read_tombstones(_content(known)).rows
    erasure.earlier |= {bytes.fromhex(row) for row in wanted.rows if is_digest(row)}
    number = len(read_log(runs)) + 1
    digest = hashlib.sha256(b"".join(sorted(erasure.digests))).hexdigest()[:8]
    erasure.name = f"erasure-{number}-{digest}"
    saw = exposures(found, erasure.digests)
    erasure.verdicts = [judge(found, one, erasure.digests, saw) for one in found.weights]
    for run in found.runs:
        plan = retraining(found, run, saw, f"{run.name}-{erasure.name.rpartition('-')[0]}")
        if plan is not None:
            erasure.retrainings.append(plan)
        elif not any(stage.run == run for stage in found.places):
            named = sorted({str(row.get("file")) for row in recipe_data(run)})
            erasure.unrecorded_runs.append((run, named))
    generated = _generated([runs, *models, *(Path(file.path).parent for file in files)])
    erasure.purges = purges(erasure.chosen, erasure.digests, _caches(found, runs, cache), generated)
    erasure.mentions = list(_mentions(erasure, [*found.runs, *generated]))
    return erasure


def carry_out(erasure: Erasure, runs: Path, *, again: bool = False) -> dict[str, Any]:
    """Erase: caches, tombstones, markers, what came into the caches meanwhile, and the log.

    Args:
        erasure: of ``prepare``.
        runs: the folder of runs, where the log is.
        again: also write the data files without the rows (``--rewrite``).

    Returns:
        The line of the log.

    Raises:
        PumiceError: something cannot be written; what was done stays, and the same command does the rest.
    """
    gone = [one for one in erasure.chosen if one.rows]
    if again:
        for one in gone:
            check_rewrite(one)
    for purge in erasure.purges:
        purge.carry_out()
    pictures: set[bytes] = set()
    digests = erasure.digests
    for one in gone:
        rows, names = tombstones_of(one, erasure.wanted)
        pictures |= names
        contents = one.contents
        for file in one.table.head.content:
            add_tombstones(file, rows, names, contents, erasure=erasure.name)
    shown = {name_digest(name) for one in gone for name in one.pictures().values()}
    for path in erasure.scenes:
        add_tombstones(path, [], shown, erasure=erasure.name)
    for verdict in erasure.exposed:
        quarantine(verdict.weights.folder, *_why(erasure, verdict.exposed))
    for plan in erasure.retrainings:
        quarantine(plan.run, *_why(erasure, list(_seen_by(erasure, plan.run))))
    for purge in erasure.purges:
        purge.carry_out()
    smaller = sum(rewrite(one) for one in gone) if again else 0
    return append(
        runs,
        {
            "erasure": erasure.name,
            "rows": sorted(digest.hex() for digest in digests),
            "pictures": sorted(digest.hex() for digest in pictures),
            "counts": {
                "rows": erasure.rows,
                "files": len(gone),
                "purged_bytes": sum(one.size for one in erasure.purges),
                "rewritten_bytes": smaller,
                "quarantined": len(erasure.exposed),
                "clean": sum(one.word == "clean" for one in erasure.verdicts),
                "unknown": sum(one.word == "unknown" for one in erasure.verdicts),
                "runs": len(erasure.retrainings),
            },
        },
    )


def _with_images(file: DataFile, of_run: DataFile | None) -> DataFile:
    """A file with the folder of its pictures, as a run knows it where nobody says."""
    return file if file.images is not None or of_run is None else replace(file, images=of_run.images)


def _why(erasure: Erasure, seen: Sequence[Exposure]) -> tuple[str, dict[str, Any], str | None]:
    """Reason, facts and remedy of a marker."""
    places = [f"stage {one.stage.stage} of run {one.stage.run.name} from step {one.first} on" for one in seen]
    count = len(erasure.digests)
    what = f"they saw {'a row that was' if count == 1 else f'rows ({count:,}) that were'} erased since"
    facts = {"erasure": erasure.name, "rows": count, "first_steps": [one.first for one in seen]}
    runs = {one.stage.run for one in seen}
    command = next((plan.ways[0].command for plan in erasure.retrainings if plan.run in runs), None)
    return f"{what} ({'; '.join(dict.fromkeys(places))})", facts, command and f"train again: `{command}`"


def _seen_by(erasure: Erasure, run: Path) -> Iterator[Exposure]:
    for verdict in erasure.exposed:
        if run in verdict.weights.folder.parents:
            yield from verdict.exposed


def _of_runs(runs: Iterable[Path]) -> Iterator[DataFile]:
    """The data files that runs were made of, as their recipes name them."""
    for run in runs:
        for source in _recipe(run).get("data", {}).values():
            if isinstance(source, dict) and "file" in source:
                images = source.get("images")
                yield DataFile(str(source["file"]), Path(images) if images else None, source.get("format"))


def _content(paths: Iterable[str]) -> Iterator[Path]:
    """The files that data files consist of; none of those that are gone."""
    for path in paths:
        with contextlib.suppress(PumiceError):
            yield from content_files(path, detect_format(path))


def _recipe(run: Path) -> dict[str, Any]:
    try:
        found: Any = read_yaml((run / "recipe.yaml").read_text("utf-8"), "recipe.yaml", lines=False).value
    except (OSError, ValueError, PumiceError):
        return {}
    return found if isinstance(found, dict) else {}


def _caches(found: Found, runs: Path, cache: Path | None) -> list[Path]:
    """Folders that hold what was kept: beside the runs, and where recipes have their features."""
    places = [runs / CACHE_FOLDER, *(run.parent / CACHE_FOLDER for run in found.runs)]
    places += [] if cache is None else [cache]
    for run in found.runs:
        for stage in _recipe(run).get("stages", []):
            features = stage.get("features") if isinstance(stage, dict) else None
            if isinstance(features, dict) and features.get("folder"):
                places.append(Path(features["folder"]).parent)
    return list({place.resolve(): place for place in places}.values())


def _generated(folders: Iterable[Path]) -> list[Path]:
    places = {path.parent.resolve() for top in folders if top.is_dir() for path in top.rglob(GENERATION)}
    return sorted(places)


def _mentions(erasure: Erasure, folders: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Text files that name rows or pictures: answers, scores, pages, logs. They are not changed."""
    names = {name for one in erasure.chosen for name in (*one.ids(), *one.pictures().values())}
    words = [json.dumps(name, ensure_ascii=False)[1:-1].encode() for name in names if len(name) >= _LONG]
    if not words:
        return
    data = {Path(file).resolve() for one in erasure.chosen for file in one.table.head.content}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix not in _TEXTS or path.name in _OWN or not path.is_file() or path.resolve() in data:
                continue
            content = path.read_bytes() if path.stat().st_size <= _MOST else b""
            count = sum(content.count(word) for word in words)
            if count:
                yield path, count
