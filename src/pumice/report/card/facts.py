"""What the records of a run tell for its card: read, not computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import PumiceError, RunError
from pumice.evaluate.dimensions.records import Training, read_training
from pumice.evaluate.results import RESULTS
from pumice.recipes.load import load_recipe
from pumice.recipes.schema import Recipe
from pumice.report.collect import RunFolder, collect
from pumice.report.evaluated import Evaluated, read_evaluation

QUARANTINED = "QUARANTINED.json"
"""The marker that `pumice data erase` leaves in a folder whose weights saw rows that were erased since."""
EVAL = "eval"


@dataclass(frozen=True)
class Facts:
    """The records of one run.

    Attributes:
        run: its folder, read.
        recipe: as it ran.
        training: sizes, hours, devices.
        evaluations: of tasks and dimensions: the run's own first, then those that were named.
        erased: rows that were erased from its data before it read them; None where the record does not count.
        quarantined: the reasons that stand in markers, each with its place.
    """

    run: RunFolder
    recipe: Recipe
    training: Training
    evaluations: tuple[Evaluated, ...]
    erased: int | None
    quarantined: tuple[tuple[str, str], ...]

    @property
    def mixture(self) -> tuple[Mapping[str, Any], ...]:
        """What each source brought to each stage."""
        return self.run.mixture

    @property
    def parts(self) -> Mapping[str, Mapping[str, Any]]:
        """What the model was built from."""
        found: Mapping[str, Mapping[str, Any]] = self.run.info.get("parts", {})
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources that were trained on, each once."""
        return tuple(dict.fromkeys(str(row["source"]) for row in self.mixture))

    @property
    def counted(self) -> bool:
        """Whether the record counts licences at all."""
        return all("licences" in row for row in self.mixture)

    def licences(self) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
        """For each licence the sources that have rows under it, with their counts, each source once."""
        found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for row in self.mixture:
            for count in row.get("licences", ()):
                own = found.setdefault(count["licence"], [])
                if row["source"] not in [source for source, _ in own]:
                    own.append((row["source"], count))
        return found


def gather(run: Path, evaluations: Sequence[Path] = ()) -> Facts:
    """Read the records of a finished run.

    Args:
        run: its folder.
        evaluations: folders of `pumice eval` and of dimensions, besides the run's own.

    Raises:
        UsageError: the folder is no run's.
        RunError: the run is not finished, its files do not tell, or an evaluation is of another model.
        DataError: a file is malformed.
    """
    folder = collect(run, answers=False)
    training = read_training(run)
    recipe = _recipe(run)
    own = [run / EVAL] if (run / EVAL / RESULTS).is_file() else []
    read = tuple(read_evaluation(place) for place in (*own, *evaluations))
    _check_same(read)
    counts = [row.get("erased") for row in folder.mixture]
    erased = None if None in counts or not counts else _erased(folder.mixture)
    return Facts(folder, recipe, training, read, erased, _quarantined(run))


def _recipe(run: Path) -> Recipe:
    path = run / "recipe.yaml"
    try:
        return load_recipe(str(path))
    except PumiceError as error:
        raise RunError(
            f"the run's recipe cannot be read: {error.what}",
            where=error.where or str(path),
            remedy="restore it from a copy, or write the card with the version that trained it",
        ) from error


def _check_same(read: Sequence[Evaluated]) -> None:
    """Evaluations that say which weights they are of must agree."""
    digests = {one.results["model"]["digest"]: one.path for one in read if one.results["model"]["digest"]}
    if len(digests) > 1:
        raise RunError(
            "the evaluations are of different models",
            where=", ".join(str(path) for path in digests.values()),
            remedy="name those of this run's model alone",
        )


def _erased(mixture: Sequence[Mapping[str, Any]]) -> int:
    by_source = {row["source"]: int(row["erased"]) for row in mixture}
    return sum(by_source.values())


def _quarantined(run: Path) -> tuple[tuple[str, str], ...]:
    found = []
    for marker in sorted({*run.glob(QUARANTINED), *run.glob(f"stages/*/*/{QUARANTINED}")}):
        try:
            reasons = json.loads(marker.read_text(encoding="utf-8"))["reasons"]
            said = "; ".join(dict.fromkeys(str(row["reason"]) for row in reasons))
        except (OSError, ValueError, KeyError, TypeError):
            said = "the marker cannot be read"
        place = marker.parent.relative_to(run)
        found.append(("the run" if place == Path() else str(place), said))
    return tuple(found)
