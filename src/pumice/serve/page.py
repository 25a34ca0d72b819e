"""The chat page: a few files of HTML, CSS and JavaScript that fetch nothing from elsewhere.

They hold nothing of a model or a user, so a server with API keys gives them to anybody; what they then ask
for needs a key like every call.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from starlette.types import Scope

from pumice.serve.call import Call, Reply, Whole
from pumice.serve.failure import Failure

FOLDER = "/page/"
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webp": "image/webp",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
"""Scripts and styles are these files alone; no string ever becomes a script or HTML."""
HEADERS = (
    ("content-security-policy", POLICY),
    ("referrer-policy", "no-referrer"),
    ("permissions-policy", "camera=(self), microphone=(), geolocation=(), display-capture=()"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-cache"),
)


def wants_page(accept: str) -> bool:
    """Whether a call of ``/`` comes from a browser and not from one of Ollama's clients."""
    return "text/html" in accept.lower()


def is_page(scope: Scope, accept: str) -> bool:
    """Whether a call asks for one of the page's files, by its exact name."""
    path: str = scope["path"]
    if scope["method"] not in ("GET", "HEAD"):
        return False
    return wants_page(accept) if path == "/" else path.startswith(FOLDER) and path[len(FOLDER) :] in _files()


def page() -> Reply:
    """The page itself."""
    return _file("index.html")


async def part(call: Call, body: bytes) -> Reply:
    """``GET /page/{name}``: a file of the page.

    Raises:
        Failure: 404, there is none of that name.
    """
    name = call.path_params["name"]
    if name not in _files():
        raise Failure(404, "the page has no such file", code="not_found")
    return _file(name)


def _file(name: str) -> Whole:
    return Whole(_files()[name], content_type=TYPES[name.rpartition(".")[2]], headers=HEADERS)


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """All files by name; names are looked up and never become paths."""
    found = files("pumice.serve") / "static"
    return {one.name: one.read_bytes() for one in found.iterdir() if one.name.rpartition(".")[2] in TYPES}
