"""The other side of a training benchmark: transformers' LlavaForConditionalGeneration with its Trainer.

It gets what it needs ready-made: token ids and labels of our renderer, so that both sides learn the same;
pictures it reads itself, with transformers' processor, as a data set of its users does.

Legend: B rows, T tokens, C channels, H height, W width.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    LlavaForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from pumice.bench.worker import Spec, Took, peak_bytes, rates
from pumice.data import build_plan, read_samples
from pumice.model.attach import is_addition, peft
from pumice.model.parts import load_tokenizer, quiet
from pumice.recipes.schema import Lora
from pumice.text.render import render
from pumice.text.resolve import resolve_template
from pumice.types import IGNORE_INDEX, IntArray

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A rendered sample: int64 [T] each, and its picture's file."""

    input_ids: IntArray
    labels: IntArray
    image: Path


def read_rows(spec: Spec) -> list[Row]:
    """All rows of the stage in the order of the file."""
    folder = Path(spec.folder)
    tokenizer = load_tokenizer(folder / "model")
    config = json.loads((folder / "model" / "config.json").read_text("utf-8"))
    template = resolve_template("plain" if spec.stage == "align" else "v1", tokenizer)
    rows = []
    for sample in read_samples(folder / f"{spec.stage}.json", folder / "images"):
        encoded = render(
            sample.messages,
            tokenizer,
            template,
            image_lengths=[int(config["image_seq_length"])],
            image_token_id=int(config["image_token_index"]),
        )
        picture = sample.images[0]
        assert isinstance(picture, Path)
        rows.append(Row(encoded.input_ids, encoded.labels, picture))
    return rows


