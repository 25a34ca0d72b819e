"""`pumice chat`: one question, pipes, conversations."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
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
        (["{run}", "--top-p", "0", "hello"], 2, "--top-p"),
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
        self.last = self.context = None
        self.used = 0
        self.images: list[Path] = []
        self.asked: list[str] = []
        self.closed = False
        self.interrupt = False

    def add_image(self, image: Path) -> None:
        self.images.append(image)

    def reset(self) -> None:
        self.images.clear()
        self.asked.clear()

    def ask(self, text: str, stopped: Callable[[], bool]) -> Iterator[str]:
        self.asked.append(text)
        for number in range(3):
            if self.interrupt and number == 2:
                signal.raise_signal(signal.SIGINT)
            if stopped():
                break
            yield f"word{number} "
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


def talk_with(trained: Any, **settings: Any) -> Conversation:
    from pumice.cli.models import load_generator
    from pumice.infer import ChatSession, Sampling

    sampling = Sampling(temperature=settings.pop("temperature", 0.0), seed=7)
    session = ChatSession(load_generator(trained.folder / "model"), sampling=sampling, **settings)
    return Conversation(session, model="small")


def test_a_conversation_is_saved_and_taken_back(
    trained: Any, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = talk_with(trained, temperature=1.5, max_new_tokens=4)
    with pytest.raises(UsageError, match="nothing was said"):
        talk.take(f"/save {tmp_path / 'early.md'}")
    talk.take(f"/image {picture}")
    talk.take("What is it?")
    talk.take("And its colour?")
    talk.take("/retry")
    talk.take("/stats")
    talk.take(f"/save {tmp_path / 'talk.json'}")
    saved = json.loads((tmp_path / "talk.json").read_text("utf-8"))
    assert (saved["model"], saved["settings"]["seed"], saved["settings"]["temperature"]) == ("small", 7, 1.5)
    assert [turn["question"] for turn in saved["turns"]] == ["What is it?", "And its colour?"]
    assert [turn["seed"] for turn in saved["turns"]] == [7, 9], "the second one was drawn again"
    assert saved["turns"][0]["images"] == [str(picture)]
    assert saved["turns"][0]["answer"] == talk.session.turns[0].answer
    assert re.search(r"seed 9\n", capsys.readouterr().out)
    talk.take("/undo")
    talk.take(f"/save {tmp_path / 'talk.md'}")
    page = (tmp_path / "talk.md").read_text("utf-8")
    assert f"- shown: `{picture}`" in page
    assert "And its colour?" not in page
    talk.take(f"/save {tmp_path / 'talk.json'}")  # its own file is written anew
    (tmp_path / "mine.md").write_text("mine")
    for name, words in (("mine.md", "already"), ("talk.txt", ".json or .md"), ("no/talk.md", "no folder")):
        with pytest.raises(UsageError, match=words):
            talk.take(f"/save {tmp_path / name}")
    assert (tmp_path / "mine.md").read_text() == "mine"
    talk.take("/undo")
    assert (talk.session.turns, talk.session.pending) == ([], (picture,))


def test_a_question_of_several_lines() -> None:
    session = FakeSession()
    _talk(session, ["one \\", "two\\", "three", '"""first', "second", 'third"""', '"""alone"""'])
    assert session.asked == ["one\ntwo\nthree", "first\nsecond\nthird", "alone"]


def test_a_context_that_fills_is_told(trained: Any, capsys: pytest.CaptureFixture[str]) -> None:
    talk = talk_with(trained, max_new_tokens=3)
    context = talk.session.context
    assert context is not None
    talk.take("x " * int(0.45 * context))
    said = capsys.readouterr().err
    assert f"of the {context} tokens" in said or "is full" in said
    with pytest.raises(UsageError, match=str(context)) as caught:
        talk.take("x " * context)
    assert "/undo" in str(caught.value.remedy)
    assert len(talk.session.turns) == 1


def test_lines_of_json(pumice: Any, trained: Any, picture: Path) -> None:
    words = ["chat", trained.folder, "--image", picture, "--max-new-tokens", "4", "--temperature", "2"]
    told = pumice(*words, "--lines", "--json", stdin="What is it?\n\nWhat color?\n")
    assert told.code == 0, told.both
    first, second = [json.loads(line) for line in told.out.splitlines()]
    assert (first["question"], second["question"]) == ("What is it?", "What color?")
    assert (first["images"], second["images"]) == ([str(picture)], [])
    assert second["prompt_tokens"] > first["prompt_tokens"]
    again = pumice(*words, "--lines", "--seed", first["seed"], stdin="What is it?\nWhat color?\n")
    assert again.out == f"{first['answer']}\n{second['answer']}\n", "the seed that is told"
    other = pumice(*words, "--lines", "--json", stdin="What is it?\n")
    assert json.loads(other.out)["seed"] != first["seed"], "a seed is drawn where none is given"


def test_what_an_answer_took(pumice: Any, trained: Any, picture: Path) -> None:
    told = pumice("chat", trained.folder, "--image", picture, "What?", "--max-new-tokens", "6", "--stats")
    assert re.search(r"tokens, [\d.]+ a second; the first after [\d.]+ s; prompt \d+\n$", told.err), told.err


def test_lines_and_json_are_for_pipes(pumice: Any, trained: Any) -> None:
    both = pumice("chat", trained.folder, "What?", "--lines", stdin="What?")
    assert both.code == 2
    assert "one of them" in both.err


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, words: list[Any]) -> None:
        self.master, slave = pty.openpty()
        env = {**os.environ, "TERM": "dumb", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "pumice", *(str(word) for word in words)]

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self.said = ""

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Read until something is said; what stood before it, and it."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, self.said)) is None:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{pattern!r} was never said: {self.said!r}"
            self.said += os.read(self.master, 4096).decode("utf-8", "replace").replace("\r", "")
        said, self.said = self.said[: found.end()], self.said[found.end() :]
        return said

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*words: Any) -> Terminal:
        opened.append(Terminal([*words]))
        return opened[-1]

    yield start
    for one in opened:
        one.process.kill()
        one.process.wait()
        os.close(one.master)


@pytest.mark.slow
def test_at_a_terminal(trained: Any, picture: Path, tmp_path: Path, terminal: Any) -> None:
    """Ctrl-C ends an answer and not the program; Ctrl-D leaves."""
    window = terminal("chat", trained.folder, "--max-new-tokens", "4000", "--stats")
    window.until("Ctrl-D leaves")
    window.until("> ")
    window.type(f"/image {picture}\n")
    window.until("pixels: ask about it")
    window.until("> ")
    window.type("Describe it.\n")
    window.until(r"a second|cut")
    window.until("> ")
    window.type("\x03")  # at the prompt it says how to leave
    window.until("/quit leaves")
    window.until("> ")
    window.type(f"/save {tmp_path / 'talk.json'}\n")
    window.until("Saved to")
    window.until("> ")
    window.type("\x04")
    assert window.process.wait(30) == 0
    assert json.loads((tmp_path / "talk.json").read_text("utf-8"))["turns"][0]["question"] == "Describe it."
