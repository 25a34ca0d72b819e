"""Tiles and videos by the commands: train, chat, eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pumice.cli.converse import Conversation
from pumice.errors import DataError, UsageError

SETTINGS = ("model.image.aspect=anyres", "model.video.frames=4", "evaluation=null")


@pytest.fixture(scope="module")
def tiled(pumice: Any, recipe: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run whose model cuts tiles and knows videos; read only."""
    runs = tmp_path_factory.mktemp("tiled")
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    result = pumice("train", recipe, "--data", world, "--runs", runs, *changes)
    assert result.code == 0, result.both
    return runs / "short"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six frames; read only."""
    folder = tmp_path_factory.mktemp("clip")
    for number in range(6):
        Image.new("RGB", (32, 24), (40 * number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_a_question_about_a_video(pumice: Any, tiled: Path, world: Path, clip: Path) -> None:
    from pumice.cli.models import load_generator
    from pumice.types import Video

    picture = min((world / "images").iterdir())
    words = ["chat", tiled, "What?", "--max-new-tokens", "6"]
    generator = load_generator(tiled / "model")
    for shown, sources in (
        (["--video", clip], [Video(clip)]),
        (["--video", clip, "--image", picture], [picture, Video(clip)]),
    ):
        result = pumice(*words, *shown)
        assert result.code == 0, result.both
        assert result.err == ""
        assert result.out == generator.answer([("What?", sources)], max_new_tokens=6)[0] + "\n"


def test_a_model_that_knows_no_video(pumice: Any, trained: Any, clip: Path, tmp_path: Path) -> None:
    result = pumice("chat", trained.folder, "What?", "--video", clip)
    assert result.code == 1
    assert "the model knows no video" in result.err
    result = pumice("chat", trained.folder, "What?", "--video", tmp_path / "gone.mp4")
    assert result.code == 1
    assert "gone.mp4 does not exist" in result.err


def test_a_conversation_shows_a_video(
    tiled: Path, trained: Any, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pumice.cli.models import load_generator
    from pumice.infer import ChatSession
    from pumice.types import Video

    session = ChatSession(load_generator(tiled / "model"), max_new_tokens=3)
    talk = Conversation(session)
    talk.take(f"/video {clip}")
    talk.take("What happens?")
    assert session.images == [Video(clip)]
    assert "6 frames" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no video is named"):
        talk.take("/video")
    with pytest.raises(DataError, match="knows no video"):
        Conversation(ChatSession(load_generator(trained.folder / "model"))).take(f"/video {clip}")


def test_a_model_of_tiles_is_measured(pumice: Any, tiled: Path, world: Path, tmp_path: Path) -> None:
    words = ["--questions", world / "test_questions.jsonl", "--limit", "24", "--max-new-tokens", "3"]
    result = pumice("eval", tiled, *words, "--out", tmp_path)
    assert result.code == 0, result.both
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert list(scores["variants"]) == ["tuned", "blind", "wrong-image"]
