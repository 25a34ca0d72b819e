"""Checkpoints by name: the hub's local cache, and what is said without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import pumice
from pumice.errors import CheckpointError
from pumice.model import hub
from pumice.model.hub import find_checkpoint
from pumice.model.save import save_model


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    fetch = huggingface_hub.snapshot_download

    def fetch_here(**options: Any) -> Any:
        return fetch(**options, cache_dir=tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch_here)
    return tmp_path / "cache"


def put(cache: Path, name: str, source: Path) -> Path:
    """A repository as the hub's library keeps it."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc")
    shutil.copytree(source, place / "snapshots" / "abc")
    return place / "snapshots" / "abc"


def test_a_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("some/name") == Path("some/name")


def test_what_is_in_the_cache_needs_no_network(tiny: Any, cache: Path, tmp_path: Path) -> None:
    save_model(tiny.model, tiny.tokenizer, tiny.processor, tmp_path / "m", dtype="float32")
    place = put(cache, "someone/llava-tiny", tmp_path / "m")
    assert find_checkpoint("someone/llava-tiny").resolve() == place.resolve()
    assert pumice.load("someone/llava-tiny").model.config == tiny.model.config


def test_the_tower_that_a_checkpoint_names_comes_from_the_cache(
    original: Any, parts: Any, tiny: Any, cache: Path, tmp_path: Path
) -> None:
    put(cache, "openai/tiny-clip", tiny.vision)
    folder = original.write_full(tmp_path / "m", tiny.model, parts.make_tokenizer(), "openai/tiny-clip")
    model = pumice.load(folder, template="tiny").model
    own, other = model.tower.state_dict(), tiny.model.tower.state_dict()
    assert all((own[key] == other[key]).all() for key in other)


def test_without_a_network_it_is_said_what_to_do(cache: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        pumice.load("llava-hf/llava-1.5-7b-hf")
    message = str(caught.value)
    assert "could not be fetched" in message
    assert "hf download llava-hf/llava-1.5-7b-hf" in message


@pytest.mark.parametrize("name", ["no-such-folder", "../up", "/no/such", "a/b/c"])
def test_names_that_are_no_repository(name: str) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        find_checkpoint(name)


def test_only_weights_and_configurations_are_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(**options: Any) -> str:
        asked.append(options)
        if len(asked) == 2:
            (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    find_checkpoint("a/only-pickles")
    find_checkpoint("a/safetensors")
    assert len(asked) == 3, "pickles are asked for where there is nothing else"
    assert "pytorch_model-*.bin" not in asked[0]["allow_patterns"]
    assert "pytorch_model-*.bin" in asked[1]["allow_patterns"]
    assert "pytorch_model-*.bin" not in asked[2]["allow_patterns"]
    for options in asked:
        assert not any(pattern.endswith((".py", ".pt", ".h5", "*")) for pattern in options["allow_patterns"])
        assert set(hub._NEVER) <= set(options["ignore_patterns"])
