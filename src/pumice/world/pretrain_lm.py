"""Pretraining of the tiny language model on the teacher's text.

Three kinds of document, all written by the text-only teacher from captions and boxes:
  text     a caption, then questions about it, as branches over the caption
  layout   the boxes laid out on a grid, each cell the sum of its words' embeddings, then questions
  caption  the same grid, then the caption
Layouts teach the model to read places and to look things up in a grid of words before there is any
picture (see docs/architecture.md for why: without them, binding takes hours on a CPU).

Shapes: B rows, T tokens, N layouts, P cells, K token slots, D width.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pumice.generate.protocol import Kind, Turn
from pumice.model.attention import set_attention, visibility_mask
from pumice.model.vlm import predecessors
from pumice.text.render import render
from pumice.text.templates import get_template
from pumice.train.grounding import cell_embeddings, cell_tokens
from pumice.types import IGNORE_INDEX, Encoded, Image, Message, Text
from pumice.world.pictures import scenes
from pumice.world.samples import scene_regions, scene_text, with_prompt
from pumice.world.scene import Scene, Split
from pumice.world.teacher import WorldTeacher

CENTER_WORD = "object"
POSITION_WORDS = ("left", "right", "top", "bottom")
WHOLE_TEXT = 0.25
"""Share of text documents in which captions and questions are learnt too, not only answers: they are
mostly chance, and would drown the few tokens that must be looked up."""
TERSE = 0.75
"""Share of documents whose short questions go without LLaVA's response-format prompt: it is ten tokens
long, and that it asks for a word is learnt from few examples."""


@dataclass(frozen=True, slots=True)
class LanguagePlan:
    """Sizes and schedule of the language model's pretraining."""

    width: int = 160
    layers: int = 6
    heads: int = 5
    mlp: int = 416
    vocabulary: int = 640
    grid: int = 8
    documents: int = 40000
    questions: int = 10
    rows: int = 16
    steps: int = 2200
    warmup: int = 100
    lr: float = 2.5e-3
    weight_decay: float = 0.05
    noise: float = 0.5
    seed: int = 0
    save_every: int = 250


@dataclass(frozen=True, slots=True)
class Document:
    """One training text; ``cells`` int32 [P, K] when it has a layout."""

    encoded: Encoded
    cells: NDArray[np.int32] | None
    types: tuple[str, ...]


def corpus(seed: int, count: int) -> list[str]:
    """Plain text to train the tokenizer on: all the teacher writes about ``count`` scenes."""
    teacher = WorldTeacher(seed)
    texts = []
    source = scenes(seed, "full", "train")
    kinds: tuple[Kind, ...] = ("conversation", "detail", "reasoning", "short", "existence", "correction")
    for _ in range(count):
        scene = scene_text(next(source))
        texts += scene.captions[:3]
        for kind in kinds:
            for turn in teacher.write(scene, kind):
                # Twice: an answer may follow a space or a newline, so both forms need a token.
                texts += [f"Q: {with_prompt(turn)}\nA: {turn.answer}", turn.answer]
    return texts


def choose_turns(
    teacher: WorldTeacher, scene: Scene, rng: np.random.Generator, count: int, *, sentences: bool
) -> list[Turn]:
    """A mixture of turns about a scene: mostly short look-ups, with one description or conversation."""
    text = scene_text(scene)
    short = list(teacher.write(text, "short"))
    existence = list(teacher.write(text, "existence"))
    wrong = list(teacher.write(text, "correction"))
    kinds: tuple[Kind, ...] = ("conversation", "reasoning", "detail") if sentences else ("reasoning", "detail")
    long = [t for kind in kinds for t in teacher.write(text, kind)]
    picked = [short[i] for i in rng.permutation(len(short))[: count - 4]]
    signs = [t for t in short if t.type.startswith("sign") and t not in picked]
    picked += [existence[i] for i in rng.permutation(len(existence))[:2]]
    picked += [wrong[i] for i in rng.permutation(len(wrong))[:1]]
    picked += [long[i] for i in rng.permutation(len(long))[:1]]
    return [*picked, *signs]


def _pair(turn: Turn, *, image: bool, terse: bool) -> list[Message]:
    asked = turn.question if terse else with_prompt(turn)
    parts = (Image(0), Text("\n" + asked)) if image else (Text(asked),)
    return [Message("user", parts), Message("assistant", (Text(turn.answer),))]


