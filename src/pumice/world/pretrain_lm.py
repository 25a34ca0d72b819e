"""Pretraining of the tiny language model on the teacher's text.

Four kinds of document, all written by the text-only teacher from captions and boxes:
  text     a caption, then questions about it, as branches over the caption
  layout   the boxes laid out on a grid, each cell the sum of its words' embeddings, then questions
  caption  the same grid, then the caption
  list     the cells at the boxes' centres alone, then many look-up questions
Lists come first, then all kinds: look-up has to form before anything else can, and it forms where it
is dense. Layouts teach the model to read places and to look things up in a grid of words before there
is any picture (see docs/architecture.md for why: without them, binding takes hours on a CPU).

Shapes: T tokens, M cells of all layouts of a step, K token slots, D width, S supervised tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pumice.data.grounding import assign_regions
from pumice.generate.protocol import Kind, Turn
from pumice.model.attention import set_attention, visibility_mask
from pumice.model.vlm import predecessors
from pumice.text.render import render
from pumice.text.templates import get_template
from pumice.train.grounding import CELL_SLOTS, Cells, cell_embeddings, lay_out
from pumice.types import IGNORE_INDEX, Encoded, Image, Message, Text
from pumice.world import pretraining
from pumice.world.pictures import scenes
from pumice.world.processes import runner
from pumice.world.samples import scene_regions, scene_text, with_prompt
from pumice.world.scene import Scene, Split
from pumice.world.teacher import WorldTeacher

CENTER_WORD = "object"
POSITION_WORDS = ("left", "right", "top", "bottom")
WHOLE_TEXT = 0.25
"""Share of text documents in which captions and questions are learnt too, not only answers: they are
mostly chance, and would drown the few tokens that must be looked up."""
DENSE_LATER = 0.4
"""Share of steps on lists after the dense phase."""
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


@dataclass(frozen=True, slots=True)
class Document:
    """One training text, with its layout's n cells (none for plain text)."""

    encoded: Encoded
    cells: Cells
    kind: str
    types: tuple[str, ...]


def corpus(seed: int, count: int) -> list[str]:
    """Plain text to train the tokenizer on: all the teacher writes about ``count`` scenes."""
    teacher = WorldTeacher(seed)
    texts: list[str] = []
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
    kinds: tuple[Kind, ...] = (
        ("conversation", "reasoning", "detail") if sentences else ("reasoning", "detail")
    )
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


def dense_turns(teacher: WorldTeacher, scene: Scene, rng: np.random.Generator, count: int) -> list[Turn]:
    """Short questions in random order: a third of the documents asks for attributes alone, a third for
    places."""
    text = scene_text(scene)
    turns = [
        *teacher.write(text, "short"),
        *teacher.write(text, "existence"),
        *teacher.write(text, "correction"),
    ]
    draw = rng.random()
    wanted = ("color", "shape", "size") if draw < 1 / 3 else ("position", "relation") if draw < 2 / 3 else ()
    chosen = [t for t in turns if t.type in wanted] or turns
    return [chosen[i] for i in rng.permutation(len(chosen))[:count]]


