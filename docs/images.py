"""Draws docs/images.png: what each aspect mode does with one picture. Run it as `python docs/images.py`.

The picture is generated, and what becomes of it is made by the code that training and answering use.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pumice.image.anyres import cut_tiles, on_canvas
from pumice.image.layout import ImageLayout, image_layout
from pumice.image.process import ImageProcessor
from pumice.image.settings import NEXT_PINPOINTS, LayoutSettings, Merge

SIZE = (1000, 560)
CLIP = ImageProcessor(336, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
NEXT = CLIP.with_mode("anyres", NEXT_PINPOINTS)
INK, PAPER, LINE = (30, 30, 30), (255, 255, 255), (220, 40, 40)
GAP, HEAD = 24, 46
TILE = 168


def picture() -> Image.Image:
    """A wide scene with something at every edge, so that a crop shows what it loses."""
    image = Image.new("RGB", SIZE, (176, 214, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 380, 1000, 560), fill=(132, 178, 104))
    draw.ellipse((40, 40, 150, 150), fill=(250, 214, 80))
    draw.polygon([(250, 380), (420, 130), (590, 380)], fill=(142, 132, 142))
    draw.polygon([(372, 200), (420, 130), (468, 200)], fill=PAPER)
    draw.rectangle((660, 270, 800, 400), fill=(196, 96, 72))
    draw.polygon([(640, 270), (730, 190), (820, 270)], fill=(120, 62, 52))
    draw.rectangle((710, 330, 750, 400), fill=(84, 58, 44))
    draw.rectangle((918, 250, 938, 430), fill=(104, 74, 52))
    draw.ellipse((868, 150, 988, 290), fill=(62, 122, 70))
    draw.polygon([(80, 470), (250, 470), (220, 520), (110, 520)], fill=(92, 66, 128))
    draw.text((500, 480), "Pumice", font=ImageFont.load_default(52), fill=INK, anchor="mm")
    return image


def layout(aspect: str) -> ImageLayout:
    """The layout of the picture for CLIP-L/336: as LLaVA-1.5 has it, or as LLaVA-1.6 (anyres)."""
    merge: Merge = "spatial_unpad" if aspect == "anyres" else "flat"
    pinpoints = NEXT_PINPOINTS if aspect == "anyres" else ()
    settings = LayoutSettings(side=336, features=24, aspect=aspect, merge=merge, pinpoints=pinpoints)  # type: ignore[arg-type]
    return image_layout(SIZE, settings)


def panel(image: Image.Image, title: str, note: str, width: int) -> Image.Image:
    """An image under two lines of text."""
    sheet = Image.new("RGB", (max(width, image.width), image.height + HEAD), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((0, 0), title, font=ImageFont.load_default(19), fill=INK)
    draw.text((0, 23), note, font=ImageFont.load_default(14), fill=(90, 90, 90))
    sheet.paste(image, (0, HEAD))
    return sheet


def tiles(image: Image.Image) -> Image.Image:
    """The base and the tiles of the picture, apart, as the tower gets them."""
    columns, rows = layout("anyres").grid
    base, *rest = (tile.resize((TILE, TILE), Image.Resampling.LANCZOS) for tile in cut_tiles(image, NEXT))
    sheet = Image.new("RGB", ((columns + 1) * (TILE + 6) + 20, rows * (TILE + 6)), PAPER)
    sheet.paste(base, (0, 0))
    for number, tile in enumerate(rest):
        row, column = divmod(number, columns)
        sheet.paste(tile, ((column + 1) * (TILE + 6) + 20, row * (TILE + 6)))
    return sheet


def canvas(image: Image.Image) -> Image.Image:
    """The picture on its canvas, with the cuts between tiles and the frame of what becomes tokens."""
    own = layout("anyres")
    sheet = on_canvas(image, own.canvas, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(sheet)
    for column in range(1, own.grid[0]):
        draw.line((column * 336, 0, column * 336, sheet.height), fill=LINE, width=4)
    for row in range(1, own.grid[1]):
        draw.line((0, row * 336, sheet.width, row * 336), fill=LINE, width=4)
    left, top, right, bottom = (edge * 336 // 24 for edge in own.crop)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=(250, 214, 80), width=5)
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)


def main() -> None:
    image = picture()
    whole = image.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.LANCZOS)
    first = [panel(whole, "the picture", f"{SIZE[0]} x {SIZE[1]} pixels", 0)]
    for mode, note in [
        ("crop", "the middle; the edges are lost"),
        ("pad", "all of it, smaller; mean colour around"),
        ("squash", "all of it, out of shape"),
    ]:
        square = CLIP.with_mode(mode).squared(image)  # type: ignore[arg-type]
        square = square.resize((280, 280), Image.Resampling.LANCZOS)
        first.append(panel(square, f"{mode}: {layout(mode).tokens} tokens", note, 290))
    own = layout("anyres")
    kept = f"{own.kept[1]} rows of {own.kept[0]} + 1"
    second = [
        panel(canvas(image), "anyres", "resized onto the best canvas, black around; the frame is kept", 430),
        panel(
            tiles(image),
            f"anyres: {own.tiles} tiles, {own.tokens:,} tokens",
            f"the base's 576, then {kept}",
            0,
        ),
    ]
    rows = [first, second]
    width = max(sum(item.width + GAP for item in row) for row in rows) + GAP
    sheet = Image.new("RGB", (width, sum(max(p.height for p in row) + GAP for row in rows) + GAP), PAPER)
    top = GAP
    for row in rows:
        left = GAP
        for item in row:
            sheet.paste(item, (left, top))
            left += item.width + GAP
        top += max(item.height for item in row) + GAP
    sheet.quantize(128, dither=Image.Dither.NONE).save(Path(__file__).with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
