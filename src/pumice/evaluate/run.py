"""The measurement: every variant answers every question, each answer is written as it comes.

OUT/predictions-VARIANT.jsonl grows by whole rows; beside it OUT/predictions-VARIANT.meta.json says
what the rows belong to. An interrupted run goes on where it stopped and asks nothing twice; rows of
another model, other settings or other questions are refused, never mixed. OUT/scores.json is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pumice.data.lines import to_line
from pumice.errors import CheckpointError, DataError, Interrupted, RunError, UsageError
from pumice.evaluate.predictor import Predictor, Prompt, blind, wrong_image
from pumice.evaluate.questions import QuestionSet
from pumice.evaluate.scores import Scores, prediction_row, score
from pumice.files import write_json

Pictures = Literal["own", "removed", "wrong"]
Progress = Callable[[str, int, int], None]
"""Called as (variant, answered, questions): once at the start of a variant, then after every batch."""


@dataclass(frozen=True)
class Variant:
    """One column of the table: who answers, and what becomes of the pictures.

    ``model`` names the weights, ``model_digest`` of the folder being the best name; predictions made by
    another model are not taken up again. The predictor's name when empty. ``settings`` are whatever else
    decides an answer (JSON values by name); predictions made with others are not taken up again either.
    """

    name: str
    predictor: Predictor
    pictures: Pictures = "own"
    model: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        return self.model or self.predictor.name

    def prompts(self, questions: QuestionSet, seed: int) -> list[Prompt]:
        """What this variant is asked, one prompt per question."""
        prompts = questions.prompts()
        if self.pictures == "removed":
            return blind(prompts)
        if self.pictures == "wrong":
            return wrong_image(prompts, seed)
        return prompts


def standard_variants(
    tuned: Predictor,
    aligned: Predictor | None = None,
    *,
    tuned_model: str = "",
    aligned_model: str = "",
    settings: Mapping[str, Any] | None = None,
) -> list[Variant]:
    """The columns of our tables: tuned, the same blind and with wrong images, the model after alignment."""
    shared = dict(settings or {})
    variants = [
        Variant("tuned", tuned, "own", tuned_model, shared),
        Variant("blind", tuned, "removed", tuned_model, shared),
        Variant("wrong-image", tuned, "wrong", tuned_model, shared),
    ]
    if aligned is not None:
        variants.append(Variant("aligned", aligned, "own", aligned_model, shared))
    return variants


def evaluate(
    questions: QuestionSet,
    variants: Sequence[Variant],
    out_dir: Path,
    progress: Progress | None = None,
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> Scores:
    """Asks every variant every question and writes predictions and scores.

    Args:
        questions: what is asked; neighbours share a picture, so that a predictor can encode it once.
        variants: the columns; the first is the one that is measured and tested against the others.
        out_dir: where predictions-VARIANT.jsonl and scores.json go; made if absent.
        progress: told how far each variant is.
        batch_size: prompts per call of ``predict``; a whole batch is written at once.
        seed: decides the wrong images.

    Raises:
        UsageError: no variants, two of one name, or a name that cannot be part of a file's name.
        RunError: the folder holds answers of another model, of other settings or to other questions; a
            predictor gives another number of answers than it was asked for.
        Interrupted: Ctrl-C; the answers so far are kept.
    """
    _check_names(variants)
    out_dir.mkdir(parents=True, exist_ok=True)
    # all folders are checked before the first model is asked
    logs = [_open_log(out_dir, variant, questions, seed) for variant in variants]
    for log in logs:
        write_json(log.record, log.meta)
    answers: dict[str, list[str]] = {}
    for variant, log in zip(variants, logs, strict=True):
        answers[variant.name] = _answer(variant, log, questions, progress, batch_size, seed)
    scores = score(questions, answers, {variant.name: variant.identity for variant in variants})
    write_json(out_dir / "scores.json", scores)
    return scores


def model_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a model folder's weights and JSON files: its identity.

    Raises:
        CheckpointError: the folder holds no safetensors file.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".json"))
    if not any(path.suffix == ".safetensors" for path in files):
        raise CheckpointError(
            "the folder holds no safetensors file",
            where=str(folder),
            remedy="give the folder of a saved model",
        )
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


@dataclass
class _Log:
    """A prediction file and the raw answers it already holds, in the order of the questions."""

    path: Path
    done: list[str]
    record: Path
    meta: dict[str, Any]


def _answer(
    variant: Variant, log: _Log, questions: QuestionSet, progress: Progress | None, batch_size: int, seed: int
) -> list[str]:
    total = len(questions)
    answers = list(log.done)
    if progress:
        progress(variant.name, len(answers), total)
    if len(answers) == total:
        return answers
    prompts = variant.prompts(questions, seed)
    try:
        with log.path.open("a", encoding="utf-8") as stream:
            while len(answers) < total:
                start = len(answers)
                raws = _predict(variant, prompts[start : start + batch_size])
                asked = questions.questions[start : start + len(raws)]
                rows = [prediction_row(q, variant.name, raw) for q, raw in zip(asked, raws, strict=True)]
                stream.write("".join(to_line(row) + "\n" for row in rows))
                stream.flush()
                answers += raws
                if progress:
                    progress(variant.name, len(answers), total)
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"the measurement of {variant.name} was stopped; its answers so far are kept",
            where=str(log.path),
            remedy="run the same command again to go on",
        ) from error
    return answers


def _predict(variant: Variant, prompts: Sequence[Prompt]) -> list[str]:
    raws = variant.predictor.predict(prompts)
    if len(raws) != len(prompts):
        raise RunError(
            f"the predictor gave {len(raws)} answers to {len(prompts)} prompts",
            where=f"{variant.predictor.name} ({variant.name})",
            remedy="a predictor must give one answer per prompt, in order",
        )
    return list(raws)


def _check_names(variants: Sequence[Variant]) -> None:
    names = [variant.name for variant in variants]
    if not names:
        raise UsageError("there is nothing to measure", remedy="give at least one variant")
    for name in names:
        if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
            raise UsageError(
                f"{name!r} cannot name a variant",
                remedy="use letters, digits, '-', '_' and '.': it is in a file's name",
            )
        if names.count(name) > 1:
            raise UsageError(f"two variants are called {name!r}", remedy="give each its own name")


def _open_log(out_dir: Path, variant: Variant, questions: QuestionSet, seed: int) -> _Log:
    path = out_dir / f"predictions-{variant.name}.jsonl"
    meta_path = out_dir / f"predictions-{variant.name}.meta.json"
    meta: dict[str, Any] = {"variant": variant.name, "model": variant.identity, "pictures": variant.pictures}
    meta |= {"questions": questions.digest, "n": len(questions)}
    if variant.pictures == "wrong":
        meta["seed"] = seed
    if variant.settings:
        meta["settings"] = dict(variant.settings)
    answered = path.exists() and path.stat().st_size > 0
    # A record without answers binds nobody: it is of a measurement that never began.
    if meta_path.exists() and answered:
        _check_meta(_read_json(meta_path), meta, path)
    elif answered:
        raise RunError(
            "there are predictions without a record of what they belong to",
            where=str(path),
            remedy=f"remove them or measure into another folder (the record would be {meta_path.name})",
        )
    return _Log(path, _read_answers(path, questions) if path.exists() else [], meta_path, meta)


def _check_meta(found: dict[str, Any], wanted: dict[str, Any], path: Path) -> None:
    words = {"model": "of another model", "questions": "to other questions", "n": "to other questions"}
    words |= {"pictures": "with the pictures treated otherwise", "seed": "to other wrong images"}
    made, make = found.get("settings", {}), wanted.get("settings", {})
    words |= {"settings": "made with other settings"}
    if isinstance(made, dict) and made != make:
        # the one setting that differs says more than all of them
        key = next(key for key in {**make, **made} if key not in made or made[key] != make.get(key))
        raise RunError(
            f"the folder holds answers made with another {key}",
            where=f"{path}: {key} is {made.get(key, 'not recorded')!r}, now {make.get(key)!r}",
            remedy="remove the folder, or measure into another one",
        )
    for key, value in wanted.items():
        if found.get(key) != value:
            raise RunError(
                f"the folder holds answers {words.get(key, 'of another variant')}",
                where=f"{path}: {key} is {found.get(key)!r}, now {value!r}",
                remedy="remove the folder, or measure into another one",
            )


def _read_answers(path: Path, questions: QuestionSet) -> list[str]:
    """The raw answers of a prediction file; a last row that was cut off is removed from it."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    lines = whole.decode("utf-8").split("\n")[:-1]
    if len(lines) > len(questions):
        raise _damaged(path, len(questions), f"it has {len(lines)} rows for {len(questions)} questions")
    answers: list[str] = []
    for place, (line, question) in enumerate(zip(lines, questions.questions, strict=False)):
        try:
            row = json.loads(line)
            identity, raw = row["question_id"], row["raw"]
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(path, place, "it is not a prediction") from error
        if identity != question.id or not isinstance(raw, str):
            raise _damaged(path, place, f"it answers {identity!r}, the question there is {question.id!r}")
        answers.append(raw)
    return answers


def _damaged(path: Path, row: int, what: str) -> DataError:
    return DataError(
        f"a prediction cannot be used: {what}", where=f"{path}, row {row}", remedy="remove the file"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"the record cannot be read ({error})", where=str(path), remedy="remove the folder"
        ) from error
    if not isinstance(content, dict):
        raise DataError("the record is not a JSON object", where=str(path), remedy="remove the folder")
    return content
