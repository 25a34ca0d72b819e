"""Ollama's calls against a real server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import pumice
from pumice.types import Image, Text

from .conftest import Live, Make, png

PICTURE = base64.b64encode(png()).decode()


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def chat(live: Live, **more: Any) -> Any:
    body = {"model": "one", "messages": [{"role": "user", "content": "Hi", "images": [PICTURE]}], **more}
    return live.client.post("/api/chat", json=body)


def test_the_root_is_recognised(live: Live) -> None:
    assert live.client.get("/").text == "Ollama is running"
    assert live.client.get("/api/version").json() == {"version": pumice.__version__}


def test_tags_and_show_tell_of_the_model(make: Make) -> None:
    live = make("one", "two")
    first, second = live.client.get("/api/tags").json()["models"]
    assert (first["name"], second["model"]) == ("one", "two")
    assert first["size"] == 6_000_000
    assert first["details"]["parameter_size"] == "3.4M"
    shown = live.client.post("/api/show", json={"model": "one:latest"}).json()
    assert "vision" in shown["capabilities"]
    assert shown["model_info"]["llava.context_length"] == 2048
    assert shown["details"] == first["details"]
    assert "/nowhere" not in json.dumps([first, shown])


def test_chat_streams_by_default(live: Live) -> None:
    reply = chat(live)
    assert reply.headers["content-type"] == "application/x-ndjson"
    *pieces, end = lines(reply.text)
    assert "".join(one["message"]["content"] for one in pieces) == "You said Hi[8x6]"
    assert all(one["done"] is False and one["model"] == "one" for one in pieces)
    assert (end["done"], end["done_reason"]) == (True, "stop")
    assert (end["prompt_eval_count"], end["eval_count"]) == (101, 3)
    assert end["total_duration"] >= end["prompt_eval_duration"] >= 0
    assert end["eval_duration"] >= 0
    (message,) = live.backend.asked[0].ask.messages
    assert message.parts == (Image(0), Text("\n"), Text("Hi"))


def test_chat_whole(live: Live) -> None:
    reply = chat(live, stream=False).json()
    assert reply["message"] == {"role": "assistant", "content": "You said Hi[8x6]"}
    assert reply["done"] is True


def test_generate(live: Live) -> None:
    body = {"model": "one", "prompt": "What?", "system": "Be short.", "images": [PICTURE], "stream": False}
    reply = live.client.post("/api/generate", json=body).json()
    assert reply["response"] == "You said What?[8x6]"
    first, second = live.backend.asked[0].ask.messages
    assert (first.role, first.text) == ("system", "Be short.")
    assert second.parts == (Image(0), Text("\n"), Text("What?"))
    raw = {"model": "one", "prompt": "What?", "raw": True}
    pieces = lines(live.client.post("/api/generate", json=raw).text)
    assert "".join(one["response"] for one in pieces) == "more of What?"


def test_options_and_format_reach_the_backend(live: Live) -> None:
    options = {"temperature": 0, "top_k": 7, "top_p": 0.5, "seed": 3, "num_predict": 11, "stop": ["a", "b"],
               "repeat_penalty": 1.3, "mirostat": 1}  # fmt: skip
    chat(live, options=options, format={"type": "object"})
    chat(live, format="json", options={"num_predict": -1})
    first, second = (one.ask.settings for one in live.backend.asked)
    assert (first.temperature, first.top_k, first.top_p, first.seed) == (0, 7, 0.5, 3)
    assert (first.max_new_tokens, first.stop, first.repetition_penalty) == (11, ("a", "b"), 1.3)
    assert first.shape == {"type": "json_schema", "schema": {"type": "object"}}
    assert second.shape == {"type": "json_object"}
    assert (second.max_new_tokens, second.temperature, second.top_k) == (8192, 0.8, 40)


def test_errors_have_ollamas_form(live: Live) -> None:
    reply = live.client.post(
        "/api/chat", json={"model": "none", "messages": [{"role": "user", "content": "a"}]}
    )
    assert reply.status_code == 404
    assert "none" in reply.json()["error"]
    assert chat(live, template="{{ 7 * 7 }}").status_code == 400
    live.backend.reason = "error"
    assert "error" in lines(chat(live).text)[-1]


@pytest.mark.parametrize("images", [["not base64!"], [""], ["AAAA"]])
def test_pictures_that_are_none(live: Live, images: list[str]) -> None:
    for path, body in (
        ("/api/generate", {"prompt": "a", "images": images}),
        ("/api/chat", {"messages": [{"role": "user", "content": "a", "images": images}]}),
    ):
        assert live.client.post(path, json={"model": "one", **body}).status_code in (400, 422)


def test_a_call_without_words_loads_and_unloads(make: Make) -> None:
    live = make("one", at_start=False, idle_seconds=1000)
    assert live.client.get("/api/ps").json() == {"models": []}
    assert live.client.post("/api/generate", json={"model": "one"}).json()["done_reason"] == "load"
    assert [one["name"] for one in live.client.get("/api/ps").json()["models"]] == ["one"]
    out = live.client.post("/api/chat", json={"model": "one", "messages": [], "keep_alive": 0}).json()
    assert out["done_reason"] == "unload"
    assert live.backend.closed
    assert live.client.get("/api/ps").json() == {"models": []}
