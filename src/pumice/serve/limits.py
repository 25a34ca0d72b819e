"""How much one request, and all of them together, may ask of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from pumice.image.decode import MAX_ASPECT


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of requests.

    Attributes:
        body_bytes: a request's body.
        body_seconds: the time that a client has to send it.
        images: pictures in one request.
        image_bytes: one picture's file.
        pixels: width x height of one picture, judged from the header.
        pixels_held: of all pictures that wait or run at this moment; more is turned away for now.
        aspect: longer side over shorter side.
        answers: ``n``, in one call (times the prompts of a completion).
        new_tokens: the longest answer that may be asked for.
        default_new_tokens: the longest answer where the request says nothing.
        messages: turns of a conversation.
        requests: calls that are worked on or wait at once, the reading of their bodies included.
        rate: calls a minute for one key, or for one address where there are no keys; 0 is no limit.
    """

    body_bytes: int = 64 << 20
    body_seconds: float = 60.0
    images: int = 16
    image_bytes: int = 20 << 20
    pixels: int = 40_000_000
    pixels_held: int = 700_000_000
    aspect: float = MAX_ASPECT
    answers: int = 16
    new_tokens: int = 8192
    default_new_tokens: int = 1024
    messages: int = 1000
    requests: int = 256
    rate: int = 0
