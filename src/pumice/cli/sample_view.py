"""A sample in the terminal, and several as one page: what is supervised, control tokens, images."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pumice.cli.console import note, out, visible

if TYPE_CHECKING:
    from PIL.Image import Image

    from pumice.cli.data_show import Shown
    from pumice.image.layout import ImageLayout
    from pumice.image.video import Extent
    from pumice.text.show import Piece

LEARNT, QUIET, CONTROL, IMAGE = "bold green", "dim", "magenta", "bold blue"
OPEN, CLOSE = "«", "»"
"""Around what is supervised, where there are no colours."""
MARKED = "⟦{}⟧"
"""A control token, where there are no colours: text may have the same letters."""


def print_sample(shown: Shown, *, ids: bool) -> None:
    """Print one sample."""
    sample, encoded = shown.sample, shown.encoded
    images = sum(span.length for span in encoded.image_spans)
    asked = sum(message.role == "assistant" for message in sample.messages)
    out.print(Text(f"{sample.origin}", "bold"), f"(id {visible(sample.id)})", soft_wrap=True)
    out.print(
        f"  {_count(asked, 'answer')}, {_count(len(sample.images), 'picture')}; {len(encoded):,} tokens: "
        f"{images:,} of pictures, {len(encoded) - images:,} of text; {encoded.supervised:,} supervised",
        soft_wrap=True,
    )
    for picture, layout, extent in zip(sample.images, shown.layouts, shown.extents, strict=True):
        out.print(f"  {picture}: {describe(layout, extent)}", soft_wrap=True, markup=False)
    for problem in shown.problems:
        out.print(f"  {problem}", style="yellow", soft_wrap=True, markup=False)
    out.print()
    colours = out.is_terminal
    if colours:
        note("  green is supervised, magenta a control token, blue a picture")
    else:
        note(f"  {OPEN}supervised{CLOSE}, {MARKED.format('control token')}, [picture]")
    out.print(_text(shown.pieces, colours=colours), soft_wrap=True)
    if ids:
        out.print(_table(shown))


def describe(layout: ImageLayout, extent: Extent | None) -> str:
    """How a picture is taken, in words; ``extent`` is its own size, None where it is not there."""
    size = f"{extent[0]} x {extent[1]} pixels, " if isinstance(extent, tuple) else ""
    if layout.tiles == 1:
        how = f"one square ({layout.settings.aspect})"
    elif layout.is_video:
        how = f"{layout.frames} frames"
    else:
        how = f"the whole and {layout.grid[0]} x {layout.grid[1]} tiles"
    return f"{size}{how}, {layout.tokens:,} tokens"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _text(pieces: Sequence[Piece], *, colours: bool) -> Text:
    found = Text()
    branch, lit = 0, False
    for piece in pieces:
        if not colours and piece.supervised != lit:
            found.append(OPEN if piece.supervised else CLOSE)
        lit = piece.supervised
        if piece.branch != branch:
            branch = piece.branch
            found.append(f"\n[branch {branch}]", "yellow")
        style = LEARNT if piece.supervised else QUIET
        if piece.kind == "image":
            assert piece.image is not None
            found.append(f"[image {piece.image + 1}: {piece.tokens:,} tokens]", IMAGE)
        elif piece.kind == "control":
            name = visible(piece.text)
            found.append(name if colours else MARKED.format(name), f"{CONTROL} {style}")
        else:
            found.append(visible(piece.text).replace("\n", "⏎\n"), style)
    if not colours and lit:
        found.append(CLOSE)
    return found


def _table(shown: Shown) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("place", "id", "token", "supervised"):
        table.add_column(title, justify="right" if title in ("place", "id") else "left")
    spans = sorted(shown.encoded.image_spans, key=lambda span: span.start)
    rows: list[tuple[int, tuple[Any, ...]]] = [
        (place, (str(place), str(number), Text(visible(name)), "yes" if lit else ""))
        for place, number, name, lit in shown.tokens
    ]
    rows += [
        (span.start, (f"{span.start}-{span.start + span.length - 1}", "", f"[image {span.image + 1}]", ""))
        for span in spans
    ]
    for _, cells in sorted(rows, key=lambda row: row[0]):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1rem; border-top: 1px solid #ccc; padding-top: 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .8rem; }
.u { color: #777; } .s { color: #0a7a2f; font-weight: 600; background: #e3f5e8; }
.c { color: #a0268f; } .i { color: #1450b4; font-weight: 600; } .b { color: #9a6a00; }
figure { margin: .5rem 0; } img { max-width: 100%; image-rendering: auto; border: 1px solid #ddd; }
figcaption, .n { color: #666; font-size: .9rem; }
"""


def page(title: str, said: Sequence[str], samples: Sequence[Shown]) -> str:
    """One HTML page that holds everything, pictures too."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p class=n>{escape(text)}</p>" for text in said),
        "<p class=n><span class=s>supervised</span> <span class=u>not supervised</span> "
        "<span class=c>control token</span> <span class=i>[image]</span></p>",
        *(_article(shown) for shown in samples),
        "</html>\n",
    ]
    return "\n".join(parts)


def _article(shown: Shown) -> str:
    encoded = shown.encoded
    words = []
    branch = 0
    for piece in shown.pieces:
        if piece.branch != branch:
            branch = piece.branch
            words.append(f"<span class=b>\n[branch {branch}]</span>")
        kind = "s" if piece.supervised else "u"
        if piece.kind == "image":
            assert piece.image is not None
            words.append(f"<span class=i>[image {piece.image + 1}: {piece.tokens:,} tokens]</span>")
        else:
            extra = " c" if piece.kind == "control" else ""
            words.append(f'<span class="{kind}{extra}">{escape(visible(piece.text))}</span>')
    figures = [
        f"<figure><img alt='' src='data:image/png;base64,{_png(image)}'>"
        f"<figcaption>{escape(str(path))}: {escape(describe(layout, extent))}</figcaption></figure>"
        for image, path, layout, extent in zip(
            shown.pictures, shown.sample.images, shown.layouts, shown.extents, strict=True
        )
        if image is not None
    ]
    problems = [f"<p class=n>{escape(text)}</p>" for text in shown.problems]
    return (
        f"<h2>{escape(str(shown.sample.origin))} (id {escape(shown.sample.id)})</h2>"
        f"<p class=n>{len(encoded):,} tokens, {encoded.supervised:,} supervised</p>"
        f"{''.join(problems)}{''.join(figures)}<pre>{''.join(words)}</pre>"
    )


def _png(image: Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()
