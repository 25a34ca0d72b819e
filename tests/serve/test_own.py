"""Pumice's own calls, the page's files, and stages in the stream."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from pumice.errors import UsageError
from pumice.serve import own as own_module
from pumice.serve.backend import Ask, Heat, Looked
from pumice.serve.guard import Door
from pumice.serve.keys import Keys, key_of
from pumice.serve.page import _files

from .conftest import KEY, Live, Make, data_url, png, shown, until
from .scripted import Scripted

HTML = {"Accept": "text/html,application/xhtml+xml"}
ROUTE = "/v1/pumice/relevance"


@dataclass
class Seeing(Scripted):
    """A scripted backend that looks: at the left half."""

    takes_system: bool = False
    looks: list[tuple[Ask, str, tuple[int, int] | None]] = field(default_factory=list)
    hold_looks: threading.Event | None = None
    gave_up: int = 0

    def look(
        self, ask: Ask, answer: str, span: tuple[int, int] | None, stopped: Callable[[], bool]
    ) -> Looked | None:
        self.looks.append((ask, answer, span))
        while self.hold_looks is not None and not self.hold_looks.wait(0.01):
            if stopped():
                self.gave_up += 1
                return None
        if span is not None and span[1] > len(answer):
            raise UsageError("the answer is shorter", where="span")
        heats = tuple(Heat([[0.4, 0.0], [0.1, 0.0]], 0.5) for _ in ask.images)
        return Looked(heats, 0.0, span or (0, len(answer)), -1.5, 2.5, 70, 4)


@pytest.fixture
def seeing() -> Seeing:
    return Seeing()


@pytest.fixture
def live(make: Make, seeing: Seeing) -> Live:
    return make(load=lambda fact: seeing)


def asked(answer: Any = "a red star", **more: Any) -> dict[str, Any]:
    messages = [*shown(data_url(png())), {"role": "assistant", "content": answer}]
    return {"model": "one", "messages": messages, **more}


def test_a_look_gives_maps_in_the_order_of_pictures(live: Live, seeing: Seeing) -> None:
    reply = live.client.post(ROUTE, json=asked(span=[2, 5]))
    assert reply.status_code == 200, reply.text
    found = reply.json()
    (image,) = found["images"]
    assert image == {"rows": 2, "columns": 2, "share": 0.5, "map": [[1.0, 0.0], [0.25, 0.0]]}
    assert (found["span"], found["gain"], found["logprob"]) == ([2, 5], 2.5, -1.5)
    assert found["usage"] == {"prompt_tokens": 70, "answer_tokens": 4}
    ((ask, answer, span),) = seeing.looks
    assert (answer, span) == ("a red star", (2, 5))
    assert [one.role for one in ask.messages] == ["user"]
    assert len(ask.images) == 1


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"messages": shown(data_url(png()))}, 400, "messages"),
        (
            {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "a"}]},
            400,
            "messages",
        ),
        ({"messages": [*shown(data_url(png())), {"role": "user", "content": "a"}]}, 400, "messages[1]"),
        ({"span": [0, 99]}, 400, "span"),
        ({"span": [0]}, 400, "span"),
        ({"model": "two"}, 404, "model"),
        ({"messages": [*shown(data_url(b"no picture")), {"role": "assistant", "content": "a"}]}, 422, None),
    ],
)
def test_what_cannot_be_looked_at_is_told(
    live: Live, change: dict[str, Any], status: int, param: str | None
) -> None:
    reply = live.client.post(ROUTE, json=asked() | change)
    assert reply.status_code == status, reply.text
    assert param is None or reply.json()["error"]["param"] == param


def test_a_client_that_leaves_ends_its_look(
    live: Live, seeing: Seeing, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeing.hold_looks = threading.Event()
    monkeypatch.setattr(own_module, "WAITING", 1)
    with pytest.raises(Exception, match="timed out"):
        live.client.post(ROUTE, json=asked(), timeout=0.5)
    until(lambda: seeing.gave_up == 1)
    leaving = threading.Thread(target=lambda: live.client.post(ROUTE, json=asked()))
    leaving.start()
    until(lambda: len(seeing.looks) == 2)
    full = live.client.post(ROUTE, json=asked())
    assert (full.status_code, full.headers["retry-after"]) == (429, "5")
    assert live.chat().status_code == 200, "answers do not wait for looks"
    seeing.hold_looks.set()
    leaving.join(20)


def test_a_server_that_stops_ends_looks(make: Make, seeing: Seeing) -> None:
    live = make(load=lambda _: seeing, drain_seconds=0.05)
    seeing.hold_looks = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(lambda: live.client.post(ROUTE, json=asked()))
        until(lambda: len(seeing.looks) == 1)
        live.server.handle_exit(signal.SIGTERM, None)
        reply = looking.result(20)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "aborted")
    live.client.close()
    live.thread.join(20)
    assert not live.thread.is_alive()


def test_a_model_that_cannot_look_says_so(make: Make) -> None:
    live = make()
    assert live.client.post(ROUTE, json=asked()).status_code == 400
    (model,) = live.client.get("/v1/pumice").json()["models"]
    assert (model["relevance"], model["system"]) == (False, False)


def test_a_server_with_a_filter_tells_no_probabilities(make: Make, seeing: Seeing) -> None:
    class Lets:
        def push(self, text: str) -> str:
            return text

        def finish(self) -> str:
            return ""

    live = make(load=lambda fact: seeing, make_filter=Lets)
    found = live.client.post(ROUTE, json=asked()).json()
    assert (found["logprob"], found["gain"]) == (None, None)
    assert found["images"]


def test_about_tells_models_and_limits(live: Live) -> None:
    found = live.client.get("/v1/pumice").json()
    (model,) = found["models"]
    assert (model["id"], model["state"], model["parameters"]) == ("one", "ready", 3_400_000)
    assert (model["context"], model["system"], model["relevance"]) == (2048, False, True)
    assert found["limits"]["images"] == 16


def test_a_browser_gets_the_page_and_others_what_they_know(live: Live) -> None:
    page = live.client.get("/", headers=HTML)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "frame-ancestors 'none'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    assert live.client.get("/").text == "Ollama is running"
    for name in _files():
        reply = live.client.get(f"/page/{name}")
        assert reply.status_code == 200
        assert reply.headers["content-security-policy"] == policy
    assert live.client.get("/page/nothing.js").status_code == 404
    assert live.client.get("/page/..%2Fpage.py").status_code == 404
    assert live.client.post("/page/app.js").status_code == 405


def test_the_page_names_no_other_place_and_writes_no_html() -> None:
    for name, data in _files().items():
        if name.endswith((".js", ".html", ".css")):
            text = data.decode()
            assert not re.search(r"(?:src|href|url\(|fetch\(|import)[^\n]{0,20}(?:https?:)?//[a-z]", text), (
                name
            )
            for word in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
            ):
                assert word not in text.replace("never through innerHTML", ""), (name, word)
            assert not re.search(r"\son\w+=|<style|style=", text) or not name.endswith(".html"), name
    assert sum(len(data) for data in _files().values()) < 120_000


def test_with_keys_the_page_is_open_and_all_it_asks_for_is_not(make: Make, seeing: Seeing) -> None:
    locked = make(load=lambda fact: seeing, door=Door(Keys((key_of("alice", KEY, "test"),))))
    assert locked.client.get("/", headers=HTML).status_code == 200
    assert locked.client.get("/page/app.js").status_code == 200
    for method, path in (
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/page/"),
        ("GET", "/page/nothing"),
        ("POST", "/page/app.js"),
    ):
        assert locked.client.request(method, path).status_code == 401, (method, path)
    assert locked.client.post("/", headers=HTML).status_code == 401
    assert locked.client.get("/v1/pumice", headers=HTML).status_code == 401
    assert locked.client.post(ROUTE, json=asked(), headers=HTML).status_code == 401
    assert seeing.looks == []
    assert locked.client.get("/v1/pumice", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200


def test_stages_stand_in_a_stream_as_comments(live: Live, seeing: Seeing) -> None:
    options = {"include_usage": True, "include_stages": True}
    text = live.chat(shown(data_url(png())), stream=True, stream_options=options).text
    assert text.index(": stage pictures\n\n") < text.index(": stage prompt\n\n") < text.index("data: ")
    assert '"image_seconds": 0.2' in text
    plain = live.chat(shown(data_url(png())), stream=True, stream_options={"include_usage": True}).text
    assert ": stage" not in plain
    assert '"pumice"' not in plain
    assert [one.ask.watch for one in seeing.asked] == [True, False]
    assert live.chat("Hello", stream_options=options).json()["choices"], (
        "without a stream there is nobody to tell"
    )
