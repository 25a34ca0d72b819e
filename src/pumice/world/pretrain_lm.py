"""Pretraining of the tiny language model on the teacher's text (``pumice.world.documents``).

Lists come first, then all kinds: look-up has to form before anything else can, and it forms where it
is dense. Layouts teach the model to read places and to look things up in a grid of words before there
is any picture (see docs/architecture.md for why: without them, binding takes hours on a CPU).

Shapes: T tokens, M cells of all layouts of a step, K token slots, D width, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pumice.model.attention import set_attention, visibility_mask
from pumice.model.vlm import predecessors
from pumice.train.grounding import cell_embeddings
from pumice.types import IGNORE_INDEX
from pumice.world import pretraining
from pumice.world.documents import Document

POSITION_WORDS = ("left", "right", "top", "bottom")
DENSE_LATER = 0.4
"""Share of steps on lists after the dense phase."""


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """Sizes and schedule of the language model's pretraining."""

    width: int = 160
    layers: int = 6
    heads: int = 5
    mlp: int = 416
    vocabulary: int = 640
    grid: int = 8
    questions: int = 10
    dense_questions: int = 14
    dense_rows: int = 24
    rows: int = 16
    steps: int = 3600
    dense_steps: int = 700
    warmup: int = 50
    lr: float = 1.5e-3
    init: float = 0.08
    weight_decay: float = 0.05
    noise: float = 0.4
    seed: int = 0
    save_every: int = 250


def build_llama(plan: LanguagePlan, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained LlamaForCausalLM of the plan's sizes."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        intermediate_size=plan.mlp,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        # About 1/sqrt(width). With transformers' 0.02 look-up does not form at this size (docs/LOG.md).
        initializer_range=plan.init,
    )
    torch.manual_seed(plan.seed)
    model = LlamaForCausalLM(config)
    set_attention(model, "auto")
    return model


