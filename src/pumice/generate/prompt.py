"""Scenes in words, and what a teacher is asked about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pumice.endpoint.request import Request
from pumice.generate.language import LANGUAGES
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.spec import Part, Spec
from pumice.types import Box

HEADINGS: dict[Part, str] = {
    "captions": "Sentences about the picture:",
    "mentions": "What the text around the picture says of it:",
    "objects": "Things in the picture:",
    "regions": "Parts of the picture:",
    "texts": "Text in the picture:",
}
OTHERS = "Other things in the picture:"
SMALLER = "and smaller ones:"
MOST = 40
"""Boxes of a part that are shown, the largest ones; a prompt of hundreds of boxes is read by nobody."""


def box_words(box: Box) -> str:
    """A box as it stands in a prompt: fractions with two decimals."""
    return f"[{', '.join(f'{side:.2f}' for side in box)}]"


def area(box: Box) -> float:
    """The share of the picture that a box fills."""
    return (box[2] - box[0]) * (box[3] - box[1])


def scene_words(scene: SceneText, shows: Sequence[Part], numbered: Sequence[Instance] = ()) -> str:
    """What a teacher reads of a scene.

    Args:
        scene: what is known of the picture.
        shows: which parts.
        numbered: the things that it writes about one by one; the others stand behind them.
    """
    blocks = []
    for part, heading in HEADINGS.items():
        if part not in shows:
            continue
        if part in ("captions", "mentions"):
            sentences = scene.captions if part == "captions" else scene.mentions
            lines = [f"- {' '.join(one.split())}" for one in sentences]
        elif part == "objects" and numbered:
            lines = [f"{n}: {one.category} {box_words(one.box)}" for n, one in enumerate(numbered, 1)]
            others = _lines(part, [one for one in scene.instances if one not in numbered])
            lines += ["", OTHERS, *others] if others else []
        else:
            found = {"objects": scene.instances, "regions": scene.regions, "texts": scene.texts}[part]
            lines = _lines(part, found)
        if lines:
            blocks.append("\n".join([heading, *lines]))
    return "\n\n".join(blocks)


def _lines(part: Part, found: Sequence[Instance]) -> list[str]:
    """A line for each box, and one that counts those there is no room for."""
    quote = '"' if part == "texts" else ""
    shown = largest(found, MOST)
    lines = [
        f"- {quote}{one.category}{quote} {box_words(one.box)}" + (" (many)" if one.crowd else "")
        for one in shown
    ]
    if len(shown) == len(found) or part != "objects":
        return lines
    more = Counter(one.category for one in found)
    more.subtract(one.category for one in shown)
    smaller = ", ".join(f"{count} {name}" for name, count in more.items() if count)
    return [*lines, f"- {SMALLER} {smaller}"]


def largest(found: Sequence[Instance], most: int) -> list[Instance]:
    """The largest ones, in the order in which they stand."""
    if len(found) <= most:
        return list(found)
    sizes = [area(one.box) for one in found]
    kept = sorted(sorted(range(len(found)), key=lambda n: -sizes[n])[:most])
    return [found[n] for n in kept]


def scenes_words(scenes: Sequence[SceneText], spec: Spec, numbered: Sequence[Instance] = ()) -> str:
    """What a teacher reads of one scene, or of two."""
    if len(scenes) == 1:
        return scene_words(scenes[0], spec.shows, numbered)
    names = ("The first picture", "The second picture")
    return "\n\n".join(
        f"{name}\n\n{scene_words(scene, spec.shows)}" for name, scene in zip(names, scenes, strict=True)
    )


def ask(
    spec: Spec,
    scenes: Sequence[SceneText],
    *,
    language: str = "en",
    attempt: int = 0,
    numbered: Sequence[Instance] = (),
    written: str = "",
) -> Request:
    """The request for one kind about one scene, or two.

    Args:
        spec: the kind.
        scenes: as many as the kind has pictures.
        language: what the reply is written in.
        attempt: from 0; each has another seed and more room, since a reply may have been cut off.
        numbered: things that are written about one by one.
        written: what is judged in a second pass.
    """
    system = spec.system.strip()
    if language != "en" and not written:
        system += (
            f"\n\nWrite all questions, answers and phrases in {LANGUAGES[language]}, whatever the language "
            "of the notes and examples. The marks at the beginnings of lines stay as they are."
        )
    examples = tuple(
        (
            _with(scenes_words(one.scenes, spec, one.scenes[0].instances if numbered else ()), one.written),
            one.reply.strip(),
        )
        for one in spec.examples
    )
    return Request(
        _with(scenes_words(scenes, spec, numbered), written),
        system=system,
        examples=examples,
        max_tokens=spec.max_tokens * 2 ** min(attempt, 3),
        temperature=spec.temperature,
        seed=attempt,
    )


def _with(scene: str, written: str) -> str:
    return f"{scene}\n\nWritten:\n\n{written.strip()}" if written else scene
