"""A headless Chromium over its DevTools protocol: enough to click, type and look."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-gpu", "--mute-audio"),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
    ),
    *("--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars", "--lang=en"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def found_browser() -> str | None:
    """The program; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message["method"] == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:2000])
        elif message["method"] == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def js(self, code: str, *args: Any) -> Any:
        """The value of an expression, or of an async function's body, with ``args`` by position."""
        body = code if "return" in code else f"return ({code})"
        reply = self.send(
            "Runtime.evaluate",
            expression=f"(async (...args) => {{ {body} }})({', '.join(json.dumps(arg) for arg in args)})",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in reply, (code, reply["exceptionDetails"])
        return reply["result"].get("value")

    def go(self, url: str) -> None:
        """Open an address, and wait until the page is there."""
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, condition: str, *args: Any, seconds: float = 20) -> Any:
        """Wait until an expression holds; its value."""
        end = time.monotonic() + seconds
        while (value := self.js(condition, *args)) in (None, False, 0, ""):
            assert time.monotonic() < end, (condition, self.errors, self.text("body")[-1500:])
        return value

    def text(self, selector: str) -> str:
        """What an element shows; "" where there is none."""
        return str(self.js("document.querySelector(args[0])?.innerText ?? ''", selector))

    def center(self, selector: str, containing: str = "") -> tuple[float, float]:
        """Where the middle of an element is, scrolled into view; it must be what a click there would meet."""
        place = self.until(
            """const all = [...document.querySelectorAll(args[0])];
            const node = all.filter((one) => one.textContent.includes(args[1])).at(-1);
            if (!node || node.disabled) return null;
            node.scrollIntoView({ block: 'center' });
            await new Promise((done) => requestAnimationFrame(done));
            const box = node.getBoundingClientRect(), x = box.x + box.width / 2, y = box.y + box.height / 2;
            const met = document.elementFromPoint(x, y);
            return box.width && met && (node === met || node.contains(met)) ? [x, y] : null;""",
            selector,
            containing,
        )
        return place[0], place[1]

    def click(self, selector: str, containing: str = "") -> None:
        """Click the last element that a selector finds, with the mouse."""
        x, y = self.center(selector, containing)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key by name."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}
        words = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            given = words if kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                modifiers=8 if shift else 0, **given,
            )  # fmt: skip

    def look(self, *, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """Show the page in a window of this size, light or dark."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
            mobile=width < 500,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])

    def shot(self, path: Path) -> None:
        """A picture of what is shown."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browsing(folder: Path) -> Iterator[Page]:
    """A browser with one tab, killed at the end."""
    program = found_browser()
    assert program is not None
    root = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    process = subprocess.Popen(
        [program, *FLAGS, *root, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        port = folder / "DevToolsActivePort"
        end = time.monotonic() + 40
        while not port.is_file() or len(port.read_text().split()) < 2:
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < end, "the browser does not start"
            threading.Event().wait(0.02)
        number = port.read_text().split()[0]
        tabs = httpx2.get(f"http://127.0.0.1:{number}/json/list", timeout=20).json()
        tab = next(one for one in tabs if one["type"] == "page")
        with connect(tab["webSocketDebuggerUrl"], max_size=None, open_timeout=20) as socket:
            yield Page(socket)
    finally:
        process.kill()
        process.wait(20)