class LanguageTrainer(pretraining.Trainer):
    """A language model in training; a step is a function of seed and number."""

    NAME, UNIT, FLOOR = "language", "tokens", 0.02
    FIGURES = ("loss",)

    def __init__(
        self,
        plan: LanguagePlan,
        tokenizer: PreTrainedTokenizerFast,
        lists: Sequence[Document],
        mixed: Sequence[Document],
    ) -> None:
        self.plan, self.tokenizer, self.lists, self.mixed = plan, tokenizer, lists, mixed
        self.lm = build_llama(plan, tokenizer)
        words = [tokenizer.encode(" " + w, add_special_tokens=False) for w in POSITION_WORDS]
        assert all(len(w) == 1 for w in words), "place words must be single tokens"
        self.position_ids = torch.tensor([w[0] for w in words])
        super().__init__(plan, {"lists": len(lists), "mixed": len(mixed)}, {"lm": self.lm})

    def _rows(self, step: int) -> list[Document]:
        """Documents of one step, one a row: drawn at random, then a run of like lengths of them.

        Attention over packed rows would cost more than the little padding that is left.
        """
        rng = np.random.default_rng([self.plan.seed, 3, step])
        dense = step < self.plan.dense_steps or rng.random() < DENSE_LATER
        documents, rows = (self.lists, self.plan.dense_rows) if dense else (self.mixed, self.plan.rows)
        drawn = rng.integers(0, len(documents), rows * 4)
        ordered = sorted((documents[int(i)] for i in drawn), key=lambda d: len(d.encoded))
        start = int(rng.integers(4)) * rows
        return ordered[start : start + rows]

    def hidden(self, rows: Sequence[Document], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Hidden states that predict the supervised tokens [S, D], and those tokens [S], row by row."""
        shape = (len(rows), max(len(d.encoded) for d in rows))
        ids, labels = np.zeros(shape, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
        positions, segments, branches = (np.zeros(shape, np.int64) for _ in range(3))
        slots = []
        for r, document in enumerate(rows):
            e, n = document.encoded, len(document.encoded)
            ids[r, :n], labels[r, :n] = e.input_ids, e.labels
            positions[r, :n], branches[r, :n], segments[r, :n] = e.position_ids, e.branch_ids, 1
            if count := len(document.cells.words):
                start = e.image_spans[0].start
                slots.append(np.stack([np.full(count, r), start + np.arange(count)]))
        table: Tensor = self.lm.model.embed_tokens.weight
        embeds = torch.nn.functional.embedding(torch.from_numpy(ids), table)
        if slots:
            words_MK = torch.from_numpy(np.concatenate([d.cells.words for d in rows]))
            places_M2 = torch.from_numpy(np.concatenate([d.cells.places for d in rows]))
            wanted_MD = cell_embeddings(table, words_MK, places_M2, self.position_ids)
            loudness = rng.random((len(rows), 1), dtype=np.float32).repeat(
                [len(d.cells.words) for d in rows], axis=0
            )
            noise = rng.standard_normal(wanted_MD.shape, dtype=np.float32) * loudness * self.plan.noise
            wanted_MD = wanted_MD + torch.from_numpy(noise) * table.detach().std()
            row_M, column_M = torch.from_numpy(np.concatenate(slots, axis=1))
            embeds = embeds.index_put((row_M, column_M), wanted_MD)
        t = {
            n: torch.from_numpy(a)
            for n, a in (("p", positions), ("s", segments), ("b", branches), ("l", labels))
        }
        mask = visibility_mask(t["s"], t["b"])[:, None]
        hidden = self.lm.model(
            inputs_embeds=embeds, position_ids=t["p"], attention_mask=mask, use_cache=False
        ).last_hidden_state
        row_S, column_S = torch.nonzero(t["l"] != IGNORE_INDEX, as_tuple=True)
        before_S = predecessors(row_S, column_S, t["s"], t["b"])
        return hidden[row_S, before_S], t["l"][row_S, column_S]

    def gradients(self, step: int) -> dict[str, float]:
        """Those of the loss per supervised token; returns it and the number of tokens read."""
        rows = self._rows(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, target = self.hidden(rows, np.random.default_rng([self.plan.seed, 4, step]))
            logits = self.lm.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float(), target)
        torch.autograd.backward(loss)
        return {"loss": float(loss.detach()), "tokens": float(sum(len(row.encoded) for row in rows))}

    def drawn(self, step: int) -> list[str]:
        """The kinds of the documents, row by row."""
        return [f"{document.kind} in row {row}" for row, document in enumerate(self._rows(step))]

    @torch.no_grad()
    def answers(self, documents: Sequence[Document]) -> dict[str, tuple[int, int]]:
        """Right and all answers by kind of document and of question, greedy with the truth before it.

        An answer is right when each of its tokens is the likeliest one given the tokens before, which
        is when greedy decoding would write it.
        """
        counts: dict[str, tuple[int, int]] = {}
        for document in documents:
            if document.kind == "caption":
                continue
            hidden, target = self.hidden([document], np.random.default_rng(0))
            right = (self.lm.lm_head(hidden).argmax(-1) == target).numpy()
            branch = document.encoded.branch_ids[document.encoded.labels != IGNORE_INDEX]
            for number, kind in enumerate(document.types, start=1):
                mine = np.flatnonzero(branch == number)
                if mine.size == (document.encoded.branch_ids == number).sum():
                    # Questions are supervised too; the answer stands behind the last "A:".
                    mine = mine[self._answer_start(document, number) :]
                n, total = counts.get(f"{document.kind} {kind}", (0, 0))
                counts[f"{document.kind} {kind}"] = (n + int(right[mine].all()), total + 1)
        return counts

    def _answer_start(self, document: Document, number: int) -> int:
        """Index within a text branch at which the answer starts."""
        ids = document.encoded.input_ids[document.encoded.branch_ids == number]
        newlines = np.flatnonzero(ids == self.tokenizer.encode("\n", add_special_tokens=False)[-1])
        return int(newlines[-1]) + self.prompt_length

    @property
    def prompt_length(self) -> int:
        """Tokens from the newline before ``A:`` to the answer."""
        return 1 + len(self.tokenizer.encode("A:", add_special_tokens=False))


def run(
    trainer: LanguageTrainer,
    held_out: Sequence[Document],
    work: Path,
    report: Callable[[int, int, dict[str, float]], None],
    stop: Callable[[], bool],
) -> dict[str, float]:
    """As ``pretraining.run``; returns accuracy by kind of question."""

    def accuracy() -> dict[str, float]:
        return {k: n / total for k, (n, total) in sorted(trainer.answers(held_out).items())}

    pretraining.run(trainer, work, accuracy, report, stop)
    return accuracy()
