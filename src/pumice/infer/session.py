"""A chat: a conversation that grows turn by turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pumice.errors import UsageError
from pumice.infer.generate import Ended, Generator, Request
from pumice.infer.pictures import ImageSource
from pumice.infer.sampling import GREEDY, SEEDS, Sampling
from pumice.types import Message, Video, text_message


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    Attributes:
        question: its words.
        images: what was shown with it, in addition to what was shown before.
        answer: as far as it was read.
        seed: that drew the answer.
        ended: why it ended and what it took.
    """

    question: str
    images: tuple[ImageSource, ...]
    answer: str
    seed: int
    ended: Ended


class ChatSession:
    """Several turns with one model.

    A model that cuts pictures into tiles may show each of several as one square (``multi_image: pad``).
    Then a picture that was tiled while it was alone is a square from the turn on that shows a second one: as
    in training, where all pictures of a sample count.

    Args:
        generator: what answers.
        system: a system prompt in place of the template's; None keeps the template's.
        sampling: how tokens are drawn; each turn draws with the seed plus the number of questions before it.
        max_new_tokens: the longest answer.

    Attributes:
        messages: the conversation; one that began elsewhere can be put here.
        images: all that was shown, by the index that messages use.
        turns: what was asked here, without questions that got no word for an answer.
        last: what was asked last, with or without one.
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
        self.turns: list[Turn] = []
        self.last: Turn | None = None
        self._pending: list[ImageSource] = []
        self._again = 0  # answers that were taken back to be drawn anew

    @property
    def pending(self) -> tuple[ImageSource, ...]:
        """What stands before the words of the next question."""
        return tuple(self._pending)

    @property
    def context(self) -> int | None:
        """The most tokens of a conversation; None where the model does not say."""
        return self.generator.engine.context

    @property
    def used(self) -> int:
        """How many tokens the conversation has, by the last turn."""
        usage = self.turns[-1].ended.usage if self.turns else None
        return 0 if usage is None else usage.prompt_tokens + usage.completion_tokens

    def add_image(self, image: ImageSource) -> None:
        """Show a picture or a video: it stands before the words of the next question.

        Raises:
            DataError: a video, and the model knows none.
            ImageError: a video that cannot be opened.
        """
        if isinstance(image, Video):
            self.generator.pictures.lay_out([image])
        self._pending.append(image)

    def ask(self, text: str, stopped: Callable[[], bool] | None = None) -> Iterator[str]:
        """The answer to a question, piece by piece.

        Question and answer enter the history when the answer is complete or the caller stops
        reading; a question that fails leaves the session as it was.

        Args:
            text: the question.
            stopped: asked before each step, while the prompt is read, too; True ends the answer.

        Raises:
            PumiceError: as ``Generator.generate``; UsageError for an empty question.
        """
        if not text.strip():
            raise UsageError("the question is empty", remedy="ask something")
        start = len(self.images)
        shown = tuple(self._pending)
        request = Request(
            messages=(*self._opening(), *self.messages, self._question(text, start, len(shown))),
            images=(*self.images, *shown),
            sampling=self._sampling(),
            max_new_tokens=self.max_new_tokens,
        )
        pieces: list[str] = []
        ended = Ended()
        answer = self.generator.stream(request, ended, stopped)
        left = False
        try:
            for piece in answer:
                pieces.append(piece)
                yield piece
        except GeneratorExit:
            answer.close()
            left = True
            raise
        finally:
            if left or ended.finish not in (None, "error"):
                self._remember(Turn(text, shown, "".join(pieces), request.sampling.seed, ended))

    def undo(self, *, again: bool = False) -> Turn:
        """Take the last turn back; what was shown with it stands before the next question.

        Args:
            again: the same will be asked anew, and should be drawn by another seed.

        Raises:
            UsageError: nothing was asked here.
        """
        if not self.turns:
            raise UsageError("nothing was asked yet", remedy="ask something first")
        turn = self.turns.pop()
        del self.messages[-2:]
        if turn.images:
            del self.images[-len(turn.images) :]
        self._pending[:0] = turn.images
        self._again += again
        return turn

    def reset(self) -> None:
        """Forget all turns and pictures."""
        self.messages.clear()
        self.images.clear()
        self.turns.clear()
        self._pending.clear()
        self._again = 0

    def _opening(self) -> tuple[Message, ...]:
        return () if self.system is None else (text_message("system", self.system),)

    def _question(self, text: str, start: int, count: int) -> Message:
        return text_message("user", text, images=range(start, start + count))

    def _sampling(self) -> Sampling:
        given = self.sampling
        number = len(self.messages) // 2 + self._again
        return replace(given, seed=(given.seed + number) % SEEDS)

    def _remember(self, turn: Turn) -> None:
        """Enter a turn into the history; without an answer there is no turn, and pictures stay pending."""
        self.last = turn
        if not turn.answer.strip():
            return
        question = self._question(turn.question, len(self.images), len(turn.images))
        self.messages += [question, text_message("assistant", turn.answer)]
        self.images += turn.images
        self.turns.append(turn)
        self._pending.clear()
