"""Models by name or folder: found before anything heavy is imported, loaded one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from pumice.errors import CheckpointError, suggest

if TYPE_CHECKING:
    from pumice.evaluate import Prompt
    from pumice.evaluate.local import LocalAnswerer
    from pumice.infer import Generator
    from pumice.model.planned import Kind
    from pumice.model.quantized.forms import Weights
    from pumice.recipes.schema import Model
    from pumice.train.record import Parts

WeightsOption = Annotated[
    Literal["fp32", "fp16", "bf16", "int8", "int4"] | None,
    typer.Option(
        "--weights",
        help="Of the language model's layers: fewer bits are faster and take less memory, and int4 costs "
        "some of the quality (docs/quantization.md).",
        show_default="fp32 on a CPU, bf16 on a GPU; a quantised folder's own",
    ),
]
QuarantinedOption = Annotated[
    bool,
    typer.Option(
        "--allow-quarantined",
        help="Load weights all the same that saw rows which were erased since (docs/lineage.md).",
    ),
]
LEAST_CACHE = 256 << 20
"""Bytes of keys and values on a GPU that is nearly full."""


def find_model(name: str, *, allow_quarantined: bool = False) -> Path:
    """The folder of a model: a shipped one by name, a checkpoint's folder, or a run's finished model, the run
    by its name or its folder; behind ``hub:`` a repository of the hub, fetched where the cache lacks it.

    Raises:
        CheckpointError: there is no such model; the remedy names the nearest.
        QuarantinedError: there is, and its weights must not be used, unless ``allow_quarantined``.
    """
    from pumice.lineage.quarantine import check_quarantine

    folder = _model_folder(name)
    if not allow_quarantined:
        check_quarantine(folder)
    return folder


def _model_folder(name: str) -> Path:
    from pumice.types import HUB
    from pumice.world.embedded import resolve

    try:
        if name.startswith(HUB):
            from pumice.model.hub import fetch_checkpoint

            folder = fetch_checkpoint(name.removeprefix(HUB))
        else:
            folder = run_named(name) or resolve(name, "model")
    except CheckpointError as error:
        if near := _near_run(name):
            error.remedy = f"did you mean {near}? Or {error.remedy}"
        raise
    if any((folder / mark).is_file() for mark in ("config.json", "adapter_config.json")):
        return folder
    if (folder / "run.json").is_file():
        if (folder / "model" / "config.json").is_file():
            return folder / "model"
        raise CheckpointError(
            "this run has no finished model yet",
            where=name,
            remedy=f"resume its training, or give the folder of one stage: {folder}/stages/NAME/model",
        )
    raise CheckpointError(
        "the folder holds no model: there is no config.json",
        where=name,
        remedy="give a folder in transformers' LLaVA layout, an adapter's, or that of a finished run",
    )


def run_named(name: str, runs: Path = Path("runs")) -> Path | None:
    """The folder of the run that a name means, where it means no folder and no model that ships.

    ``chat tiny`` stays the shipped model; a run of that name is ``runs/tiny``.
    """
    from pumice.world.embedded import FINISHED

    plain = name not in ("", ".", "..", FINISHED) and not any(mark in name for mark in "/\\")
    folder = runs / name
    return folder if plain and not Path(name).is_dir() and (folder / "run.json").is_file() else None


def _near_run(name: str, runs: Path = Path("runs")) -> Path | None:
    """A run whose name or folder looks like the name that was given."""
    known = {run.parent.name: run.parent for run in runs.glob("*/run.json")}
    asked = name.removeprefix(f"{runs}/").partition("/")[0]
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.6)
    return known[near[0]] if near else None


def find_parts(model: Model, runs: Path) -> Parts:
    """The folders of a recipe's model block.

    Args:
        model: the block.
        runs: the folder of runs; random parts are made and kept in its cache.

    Raises:
        CheckpointError: a name that is not known, no such folder, or a repository that cannot be fetched.
    """
    from pumice.train.record import Parts

    def one(name: str | None, kind: Kind) -> Path | None:
        return None if name is None else find_part(name, kind, runs)

    return Parts(
        vision=one(model.vision, "vision"),
        language=one(model.language, "language"),
        more_vision=tuple(find_part(name, "vision", runs) for name in model.more_vision),
        checkpoint=one(model.checkpoint, "checkpoint"),
    )


def find_part(name: str, kind: Kind, runs: Path) -> Path:
    """The folder of one part: a path, or a name behind ``embedded:``, ``hub:`` or ``random:``.

    Raises:
        CheckpointError: as ``find_parts``.
        QuarantinedError: its weights must not be used.
    """
    from pumice.lineage.quarantine import check_quarantine

    folder = _part_folder(name, kind, runs)
    check_quarantine(folder)
    return folder


def _part_folder(name: str, kind: Kind, runs: Path) -> Path:
    from pumice.recipes.values import RANDOM
    from pumice.types import HUB
    from pumice.world.embedded import resolve

    if name.startswith(RANDOM):
        return _random(name.removeprefix(RANDOM), kind, runs)
    if name.startswith(HUB):
        from pumice.model.hub import fetch_checkpoint

        return fetch_checkpoint(name.removeprefix(HUB))
    return resolve(name, kind)


def _random(name: str, kind: Kind, runs: Path) -> Path:
    """A tiny part of random weights, of the kind that is asked for."""
    from pumice.data.index import CACHE_FOLDER
    from pumice.model import random_parts

    known = {
        "vision": random_parts.VISION,
        "language": random_parts.LANGUAGE,
        "checkpoint": random_parts.CHECKPOINTS,
    }
    if name not in known[kind]:
        other = next((f"; it is one for model.{key}" for key in known if name in known[key]), "")
        raise CheckpointError(
            f"there is no random part {name!r} for model.{kind}{other}",
            where=f"{random_parts.PREFIX}{name}",
            remedy=f"{suggest(name, known[kind])}; behind {random_parts.PREFIX}",
        )
    return random_parts.random_part(name, runs / CACHE_FOLDER / "parts" / str(random_parts.FORMAT))


def label(name: str) -> str:
    """A short name for a model: of ``runs/tiny/model`` it is ``tiny``, of ``hub:ORG/NAME`` its ``NAME``."""
    from pumice.types import HUB

    if name.startswith(HUB):
        return name.rpartition("/")[2] or "model"
    path = Path(name.removeprefix("embedded:"))
    return path.parent.name if path.name == "model" and path.parent.name else path.name or "model"


def answer_device() -> str:
    """Where models answer: a GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def answer_settings(folder: Path, template: str | None, weights: Weights | None) -> dict[str, Any]:
    """What decides the answers of a model besides itself and their length, for the record of an evaluation.

    Raises:
        CheckpointError: the folder is quantised in another way than was asked for.
    """
    from pumice.infer.weights import chosen_weights, settings_of

    return {"template": template, **settings_of(chosen_weights(folder, weights, answer_device()))}


