"""From a teacher's turns to files: LLaVA JSON to train on, question JSONL to measure with.

The short, independent turns about one picture become one conversation in random order, as in LLaVA's
mixture (all questions of one image merged); a conversation, a description, a chain of reasoning are a
row each. Everything is a pure function of scenes, teacher and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pumice.data.lines import lines_file, to_line
from pumice.data.rights import write_rights
from pumice.errors import DataError, UsageError, suggest
from pumice.generate.protocol import KINDS, Kind, SceneText, Teacher, Turn
from pumice.types import PLACEHOLDER

__all__ = [
    "SHORT_ANSWER",
    "generate",
    "lines_file",
    "question_rows",
    "rows_of",
    "to_line",
    "with_prompt",
    "write_llava",
    "write_questions",
]

SHORT_ANSWER = "Answer the question using a single word or phrase."
"""LLaVA-1.5's response-format prompt for short answers."""

MERGED: tuple[Kind, ...] = ("short", "existence", "correction")
"""Kinds whose turns stand alone, so that those of one picture may share a conversation in any order."""

Row: TypeAlias = "dict[str, Any]"
Keep: TypeAlias = "Callable[[Turn], bool]"
Progress: TypeAlias = "Callable[[int, int], None]"


def with_prompt(turn: Turn) -> str:
    """The question, with LLaVA's response-format prompt behind it where the answer is short."""
    return f"{turn.question}\n{SHORT_ANSWER}" if turn.short else turn.question


def generate(
    scenes: Sequence[SceneText],
    teacher: Teacher,
    kinds: Sequence[Kind] = KINDS,
    *,
    seed: int = 0,
    per_scene: int | None = None,
    shares: Mapping[Kind, float] | None = None,
    keep: Keep | None = None,
    regions: bool = False,
    progress: Progress | None = None,
) -> list[Row]:
    """Instruction data about scenes, as LLaVA JSON rows in the order of the scenes.

    Args:
        scenes: what is known of each picture.
        teacher: who writes.
        kinds: what is written, each kind at most once.
        seed: decides the order of merged turns, and which scenes a share falls on.
        per_scene: at most so many merged turns of one scene, drawn at random, however many rows they
            fill (``MAX_TURNS``); all of them when None.
        shares: for a kind, the share of scenes (0 to 1) it is written for; every scene if not named.
        keep: which turns of merged kinds are wanted; all when None.
        regions: whether rows carry the boxes with their phrases (for grounded alignment).
        progress: called with scenes done and scenes in all.

    Raises:
        UsageError: an unknown kind, or a number out of range.
        DataError: a teacher's turn that cannot be trained on (an empty question or answer, or one that
            holds ``<image>``).
    """
    _check(kinds, per_scene, shares or {})
    rows: list[Row] = []
    for done, scene in enumerate(scenes, 1):
        rows += rows_of(
            scene, teacher, kinds, seed=seed, per_scene=per_scene, shares=shares, keep=keep, regions=regions
        )
        if progress is not None:
            progress(done, len(scenes))
    return rows


MAX_TURNS = 10
"""Turns of a merged conversation; more become further rows, as LLaVA's mixture does with RefCOCO and VG."""


def rows_of(
    scene: SceneText,
    teacher: Teacher,
    kinds: Sequence[Kind],
    *,
    seed: int,
    per_scene: int | None = None,
    shares: Mapping[Kind, float] | None = None,
    keep: Keep | None = None,
    regions: bool = False,
) -> list[Row]:
    """The rows of one scene (see ``generate``): merged ones first, then one per remaining kind."""
    written = [kind for kind in kinds if _chosen(scene, kind, (shares or {}).get(kind, 1.0), seed)]
    merged: dict[str, Turn] = {}
    for kind in written:
        if kind in MERGED:
            for turn in teacher.write(scene, kind):
                if keep is None or keep(turn):
                    # One question once, though two settings may both have asked it.
                    merged.setdefault(turn.question, turn)
    rows = []
    if merged:
        turns = list(merged.values())
        order = _rng(seed, scene, "merged").permutation(len(turns))[:per_scene]
        for start in range(0, len(order), MAX_TURNS):
            part = [turns[i] for i in order[start : start + MAX_TURNS]]
            suffix = f"short-{start // MAX_TURNS}" if len(order) > MAX_TURNS else "short"
            rows.append(conversation(scene, part, suffix, regions=regions))
    for kind in written:
        if kind not in MERGED and (alone := teacher.write(scene, kind)):
            rows.append(conversation(scene, alone, kind, regions=regions))
    return rows


