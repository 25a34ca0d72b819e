"""Dimensions from the words of a command: which, of what model and files, and what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pumice.errors import UsageError

if TYPE_CHECKING:
    from pumice.evaluate.dimensions import Dimension, Subject
    from pumice.model.quantized.forms import Weights

ROWS, LONGEST = 64, 64


@dataclass(frozen=True)
class Opened:
    """Dimensions that can be measured: of whom, and out of which files."""

    subject: Subject
    dimensions: Sequence[Dimension]
    data: Path | None


def open_dimensions(
    model: str,
    names: str,
    data: Path | None,
    *,
    sizes: str | None,
    text_side: Path | None,
    batch_size: int | None,
    template: str | None,
    weights: Weights | None,
) -> Opened:
    """Find the model, the dimensions and what they take; nothing is measured yet.

    Raises:
        UsageError: a word that cannot be carried out, or a dimension lacks what it takes.
        PumiceError: the model cannot be found, or a file or run cannot be used.
    """
    from pumice.cli.tasks import is_hub
    from pumice.evaluate.dimensions import check_all, chosen

    if is_hub(data):
        data = None  # the hub has tasks; dimensions whose files are nowhere say so
    if data is not None and not data.is_dir():
        raise UsageError(f"there is no folder {str(data)!r}", where="--data", remedy="check the path")
    subject = _subject(model, sizes, text_side, batch_size or ROWS, template, weights)
    dimensions = chosen(names, subject, data)
    _used({"--sizes": sizes, "--text-side": text_side}, [one.name for one in dimensions])
    check_all(dimensions, subject, data)
    return Opened(subject, dimensions, data)


def evaluate_dimensions(
    opened: Opened,
    model: str,
    *,
    out: Path | None,
    limit: int | None,
    seed: int,
    batch_size: int | None,
    max_new_tokens: int | None,
    failed: bool = False,
) -> None:
    """Measure dimensions of a model of ours; ends with 1 unless all of them have figures.

    Args:
        opened: which.
        model: as it was named.
        out: the folder of the evaluation.
        limit: about so many questions of each; None for all.
        seed: decides which.
        batch_size: how many are answered at once.
        max_new_tokens: the longest answer.
        failed: whether something else of the same command has no figures.

    Raises:
        PumiceError: the model cannot be loaded.
    """
    from pumice.cli.progress import counting
    from pumice.cli.tasks import closing, default_folder
    from pumice.cli.tasks_view import print_results
    from pumice.evaluate.dimensions import Terms, measure_all
    from pumice.report import write_evaluation_page

    folder = out or default_folder(model, limit)
    terms = Terms(limit, seed, batch_size or ROWS, max_new_tokens or LONGEST)
    with counting() as progress:
        results = measure_all(opened.dimensions, opened.subject, opened.data, folder, terms, progress)
    print_results(results, [one.name for one in opened.dimensions])
    closing(folder, write_evaluation_page(folder))
    if failed or any(results["tasks"][one.name]["state"] != "scored" for one in opened.dimensions):
        raise typer.Exit(1)


def _used(given: dict[str, Any], names: Sequence[str]) -> None:
    for option, name in (("--sizes", "scaling"), ("--text-side", "retrieval")):
        if given[option] is not None and name not in names:
            raise UsageError(
                f"{option} is for the dimension {name}, which is not measured",
                where=option,
                remedy="leave it out",
            )


def _subject(
    model: str,
    sizes: str | None,
    text_side: Path | None,
    rows: int,
    template: str | None,
    weights: Weights | None,
) -> Subject:
    from pumice.cli.models import Loaded, answer_settings, find_model
    from pumice.evaluate.dimensions import Subject
    from pumice.evaluate.results import ModelRecord
    from pumice.evaluate.run import model_digest

    folder = find_model(model)
    loaded = Loaded(rows, template, weights)
    run = _run_of(model)
    others = tuple(Path(name.strip()) for name in (sizes or "").split(",") if name.strip())
    if text_side is not None and not (text_side / "config.json").is_file():
        raise UsageError(
            "the folder holds no checkpoint: there is no config.json",
            where=f"--text-side {text_side}",
            remedy="give the checkpoint that the tower is of, with its text encoder",
        )
    return Subject(
        ModelRecord(kind="local", name=model, digest=model_digest(folder)),
        lambda: loaded.get(folder),
        answer_settings(folder, template, weights),
        run,
        others,
        text_side or _text_side(model, run),
    )


def _run_of(model: str) -> Path | None:
    """The run that a model is the result of: its folder, or that of its folder ``model``."""
    place = Path(model)
    for folder in (place, place.parent if place.name == "model" else place):
        if (folder / "run.json").is_file():
            return folder
    return None


def _text_side(model: str, run: Path | None) -> Path | None:
    """The checkpoint whose tower a model has as it was: a shipped model, or a run that never trained it."""
    from pumice.evaluate.dimensions.towers import has_text_side
    from pumice.world.embedded import FINISHED, PREFIX, names, resolve

    if model.removeprefix(PREFIX) == FINISHED and run is None:
        return resolve(PREFIX + "clip-tiny")
    if run is None:
        return None
    try:
        record = json.loads((run / "run.json").read_text("utf-8"))
        name = str(record["parts"]["vision"]["name"])
        trained = any("vision" in stage["trainable"] for stage in record["stages"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # an older run, or one of a whole checkpoint: the tower's own is not known
    folder = resolve(name) if name in names() else Path(name)
    return folder if not trained and has_text_side(folder) else None