def order_of(spec: Spec, rows: Sequence[Row]) -> list[int]:
    """The rows of all steps one after another: those of our plan, each step's in the side's own order."""
    lengths = np.array([len(row.input_ids) for row in rows])
    learnt = np.array([int((row.labels != IGNORE_INDEX).sum()) for row in rows])
    plan = build_plan(
        lengths,
        learnt,
        seed=spec.seed,
        samples_per_step=spec.samples,
        row_length=spec.row_length,
        steps=spec.steps,
    )
    order: list[int] = []
    for step in range(spec.steps):
        chosen = sorted(plan.samples(step))
        np.random.default_rng((spec.seed, step)).shuffle(chosen)
        if spec.side == "grouped":
            chosen = _evenly(chosen, lengths, spec.samples // spec.micro)
        order += chosen
    if spec.side == "sorted":
        order = _sorted(order, lengths, spec)
    return order


def _evenly(step: Sequence[int], lengths: IntArray, parts: int) -> list[int]:
    """LLaVA's grouping (``split_to_even_chunks``): rows by length, each to the part that has least."""
    room = len(step) // parts
    chunks: list[list[int]] = [[] for _ in range(parts)]
    for row in sorted(step, key=lambda i: -int(lengths[i])):
        open_chunks = [chunk for chunk in chunks if len(chunk) < room] or chunks
        min(open_chunks, key=lambda chunk: sum(int(lengths[i]) for i in chunk)).append(row)
    return [row for chunk in chunks for row in chunk]


def _sorted(order: Sequence[int], lengths: IntArray, spec: Spec) -> list[int]:
    """transformers' ``group_by_length``: all rows of a window of 50 micro-batches by length."""
    window = 50 * spec.micro
    groups = [order[start : start + window] for start in range(0, len(order), window)]
    return [row for group in groups for row in sorted(group, key=lambda i: -int(lengths[i]))]


class Items(torch.utils.data.Dataset[Item]):
    """Rows with pixels, read when asked for."""

    def __init__(self, rows: Sequence[Row], processor: Any) -> None:
        self.rows, self.processor = rows, processor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        row = self.rows[index]
        with PIL.Image.open(row.image) as image:
            pixels_1CHW = self.processor(image.convert("RGB"), return_tensors="pt")["pixel_values"]
        return {"input_ids": row.input_ids, "labels": row.labels, "pixel_values": pixels_1CHW[0]}


class Collator:
    """Pads rows to the longest; counts places, tokens and supervised tokens of each batch."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id
        self.seen: list[tuple[int, int, int]] = []

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        lengths = [len(item["input_ids"]) for item in items]
        shape = (len(items), max(lengths))
        ids_BT = torch.full(shape, self.pad_id)
        labels_BT = torch.full(shape, IGNORE_INDEX)
        mask_BT = torch.zeros(shape, dtype=torch.int64)
        for number, (item, length) in enumerate(zip(items, lengths, strict=True)):
            ids_BT[number, :length] = torch.from_numpy(item["input_ids"])
            labels_BT[number, :length] = torch.from_numpy(item["labels"])
            mask_BT[number, :length] = 1
        self.seen.append((ids_BT.numel(), sum(lengths), int((labels_BT != IGNORE_INDEX).sum())))
        pixels_BCHW = torch.stack([item["pixel_values"] for item in items])
        return {
            "input_ids": ids_BT,
            "labels": labels_BT,
            "attention_mask": mask_BT,
            "pixel_values": pixels_BCHW,
        }


class Watch(TrainerCallback):
    """When each step ended, and its loss."""

    def __init__(self) -> None:
        self.ended: list[float] = []
        self.losses: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ended.append(time.monotonic())

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


class OrderedTrainer(Trainer):
    """Takes the rows as they lie, with a learning rate for each part that trains."""

    def __init__(self, *given: Any, rates: dict[str, float], **named: Any) -> None:
        super().__init__(*given, **named)
        self.rates = rates

    def _get_train_sampler(self, *given: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW as Trainer's default."""
        model = self.model
        assert model is not None
        groups = [
            {"params": [p for p in part.parameters() if p.requires_grad], "lr": self.rates[name]}
            for name, part in parts_of(model).items()
            if name in self.rates
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
        return self.optimizer


def parts_of(model: Any) -> dict[str, torch.nn.Module]:
    """transformers' modules by our names of parts; the head beside the language model's body."""
    body = model.model
    language = torch.nn.ModuleList([body.language_model, model.lm_head])
    return {"connector": body.multi_modal_projector, "language": language, "vision": body.vision_tower}


def _attach(model: Any) -> None:
    """PEFT's additions to all linear layers of the language model, of the size that ``lora: {}`` has."""
    lm = model.model.language_model
    names = {
        name.rpartition(".")[2] for name, module in lm.named_modules() if isinstance(module, torch.nn.Linear)
    }
    lora = Lora()
    config = peft().LoraConfig(
        r=lora.rank, lora_alpha=int(lora.alpha), lora_dropout=lora.dropout, target_modules=sorted(names)
    )
    peft().inject_adapter_in_model(config, lm)
    for name, parameter in parts_of(model)["language"].named_parameters():
        parameter.requires_grad_(is_addition(name))


def run(spec: Spec) -> Took:
    """Train by Trainer."""
    set_seed(spec.seed)
    rows = read_rows(spec)
    folder = Path(spec.folder) / "model"
    # Of large models people hold what is frozen in bfloat16.
    frozen = spec.lora or (spec.bare and spec.stage == "align")
    kind = torch.bfloat16 if frozen and spec.precision == "bf16" else torch.float32
    with quiet():
        model: Any = LlavaForConditionalGeneration.from_pretrained(folder, dtype=kind)
    chosen = rates(spec.stage)
    for name, part in parts_of(model).items():
        part.requires_grad_(name in chosen)
    if spec.lora:
        _attach(model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    processors: Any = AutoImageProcessor
    processor = processors.from_pretrained(folder, use_fast=False)
    collator, watch = Collator(int(model.config.pad_token_id or 0)), Watch()
    arguments = TrainingArguments(
        output_dir=str(Path(spec.work) / "trainer"),
        per_device_train_batch_size=spec.micro,
        gradient_accumulation_steps=spec.samples // spec.micro,
        max_steps=spec.steps,
        lr_scheduler_type="cosine",
        warmup_steps=0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        bf16=spec.precision == "bf16",
        gradient_checkpointing=spec.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=not torch.cuda.is_available(),
        seed=spec.seed,
    )
    trainer = OrderedTrainer(
        model,
        arguments,
        rates=chosen,
        train_dataset=Items([rows[i] for i in order_of(spec, rows)], processor),
        data_collator=collator,
        callbacks=[watch],
    )
    with quiet():
        trainer.train()
    batches = collator.seen[spec.samples // spec.micro : spec.steps * (spec.samples // spec.micro)]
    places, tokens, supervised = (sum(column) for column in zip(*batches, strict=True))
    return Took(watch.ended[-1] - watch.ended[0], peak_bytes(), watch.losses, supervised, tokens, places)
