"""Pictures from addresses, off unless the server was told: what a stranger names must not reach inside.

One parser reads an address, and the request is built from what it found. A host is resolved once; if any of
its addresses is not a public one, nothing is fetched, and what is dialled is the address that was checked.
Every redirect starts again. Bytes and time are bounded. Proxies of the environment are not used: they would
resolve the name again.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pumice.serve.failure import Failure

REDIRECTS = 3
SECONDS = 15.0
USER_AGENT = "pumice"
_MOVED = (301, 302, 303, 307, 308)

_INSIDE = tuple(
    ipaddress.ip_network(network)
    for network in (
        # Not all of these are "private" to ipaddress, and which are has changed with Python's versions.
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # ::/96 holds v4-compatible addresses, then v4-mapped, NAT64 twice, Teredo, 6to4.
        *("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16"),
        *(
            "100::/64",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/10",
            "fec0::/10",
            "ff00::/8",
        ),
    )
)

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class _Target:
    """An address in the parts that are both checked and dialled."""

    secure: bool
    host: str
    port: int
    path: str


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: global, unicast, and no other one in disguise."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # with a zone, or none at all
        return False
    if getattr(ip, "scope_id", None) is not None:
        return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _INSIDE)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as text; OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Fetcher:
    """Fetches pictures by http and https.

    Args:
        most_bytes: of one picture.
        seconds: for one picture in all, redirects included.
        resolver: gives a host's addresses.
        allowed: says which of them may be dialled; another one than ``is_public`` is for tests.
    """

    def __init__(
        self,
        most_bytes: int,
        seconds: float = SECONDS,
        resolver: Resolve = resolve,
        allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self.most_bytes, self.seconds = most_bytes, seconds
        self._resolve, self._allowed = resolver, allowed

    def fetch(self, url: str, param: str) -> bytes:
        """The bytes behind an address; blocks.

        Raises:
            Failure: 400, an address that is never fetched; 422, one that could not be.
        """
        end = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            found = self._once(url, end, param)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise _not_fetched(f"it redirects more than {REDIRECTS} times", param)

    def _once(self, url: str, end: float, param: str) -> bytes | str:
        """The bytes, or where the address leads to."""
        target = _target(url, param)
        try:
            addresses = self._resolve(target.host, target.port)
        except (OSError, UnicodeError) as error:
            raise _not_fetched("its host is not known", param) from error
        # One answer for hosts that are inside and for names that nobody has: nothing is to be learned here.
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise _not_fetched("its host is not known", param)
        try:
            with _connected(target, addresses[0], end) as connection:
                connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
                connection.putheader("Host", _host_header(target))
                connection.putheader("User-Agent", USER_AGENT)
                connection.putheader("Accept", "image/*")
                connection.endheaders()
                response = connection.getresponse()
                if time.monotonic() >= end:  # a cut looks like an end to http.client
                    raise TimeoutError
                if response.status in _MOVED:
                    return response.getheader("Location") or ""
                if response.status != 200:
                    raise _not_fetched(f"the server answers {response.status}", param)
                return self._read(response, end, param)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= end
            raise _not_fetched("it takes too long" if late else "the connection failed", param) from error

    def _read(self, response: http.client.HTTPResponse, end: float, param: str) -> bytes:
        data = bytearray()
        while chunk := response.read1(1 << 16):
            data += chunk
            if len(data) > self.most_bytes:
                raise Failure(
                    400,
                    f"a picture is larger than {self.most_bytes:,} bytes",
                    param=param,
                    code="image_too_large",
                )
        if time.monotonic() >= end:
            raise TimeoutError
        if response.length:  # the connection ended before what it had announced
            raise _not_fetched("the connection failed", param)
        return bytes(data)


@contextmanager
def _connected(target: _Target, address: str, end: float) -> Iterator[http.client.HTTPConnection]:
    """A connection to the address that was checked; a timer cuts it when the time is up.

    A timeout of the socket alone would begin anew with each byte of a slow server.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    plain = socket.create_connection((address, target.port), timeout=left)
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = plain

    def cut() -> None:
        with contextlib.suppress(OSError):  # it may have ended by itself
            plain.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0.0, end - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        if target.secure:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(plain, server_hostname=target.host)
        yield connection
    finally:
        timer.cancel()
        connection.close()
        plain.close()


def _target(url: str, param: str) -> _Target:
    never = "pictures are fetched from http and https addresses only"
    if any(ord(letter) <= 0x20 or ord(letter) == 0x7F for letter in url) or "\\" in url:
        raise Failure(400, "an address holds spaces, backslashes or control characters", param=param)
    try:
        parts: SplitResult = urlsplit(url)
        host, port = parts.hostname, parts.port
        host = host.encode("idna").decode("ascii") if host is not None and ":" not in host else host
    except (ValueError, UnicodeError) as error:
        raise Failure(400, "an address is not well formed", param=param) from error
    if parts.scheme not in ("http", "https") or not host:
        raise Failure(400, never, param=param)
    if parts.username is not None or parts.password is not None:
        raise Failure(400, "an address must hold no name or password", param=param)
    secure = parts.scheme == "https"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._") if parts.query else ""
    return _Target(secure, host, port or (443 if secure else 80), path + query)


def _host_header(target: _Target) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = 443 if target.secure else 80
    return host if target.port == usual else f"{host}:{target.port}"


def _not_fetched(why: str, param: str) -> Failure:
    return Failure(422, f"a picture could not be fetched: {why}", param=param, code="image_not_fetched")
