"""`pumice chat`: one question, pipes, conversations."""

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.chat import chat
from pumice.cli.converse import Conversation
from pumice.errors import UsageError


@pytest.fixture
def picture(world: Path) -> Path:
    return min((world / "images").iterdir())


def test_one_question_prints_the_answer_alone(pumice: Any, trained: Any, picture: Path) -> None:
    from pumice.cli.models import load_generator

    question = "What colour is the square?"
    result = pumice("chat", trained.folder, "--image", picture, question, "--max-new-tokens", "6")
    assert result.code == 0, result.both
    assert result.err == ""
    generator = load_generator(trained.folder / "model")
    assert result.out == generator.answer([(question, [picture])], max_new_tokens=6)[0] + "\n"


def test_a_question_from_a_pipe(pumice: Any, trained: Any, picture: Path) -> None:
    words = ["chat", trained.folder / "model", "--image", picture, "--max-new-tokens", "6"]
    piped = pumice(*words, stdin="What is this?\n")
    assert piped.code == 0, piped.both
    assert piped.out == pumice(*words, "What is this?").out


def test_without_a_picture_standard_error_says_how_to_give_one(
    pumice: Any, trained: Any, tmp_path: Path
) -> None:
    from pumice.cli.models import load_generator

    result = pumice("chat", trained.folder, "What is this?", "--max-new-tokens", "6")
    assert result.code == 0, result.both
    assert result.err == "No picture is given, so answers rest on words alone; --image FILE shows one.\n"
    generator = load_generator(trained.folder / "model")
    assert result.out == generator.answer([("What is this?", [])], max_new_tokens=6)[0] + "\n"


@pytest.mark.parametrize("shown", [True, False])
def test_a_conversation_without_a_picture_says_so_once(
    trained: Any,
    picture: Path,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("What?\nWhat?\n/quit\n"))
    chat(str(trained.folder), images=[picture] if shown else None, max_new_tokens=2)
    said = capsys.readouterr().err
    assert said.count("/image PATH shows one") == (0 if shown else 1)


def test_a_picture_that_is_not_there_is_no_row(
    pumice: Any, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = pumice("chat", trained.folder, "--image", "nope.png", "What?")
    assert result.code == 1
    assert result.err == (
        f"error: image file nope.png does not exist\n  to do: check the path; it starts at {tmp_path}\n"
    )


def test_an_empty_pipe(pumice: Any, trained: Any) -> None:
    result = pumice("chat", trained.folder, stdin="")
    assert result.code == 2
    assert "no question" in result.err


def test_draws_follow_the_seed(pumice: Any, trained: Any, picture: Path) -> None:
    words = [
        "chat",
        trained.folder,
        "--image",
        picture,
        "What?",
        "--temperature",
        "3",
        "--max-new-tokens",
        "12",
    ]
    first, same, other = (pumice(*words, "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == same != other


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["tnyi", "hello"], 1, "'tiny'"),
        (["{run}", "--template", "v2", "hello"], 1, "v1"),
        (["{run}", "--top-p", "0", "hello"], 2, "top_p"),
        (["{run}", "--temperature", "1e-40", "hello"], 2, "temperature"),
        (["{run}", "--seed", str(2**64), "hello"], 2, "seed"),
        (["{run}", "   "], 2, "empty"),
    ],
)
def test_refusals(
    pumice: Any,
    trained: Any,
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pumice.world import embedded

    shutil.copytree(trained.folder / "model", tmp_path / "parts" / "tiny")
    monkeypatch.setattr(embedded, "PARTS", tmp_path / "parts")
    result = pumice("chat", *(word.format(run=trained.folder) for word in words))
    assert result.code == code
    assert said in result.err
    assert result.out.strip() == ""


def test_the_shipped_model_by_its_name(
    pumice: Any, trained: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pumice.world import embedded

    shutil.copytree(trained.folder / "model", tmp_path / "tiny")
    monkeypatch.setattr(embedded, "PARTS", tmp_path)
    words = ["--image", picture, "What?", "--max-new-tokens", "4"]
    assert pumice("chat", "tiny", *words).out == pumice("chat", trained.folder, *words).out


class FakeSession:
    """Answers with what it has been shown and asked; can be stopped while it speaks."""

    def __init__(self) -> None:
        self.images: list[Path] = []
        self.asked: list[str] = []
        self.closed = False
        self.interrupt = False

    def add_image(self, image: Path) -> None:
        self.images.append(image)

    def reset(self) -> None:
        self.images.clear()
        self.asked.clear()

    def ask(self, text: str) -> Iterator[str]:
        self.asked.append(text)
        try:
            for number in range(3):
                if self.interrupt and number == 1:
                    signal.raise_signal(signal.SIGINT)
                yield f"word{number} "
        finally:
            self.closed = True


def _talk(session: Any, lines: list[str | BaseException]) -> None:
    given = iter(lines)

    def read(prompt: str) -> str:
        line = next(given, None)
        if line is None:
            raise EOFError
        if isinstance(line, BaseException):
            raise line
        return line

    Conversation(session, read).run()


def test_a_conversation(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = FakeSession()
    _talk(session, ["", f"/image '{picture}'", KeyboardInterrupt(), "What is it?", "/help"])
    assert session.images == [picture]
    assert session.asked == ["What is it?"]
    said = capsys.readouterr().out
    assert "word0 word1 word2 \n" in said
    assert f"{picture.name}, " in said
    assert "/reset" in said
    _talk(session, ["/reset", "/quit", "never asked"])
    assert (session.images, session.asked) == ([], [])


def test_after_a_reset_a_question_without_a_picture_is_told_again(
    picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []
    for lines in (["/reset", "What?", "And?"], ["/reset", f"/image {picture}", "What?"], ["What?"]):
        _talk(FakeSession(), list(lines))
        said = capsys.readouterr()
        told.append(said.err.count("No picture is given"))
        assert ("words and pictures are forgotten" in said.out) == ("/reset" in lines)
    assert told == [1, 0, 0]


def test_a_wrong_line_leaves_the_conversation_going(capsys: pytest.CaptureFixture[str]) -> None:
    session = FakeSession()
    _talk(session, ["/image absent.png", "/image", "/imgae x", "And now?"])
    said = capsys.readouterr().err
    assert "absent.png" in said
    assert "no picture is named" in said
    assert "'/image'" in said
    assert session.asked == ["And now?"]


def test_ctrl_c_ends_the_answer_and_not_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    session = FakeSession()
    session.interrupt = True
    before = signal.getsignal(signal.SIGINT)
    _talk(session, ["Tell me all", "/quit"])
    said = capsys.readouterr().out
    assert "word1" in said
    assert "word2" not in said
    assert "(stopped)" in said
    assert session.closed
    assert signal.getsignal(signal.SIGINT) is before


def test_a_real_session_keeps_its_turns(trained: Any, picture: Path) -> None:
    from pumice.cli.models import load_generator
    from pumice.infer import ChatSession

    session = ChatSession(load_generator(trained.folder / "model"), max_new_tokens=3)
    talk = Conversation(session)
    talk.take(f"/image {picture}")
    talk.take("What is it?")
    talk.take("And its colour?")
    assert session.images == [picture]
    with pytest.raises(UsageError):
        talk.take("/nothing")