def _documents(task: tuple[str, LanguagePlan, Split, int, int]) -> list[Document]:
    folder, plan, split, start, count = task
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template, plain = get_template("tiny"), get_template("plain")
    teacher = WorldTeacher(plan.seed)
    source = scenes(plan.seed, "full", split, start=start)
    image_id = tokenizer.unk_token_id  # byte-level text never holds it
    size = plan.grid * plan.grid

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    out = []
    for _ in range(count):
        scene = next(source)
        rng = np.random.default_rng([plan.seed, 7, *scene.id.encode()])
        draw = rng.random()
        terse = bool(rng.random() < TERSE)
        turns = choose_turns(teacher, scene, rng, plan.questions, sentences=not terse)
        cells = cell_tokens(scene_regions(scene), plan.grid, encode, CENTER_WORD)
        if draw < 0.3:
            # A caption says in which ninth things are; which of two is further left it may not say.
            turns = [t for t in turns if t.type != "relation"]
            context = Message("system", (Text(scene.captions[int(rng.integers(2))]),))
            messages = [context] + [m for t in turns for m in _pair(t, image=False, terse=terse)]
            encoded = render(
                messages, tokenizer, template, image_lengths=[], image_token_id=image_id, branch_turns=True
            )
            if rng.random() < WHOLE_TEXT:
                labels = encoded.input_ids.copy()
                labels[0] = IGNORE_INDEX
                encoded = replace(encoded, labels=labels)
            out.append(Document(encoded, None, tuple(t.type for t in turns)))
        elif draw < 0.9:
            messages = [m for i, t in enumerate(turns) for m in _pair(t, image=i == 0, terse=terse)]
            encoded = render(
                messages, tokenizer, template, image_lengths=[size], image_token_id=image_id, branch_turns=True
            )
            out.append(Document(encoded, cells, tuple(t.type for t in turns)))
        else:
            caption = scene.captions[int(rng.integers(5))]
            pair = [Message("user", (Image(0),)), Message("assistant", (Text(caption),))]
            encoded = render(pair, tokenizer, plain, image_lengths=[size], image_token_id=image_id)
            out.append(Document(encoded, cells, ("caption",)))
    return out


