"""Makes docs/looked.png and the pictures of the chat page (with Chromium): `python docs/chat_page.py`.

The words of the answers are those of the shipped model.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).parent
STATIC = DOCS.parent / "src" / "pumice" / "serve" / "static"
EXAMPLES = {
    "ring.webp": "What color is the ring?",
    "sign.webp": "What does the sign say?",
    "star.webp": "What shape is yellow?",
    "cross.webp": "Where is the star?",
}
sys.path.insert(0, str(DOCS.parent / "tests" / "serve"))

from browser import Page, browsing  # noqa: E402
from real import served  # noqa: E402


def ready(page: Page, url: str) -> None:
    page.go(f"{url}/")
    page.until("document.querySelector('#model').value && document.querySelector('#examples img').complete")
    page.js("sessionStorage.clear()")


def answered(page: Page, number: int) -> None:
    page.until("document.querySelectorAll('.acts .stats').length === args[0]", number)


def ask_example(page: Page, words: str) -> None:
    page.click("#examples button", words)
    answered(page, 1)


def look(page: Page) -> None:
    page.click(".acts button", "look at")
    page.until("document.querySelector('.looked canvas')")


def shot(page: Page, name: str) -> None:
    """A picture of the page, of few colors: it has few, and shall be small."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        page.shot(path)
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            few = image.convert("RGB").quantize(256, kmeans=3)
            few.save(DOCS / name, optimize=True)


def maps() -> None:
    """The page's examples, each beside what the model looked at."""
    from pumice.image.heat import heated
    from pumice.infer import Generator
    from pumice.infer.relevance import Looker
    from pumice.model.save import load_model
    from pumice.types import text_message
    from pumice.world.embedded import resolve

    model, tokenizer, processor = load_model(resolve("tiny", "model"), dtype="float32")
    generator = Generator(model.eval().requires_grad_(False), tokenizer, processor)
    looker = Looker(model, generator.pictures, tokenizer, generator.template)
    side, gap, font = 168, 12, ImageFont.load_default(13)
    sheet = Image.new("RGB", (4 * side + 5 * gap, 2 * (side + 34) + gap), "white")
    for number, (name, question) in enumerate(EXAMPLES.items()):
        with Image.open(STATIC / name) as file:
            image = file.convert("RGB")
        answer = generator.answer([(question, [image])], 30)[0]
        found = looker.look([text_message("user", question, images=[0])], [image], answer)
        large = image.resize((side, side), Image.Resampling.BICUBIC)
        left, top = gap + number % 2 * 2 * (side + gap), gap + number // 2 * (side + 34)
        sheet.paste(large, (left, top))
        sheet.paste(heated(large, found.pictures[0].heat_NRC[0]), (left + side + gap, top))
        ImageDraw.Draw(sheet).text((left, top + side + 4), f"{question} {answer}", "black", font)
    sheet.quantize(256, kmeans=3).save(DOCS / "looked.png", optimize=True)


def main() -> None:
    maps()
    with (
        tempfile.TemporaryDirectory() as profile,
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), "tiny", "--quiet") as server,
        browsing(Path(profile)) as page,
    ):
        page.look(width=900, height=900)
        ready(page, server.url)
        ask_example(page, "sign")
        look(page)
        page.js("document.querySelector('#scroll').scrollTop = 0; return 1")
        shot(page, "chat-page.png")
        page.look(width=390, height=760, dark=True)
        page.click("#new")
        page.until("!document.querySelector('#welcome').hidden")
        shot(page, "chat-page-phone.png")


if __name__ == "__main__":
    main()
