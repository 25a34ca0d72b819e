"""Fetching pictures: nothing that a stranger names reaches inside, by whichever spelling."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pumice.serve.failure import Failure
from pumice.serve.fetch import Fetcher, is_public

from .conftest import Make, png, shown


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *(
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
        ),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::", "2002:808:808::1"),
        *("2001:0:1::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *("ff02::1", "100::1", "localhost", "", "0x7f.1", "2130706433"),
    ],
)
def test_addresses_that_are_never_dialled(address: str) -> None:
    assert not is_public(address)


class Site(ThreadingHTTPServer):
    """A small site: ``replies`` by path, ``seen`` paths with their host."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.seen: list[tuple[str, str]] = []
        self.hang = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.seen.append((self.path, self.headers["Host"]))
                if self.path == "/drip":
                    self._drip()
                    return
                status, headers, body = site.replies.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def _drip(self) -> None:
                self.wfile.write(b"HTTP/1.0 200 OK\r\n")
                while not site.hang.wait(0.02):
                    try:
                        self.wfile.write(b"A: b\r\n")
                    except OSError:
                        return

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads = True


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.hang.set()
        site.shutdown()


def fetcher(names: dict[str, list[str]] | None = None, **more: Any) -> Fetcher:
    """Resolves names by a table; 127.0.0.1 counts as public when the table is left to itself."""
    table = {"pictures.test": ["127.0.0.1"], **(names or {})}

    def resolve(host: str, port: int) -> list[str]:
        if host not in table:
            raise socket.gaierror
        return table[host]

    more.setdefault("allowed", lambda address: address == "127.0.0.1" or is_public(address))
    return Fetcher(more.pop("most_bytes", 10_000), resolver=resolve, **more)


def refused(fetching: Fetcher, url: str) -> Failure:
    with pytest.raises(Failure) as caught:
        fetching.fetch(url, "here")
    return caught.value


def test_a_picture_is_fetched_from_the_address_that_was_checked(site: Site) -> None:
    site.replies["/a%20b.png?x=1"] = (200, {}, png())
    port = site.server_address[1]
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    fetching = Fetcher(10_000, resolver=resolve, allowed=lambda address: address == "127.0.0.1")
    assert fetching.fetch(f"http://pictures.test:{port}/a%20b.png?x=1#part", "here") == png()
    assert asked == ["pictures.test"]  # a second look might have another answer
    assert site.seen == [("/a%20b.png?x=1", f"pictures.test:{port}")]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"], []]
)
def test_one_address_inside_is_enough_to_refuse(site: Site, addresses: list[str]) -> None:
    fetching = fetcher({"inside.test": addresses}, allowed=is_public)
    failure = refused(fetching, f"http://inside.test:{site.server_address[1]}/a.png")
    unknown = refused(fetching, "http://nobody.test/a.png")
    assert (failure.status, failure.words) == (422, unknown.words)  # nothing is to be learned from it
    assert site.seen == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0x7f000001", "2130706433", "0177.0.0.1", "127.1", "[::1]", "[::ffff:7f00:1]"],
)
def test_spellings_of_this_machine_by_the_real_resolver(site: Site, host: str) -> None:
    failure = refused(Fetcher(10_000), f"http://{host}:{site.server_address[1]}/a.png")
    assert failure.status == 422
    assert site.seen == []


def test_every_redirect_is_checked_again(site: Site) -> None:
    port = site.server_address[1]
    site.replies["/away"] = (302, {"Location": f"http://inside.test:{port}/secret"}, b"")
    site.replies["/file"] = (302, {"Location": "file:///etc/passwd"}, b"")
    site.replies["/on"] = (302, {"Location": "/a.png"}, b"")
    site.replies["/round"] = (302, {"Location": "/round"}, b"")
    site.replies["/a.png"] = (200, {}, png())
    fetching = fetcher({"inside.test": ["10.0.0.1"]})
    start = f"http://pictures.test:{port}"
    assert refused(fetching, f"{start}/away").status == 422
    assert refused(fetching, f"{start}/file").status == 400
    assert "redirects more than" in refused(fetching, f"{start}/round").words
    assert fetching.fetch(f"{start}/on", "here") == png()
    assert "/secret" not in [path for path, _ in site.seen]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://pictures.test/a",
            "file:///etc/passwd",
            "gopher://pictures.test/",
            "//pictures.test/a",
            "a.png",
        ),
        *("http://user:word@pictures.test/", "http://evil@pictures.test/", "http:///a", "http://[::1/a"),
        *(
            "http://pictures.test\\@inside.test/",
            "http://pictures.test/a\r\nHost: x",
            "http://pictures.test:99999/",
        ),
        *(
            "http://pictures.test /a",
            "http://pictures.test:0x50/",
            "jar:http://pictures.test!/",
            "javascript:1",
        ),
    ],
)
def test_addresses_that_two_parsers_might_read_differently_are_400(url: str) -> None:
    assert refused(fetcher(), url).status == 400


def test_bytes_are_bounded(site: Site) -> None:
    site.replies["/large"] = (200, {}, b"x" * 20_000)
    failure = refused(fetcher(), f"http://pictures.test:{site.server_address[1]}/large")
    assert (failure.status, failure.code) == (400, "image_too_large")


def test_time_is_bounded_for_a_server_that_drips(site: Site) -> None:
    fetching = fetcher(seconds=0.3)
    failure = refused(fetching, f"http://pictures.test:{site.server_address[1]}/drip")
    assert (failure.status, failure.words) == (422, "a picture could not be fetched: it takes too long")


def test_what_is_not_there_is_422(site: Site) -> None:
    port = site.server_address[1]
    assert "answers 404" in refused(fetcher(), f"http://pictures.test:{port}/none").words
    site.replies["/short"] = (200, {"Content-Length": "100"}, b"x")
    assert refused(fetcher(), f"http://pictures.test:{port}/short").status == 422


def test_a_server_that_was_told_to_fetches(make: Make, site: Site) -> None:
    site.replies["/a.png"] = (200, {}, png(9, 7))
    site.replies["/page"] = (200, {}, b"<html>")
    live = make(fetcher=fetcher())
    start = f"http://pictures.test:{site.server_address[1]}"
    assert live.chat(shown(f"{start}/a.png")).json()["choices"][0]["message"]["content"].endswith("[9x7]")
    assert live.chat(shown(f"{start}/page")).status_code == 422
