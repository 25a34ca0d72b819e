"""What is asked in benchmarks of answering: pictures of noise and made-up words, other ones each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from pumice.types import text_message

if TYPE_CHECKING:
    from pumice.infer.engine import EngineRequest

WORDS = 24
"""Of a question."""
SIDES = (640, 480)
"""Width and height of a picture, in pixels."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, its picture if it has one, and how many tokens answer it."""

    text: str
    picture: PIL.Image.Image | None
    tokens: int

    def request(self) -> EngineRequest:
        """As the engine takes it: the most likely words, never ending before the last token."""
        from pumice.infer.engine import EngineRequest
        from pumice.infer.sampling import Sampling

        images = () if self.picture is None else (self.picture,)
        message = text_message("user", self.text, images=range(len(images)))
        sampling = Sampling(max_new_tokens=self.tokens, ignore_end=True)
        return EngineRequest((message,), images=images, sampling=sampling)


def question(seed: int, tokens: int, *, picture: bool = True, vocabulary: int = 500) -> Question:
    """The question of a seed; no two seeds have the same picture or words."""
    rng = np.random.default_rng(seed)
    words = " ".join(f"w{number}" for number in rng.integers(0, vocabulary, WORDS))
    if not picture:
        return Question(words, None, tokens)
    width, height = SIDES
    noise = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return Question(words, PIL.Image.fromarray(noise).resize(SIDES), tokens)
