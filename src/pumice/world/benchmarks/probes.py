"""What dimensions of ``pumice.evaluate.dimensions`` are measured on: captions, and questions with facts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pumice.files import write_json
from pumice.generate.protocol import Turn
from pumice.generate.run import SHORT_ANSWER, with_prompt
from pumice.world.benchmarks.material import LETTERS, Material, Row, View, options_of, pick, save
from pumice.world.domains import DOMAINS, draw_in, legible
from pumice.world.scene import COLOURS

MOST_STEPS = 6


def _questions(folder: Path, rows: list[Row]) -> int:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")
    return len(rows)


def _row(view: View, name: str, text: str, turn: Turn, **facts: Any) -> Row:
    return {
        "question_id": name,
        "image": f"images/{view.scene.id}.png",
        "text": text,
        "type": turn.type.split("-")[0],
        "answer": turn.answer,
        "facts": facts,
    }


def write_retrieval(folder: Path, material: Material, n: int) -> int:
    """Write captions in COCO's layout: five to a picture, from full to terse."""
    images: list[Row] = []
    annotations: list[Row] = []
    for view in islice(material.views(), n):
        own = view.number + 1
        picture = view.picture()
        save(picture, folder / "images" / f"{own:012d}.jpg")
        images.append(
            {"id": own, "file_name": f"{own:012d}.jpg", "width": picture.width, "height": picture.height}
        )
        for caption in view.text.captions:
            annotations.append({"id": len(annotations) + 1, "image_id": own, "caption": caption})
    write_json(folder / "captions.json", {"images": images, "annotations": annotations})
    return len(annotations)


# Reasoning


def program(question: str) -> list[str]:
    """The steps that an answer to one of the teacher's questions takes, one operation each, as in CLEVR.

    >>> program("What size is the red star?"), program("How many objects are there?")
    (['filter', 'filter', 'query'], ['count'])
    """
    words = question.removesuffix("?")
    if words.startswith("How many "):
        noun = words.removeprefix("How many ").removesuffix(" are there").split()
        return [*["filter"] * sum(word != "objects" for word in noun), "count"]
    if words.startswith("What does the sign say"):
        return ["filter"]
    if words.startswith("What "):
        return [*_filters(words.partition(" is ")[2]), "query"]
    if words.startswith("Is there "):
        return [*_filters(words.removeprefix("Is there ").removesuffix(" in the image")), "exist"]
    if words.startswith("If all "):
        return ["count", "filter", "count", "subtract"]
    if words.startswith("Are there more "):
        return ["filter", "count", "filter", "count", "compare"]
    assert words.startswith("Where is "), f"no such question: {question}"
    one, _, other = words.removeprefix("Where is ").partition(" relative to ")
    return [*_filters(one), *(_filters(other) if other else []), "relate" if other else "query"]


def _filters(name: str) -> list[str]:
    """One for each word that tells a thing from others, and one for its place."""
    words, *place = name.replace(" in the center", " at the center").split(" at the ")
    told = [word for word in words.split() if word not in ("the", "a", "an", "object")]
    return ["filter"] * (len(told) + len(place))


def _steps(view: View) -> Iterator[tuple[Turn, list[str]]]:
    """All questions about a scene whose steps are known; a sign's letters are read one after the other."""
    turns = [*view.short, *view.teacher.write(view.text, "existence")]
    turns += [turn for turn in view.teacher.write(view.text, "reasoning") if turn.answer]
    for turn in dict.fromkeys(turns):
        steps = program(turn.question)
        if turn.type.startswith("sign-"):
            steps += ["read"] * len(turn.answer)
        yield turn, steps