def load_generator(
    folder: Path,
    *,
    template: str | None = None,
    rows: int = 64,
    weights: Weights | None = None,
    allow_quarantined: bool = False,
) -> Generator:
    """A model that is ready to answer, on a GPU where there is one.

    ``weights`` are those of ``load_to_answer``: by default a quantised folder's own, else float32 on a CPU
    and bfloat16 on a GPU. ``allow_quarantined`` loads what must not be used all the same.

    Raises:
        CheckpointError: the folder holds no model that fits, or is quantised in another way.
        QuarantinedError: its weights must not be used.
    """
    import torch

    from pumice.infer import Generator
    from pumice.infer.weights import load_to_answer
    from pumice.model.folder import kind_of

    kind_of(folder)
    device = answer_device()
    model, tokenizer, processor = load_to_answer(
        folder, weights, template=template, device=device, allow_quarantined=allow_quarantined
    )
    if device == "cpu":
        return Generator(model, tokenizer, processor, max_rows=rows)
    free, _ = torch.cuda.mem_get_info()
    # The other half is for pictures in the tower, scores over the vocabulary and the allocator's reserve.
    return Generator(model, tokenizer, processor, max_rows=rows, cache_bytes=max(free // 2, LEAST_CACHE))


def local_answerer(model: str, rows: int, template: str | None, weights: Weights | None) -> LocalAnswerer:
    """A model as it answers tasks; it is loaded when the first question is put.

    Raises:
        CheckpointError: there is no such model, or it is quantised in another way.
    """
    from pumice.evaluate.local import LocalAnswerer
    from pumice.evaluate.results import ModelRecord
    from pumice.evaluate.run import model_digest

    folder = find_model(model)
    settings = answer_settings(folder, template, weights)
    record = ModelRecord(kind="local", name=model, digest=model_digest(folder))
    loaded = Loaded(rows, template, weights)
    return LocalAnswerer(record, lambda: loaded.get(folder), settings, rows)


class Loaded:
    """The one model in memory: asking for another lets go of it first.

    ``template`` is the conversation template that all are asked with; each model's own when None.
    ``weights`` are as for ``load_generator``.
    """

    def __init__(self, rows: int = 64, template: str | None = None, weights: Weights | None = None) -> None:
        self.rows, self.template, self.weights = rows, template, weights
        self._folder: Path | None = None
        self._generator: Generator | None = None

    def get(self, folder: Path) -> Generator:
        """The model of a folder, loaded if it is not the one in memory."""
        if self._generator is None or self._folder != folder:
            self._generator = None
            self._generator = load_generator(
                folder, template=self.template, rows=self.rows, weights=self.weights
            )
            self._folder = folder
        return self._generator


class FolderPredictor:
    """A model folder as the measurement sees it: prompts in, answers out. Loaded at the first prompt."""

    def __init__(self, folder: Path, loaded: Loaded, max_new_tokens: int) -> None:
        self.folder, self.loaded, self.max_new_tokens = folder, loaded, max_new_tokens

    @property
    def name(self) -> str:
        return str(self.folder)

    def predict(self, prompts: Sequence[Prompt]) -> list[str]:
        """One answer for each prompt, greedy."""
        generator = self.loaded.get(self.folder)
        return generator.answer([(prompt.text, prompt.images) for prompt in prompts], self.max_new_tokens)