def conversation(scene: SceneText, turns: Sequence[Turn], suffix: str, *, regions: bool = False) -> Row:
    """One LLaVA JSON row; the picture stands at the head of the first human turn.

    Args:
        scene: what it is about.
        turns: at least one.
        suffix: goes behind the scene's id, so that rows about one scene have names of their own.
        regions: whether the row carries the boxes with their phrases.
    """
    assert turns, f"no turns for {scene.id}"
    values: list[dict[str, str]] = []
    for index, turn in enumerate(turns):
        _check_turn(turn, scene)
        lead = f"{PLACEHOLDER}\n" if index == 0 else ""
        values.append({"from": "human", "value": f"{lead}{with_prompt(turn)}"})
        values.append({"from": "gpt", "value": turn.answer})
    row: Row = {"id": f"{scene.id}-{suffix}", "image": scene.image, "conversations": values}
    if regions:
        row["regions"] = [
            {"bbox": list(i.box), "phrase": i.category} for i in (*scene.instances, *scene.texts)
        ]
    return row | write_rights(scene.rights)


def question_rows(scene: SceneText, turns: Sequence[Turn]) -> list[Row]:
    """Evaluation questions about one scene: prompt, type, answer, POPE's setting, the values present.

    Where there is a setting, yes and no are written in lower case, as in POPE's files. A question's id
    is the scene's with the question's number behind it.
    """
    rows = []
    for index, turn in enumerate(turns):
        _check_turn(turn, scene)
        row: Row = {
            "question_id": f"{scene.id}-{index}",
            "image": scene.image,
            "text": with_prompt(turn),
            "type": turn.type,
            "answer": turn.answer.lower() if turn.setting else turn.answer,
        }
        if turn.setting:
            row["setting"] = turn.setting
        if turn.present:
            row["present"] = list(turn.present)
        rows.append(row)
    return rows


def write_llava(rows: Iterable[Row], path: Path) -> int:
    """Write LLaVA JSON, a list with one row per line, whole or not at all; returns how many rows.

    Raises:
        DataError: there are no rows (a reader would refuse the file).
    """
    return _write(map(to_line, rows), path, llava=True)


def write_questions(questions: Iterable[tuple[SceneText, Sequence[Turn]]], path: Path) -> int:
    """Write the evaluation questions of scenes as JSONL, whole or not at all; returns how many.

    Raises:
        DataError: there are no questions.
    """
    lines = (to_line(row) for scene, turns in questions for row in question_rows(scene, turns))
    return _write(lines, path, llava=False)


def _write(lines: Iterable[str], path: Path, *, llava: bool) -> int:
    with lines_file(path, llava=llava) as add:
        count = 0
        for line in lines:
            add(line)
            count += 1
        if not count:
            raise DataError(
                "there is nothing to write", where=str(path), remedy="ask for more kinds or more scenes"
            )
    return count


def _check(kinds: Sequence[Kind], per_scene: int | None, shares: Mapping[Kind, float]) -> None:
    for kind in (*kinds, *shares):
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind!r}", remedy=suggest(str(kind), KINDS))
    if not kinds or len(set(kinds)) != len(kinds):
        raise UsageError(
            "no kind, or one twice", where="kinds", remedy=f"name each once, of {', '.join(KINDS)}"
        )
    if per_scene is not None and per_scene < 1:
        raise UsageError(f"per_scene is {per_scene}", remedy="give at least one turn per scene")
    for kind, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"the share of {kind} is {share}", remedy="give a share from 0 to 1")


def _check_turn(turn: Turn, scene: SceneText) -> None:
    for name, text in (("question", turn.question), ("answer", turn.answer)):
        if not text.strip() or PLACEHOLDER in text:
            raise DataError(
                f"the {name} {text!r} of a {turn.type} turn cannot be used",
                where=f"scene {scene.id}",
                remedy=f"a teacher must write words, without {PLACEHOLDER}",
            )


def _rng(seed: int, scene: SceneText, use: str) -> np.random.Generator:
    return np.random.default_rng([seed, *scene.id.encode(), *use.encode()])


def _chosen(scene: SceneText, kind: Kind, share: float, seed: int) -> bool:
    return share >= 1 or bool(_rng(seed, scene, f"share of {kind}").random() < share)
