"""Documents for the tiny language model: the teacher's text about scenes, rendered.

Four kinds, all written by the text-only teacher from captions and boxes:
  text     a caption, then questions about it, as branches over the caption
  layout   the boxes laid out on a grid, each cell the sum of its words' embeddings, then questions
  caption  the same grid, then the caption
  list     the cells at the boxes' centres alone, then many look-up questions
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedTokenizerFast

from pumice.data.grounding import assign_regions
from pumice.generate.protocol import Kind, Turn
from pumice.processes import runner
from pumice.text.render import render
from pumice.text.templates import get_template
from pumice.train.grounding import CELL_SLOTS, Cells, lay_out
from pumice.types import IGNORE_INDEX, Encoded, Image, Message, Text
from pumice.world.pictures import scenes
from pumice.world.samples import scene_regions, scene_text, with_prompt
from pumice.world.scene import Scene, Split
from pumice.world.teacher import WorldTeacher
from pumice.world.tokenize import load_tokenizer

if TYPE_CHECKING:
    from pumice.world.pretrain_lm import LanguagePlan

CENTER_WORD = "object"
WHOLE_TEXT = 0.25
"""Share of text documents in which captions and questions are learnt too, not only answers: they are
mostly chance, and would drown the few tokens that must be looked up."""
TERSE = 0.75
"""Share of documents whose short questions go without LLaVA's response-format prompt: it is ten tokens
long, and that it asks for a word is learnt from few examples."""

CHUNK = 250
"""Documents per task."""


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
    # A chunk starts 20 times its size behind the one before: a tenth of those scenes are of any split.
    tasks = [(str(folder), plan, split, form, n * CHUNK * 20, CHUNK) for n in range(-(-count // CHUNK))]
    documents: list[Document] = []
    with runner(workers) as run:
        for part in run(_documents, tasks):
            documents += part
            progress(min(len(documents), count), count)
    return documents[:count]