def make_documents(
    folder: Path, plan: LanguagePlan, split: Split, count: int, workers: int, progress: Callable[[int, int], None]
) -> list[Document]:
    """Write and encode ``count`` documents about scenes of a split."""
    chunk = 250
    starts = range(0, -(-count // chunk))
    tasks = [(str(folder), plan, split, n * chunk * 20, chunk) for n in starts]
    documents: list[Document] = []
    with ProcessPoolExecutor(workers) as executor:
        for part in executor.map(_documents, tasks):
            documents += part
            progress(len(documents), count)
    return documents[:count]


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
    )
    torch.manual_seed(plan.seed)
    model = LlamaForCausalLM(config)
    set_attention(model, "auto")
    return model


class LanguageTrainer:
    """The state of the language model's pretraining; a step is a function of seed and number."""

    def __init__(
        self, plan: LanguagePlan, tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]
    ) -> None:
        self.plan, self.tokenizer, self.documents = plan, tokenizer, documents
        self.lm = build_llama(plan, tokenizer)
        words = [tokenizer.encode(" " + w, add_special_tokens=False) for w in POSITION_WORDS]
        assert all(len(w) == 1 for w in words), "place words must be single tokens"
        self.position_ids = torch.tensor([w[0] for w in words])
        matrices = [p for p in self.lm.parameters() if p.ndim >= 2]
        vectors = [p for p in self.lm.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=plan.lr,
            betas=(0.9, 0.98),
        )
        self.step = 0
        self._order: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._epoch = -1

    def _rows(self, step: int) -> list[list[int]]:
        """Documents of one step, one a row: drawn at random, then a run of like lengths of them.

        Attention over packed rows would cost more than the little padding that is left.
        """
        rng = np.random.default_rng([self.plan.seed, 3, step])
        drawn = rng.integers(0, len(self.documents), self.plan.rows * 4)
        ordered = sorted((int(i) for i in drawn), key=lambda i: len(self.documents[i].encoded))
        start = int(rng.integers(4)) * self.plan.rows
        return [[i] for i in ordered[start : start + self.plan.rows]]

    def hidden(self, rows: Sequence[Sequence[int]], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states that predict the supervised tokens [S, D], those tokens [S], their document [S]."""
        shape = (len(rows), max(sum(len(self.documents[i].encoded) for i in row) for row in rows))
        ids, labels = np.zeros(shape, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
        positions, segments, branches = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        owner = np.zeros(shape, np.int64)
        cells, places = [], []
        for r, row in enumerate(rows):
            at = 0
            for s, index in enumerate(row):
                document = self.documents[index]
                span = slice(at, at + len(document.encoded))
                e = document.encoded
                ids[r, span], labels[r, span] = e.input_ids, e.labels
                positions[r, span], branches[r, span] = e.position_ids, e.branch_ids
                segments[r, span], owner[r, span] = s + 1, index
                if document.cells is not None:
                    cells.append(document.cells)
                    places.append((r, at + e.image_spans[0].start))
                at = span.stop
        table = self.lm.get_input_embeddings().weight
        embeds = torch.nn.functional.embedding(torch.from_numpy(ids), table)
        if cells:
            wanted = cell_embeddings(table, torch.from_numpy(np.stack(cells)), self.position_ids, self.plan.grid)
            scale = self.plan.noise * table.detach().std() * torch.from_numpy(rng.random((len(cells), 1, 1))).float()
            wanted = wanted + scale * torch.from_numpy(rng.standard_normal(wanted.shape, dtype=np.float32))
            row_N1 = torch.tensor([[r] for r, _ in places])
            column_NP = torch.tensor([[c] for _, c in places]) + torch.arange(wanted.shape[1])
            embeds = embeds.index_put((row_N1.expand_as(column_NP), column_NP), wanted)
        t = {n: torch.from_numpy(a) for n, a in (("p", positions), ("s", segments), ("b", branches), ("l", labels))}
        mask = visibility_mask(t["s"], t["b"])[:, None]
        hidden = self.lm.model(
            inputs_embeds=embeds, position_ids=t["p"], attention_mask=mask, use_cache=False
        ).last_hidden_state
        row_S, column_S = torch.nonzero(t["l"] != IGNORE_INDEX, as_tuple=True)
        before_S = predecessors(row_S, column_S, t["s"], t["b"])
        return hidden[row_S, before_S], t["l"][row_S, column_S], torch.from_numpy(owner)[row_S, column_S]

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the loss per token and the number of tokens read."""
        plan = self.plan
        progress = max(0.0, (self.step - plan.warmup) / max(1, plan.steps - plan.warmup))
        rate = min(1.0, (self.step + 1) / plan.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
        for group in self.optimizer.param_groups:
            group["lr"] = plan.lr * rate
        rows = self._rows(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, target, _ = self.hidden(rows, np.random.default_rng([plan.seed, 4, self.step]))
            logits = self.lm.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float(), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.lm.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        tokens = sum(len(self.documents[i].encoded) for row in rows for i in row)
        return {"loss": float(loss.detach()), "tokens": float(tokens)}

    @torch.no_grad()
    def answers(self, documents: Sequence[Document]) -> dict[str, tuple[int, int]]:
        """Right and all answers by ``layout type`` or ``text type``, greedy with the truth before it.

        An answer is right when each of its tokens is the likeliest one given the tokens before, which
        is when greedy decoding would write it.
        """
        kept, self.documents = self.documents, documents
        counts: dict[str, tuple[int, int]] = {}
        try:
            for index, document in enumerate(documents):
                if document.types == ("caption",):
                    continue
                hidden, target, _ = self.hidden([[index]], np.random.default_rng(0))
                right = (self.lm.lm_head(hidden).argmax(-1) == target).numpy()
                branch = document.encoded.branch_ids[document.encoded.labels != IGNORE_INDEX]
                where = "layout" if document.cells is not None else "text"
                for number, kind in enumerate(document.types, start=1):
                    mine = np.flatnonzero(branch == number)
                    if mine.size == (document.encoded.branch_ids == number).sum():
                        # Questions are supervised too; the answer stands behind the last "A:".
                        mine = mine[self._answer_start(document, number) :]
                    n, total = counts.get(f"{where} {kind}", (0, 0))
                    counts[f"{where} {kind}"] = (n + int(right[mine].all()), total + 1)
        finally:
            self.documents = kept
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

    def state(self) -> dict[str, object]:
        """Everything a resumed run needs."""
        return {
            "lm": self.lm.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "plan": asdict(self.plan),
        }

    def load(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        self.lm.load_state_dict(state["lm"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])


def run(
    trainer: LanguageTrainer,
    held_out: Sequence[Document],
    work: Path,
    report: Callable[[int, int, dict[str, float]], None],
) -> dict[str, float]:
    """Train to the plan's end, saving on the way; returns accuracy by kind of question."""

    def accuracy() -> dict[str, float]:
        return {k: n / total for k, (n, total) in sorted(trainer.answers(held_out).items())}

    saved = work / "language.pt"
    if saved.exists():
        trainer.load(saved)
    began, tokens = time.monotonic(), 0.0
    while trainer.step < trainer.plan.steps:
        result = trainer.train_step()
        tokens += result["tokens"]
        if trainer.step % 25 == 0:
            rate = tokens / (time.monotonic() - began)
            report(trainer.step, trainer.plan.steps, {"loss": result["loss"], "tokens/s": rate})
        if trainer.step % trainer.plan.save_every == 0 or trainer.step == trainer.plan.steps:
            partial = saved.with_suffix(".tmp")
            torch.save(trainer.state(), partial)
            partial.replace(saved)
            report(trainer.step, trainer.plan.steps, accuracy())
    return accuracy()
