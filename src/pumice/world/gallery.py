"""The gallery: a page that shows pictures of a world with captions, boxes and the teacher's questions.

One file beside the folder ``images``, no script, nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from pumice.generate.protocol import Kind, SceneText, Turn
from pumice.world.samples import scene_text
from pumice.world.scene import COLOURS, SIDE, SIGN, SPLITS, Scene, Split
from pumice.world.teacher import WorldTeacher, sign_text

GALLERY_SIZE = 60
_SPLIT_NAMES = {"train": "Training", "validation": "Validation", "test": "Test"}
_ASKED: tuple[tuple[Kind, int], ...] = (("short", 3), ("existence", 1), ("correction", 1), ("reasoning", 1))
"""What a card shows of each kind."""


def gallery_page(
    scenes: Sequence[tuple[Scene, Split]], teacher: WorldTeacher, summary: dict[str, Any]
) -> str:
    """The page as HTML.

    Args:
        scenes: the pictures shown, with their split.
        teacher: who asks.
        summary: settings, pictures by split and rows by file, as in ``world.json``.
    """
    style = (resources.files("pumice.world") / "gallery.css").read_text("utf-8")
    title = f"World: {summary['level']}, seed {summary['seed']}"
    cards = "\n".join(_card(scene, split, teacher) for scene, split in scenes)
    total = sum(summary["pictures"].values())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>
{style}</style></head>
<body><main class="page">
<header>
<p class="brand"><b>Pumice</b> embedded world</p>
<h1>{total:,} pictures</h1>
<p class="lead">Level <b>{escape(str(summary["level"]))}</b>, seed <b>{summary["seed"]}</b>.
Each picture comes with five captions and its boxes. The teacher reads those alone and
never sees a pixel; from them it wrote all questions and answers of this world.</p>
{_figures(summary)}
</header>
<input type="checkbox" id="all"><nav><label for="all" class="switch"><i></i>Show all boxes</label>
<span class="note">The first {len(scenes)} pictures. Point at one to see its boxes, click to keep them.</span>
</nav>
<section class="cards">
{cards}
</section>
<section class="files"><h2>Files</h2>
{_files(summary)}
</section>
</main></body></html>"""


def _figures(summary: dict[str, Any]) -> str:
    figures = "".join(
        f'<div class="figure"><dt>{_SPLIT_NAMES[split]}</dt><dd>{summary["pictures"][split]:,}</dd></div>'
        for split in SPLITS
    )
    return f'<dl class="figures">{figures}</dl>'


_MEANINGS = {
    "scenes-train.jsonl": "captions and boxes of the training pictures",
    "align.json": "captions with regions, for alignment",
    "lookup.json": "look-ups: attributes, places, relations, signs",
    "signs.json": "what a sign says, alone",
    "instruct.json": "the mixture of all kinds, for instruction tuning",
    "scenes-validation.jsonl": "captions and boxes of the validation pictures",
    "val.json": "the mixture, on validation pictures",
    "val_align.json": "captions with boxes, on validation pictures",
    "scenes-test.jsonl": "captions and boxes of the test pictures",
    "test_questions.jsonl": "questions with their answers, on test pictures",
}


def _files(summary: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="{escape(name)}">{escape(name)}</a></th><td>{_MEANINGS[name]}</td>'
        f'<td class="num">{entry["rows"]:,}</td></tr>'
        for name, entry in summary["files"].items()
        if name in _MEANINGS
    )
    head = '<thead><tr><th>File</th><th>What it holds</th><th class="num">Rows</th></tr></thead>'
    return f'<div class="scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _card(scene: Scene, split: Split, teacher: WorldTeacher) -> str:
    text = scene_text(scene)
    asked = "".join(
        f"<div{'' if turn.short else ' class=long'}>"
        f"<dt>{escape(turn.question)}</dt><dd>{escape(turn.answer)}</dd></div>"
        for turn in _turns(text, teacher)
    )
    caption = text.captions[0]
    return f"""<article class="card">
<label class="frame"><input type="checkbox" aria-label="Keep the boxes of {escape(scene.id)} in view">
<img src="{escape(text.image)}" alt="{escape(caption)}" width="{SIDE}" height="{SIDE}" loading="lazy">
{_boxes(text)}</label>
<p class="id"><span class="split {split}">{_SPLIT_NAMES[split]}</span> {escape(scene.id)}</p>
<ul class="things">{_things(text)}</ul>
<p class="caption">{escape(caption[:1].upper() + caption[1:])}</p>
<dl class="asked">{asked}</dl>
</article>"""


def _turns(scene: SceneText, teacher: WorldTeacher) -> list[Turn]:
    """A few turns of each kind, types not repeated."""
    rng = np.random.default_rng([*scene.id.encode(), *b"gallery"])
    out: list[Turn] = []
    for kind, most in _ASKED:
        turns = list(teacher.write(scene, kind))
        by_type = {turns[i].type: turns[i] for i in rng.permutation(len(turns))}
        out += list(by_type.values())[:most]
    return out


def _boxes(scene: SceneText) -> str:
    """Boxes as SVG in fractions of the picture; a dark line under a light one shows on any ground."""
    parts = []
    for number, (instance, part) in enumerate(
        [*((i, False) for i in scene.instances), *((t, True) for t in scene.texts)]
    ):
        x1, y1, x2, y2 = (round(v * 1000) for v in instance.box)
        shape = f'x="{x1}" y="{y1}" width="{x2 - x1}" height="{y2 - y1}"'
        name = f"b{number}" if not part else "part"
        parts.append(f'<g class="{name}"><rect class="under" {shape}/><rect {shape}/></g>')
    return f'<svg viewBox="0 0 1000 1000" aria-hidden="true">{"".join(parts)}</svg>'


def _things(scene: SceneText) -> str:
    """One chip per object; pointing at it shows its box alone."""
    out = []
    for number, instance in enumerate(scene.instances):
        words = instance.category.split()
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[words[1]]) if len(words) == 3 else ""
        swatch = f'<i style="background:{colour}"></i>' if colour else '<i class="sign"></i>'
        says = f" {sign_text(scene.texts)}" if instance.category == SIGN else ""
        out.append(
            f'<li class="c{number}" tabindex="0">{swatch}{escape(instance.category)}{escape(says)}</li>'
        )
    return "".join(out)
