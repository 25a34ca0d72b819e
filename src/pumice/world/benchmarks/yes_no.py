"""POPE and MME: questions that yes or no answers, in pairs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from pumice.world.benchmarks.material import PLACES, RELATIONS, VALUES, Material, Row, View, save
from pumice.world.describe import NUMBER_WORDS, article, plural
from pumice.world.scene import CHARACTERS, COLOURS, SHAPES

SETTINGS = ("random", "popular", "adversarial")
EACH = 3
"""Objects that POPE asks of a picture, and as many that are not there."""
POOL = 500
"""Pictures of which POPE counts how often names stand in one, and which together."""

Pair = tuple[str, str]
"""A question whose answer is yes, and one whose answer is no."""


# POPE


def write_pope(folder: Path, material: Material, n: int) -> int:
    """Write POPE's three label files and their pictures, some ``n`` questions in all.

    The k-th question of a picture asks for its k-th object, the next one for something that is not there:
    at random; the most frequent name; the name that most often stands beside the object just asked for.
    Frequencies are counted over ``POOL`` pictures of all splits. Where nothing is left, a random name is
    taken (utils.py of POPE's authors).
    """
    pool = list(islice((view for view in material.views(None) if len(view.names) >= EACH), POOL))
    counts = Counter(name for view in pool for name in view.names)
    popular = [name for name, _ in counts.most_common()]
    beside = {name: Counter[str]() for name in popular}
    for view in pool:
        for name in view.names:
            beside[name].update(other for other in view.names if other != name)
    pictures = max(1, round(n / (2 * EACH * len(SETTINGS))))
    shown = list(islice((view for view in material.views() if len(view.names) >= EACH), pictures))
    for view in shown:
        save(view.picture(), folder / "val2014" / _coco(view))
    total = 0
    for setting in SETTINGS:
        rows: list[Row] = []
        for view in shown:
            rng = view.rng("pope", setting)
            asked = list(view.names[:EACH])
            for name in view.names[:EACH]:
                ranked = {"popular": popular, "adversarial": [o for o, _ in beside[name].most_common()]}
                absent = _absent(ranked.get(setting, ()), popular, {*view.names, *asked}, rng)
                asked.append(absent)
                for object_, label in ((name, "yes"), (absent, "no")):
                    text = f"Is there {article(object_)} in the image?"
                    rows.append(
                        {"question_id": len(rows) + 1, "image": _coco(view), "text": text, "label": label}
                    )
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"coco_pope_{setting}.json").write_text(lines, encoding="utf-8")
        total += len(rows)
    return total


def _absent(ranked: Sequence[str], names: Sequence[str], taken: set[str], rng: np.random.Generator) -> str:
    first = next((name for name in ranked if name not in taken), None)
    left = [name for name in names if name not in taken]
    return first or left[int(rng.integers(len(left)))]


def _coco(view: View) -> str:
    return f"COCO_val2014_{view.number + 1:012d}.jpg"


# MME


def _existence(view: View, rng: np.random.Generator) -> Pair | None:
    absent = [name for name in (f"{c} {s}" for c in COLOURS for s in SHAPES) if name not in view.names]
    if not view.names:
        return None
    there = view.names[int(rng.integers(len(view.names)))]
    other = absent[int(rng.integers(len(absent)))]
    return f"Is there {article(there)} in the image?", f"Is there {article(other)} in the image?"


def _colour(view: View, rng: np.random.Generator) -> Pair | None:
    """The same shape in a colour that it has nowhere in the picture."""
    if not view.names:
        return None
    there = view.names[int(rng.integers(len(view.names)))]
    shape = there.split()[1]
    others = [colour for colour in COLOURS if f"{colour} {shape}" not in view.names]
    wrong = f"{others[int(rng.integers(len(others)))]} {shape}"
    return f"Is there {article(there)} in the image?", f"Is there {article(wrong)} in the image?"


def _count(view: View, rng: np.random.Generator) -> Pair | None:
    shapes = sorted({thing.shape for thing in view.things if thing.color})
    if not shapes:
        return None
    shape = shapes[int(rng.integers(len(shapes)))]
    number = sum(thing.shape == shape for thing in view.things)
    near = [other for other in (number - 1, number + 1) if other > 0]
    wrong = near[int(rng.integers(len(near)))]
    first, second = (_are_there(count, shape) for count in (number, wrong))
    return first, second


def _are_there(count: int, shape: str) -> str:
    if count == 1:
        return f"Is there only one {shape} in the image?"
    return f"Are there {NUMBER_WORDS[count]} {plural(shape)} in the image?"


def _position(view: View, rng: np.random.Generator) -> Pair | None:
    turns = view.turns("position", "relation")
    if not turns:
        return None
    turn = turns[int(rng.integers(len(turns)))]
    values = PLACES if turn.type == "position" else RELATIONS
    wrong = [value for value in values if value != turn.answer and value not in turn.present]
    said = (turn.answer, wrong[int(rng.integers(len(wrong)))])
    subject = turn.question.removeprefix("Where is ").removesuffix("?")
    if turn.type == "position":
        first, second = (f"Is {subject} {_at(place)} of the image?" for place in said)
    else:
        one, other = subject.split(" relative to ")
        first, second = (f"Is {one} {_beside(relation)} {other}?" for relation in said)
    return first, second


def _at(place: str) -> str:
    return "in the center" if place == "center" else f"at the {place}"


def _beside(relation: str) -> str:
    return f"{relation} of" if relation in ("left", "right") else relation


def _ocr(view: View, rng: np.random.Generator) -> Pair | None:
    if not view.sign:
        return None
    place = int(rng.integers(len(view.sign)))
    others = [character for character in CHARACTERS if character != view.sign[place]]
    wrong = view.sign[:place] + others[int(rng.integers(len(others)))] + view.sign[place + 1 :]
    return f'Does the sign say "{view.sign}"?', f'Does the sign say "{wrong}"?'


CATEGORIES: dict[str, Callable[[View, np.random.Generator], Pair | None]] = {
    "existence": _existence,
    "count": _count,
    "position": _position,
    "color": _colour,
    "OCR": _ocr,
}
"""Those of MME's perception that the world has something to ask of."""
assert set(VALUES) >= {"position", "relation"}


def write_mme(folder: Path, material: Material, n: int) -> int:
    """Write MME's folders of five categories: two questions to each picture, one a yes and one a no."""
    pictures = max(1, round(n / (2 * len(CATEGORIES))))
    views = material.views()
    release = folder / "MME_Benchmark_release_version"
    total = 0
    for category, asks in CATEGORIES.items():
        made = 0
        while made < pictures:
            view = next(views)
            rng = view.rng("mme", category)
            pair = asks(view, rng)
            if pair is None:
                continue
            lines = [
                f"{text} Please answer yes or no.\t{truth}"
                for text, truth in zip(pair, ("Yes", "No"), strict=True)
            ]
            lines = [lines[i] for i in rng.permutation(2)]
            name = f"{made + 1:04d}"
            save(view.picture(), release / category / "images" / f"{name}.jpg")
            target = release / category / "questions_answers_YN" / f"{name}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("\n".join(lines) + "\n", encoding="utf-8")
            made += 1
        total += 2 * made
    return total
