"""The address of an OpenAI-compatible server, in whichever of its usual forms it was given."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import httpx2

from pumice.errors import UsageError

_VERSION = re.compile(r"/v\d+\w*(/|$)")
_PATHS = ("/chat/completions", "/models", "/completions")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server's calls live.

    Attributes:
        base: scheme, host and path up to the call: ``https://host/v1``.
        query: what stands behind every call, without "?"; mostly empty.
        host: host and port, for people and as part of a cache's key.
        open: whether what is sent there crosses a network that anybody may read: plain http, not local.
    """

    base: str
    query: str
    host: str
    open: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a key may be sent to that is another server's of the same."""
        return self.base[: self.base.index("://") + 3] + self.host

    def call(self, path: str) -> str:
        """The whole address of a call: ``call("/models")``."""
        return self.base + path + (f"?{self.query}" if self.query else "")


def address_of(url: str) -> Address:
    """Read an address with or without ``/v1`` and ``/chat/completions``.

    >>> address_of("http://localhost:8000").call("/models")
    'http://localhost:8000/v1/models'

    Raises:
        UsageError: it is no http address, or holds a password.
    """
    try:
        parsed = httpx2.URL(url.strip())
    except httpx2.InvalidURL as error:
        raise _no_address(url) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _no_address(url)
    if parsed.userinfo:
        raise UsageError(
            "an address must not hold a name or password: it is shown and written down",
            where=f"the endpoint at {parsed.host}",
            remedy="put the key into an environment variable, and say which with --key-variable",
        )
    path = parsed.path.rstrip("/")
    call = next((call for call in _PATHS if path.endswith(call)), "")
    path = path.removesuffix(call)
    if not call and not _VERSION.search(path):
        path += "/v1"
    host = parsed.netloc.decode("ascii")
    plain = parsed.scheme == "http" and not _is_local(parsed.host)
    return Address(f"{parsed.scheme}://{host}{path}", parsed.query.decode("ascii"), host, plain)


def _no_address(url: str) -> UsageError:
    remedy = f"write http://{url}" if re.match(r"[\w.-]+:\d+", url) else "write https://HOST/v1"
    return UsageError(f"{url!r} is no address of a server", where="the endpoint", remedy=remedy)


def _is_local(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