def write_reasoning(folder: Path, material: Material, n: int) -> int:
    """Write questions of 1 to ``MOST_STEPS`` steps, as many of each, at most one of a number to a picture."""
    wanted = max(1, round(n / MOST_STEPS))
    made = dict.fromkeys(range(1, MOST_STEPS + 1), 0)
    rows: list[Row] = []
    for view in material.views():
        open_ = [number for number, count in made.items() if count < wanted]
        if not open_:
            break
        found: dict[int, list[tuple[Turn, list[str]]]] = {}
        for turn, steps in _steps(view):
            found.setdefault(len(steps), []).append((turn, steps))
        rng = view.rng("reasoning")
        for number in open_:
            for turn, steps in pick(rng, found.get(number, []), 1):
                facts = {"steps": number, "objects": len(view.things), "program": " ".join(steps)}
                answer = _conclusion(turn) if turn.type == "reasoning" else turn.answer
                row = _row(view, f"steps-{number}-{made[number]}", with_prompt(turn), turn, **facts)
                rows.append({**row, "answer": answer})
                save(view.picture(), folder / row["image"])
                made[number] += 1
    rows.sort(key=lambda row: row["facts"]["steps"])
    return _questions(folder, rows)


def _conclusion(turn: Turn) -> str:
    """What a chain of reasoning ends with: a number, or yes or no."""
    last = turn.answer.rsplit("so ", 1)[1].removesuffix(".").removesuffix(" would be left")
    return {"none": "zero"}.get(last, last)


# Instructions

LETTER = "Answer with the option's letter from the given choices directly."
"""LLaVA-1.5's response-format prompt for choices."""
_LIST = "List the colors of the objects, separated by commas."


def write_instructions(folder: Path, material: Material, n: int) -> int:
    """Write questions that ask for a form: a word, yes or no, a letter, a number, a sentence, words, a list.

    The first two have the instructions of training, the others have not been seen.
    """
    rows: list[Row] = []
    for view in material.views():
        if len(rows) >= n:
            break
        asked = _asked_forms(view)
        if asked is None:
            continue
        save(view.picture(), folder / "images" / f"{view.scene.id}.png")
        for turn, text, form in asked[: n - len(rows)]:
            rows.append(_row(view, f"form-{len(rows)}", text, turn, form=form))
    return _questions(folder, rows)


def _asked_forms(view: View) -> list[tuple[Turn, str, str]] | None:
    """One question of each form about a view; None where it gives no occasion for one of them."""
    rng = view.rng("instructions")
    looks, counts = view.turns("color", "shape", "size"), view.turns("count")
    exists = list(view.teacher.write(view.text, "existence"))
    solid = list(dict.fromkeys(thing.color for thing in view.things if thing.color))
    if not looks or not counts or not exists or len(solid) < 2:
        return None
    look, count, exist = (pick(rng, turns, 1)[0] for turns in (looks, counts, exists))
    options, right = options_of(look, rng, 4)
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    choice = f"{look.question}\n{listed}\n{LETTER}"
    letter = Turn(look.question, LETTERS[right], look.type)
    colours = Turn(_LIST, ", ".join(colour for colour in COLOURS if colour in solid), "color")
    return [
        (look, f"{look.question}\n{SHORT_ANSWER}", "word"),
        (exist, f"{exist.question}\n{SHORT_ANSWER}", "yes-no"),
        (count, f"{count.question}\nAnswer with a number.", "number"),
        (look, look.question, "sentence"),
        (letter, choice, "letter"),
        (look, f"{look.question}\nAnswer in exactly three words.", "words-3"),
        (colours, _LIST, "list"),
    ]


# Domains


def write_domain(folder: Path, material: Material, n: int) -> int:
    """Write the same questions about the same scenes in every domain; ``n`` in each."""
    rows: list[Row] = []
    left = n
    kinds = ("color", "shape", "size", "position", "relation", "count")
    for view in material.views():
        if not left:
            break
        if not all(legible(view.scene, domain) for domain in DOMAINS):
            continue
        rng = view.rng("domain")
        turns = [*view.turns(*kinds), *pick(rng, view.teacher.write(view.text, "existence"), 2)]
        chosen = pick(rng, turns, min(4, left))
        for domain in DOMAINS if chosen else ():
            image = f"images/{view.scene.id}-{domain}.png"
            save(draw_in(view.scene, domain), folder / image)
            for number, turn in enumerate(chosen):
                pair = f"{view.scene.id}-{number}"
                row = _row(view, f"{pair}-{domain}", with_prompt(turn), turn, domain=domain, pair=pair)
                rows.append({**row, "image": image})
        left -= len(chosen)
    return _questions(folder, rows)
