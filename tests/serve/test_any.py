"""Requests of every kind, allowed or not, and pictures of any bytes: no 5xx, nothing left."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumice.serve.openapi import BODIES, READ, openapi_page
from pumice.serve.schema import ChatBody, CompletionBody, ResponsesBody

from .conftest import Live, Make, data_url, png, shown

SETTINGS = settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
LEAF = st.none() | st.booleans() | NUMBERS
JSON = st.recursive(
    LEAF | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({*ChatBody.model_fields, *CompletionBody.model_fields, *ResponsesBody.model_fields})
ROLES = st.sampled_from(["user", "assistant", "system", "tool"])
CONTENT = JSON | st.text(max_size=20)
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), max_size=4)
MEMBERS = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5)


def is_fine(reply: httpx2.Response) -> bool:
    """An answer, or a failure that names no fault of the server's."""
    return reply.status_code in (200, 400, 404, 413, 422) and "Traceback" not in reply.text


@SETTINGS
@given(members=MEMBERS, messages=MESSAGES)
def test_any_members(live: Live, members: dict[str, Any], messages: list[Any]) -> None:
    for path, more in (
        ("/v1/chat/completions", {"model": "one", "messages": messages}),
        ("/v1/completions", {"model": "one", "prompt": "a"}),
        ("/v1/responses", {"model": "one", "input": messages}),
        ("/api/chat", {"model": "one", "messages": messages, "options": members}),
        ("/api/generate", {"model": "one", "prompt": "a"}),
    ):
        body = json.dumps({**members, **more}).encode()
        reply = live.client.post(path, content=body)
        assert is_fine(reply), (path, body, reply.text)


@SETTINGS
@given(body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body(live: Live, body: bytes) -> None:
    for path in BODIES:
        assert is_fine(live.client.post(path, content=body)), (path, body)


@SETTINGS
@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]))
def test_any_damage_to_a_picture(live: Live, data: st.DataObject, kind: str) -> None:
    whole = bytearray(png(24, 16, kind=kind))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    reply = live.chat(shown(data_url(cut)))
    assert is_fine(reply), base64.b64encode(cut)
    assert live.service.budget.held == 0


def test_the_page_has_every_route(make: Make) -> None:
    live = make()
    page = live.client.get("/openapi.json").json()
    assert page == openapi_page()
    assert set(page["paths"]) == {*READ, *BODIES}
    for path, call in page["paths"].items():
        for method in call:
            reply = live.client.request(method, path.replace("{id}", "one"), json={})
            assert reply.status_code != 404 or path == "/api/show", path
    assert page["components"]["schemas"]["ChatBody"]["required"] == ["messages"]


def test_schemathesis(live: Live) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    from schemathesis.checks import not_a_server_error  # type: ignore[import-not-found]

    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(checks=[not_a_server_error])

        ask()
