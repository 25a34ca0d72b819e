"""`pumice serve` before it serves: what it refuses, and how it says so."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pumice.cli.serve import KEY_VARIABLE, named
from pumice.errors import CheckpointError, UsageError


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_names_of_models(tmp_path: Path) -> None:
    odd = tmp_path / "a=b"
    odd.mkdir()
    (odd / "config.json").write_text("{}")
    found = named(["tiny", "other=tiny", f"third={odd}"])
    assert list(found) == ["tiny", "other", "third"]
    assert found["tiny"] == found["other"]
    assert found["third"] == odd
    with pytest.raises(UsageError, match="cannot be the name"):
        named([str(odd)])  # its folder's name would be one, and holds a "="
    with pytest.raises(UsageError, match="two models are called 'tiny'"):
        named(["tiny", "tiny"])
    with pytest.raises(CheckpointError):
        named(["a=nothing"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "--host", "0.0.0.0"], "there is no API key"),
        (["tiny", "--api-key-file", "none.txt"], "the file of API keys cannot be read"),
        (["tiny", "--allow-origin", "*"], "is no origin"),
        (["tiny", "--output-filter", "nothing"], "names no output filter"),
        (["tiny", "--template", "v2"], "did you mean"),
        (["tniy"], "tiny"),
    ],
)
def test_what_cannot_be_carried_out_is_said_before_anything_is_loaded(
    pumice: Any, words: list[str], said: str
) -> None:
    result = pumice("serve", *words)
    assert result.code in (1, 2)
    assert said in result.err


def test_a_port_that_is_taken(pumice: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = pumice("serve", "tiny", "--port", str(taken.getsockname()[1]))
    assert result.code == 2
    assert "choose another --port" in result.err


def test_a_short_key_in_the_environment(pumice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "short")
    result = pumice("serve", "tiny")
    assert result.code == 2
    assert KEY_VARIABLE in result.err
    assert "short'" not in result.err


def test_without_the_extra(pumice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = pumice("serve", "tiny")
    assert result.code == 1
    assert "pumice[serve]" in result.err
