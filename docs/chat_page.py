"""Makes the pictures of the chat page in docs: `python docs/chat_page.py`, with Chromium installed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent
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


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as profile,
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), "tiny", "--quiet") as server,
        browsing(Path(profile)) as page,
    ):
        page.look(width=900, height=820)
        ready(page, server.url)
        ask_example(page, "sign")
        look(page)
        page.js("document.querySelector('#scroll').scrollTop = 0; return 1")
        page.shot(DOCS / "chat-page.png")
        page.look(width=390, height=760, dark=True)
        page.click("#new")
        page.until("!document.querySelector('#welcome').hidden")
        page.shot(DOCS / "chat-page-phone.png")


if __name__ == "__main__":
    main()