class Writer:
    """Writes documents about scenes: the teacher's turns, rendered."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, plan: LanguagePlan) -> None:
        self.tokenizer, self.plan = tokenizer, plan
        self.teacher = WorldTeacher(plan.seed)
        self.template, self.plain = get_template("tiny"), get_template("plain")
        # Byte-level text never holds <unk>, so it can stand for cells.
        self.cell_id = int(tokenizer.unk_token_id)
        self.no_cells = Cells(np.zeros((0, CELL_SLOTS), np.int32), np.zeros((0, 2), np.float32))

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def layout(self, scene: Scene) -> Cells:
        """Words and place of each patch."""
        return lay_out(scene_regions(scene), self.plan.grid, self.encode, CENTER_WORD)

    def _render(self, messages: list[Message], cells: int) -> Encoded:
        lengths = [cells] if cells else []
        return render(
            messages,
            self.tokenizer,
            self.template,
            image_lengths=lengths,
            image_token_id=self.cell_id,
            branch_turns=True,
        )

    def listed(self, scene: Scene) -> Document:
        """The cells at centres of boxes, and as many short questions as fit."""
        rng = np.random.default_rng([self.plan.seed, 8, *scene.id.encode()])
        turns = dense_turns(self.teacher, scene, rng, self.plan.dense_questions)
        _, centers = assign_regions([r.box for r in scene_regions(scene)], self.plan.grid)
        patches = np.unique(centers)
        messages = [m for i, t in enumerate(turns) for m in _pair(t, image=i == 0, terse=True)]
        types = tuple(t.type for t in turns)
        layout = self.layout(scene)
        cells = Cells(layout.words[patches], layout.places[patches])
        return Document(self._render(messages, len(patches)), cells, "list", types)

    def mixed(self, scene: Scene) -> Document:
        """A text, a layout or a captioned layout."""
        plan, size = self.plan, self.plan.grid**2
        rng = np.random.default_rng([plan.seed, 7, *scene.id.encode()])
        draw = rng.random()
        terse = bool(rng.random() < TERSE)
        turns = choose_turns(self.teacher, scene, rng, plan.questions, sentences=not terse)
        if draw < 0.3:
            # A caption says in which ninth things are; which of two is further left it may not say.
            turns = [t for t in turns if t.type != "relation"]
            context = Message("system", (Text(scene.captions[int(rng.integers(2))]),))
            messages = [context] + [m for t in turns for m in _pair(t, image=False, terse=terse)]
            encoded = self._render(messages, 0)
            if rng.random() < WHOLE_TEXT:
                labels = encoded.input_ids.copy()
                labels[0] = IGNORE_INDEX
                encoded = replace(encoded, labels=labels)
            return Document(encoded, self.no_cells, "text", tuple(t.type for t in turns))
        cells = self.layout(scene)
        if draw < 0.9:
            messages = [m for i, t in enumerate(turns) for m in _pair(t, image=i == 0, terse=terse)]
            encoded = self._render(messages, size)
            return Document(encoded, cells, "layout", tuple(t.type for t in turns))
        caption = scene.captions[int(rng.integers(5))]
        pair = [Message("user", (Image(0),)), Message("assistant", (Text(caption),))]
        encoded = render(pair, self.tokenizer, self.plain, image_lengths=[size], image_token_id=self.cell_id)
        return Document(encoded, cells, "caption", ("caption",))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of ``pumice.world.tokenize``, read back."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


def _documents(task: tuple[str, LanguagePlan, Split, str, int, int]) -> list[Document]:
    folder, plan, split, form, start, count = task
    writer = Writer(load_tokenizer(Path(folder)), plan)
    source = scenes(plan.seed, "full", split, start=start)
    write = writer.listed if form == "list" else writer.mixed
    return [write(next(source)) for _ in range(count)]


def make_documents(
    folder: Path,
    plan: LanguagePlan,
    split: Split,
    form: str,
    count: int,
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Document]:
    """Write and encode ``count`` documents about scenes of a split; ``form`` is ``list`` or ``mixed``."""
    chunk = 250
    starts = range(0, -(-count // chunk))
    tasks = [(str(folder), plan, split, form, n * chunk * 20, chunk) for n in starts]
    documents: list[Document] = []
    with runner(workers) as run:
        for part in run(_documents, tasks):
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
        # About 1/sqrt(width). With transformers' 0.02 look-up does not form at this size (docs/LOG.md).
        initializer_range=plan.init,
    )
    torch.manual_seed(plan.seed)
    model = LlamaForCausalLM(config)
    set_attention(model, "auto")
    return model


class LanguageTrainer(pretraining.Trainer):
    """The state of the language model's pretraining; a step is a function of seed and number."""

    FILE, UNIT, FLOOR = "language.pt", "tokens", 0.02

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

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the loss per token and the number of tokens read."""
        rows = self._rows(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden, target = self.hidden(rows, np.random.default_rng([self.plan.seed, 4, self.step]))
            logits = self.lm.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float(), target)
        self.descend(loss)
        tokens = sum(len(document.encoded) for document in rows)
        return {"loss": float(loss.detach()), "tokens": float(tokens)}

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
) -> dict[str, float]:
    """Train to the plan's end, saving on the way; returns accuracy by kind of question."""

    def accuracy() -> dict[str, float]:
        return {k: n / total for k, (n, total) in sorted(trainer.answers(held_out).items())}

    pretraining.run(trainer, work, accuracy, report)
    return accuracy()
