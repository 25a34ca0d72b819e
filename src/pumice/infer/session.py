"""A chat: a conversation that grows turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pumice.errors import UsageError
from pumice.infer.generate import Generator, Request
from pumice.infer.pictures import ImageSource
from pumice.infer.sampling import GREEDY, SEEDS, Sampling
from pumice.types import Message, Video, text_message


class ChatSession:
    """Several turns with one model.

    A model that cuts pictures into tiles may show each of several as one square (``multi_image: pad``).
    Then a picture that was tiled while it was alone is a square from the turn on that shows a second one: as
    in training, where all pictures of a sample count.

    Args:
        generator: what answers.
        system: a system prompt in place of the template's; None keeps the template's.
        sampling: how tokens are drawn; each turn draws with the seed plus the turn's number.
        max_new_tokens: the longest answer.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        system: str | None = None,
        sampling: Sampling = GREEDY,
        max_new_tokens: int = 512,
    ) -> None:
        self.generator = generator
        self.system = system
        self.sampling = sampling
        self.max_new_tokens = max_new_tokens
        self.messages: list[Message] = []
        self.images: list[ImageSource] = []
        self._pending: list[ImageSource] = []

    def add_image(self, image: ImageSource) -> None:
        """Show a picture or a video: it stands before the words of the next question.

        Raises:
            DataError: a video, and the model knows none.
            ImageError: a video that cannot be opened.
        """
        if isinstance(image, Video):
            self.generator.pictures.lay_out([image])
        self._pending.append(image)

    def ask(self, text: str) -> Iterator[str]:
        """The answer to a question, piece by piece.

        Question and answer enter the history when the answer is complete or the caller stops
        reading; a question that fails leaves the session as it was.

        Raises:
            PumiceError: as ``Generator.generate``; UsageError for an empty question.
        """
        if not text.strip():
            raise UsageError("the question is empty", remedy="ask something")
        start = len(self.images)
        images = [*self.images, *self._pending]
        question = text_message("user", text, images=range(start, len(images)))
        request = Request(
            messages=(*self._opening(), *self.messages, question),
            images=tuple(images),
            sampling=self._sampling(),
            max_new_tokens=self.max_new_tokens,
        )
        pieces: list[str] = []
        try:
            for piece in self.generator.stream(request):
                pieces.append(piece)
                yield piece
        except GeneratorExit:
            self._remember(question, "".join(pieces), images)
            raise
        self._remember(question, "".join(pieces), images)

    def reset(self) -> None:
        """Forget all turns and pictures."""
        self.messages.clear()
        self.images.clear()
        self._pending.clear()

    def _opening(self) -> tuple[Message, ...]:
        return () if self.system is None else (text_message("system", self.system),)

    def _sampling(self) -> Sampling:
        given = self.sampling
        turn = len(self.messages) // 2
        return replace(given, seed=(given.seed + turn) % SEEDS)

    def _remember(self, question: Message, answer: str, images: list[ImageSource]) -> None:
        """Enter a turn into the history; without an answer there is no turn, and pictures stay pending."""
        if not answer.strip():
            return
        self.messages += [question, text_message("assistant", answer)]
        self.images = images
        self._pending.clear()
