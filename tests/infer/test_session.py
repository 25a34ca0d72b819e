from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.errors import PumiceError, UsageError
from pumice.infer import ChatSession, Generator, Request, Sampling
from pumice.types import text_message


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8))


@pytest.fixture
def generator(tiny: Any) -> Generator:
    return Generator(tiny.model, tiny.tokenizer, tiny.processor)


@pytest.fixture
def session(generator: Generator) -> ChatSession:
    return ChatSession(generator, max_new_tokens=8)


def test_turns_and_pictures_accumulate(session: ChatSession, generator: Generator) -> None:
    first, second = picture(0), picture(1)
    session.add_image(first)
    one = "".join(session.ask("What ?"))
    session.add_image(second)
    two = "".join(session.ask("How many ?"))
    messages = (
        text_message("user", "What ?", images=[0]),
        text_message("assistant", one),
        text_message("user", "How many ?", images=[1]),
    )
    assert generator.generate([Request(messages, (first, second), max_new_tokens=8)])[0].text == two
    assert session.messages == [*messages, text_message("assistant", two)]
    assert session.images == [first, second]


def test_system_prompt_is_sent(session: ChatSession, generator: Generator) -> None:
    chat = ChatSession(generator, system="It is blue .", max_new_tokens=8)
    messages = (text_message("system", "It is blue ."), text_message("user", "What ?"))
    assert "".join(chat.ask("What ?")) == generator.generate([Request(messages, max_new_tokens=8)])[0].text


def test_reset_forgets(session: ChatSession) -> None:
    session.add_image(picture(0))
    first = "".join(session.ask("What ?"))
    session.add_image(picture(1))
    session.reset()
    session.add_image(picture(0))
    assert "".join(session.ask("What ?")) == first


def test_a_stopped_answer_is_kept_as_far_as_it_was_read(session: ChatSession) -> None:
    answer = session.ask("What ?")
    piece = next(answer)
    answer.close()
    assert session.messages[-1] == text_message("assistant", piece)


def test_a_failed_question_leaves_the_session_as_it_was(session: ChatSession, tmp_path: Any) -> None:
    session.add_image(tmp_path / "none.png")
    with pytest.raises(PumiceError):
        list(session.ask("What ?"))
    assert session.messages == []
    assert session.images == []


def test_an_empty_question_is_refused(session: ChatSession) -> None:
    with pytest.raises(UsageError):
        next(session.ask("  "))


def test_the_last_seed_serves_every_turn(generator: Generator) -> None:
    sampling = Sampling(temperature=1.0, seed=2**64 - 1)
    session = ChatSession(generator, sampling=sampling, max_new_tokens=8)
    session.messages = [text_message("user", "a"), text_message("assistant", "b")]
    assert isinstance("".join(session.ask("What ?")), str)


def test_a_turn_taken_back_is_asked_again_by_another_seed(generator: Generator) -> None:
    session = ChatSession(generator, sampling=Sampling(temperature=3.0, seed=5), max_new_tokens=12)
    session.add_image(picture(0))
    first = "".join(session.ask("What ?"))
    assert (session.turns[0].seed, session.turns[0].ended.finish) == (5, "length")
    assert session.used == session.turns[0].ended.usage.prompt_tokens + 12  # type: ignore[union-attr]
    assert session.context == 256
    turn = session.undo(again=True)
    assert (turn.question, turn.answer) == ("What ?", first)
    assert (session.messages, session.images, len(session.pending)) == ([], [], 1)
    again = "".join(session.ask(turn.question))
    assert session.turns[0].seed == 6
    assert again != first
    session.sampling = Sampling(temperature=3.0, seed=session.turns[0].seed)
    session.reset()
    session.add_image(picture(0))
    assert "".join(session.ask("What ?")) == again, "the seed that is told gives the same text"
    session.undo()
    with pytest.raises(UsageError, match="nothing was asked yet"):
        session.undo()


def test_an_answer_is_stopped_while_its_prompt_is_read(session: ChatSession) -> None:
    session.add_image(picture(0))
    assert list(session.ask("What ?", lambda: True)) == []
    assert session.turns == []
    assert len(session.pending) == 1
    pieces: list[str] = []
    for piece in session.ask("What ?", lambda: len(pieces) > 1):
        pieces.append(piece)
    assert len(pieces) == 2
    assert session.turns[0].ended.finish == "abort"
    assert session.messages[-1] == text_message("assistant", "".join(pieces))


def test_many_turns_keep_no_more_than_their_budget(session: ChatSession) -> None:
    """Earlier turns are not read again, and what is kept stays within one conversation's tokens."""
    session.max_new_tokens = 2
    for number in range(12):
        "".join(session.ask(f"What {number} ?"))
    usage = session.turns[-1].ended.usage
    assert usage is not None
    assert usage.cached_tokens > 0.8 * session.turns[-2].ended.usage.prompt_tokens  # type: ignore[union-attr]
    assert session.generator.engine.stats().places < 4 * session.used
