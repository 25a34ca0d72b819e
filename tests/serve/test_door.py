"""Who is let in: keys, rates, hosts, origins, sizes."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import UsageError
from pumice.serve.guard import Door
from pumice.serve.keys import Keys, Rates, key_of, read_keys
from pumice.serve.run import door_of, is_loopback

from .conftest import KEY, Live, Make, until

CHAT = {"model": "one", "messages": [{"role": "user", "content": "Hi"}]}
PATHS = (
    *("/", "/metrics", "/v1/models", "/v1/models/one", "/api/version", "/api/tags", "/api/ps", "/nothing"),
    *(
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/api/show",
        "/api/chat",
        "/api/generate",
        "/openapi.json",
        "//health",
    ),
    *("/health/", "/health/../v1/models", "/Health"),
)


@pytest.fixture
def locked(make: Make) -> Live:
    return make(door=Door(Keys((key_of("alice", KEY, "test"), key_of("bob", KEY + "bob", "test")))))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", KEY, f"Basic {KEY}", f"Bearer {KEY}x"]
)
def test_without_a_key_nothing_answers_but_health(locked: Live, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert locked.client.get("/health", headers=headers).status_code == 200
    for path in PATHS:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            reply = locked.client.request(method, path, headers=headers)
            assert reply.status_code == 401, (method, path)
            assert reply.headers["www-authenticate"] == "Bearer"
    assert locked.backend.asked == []


def test_each_key_opens_and_has_its_name_in_the_log(locked: Live) -> None:
    for key in (KEY, KEY + "bob"):
        headers = {"Authorization": f"bearer {key}"}
        assert locked.client.post("/v1/chat/completions", json=CHAT, headers=headers).status_code == 200
    until(lambda: locked.log.read_text().count("\n") == 2)
    text = locked.log.read_text()
    assert [json.loads(line)["caller"] for line in text.splitlines()] == ["alice", "bob"]
    assert KEY not in text


def test_the_log_says_who_was_turned_away_and_why(locked: Live) -> None:
    assert locked.client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 403
    assert locked.client.get("/v1/models").status_code == 401
    until(lambda: locked.log.read_text().count("\n") == 2)
    entries = [json.loads(line) for line in locked.log.read_text().splitlines()]
    assert [(one["caller"], one["error"]) for one in entries] == [
        ("127.0.0.1", "host_not_allowed"), ("127.0.0.1", "invalid_api_key")
    ]  # fmt: skip


def test_two_authorizations_are_none(locked: Live) -> None:
    headers = [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")]
    assert locked.client.get("/v1/models", headers=headers).status_code == 401


def test_all_keys_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("pumice.serve.keys.hmac.compare_digest", compare)
    keys = Keys(tuple(key_of(str(k), f"{KEY}{k}", "test") for k in range(3)))
    assert keys.caller(f"Bearer {KEY}0") == "0"
    assert len(compared) == 3
    assert keys.caller(None) is None
    assert len(compared) == 6


def test_files_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\nalice {KEY}\n{KEY}2\n")
    keys = Keys(read_keys(path))
    assert keys.caller(f"Bearer {KEY}") == "alice"
    assert keys.caller(f"Bearer {KEY}2") == "key 4"
    for text in ("", "short", f"a b {KEY}", "alice pässwörter-aus-umlauten"):
        path.write_text(text)
        with pytest.raises(UsageError):
            read_keys(path)
    with pytest.raises(UsageError):
        read_keys(tmp_path / "none")


def test_a_rate_is_per_key(make: Make) -> None:
    keys = Keys((key_of("a", KEY, "test"), key_of("b", KEY + "b", "test")))
    live = make(door=Door(keys), limits={"rate": 2})

    def status(key: str, path: str = "/v1/chat/completions") -> tuple[int, str | None]:
        headers = {"Authorization": f"Bearer {key}"}
        reply = live.client.post(path, json={**CHAT, "input": "Hi"}, headers=headers)
        return reply.status_code, reply.headers.get("retry-after")

    assert [status(KEY, "/v1/responses")[0], status(KEY)[0]] == [200, 200]
    assert status(KEY, "/v1/responses")[0] == 429
    code, after = status(KEY)
    assert code == 429
    assert after is not None
    assert 1 <= int(after) <= 30
    assert status(KEY + "b")[0] == 200


def test_rates_refill_and_forget() -> None:
    now = [0.0]
    rates = Rates(60, lambda: now[0])
    assert [rates.wait("a") for _ in range(60)] == [None] * 60
    assert rates.wait("a") == pytest.approx(1.0)
    now[0] += 1
    assert rates.wait("a") is None
    for number in range(5000):
        rates.wait(str(number))
    assert len(rates._buckets) <= 4096


def raw(live: Live, host: str | None, path: str = "/v1/models", method: str = "GET", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({} if host is None else {"Host": host}).items() | headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    with connection.getresponse() as response:
        status = response.status
    connection.close()
    return status


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:1", 200), ("[::1]:8000", 200)),
        *(("rebound.example.org", 403), ("localhost.example.org", 403), ("127.0.0.1.nip.io", 403)),
        *(("169.254.169.254", 403), ("localhost@evil", 400), ("", 400), ("a b", 400)),
    ],
)
def test_strange_hosts_are_refused(live: Live, host: str, status: int) -> None:
    assert raw(live, host) == status
    assert raw(live, host, "/health") == status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost", "[", ""]
)
def test_pages_of_other_sites_may_not_call(live: Live, origin: str) -> None:
    assert raw(live, "localhost:8000", "/v1/chat/completions", "POST", Origin=origin) == 403
    assert live.backend.asked == []


def test_no_cross_origin_header_without_being_asked(live: Live) -> None:
    own = {"Origin": live.url}
    reply = live.client.post("/v1/chat/completions", json=CHAT, headers=own)
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]
    assert live.client.options("/v1/models", headers={"Origin": "http://evil.example"}).status_code == 403


def test_a_site_that_is_allowed(make: Make) -> None:
    site = "https://chat.example.org"
    live = make(door=Door(Keys((key_of("a", KEY, "test"),)), origins=(site,)))
    asked = live.client.options("/v1/chat/completions", headers={"Origin": site})
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == site
    assert "access-control-allow-credentials" not in asked.headers
    headers = {"Origin": site, "Authorization": f"Bearer {KEY}"}
    reply = live.client.post("/v1/chat/completions", json=CHAT, headers=headers)
    assert reply.headers["access-control-allow-origin"] == site
    assert live.client.post("/v1/chat/completions", json=CHAT, headers={"Origin": site}).status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org"])
def test_off_loopback_a_key_is_needed(host: str) -> None:
    with pytest.raises(UsageError, match="no API key"):
        door_of(host, Keys(()), (), ())
    assert door_of(host, Keys((key_of("a", KEY, "test"),)), (), ()).hosts is None


def test_loopback_and_names() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert door_of("127.0.0.1", Keys(()), ("Pumice.local",), ()).hosts >= {"pumice.local", "localhost"}
    for origin in ("*", "null", "https://a/b", "ftp://a"):
        with pytest.raises(UsageError):
            door_of("127.0.0.1", Keys(()), (), (origin,))


def test_large_bodies_are_413_announced_or_not(make: Make) -> None:
    live = make(limits={"body_bytes": 1000})
    assert live.client.post("/v1/chat/completions", content=b"x" * 1001).status_code == 413

    def pieces() -> Any:
        yield from [b"x" * 400] * 3

    assert live.client.post("/v1/chat/completions", content=pieces()).status_code == 413


def test_a_body_that_does_not_come_is_408(make: Make) -> None:
    live = make(limits={"body_seconds": 0.05})
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as sock:
        sock.sendall(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert sock.recv(100).startswith(b"HTTP/1.1 408 ")


def test_more_calls_than_the_limit_are_429(make: Make) -> None:
    live = make(limits={"requests": 0})
    reply = live.client.post("/v1/chat/completions", json=CHAT)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "2")


def test_wrong_addresses_and_methods(live: Live) -> None:
    assert live.client.get("/nothing").json()["error"]["code"] == "not_found"
    assert live.client.get("/v1/chat/completions").status_code == 405
    assert live.client.post("/health").status_code == 405
    assert live.client.head("/").status_code == 200
