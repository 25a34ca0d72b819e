"""``pumice world pretrain``: the two embedded parts from nothing, and a card for each.

    OUT/clip-tiny   a transformers CLIPModel with its tokenizer and image processor
    OUT/lm-tiny     a transformers LlamaForCausalLM with its tokenizer

Both go through the step loop of ``pumice train`` (``train.loop``). Work in progress lies in
``OUT/work-FORMAT``: pictures and tokenizers, and for each part ``metrics.jsonl`` and its states. A killed run
goes on from there and ends as if it had not been killed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

import pumice
from pumice.errors import Interrupted, UsageError
from pumice.image.process import ImageProcessor
from pumice.world import pretrain_lm, pretrain_tower
from pumice.world.documents import Document, corpus, make_documents
from pumice.world.make import FORMAT
from pumice.world.pictures import Pool, picture_pool
from pumice.world.pretrain_lm import LanguagePlan, LanguageTrainer
from pumice.world.pretrain_tower import MEAN, STD, TowerPlan, TowerTrainer
from pumice.world.pretraining import Trainer
from pumice.world.scene import SIDE
from pumice.world.tokenize import load_tokenizer, train_caption_tokenizer, train_language_tokenizer

TOWER, LANGUAGE = "clip-tiny", "lm-tiny"
WORK = f"work-{FORMAT}"
"""The work folder's name: what is drawn, written or asked for otherwise is another pretraining, whose
pictures, tokenizers and states of before are not taken up."""

Report = Callable[[str, int, int, dict[str, float]], None]
"""Told what is done, the step, of how many, and its figures."""


def pretrain(
    out: Path,
    *,
    report: Report,
    workers: int = 2,
    tower_plan: TowerPlan | None = None,
    language_plan: LanguagePlan | None = None,
    pictures: int = 60000,
    documents: int = 15000,
    parts: tuple[str, ...] = (TOWER, LANGUAGE),
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, float]]:
    """Pretrain the embedded parts and save them in transformers' layout.

    Args:
        out: the folder for both; parts that are there already are refused.
        report: called after every few steps.
        workers: processes that draw pictures and write text.
        tower_plan: sizes and schedule of the tower; None is what ships.
        language_plan: sizes and schedule of the language model; None is what ships.
        pictures: training pictures of the tower.
        documents: training documents of each form for the language model.
        parts: which of the two to make.
        stop: asked before each step, and while pictures are drawn and text is written.

    Returns:
        The measured accuracies of each part on held-out scenes.

    Raises:
        UsageError: a part is already there.
        RunError: the work folder holds the state of another pretraining, or as ``train.loop.run_steps``.
        Interrupted: ``stop()`` said so, or Ctrl-C; the same call goes on.
    """
    for name in parts:
        if (out / name).exists():
            raise UsageError(
                f"{name} is already there",
                where=str(out / name),
                remedy="delete it, or choose another folder",
            )
    work = out / WORK
    work.mkdir(parents=True, exist_ok=True)
    doing = ""

    def told(what: str, done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal doing
        doing = f" while {what}, at {done} of {total}"
        report(what, done, total, figures)

    scores = {}
    try:
        if TOWER in parts:
            plan = tower_plan or TowerPlan()
            scores[TOWER] = _tower(out, work, plan, pictures, workers, told, stop)
        if LANGUAGE in parts:
            sizes = language_plan or LanguagePlan()
            scores[LANGUAGE] = _language(out, work, sizes, documents, workers, told, stop)
    except (Interrupted, KeyboardInterrupt) as error:
        left = [name for name in parts if not (out / name).exists()]
        again = "" if len(left) == len(parts) else f" with --part {' --part '.join(left)}"
        raise Interrupted(
            error.what if isinstance(error, Interrupted) else f"stopped{doing}",
            where=str(out),
            remedy=f"run the same command again{again}: drawn pictures are kept, and training goes on from "
            "the step that was saved last",
        ) from error
    return scores


def _tower(
    out: Path,
    work: Path,
    plan: TowerPlan,
    count: int,
    workers: int,
    report: Report,
    stop: Callable[[], bool],
) -> dict[str, float]:
    def drawing(done: int, total: int) -> None:
        report("drawing pictures", done, total, {})
        _heed(stop)

    def pool(seed: int, split: Any, number: int) -> Pool:
        return picture_pool(
            work / "pictures",
            seed=seed,
            level="full",
            split=split,
            count=number,
            grid=plan.grid,
            workers=workers,
            progress=drawing,
        )

    held_out, train = pool(12, "validation", 1000), pool(11, "train", count)
    tokenizer = _tokenizer(
        work / "caption_tokenizer",
        lambda: train_caption_tokenizer((c for cs in train.captions[:20000] for c in cs), 512),
    )
    trainer = TowerTrainer(plan, tokenizer, train)

    def training(done: int, total: int, figures: dict[str, float]) -> None:
        report("pretraining the tower", done, total, figures)

    scores = pretrain_tower.run(trainer, held_out, work, training, stop)
    target = _staging(out / TOWER)
    _halve(trainer.clip)
    trainer.clip.save_pretrained(target)
    tokenizer.save_pretrained(target)
    processor = ImageProcessor(image_size=SIDE, mean=MEAN, std=STD, mode="crop", shortest_edge=SIDE)
    (target / "preprocessor_config.json").write_text(json.dumps(processor.to_dict(), indent=1) + "\n")
    about = (
        "A CLIPModel (ViT and text encoder), pretrained contrastively on captions of generated pictures and "
        "on phrases of their regions, and with a loss that reads each patch's words off layer -2."
    )
    data = f"{len(train)} generated pictures of level full, seed 11, training split"
    told = {
        "center": f"center at layer -2 (all {plan.grid**2} patches of a picture right)",
        "place": f"place at layer -2 (a centre's x and y within {pretrain_tower.PLACE_NEAR} of the side)",
    }
    figures = {told.get(name, f"{name} at layer -2"): value for name, value in scores.items()}
    _finish(target, out / TOWER, trainer, about, data, f"--pictures {count}", figures)
    return scores


def _language(
    out: Path,
    work: Path,
    plan: LanguagePlan,
    count: int,
    workers: int,
    report: Report,
    stop: Callable[[], bool],
) -> dict[str, float]:
    def writing(done: int, total: int) -> None:
        report("writing text", done, total, {})
        _heed(stop)

    folder = work / "language_tokenizer"
    tokenizer = _tokenizer(folder, lambda: train_language_tokenizer(corpus(5, 3000), plan.vocabulary))

    def documents(split: Any, form: str, number: int) -> list[Document]:
        return make_documents(folder, plan, split, form, number, workers, writing)

    held_out = [*documents("validation", "list", 100), *documents("validation", "mixed", 200)]
    trainer = LanguageTrainer(
        plan, tokenizer, documents("train", "list", count), documents("train", "mixed", count)
    )
    scores = pretrain_lm.run(
        trainer, held_out, work, lambda *a: report("pretraining the language model", *a), stop
    )
    target = _staging(out / LANGUAGE)
    _halve(trainer.lm)
    trainer.lm.save_pretrained(target)
    tokenizer.save_pretrained(target)
    about = (
        "A LlamaForCausalLM with its own byte-level BPE tokenizer, pretrained on a text-only teacher's "
        "captions, questions and answers, and on layouts of boxes whose cells are sums of word embeddings. "
        "Below, list stands for questions about the cells of things alone, layout for questions about a "
        "whole grid of cells, text for questions about a caption."
    )
    data = f"{count} lists and {count} mixed documents about generated scenes, training split"
    _finish(target, out / LANGUAGE, trainer, about, data, f"--documents {count}", scores)
    return scores


def _tokenizer(folder: Path, train: Callable[[], PreTrainedTokenizerFast]) -> PreTrainedTokenizerFast:
    """The tokenizer in ``folder``, trained first where there is none."""
    if not folder.exists():
        partial = _staging(folder)
        train().save_pretrained(partial)
        partial.rename(folder)
    return load_tokenizer(folder)


def _heed(stop: Callable[[], bool]) -> None:
    """Stop where there is no step to end."""
    if stop():
        raise KeyboardInterrupt


def _halve(model: nn.Module) -> None:
    model.half()


def _staging(target: Path) -> Path:
    partial = target.with_name(f".{target.name}.writing")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _finish(
    partial: Path,
    target: Path,
    trainer: Trainer,
    about: str,
    data: str,
    option: str,
    scores: dict[str, float],
) -> None:
    """Write the card and move the finished part to its place."""
    weights = (partial / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.items())
    settings = ", ".join(f"{key} {value}" for key, value in trainer.settings.items())
    (partial / "README.md").write_text(
        f"# {target.name}\n\n{about}\n\n"
        f"- Data: {data}. Nothing was downloaded.\n"
        f"- Command: `pumice world pretrain OUT --part {target.name} {option}`"
        f" (Pumice {pumice.__version__}, torch {torch.__version__})\n"
        f"- Trained for {trainer.seconds / 60:.0f} minutes on {torch.get_num_threads()} threads\n"
        f"- Settings: {settings}\n"
        f"- Weights: float16, {len(weights) / 1e6:.1f} MB, SHA-256 `{digest}`\n"
        f"- Licence: Apache-2.0, as Pumice itself\n\n"
        f"Accuracy on held-out scenes:\n\n| what | share right |\n|---|---|\n{rows}\n",
        encoding="utf-8",
    )
    partial.rename(target)
