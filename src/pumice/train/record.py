"""A run's folder and its record: may a run start or go on here, and with which parts was it made."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import RunError
from pumice.files import PARTIAL, write_json
from pumice.licences import folder_licence
from pumice.lineage.digests import weight_digests
from pumice.lineage.quarantine import check_quarantine
from pumice.recipes.compare import differences
from pumice.recipes.schema import Recipe
from pumice.recipes.text import read_yaml
from pumice.train.sessions import begin_session, earlier_sessions, end_session

_FIRST = ("recipe.yaml", "mixture.json", "run.json")
_EARLY = {*_FIRST[:2], *(name + PARTIAL for name in _FIRST)}
"""What a run that was killed in its first instant leaves: all that is written before ``run.json``."""

_WITH = ("pumice", "revision", "torch", "transformers", "python", "machine", "threads")
"""What the newest session ran with; ``threads`` are those that each rank computes with on a CPU."""

SHOWN = 12
"""Keys that are named where a run is resumed with another recipe."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The folders a model is built from, after names like ``embedded:...`` were looked up: a vision tower
    (or several) and a language model, or one whole checkpoint."""

    vision: Path | None = None
    language: Path | None = None
    more_vision: tuple[Path, ...] = ()
    checkpoint: Path | None = None

    def places(self) -> dict[str, Path]:
        """The folders that there are, by the names of their parts."""
        named = {"vision": self.vision, "language": self.language, "checkpoint": self.checkpoint}
        more = {f"vision-{number}": place for number, place in enumerate(self.more_vision, start=2)}
        return {part: place for part, place in (named | more).items() if place is not None}


def check_folder(folder: Path, recipe: str, resume: bool) -> None:
    """Refuse a folder that holds something else; with ``resume``, one that holds another recipe."""
    exists = folder.exists() and any(folder.iterdir()) and not _only_begun(folder, recipe)
    if exists and not (folder / "run.json").is_file():
        raise RunError("the folder holds other files", where=str(folder), remedy="choose another --name")
    if exists and not resume:
        raise RunError(
            "the folder holds a run",
            where=str(folder),
            remedy="choose another --name, add --resume to go on with it, or delete the folder",
        )
    if resume and not exists:
        raise RunError(
            "there is no run to resume", where=str(folder), remedy="leave --resume out to start it"
        )
    if exists:
        check_quarantine(folder)
        _check_recipe(folder, recipe)


def _check_recipe(folder: Path, recipe: str) -> None:
    """RunError, with the keys that differ, where a run was begun with another recipe."""
    written = folder / "recipe.yaml"
    try:
        before = written.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(
            f"the run's recipe cannot be read ({getattr(error, 'strerror', None) or error})",
            where=str(written),
            remedy="restore it from a copy, or start a run under another --name",
        ) from error
    _check_name(folder, recipe)
    changed = differences(before, recipe) if before != recipe else ()
    if not changed:
        return
    shown = [str(difference) for difference in changed[:SHOWN]]
    if len(changed) > SHOWN:
        shown.append(f"and {len(changed) - SHOWN} more")
    runs = [] if folder.parent == Path("runs") else ["--runs", str(folder.parent)]
    words = ["pumice", "train", str(folder / "recipe.yaml"), "--name", folder.name, *runs, "--resume"]
    raise RunError(
        "the run was started with another recipe or other settings (was -> is):\n    " + "\n    ".join(shown),
        where=str(folder / "recipe.yaml"),
        remedy=f"resume with `{shlex.join(words)}`, or choose another --name",
    )


def _check_name(folder: Path, recipe: str) -> None:
    """RunError where a run is of a recipe of another name: their keys need not be compared."""
    was, now = read_record(folder).get("recipe"), read_yaml(recipe, "recipe", lines=False).value.get("name")
    if was is not None and now is not None and was != now:
        raise RunError(
            f"this is a run of {was}, not of {now}",
            where=str(folder),
            remedy=f"give the recipe it was started with ({folder / 'recipe.yaml'} is a copy), or choose "
            "another --name",
        )


def _only_begun(folder: Path, recipe: str) -> bool:
    """Whether a folder holds nothing but the first files of this very run, which may be written again."""
    if {path.name for path in folder.iterdir()} - _EARLY:
        return False
    written = folder / "recipe.yaml"
    return not written.exists() or written.read_bytes() == recipe.encode()


def describe_parts(recipe: Recipe, parts: Parts) -> dict[str, dict[str, Any]]:
    """Name, folder, licence where it is told, and the SHA-256 of each weight file of all parts.

    Raises:
        QuarantinedError: a part must not be used.
    """
    own = recipe.model
    names = {"vision": own.vision, "language": own.language, "checkpoint": own.checkpoint}
    names |= {f"vision-{number}": name for number, name in enumerate(own.more_vision, start=2)}
    described = {}
    for part, place in parts.places().items():
        check_quarantine(place)
        described[part] = {
            "name": names[part],
            "folder": place.name,
            "sha256": weight_digests(place),
            **_licence(place),
        }
    return described


def _licence(place: Path) -> dict[str, str]:
    """What a part's folder says its licence is, and which file says so."""
    found = folder_licence(place)
    return {} if found is None else {"licence": found[0], "licence_from": found[1]}


