"""The chat page, clicked through in a real headless Chromium."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pumice.serve.backend import Ask, TooLong
from pumice.serve.guard import Door
from pumice.serve.keys import Keys, key_of

from .browser import Page, browsing, found_browser
from .conftest import KEY, Live, Make, data_url, png, until
from .test_own import Seeing

pytestmark = pytest.mark.skipif(
    found_browser() is None, reason="there is no Chromium: install Debian's package chromium to run these"
)

DROP = """const bag = new DataTransfer();
for (const [name, url] of args[1]) {
  const data = Uint8Array.from(atob(url.split(',')[1]), (letter) => letter.charCodeAt(0));
  bag.items.add(new File([data], name, { type: url.slice(5).split(';')[0] }));
}
const how = { bubbles: true, cancelable: true };
const event = args[0] === 'paste' ? new ClipboardEvent('paste', { ...how, clipboardData: bag })
  : new DragEvent(args[0], { ...how, dataTransfer: bag });
document.body.dispatchEvent(event);
return true;"""
HOSTILE = """# Title <img src=x onerror="window.hacked=1">

<script>window.hacked = 2</script> **bold** and `a < b` and *it* <b>no</b>

- one
  1. deep
- [js](javascript:window.hacked=3) [data](data:text/html,<script>1</script>) [ok](https://example.org/a?b=1)

![spy](https://example.org/pixel.png) [x]: https://example.org "t"

| a | b |
|---|---|
| <svg onload=alert(1)> | 2 |

```html
<iframe src="https://example.org"></iframe>
```

> quoted __strong__ snake_case_word 2 * 3

<style>body{display:none}</style>"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all tests."""
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(tab: Page) -> Iterator[Page]:
    """Its tab; at the end nothing may have failed in it, nor been fetched from elsewhere."""
    tab.look(width=1000, height=760)
    tab.requests.clear()
    tab.errors.clear()
    yield tab
    assert [url for url in tab.requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
    assert tab.errors == []


@pytest.fixture
def seeing() -> Seeing:
    return Seeing()


@pytest.fixture
def live(make: Make, seeing: Seeing, page: Page) -> Live:
    """A scripted server, with its page opened."""
    found = make(load=lambda fact: seeing)
    opened(page, found)
    return found


def opened(page: Page, live: Live) -> None:
    page.go(f"{live.url}/")
    page.until("document.querySelector('#model').value")


def give(page: Page, how: str, *pictures: tuple[str, bytes], kind: str = "image/png") -> None:
    files = [[name, data_url(data, f"data:{kind};base64,")] for name, data in pictures]
    page.js(DROP, how, files)


def ask(page: Page, text: str) -> None:
    page.click("#question")
    page.type(text)
    page.press("Enter")


def answered(page: Page, number: int = 1) -> str:
    """The last answer, once so many are complete."""
    page.until(
        """document.querySelectorAll('.assistant').length === args[0]
          && !document.querySelector('.assistant[aria-busy=true]')
          && document.querySelector('#stop').hidden""",
        number,
    )
    return page.text(".assistant:last-child .text")


def test_an_example_is_answered_and_looked_into(make: Make, page: Page) -> None:
    import torch

    from pumice.infer.engine import Engine, Limits
    from pumice.model.save import load_model
    from pumice.serve.engines import EngineBackend
    from pumice.world.embedded import resolve

    def load(fact: Any) -> EngineBackend:
        model, tokenizer, processor = load_model(resolve("tiny", "model"), dtype="float32")
        engine = Engine(model.eval(), processor, tokenizer, limits=Limits(tokens=1024, running=4))
        engine.start()
        return EngineBackend(engine)

    live = make("tiny", load=load)
    assert not torch.is_inference_mode_enabled()
    opened(page, live)
    assert "tiny is a very small model (3.4 million parameters)" in page.text("#small")
    page.click("#examples button", "yellow")
    assert answered(page) == "star"
    stats = page.text(".stats")
    assert "2 tokens" in stats
    assert "s of it for the picture" in stats
    page.click(".acts button", "look at")
    page.until("document.querySelector('.looked canvas')")
    # The yellow star stands in the middle, from 35 to 70 percent across; the hottest place is on it.
    reddest = """const canvas = document.querySelector('.looked canvas');
    const { width, height } = canvas, { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    let best = 0, sum = -999;
    for (let k = 0; k < data.length; k += 4) {
      const red = data[k] - Math.min(data[k + 1], data[k + 2]);
      if (red > sum) { sum = red; best = k / 4; }
    }
    return [(best % width) / width, Math.floor(best / width) / height];"""
    x, y = page.js(reddest)
    assert 0.3 < x < 0.75
    assert 0.25 < y < 0.7
    page.click(".words button", "star")
    page.until("document.querySelector('.words [aria-pressed=true]').textContent === 'star'")
    page.until("document.querySelector('.looked').getAttribute('aria-busy') === 'false'")
    assert "picture" in page.text(".looked .note:last-of-type") or page.text(".looked")
    ask(page, "What color is it?")
    assert answered(page, 2)
    assert live.service.models.all["tiny"].backend.load().running == 0  # type: ignore[union-attr]


def test_pictures_come_in_every_way_and_go(live: Live, seeing: Seeing, page: Page, tmp_path: Path) -> None:
    give(page, "drop", ("a.png", png(20, 10)), ("b.bmp", png(12, 12, kind="BMP")))
    page.until("document.querySelectorAll('#thumbs img').length === 2")
    give(page, "paste", ("c.png", png(9, 9)))
    (tmp_path / "d.jpg").write_bytes(png(30, 15, kind="JPEG"))
    node = page.send("Runtime.evaluate", expression="document.getElementById('file')")["result"]["objectId"]
    page.send("DOM.setFileInputFiles", files=[str(tmp_path / "d.jpg")], objectId=node)
    page.until("document.querySelectorAll('#thumbs img').length === 4")
    page.click("#thumbs li:nth-child(3) button")
    page.until("document.querySelectorAll('#thumbs img').length === 3")
    page.click("#camera")
    page.click("#shoot-take")
    page.until("document.querySelectorAll('#thumbs img').length === 4")
    page.until("!document.querySelector('#video').srcObject")
    give(page, "drop", ("notes.txt", b"words"), kind="text/plain")
    assert page.until("document.querySelector('#trouble').textContent") == "notes.txt is no picture."
    page.click("#question")
    page.type("What")
    page.press("Enter", shift=True)
    page.type("now?")
    page.press("Enter")
    assert answered(page).startswith("You said What\nnow?")
    (request,) = seeing.asked
    assert [one.size for one in request.ask.images][:3] == [(20, 10), (12, 12), (30, 15)]
    assert page.js("document.querySelectorAll('.user img').length") == 4
    give(page, "drop", *((f"{k}.png", png()) for k in range(14)))
    page.until("document.querySelector('#trouble').textContent.includes('may show 16 pictures')")
    assert page.js("document.querySelectorAll('#thumbs img').length") == 12


def test_the_state_is_the_servers_and_stopping_stops(live: Live, seeing: Seeing, page: Page) -> None:
    seeing.hold = True
    give(page, "drop", ("a.png", png()))
    page.until("document.querySelector('#thumbs img')")
    ask(page, "What is it?")
    page.until("document.querySelector('.state').textContent.startsWith('Looking at the picture')")
    assert page.text("#said") == "Looking at the picture"
    assert seeing.open == 1
    page.click("#stop")
    until(lambda: seeing.open == 0)
    assert page.until("document.querySelector('.cut')?.textContent") == "Stopped."
    until(lambda: "pumice_aborted_total" in live.client.get("/metrics").text and live.service.open <= 1)
    seeing.hold_after = 1
    page.click(".assistant button", "Regenerate")
    page.until("document.querySelector('.assistant .text').textContent.includes('You said')")
    page.press("Escape")
    until(lambda: seeing.open == 0)
    assert page.until("document.querySelector('.cut')?.textContent") == "Stopped."
    assert page.js("document.activeElement.id") == "question"


def test_what_a_model_says_stays_text(live: Live, seeing: Seeing, page: Page) -> None:
    def hostile(ask: Ask, index: int) -> list[str]:
        return [HOSTILE[k : k + 7] for k in range(0, len(HOSTILE), 7)]

    seeing.script = hostile
    ask(page, "Say it")
    answered(page)
    inside = ".assistant .text"
    assert (
        page.js(
            "document.querySelectorAll(args[0] + ' :is(script, img, iframe, svg, style, b)').length", inside
        )
        == 0
    )
    assert page.js("window.hacked ?? null") is None
    links = page.js(
        "return [...document.querySelectorAll(args[0] + ' a')].map((a) => [a.href, a.rel, a.target])", inside
    )
    assert links == [["https://example.org/a?b=1", "noopener noreferrer nofollow", "_blank"]]
    text = page.text(inside)
    plain = (
        *("<script>window.hacked = 2</script>", "js (javascript:window.hacked=3)"),
        *(
            "spy (https://example.org/pixel.png)",
            "snake_case_word 2 * 3",
            "<style>body{display:none}</style>",
        ),
    )
    for words in plain:
        assert words in text, words
    shape = page.js(
        """const all = (what) => [...document.querySelectorAll(args[0] + ' ' + what)];
        return args[1].map((what) => all(what).map((one) => one.textContent));""",
        inside,
        ["strong", "em", "p code", "th", "td", "pre code", "ul > li > ol > li"],
    )
    assert shape == [
        ["bold", "strong"], ["it"], ["a < b"], ["a", "b"], ["<svg onload=alert(1)>", "2"],
        ['<iframe src="https://example.org"></iframe>'], ["deep"],
    ]  # fmt: skip
    seconds = page.js(
        """const { render } = await import('/page/markdown.js');
        const began = performance.now();
        const worst = ['*a ', '**', '_ ', '`', '[', '> ', '- ', '|', '# ', ' ', '[a](', '~~x'];
        for (const bad of worst) render(bad.repeat(20000 / bad.length));
        render('~'.repeat(100000) + '`');  // no fence after all
        render('```' + ' '.repeat(100000) + '`');
        return (performance.now() - began) / 1000;"""
    )
    assert seconds < 20, "a text that is made to be slow"


def test_a_conversation_is_edited_kept_and_taken_along(
    live: Live, seeing: Seeing, page: Page, tmp_path: Path
) -> None:
    give(page, "drop", ("a.png", png()))
    page.until("document.querySelector('#thumbs img')")
    ask(page, "First")
    assert answered(page).startswith("You said First")
    ask(page, "Second")
    assert answered(page, 2) == "You said Second[8x6]"
    page.click("#turns > li:nth-child(1) button", "Edit")
    page.js("document.querySelector('.edit').select()")
    page.type("Changed")
    page.press("Enter")
    assert answered(page, 1).startswith("You said Changed")
    assert len(seeing.asked[-1].ask.messages) == 1
    assert len(seeing.asked[-1].ask.images) == 1
    page.click(".assistant button", "Regenerate")
    until(lambda: len(seeing.asked) == 4)
    answered(page)
    assert seeing.asked[-1].ask.settings.temperature == 0.7, "at 0 it would be the same again"
    assert "drawn at temperature 0.7" in page.text(".stats")
    page.click(".assistant button", "Copy")
    page.until(
        "[...document.querySelectorAll('.assistant button')].some((one) => one.textContent === 'Copied')"
    )
    page.send("Page.reload")
    page.until(
        "document.querySelector('#model')?.value && document.querySelectorAll('.assistant').length === 1"
    )
    assert page.text(".user .text") == "Changed"
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for name, button in (("chat.json", "#export-json"), ("chat.md", "#export-markdown")):
        page.click("#export")
        page.click(button)
        until(lambda name=name: (tmp_path / name).is_file() and (tmp_path / name).stat().st_size)
    taken = json.loads((tmp_path / "chat.json").read_text())
    assert [one["role"] for one in taken["messages"]] == ["user", "assistant"]
    assert live.chat(taken["messages"][:1]).status_code == 200
    assert "![a.png](data:image/png;base64," in (tmp_path / "chat.md").read_text()
    page.click("#new")
    assert page.js("document.querySelectorAll('#turns li').length") == 0
    assert page.js("sessionStorage.getItem('pumice.talk')") == "[]"


def test_settings_count_and_failures_are_sentences(make: Make, seeing: Seeing, page: Page) -> None:
    seeing.takes_system = True
    locked = make("one", "two", load=lambda fact: seeing, door=Door(Keys((key_of("alice", KEY, "test"),))))
    page.go(f"{locked.url}/")
    page.until("document.querySelector('#keyask').open")
    page.click("#keyask-key")
    page.type(KEY)
    page.click("#keyask button")
    page.until("document.querySelector('#model').value === 'one'")
    page.errors.clear()  # the browser itself notes the 401
    page.js(
        """const chosen = document.querySelector('#model');
        chosen.value = 'two';
        chosen.dispatchEvent(new Event('change'));
        return 1;"""
    )
    page.click("#settings-open")
    for name, value in (
        ("temperature", "0.5"),
        ("top_p", "0.9"),
        ("max_tokens", "33"),
        ("seed", "7"),
        ("system", "Be brief."),
    ):
        page.click(f"#{name}")
        page.js("document.getElementById(args[0]).select()", name)
        page.type(value)
    page.click("#settings button", "Done")
    seeing.full = 3.0
    ask(page, "Hello")
    wrong = page.until("document.querySelector('.assistant .trouble')?.textContent")
    assert wrong == "The server's queue is full; try again. Good time to try again: in 3 s."
    seeing.full = None
    page.errors.clear()  # and the 429
    page.click(".assistant button", "Try again")
    assert answered(page) == "You said Hello"
    (request,) = seeing.asked
    settings = request.ask.settings
    assert (settings.temperature, settings.top_p, settings.max_new_tokens) == (0.5, 0.9, 33)
    assert [one.role for one in request.ask.messages] == ["system", "user"]
    seeing.error = TooLong("the prompt has 9000 tokens, but the model's context is 2048")
    page.click("#new")
    ask(page, "A long one")
    wrong = page.until("document.querySelector('.assistant .trouble')?.textContent")
    assert wrong.endswith("is 2048. Edit the question to be shorter, or begin a new chat.")
    seeing.error = None
    page.errors.clear()  # and the 400
    locked.stop()
    page.click("#new")
    ask(page, "Still there?")
    wrong = page.until("document.querySelector('.assistant .trouble')?.textContent")
    assert wrong == "The server does not answer. Is pumice serve still running?"
    page.errors.clear()  # the refused connection


def test_on_a_low_screen_a_new_chat_begins_at_its_top_and_settings_can_be_left(
    live: Live, page: Page
) -> None:
    page.look(width=360, height=420)
    ask(page, "Hello")
    answered(page)
    page.js("document.querySelector('#scroll').scrollTop = 1e6")
    page.click("#new")
    page.js("await new Promise(requestAnimationFrame); return 1")
    assert page.js("document.querySelector('#scroll').scrollTop") == 0
    page.click("#settings-open")
    seen = """const box = [...document.querySelectorAll('#settings button')].at(-1).getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight"""
    assert page.js(seen), "the button that closes them is in sight"
    page.click("#settings button", "Done")


def test_it_says_that_the_model_is_being_loaded(make: Make, page: Page, seeing: Seeing) -> None:
    there = threading.Event()

    def load(_: Any) -> Seeing:
        there.wait(20)
        return seeing

    live = make(load=load, wait=False)
    opened(page, live)
    assert page.js("document.querySelector('#loading').checkVisibility()")
    assert "one is being loaded" in page.js("document.querySelector('#loading').textContent")
    there.set()
    page.until("document.querySelector('#loading').hidden")
    ask(page, "Hello")
    answered(page)


def test_it_can_be_read_by_everybody(live: Live, page: Page) -> None:
    ask(page, "Hello")
    answered(page)
    nameless = """const kinds = 'button, input, select, textarea, img, [role=img]';
    const all = [...document.querySelectorAll(kinds)];
    return all.filter((one) => {
      const label = one.getAttribute('aria-label') || one.labels?.[0]?.textContent
        || one.getAttribute('alt') || one.textContent;
      return !label.trim() && !(one.tagName === 'IMG' && one.alt === '') && one.id !== 'file';
    }).map((one) => one.outerHTML)"""
    assert page.js(nameless) == []
    contrast = """const lamp = (text) => {
      const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
      const [r, g, b] = text.match(/[\\d.]+/g).map((v) => linear(v / 255));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (node) => { for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (!/^rgba.*, 0\\)$/.test(color)) return color; } return 'rgb(255, 255, 255)'; };
    document.querySelector('#trouble').hidden = false; document.querySelector('#trouble').textContent = 'x';
    const all = [...document.querySelectorAll('p, button, small, .text, .stats, h1, select')];
    return all.filter((one) => one.offsetWidth && !one.disabled).map((one) => {
      const [a, b] = [lamp(getComputedStyle(one).color), lamp(behind(one))].sort((x, y) => y - x);
      return [(a + 0.05) / (b + 0.05), one.outerHTML.slice(0, 120)];
    }).filter(([ratio]) => ratio < 4.5)"""
    for dark in (False, True):
        page.look(width=360, height=700, dark=dark)
        assert page.js(contrast) == [], dark
    wide = "[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > 361)"
    assert page.js(f"{wide}.map((one) => one.outerHTML.slice(0, 90))") == []
    assert page.js("document.querySelector('footer').getBoundingClientRect().bottom") == 700
    order = []
    page.js("document.querySelector('.skip').focus()")
    for _ in range(6):
        page.press("Tab")
        order.append(page.js("document.activeElement.id || document.activeElement.className"))
    assert order[:3] == ["new", "export", "settings-open"], "one model alone needs no choosing"
    assert page.js("document.querySelector('#said').getAttribute('aria-live')") == "polite"