def check_parts(folder: Path, parts: dict[str, dict[str, Any]]) -> None:
    """RunError where a run was begun with other weights; a record without hashes is not compared."""
    earlier = read_record(folder).get("parts", {})
    for part, facts in parts.items():
        then = earlier.get(part, {}).get("sha256")
        if then is not None and then != facts["sha256"]:
            raise RunError(
                f"the weights of the {part} part ({facts['name']}) changed since the run began",
                where=str(folder / "run.json"),
                remedy="put the old files back, or start a run under another --name",
            )


def new_record(
    recipe: Recipe, folder: Path, parts: dict[str, dict[str, Any]], command: str, ranks: int = 1
) -> dict[str, Any]:
    """The run's record; of earlier starts the first command, the sessions, what was finished, when it began.

    Raises:
        RunError: the record that is there cannot be read.
    """
    earlier = read_record(folder)
    session = begin_session(folder, command, ranks)
    return {
        "name": folder.name,
        "recipe": recipe.name,
        "command": earlier.get("command", command),
        "seed": recipe.seed,
        "created": earlier.get("created", session["started"]),
        **{key: session[key] for key in _WITH},
        "ranks": ranks,
        "status": "running",
        "sessions": [*earlier_sessions(earlier, folder), session],
        "stages": _finished(folder, earlier),
        "best": earlier.get("best", {}),
        "parts": parts,
        "final": None,
    }


def finished_stages(folder: Path) -> set[str]:
    """The stages that the record of a folder calls done."""
    return {row["name"] for row in finished_rows(folder)}


def finished_rows(folder: Path) -> list[dict[str, Any]]:
    """What the record of a folder says of the stages that are done."""
    return _finished(folder, read_record(folder))


def _finished(folder: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of finished stages. One whose model was deleted is not finished: it is trained again."""
    return [row for row in record.get("stages", []) if (folder / str(row.get("model"))).exists()]


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a folder, with nothing in it where there is none.

    Raises:
        RunError: it is damaged.
    """
    path = folder / "run.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for key, kind in (("stages", list), ("sessions", list), ("best", dict), ("parts", dict)):
            if not isinstance(found.get(key, kind()), kind):
                raise TypeError(f"{key} is no {'list' if kind is list else 'object'}")
        for row in found.get("stages", []):
            if not (isinstance(row["name"], str) and isinstance(row["model"], str)):
                raise TypeError("a stage has no name or no model")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(
            f"the run's record cannot be read ({type(error).__name__}: {error})",
            where=str(path),
            remedy="restore it from a copy, or choose another --name; it says which stages are done",
        ) from error
    record: dict[str, Any] = found
    return record


def close(folder: Path, record: dict[str, Any], status: str) -> None:
    """Note how a run ended that did not finish."""
    record["status"] = status
    end_session(record["sessions"][-1], folder, status)
    # The error that ended it is on its way to the user; a full disk must not put another in its place.
    with contextlib.suppress(OSError):
        write_json(folder / "run.json", record)
