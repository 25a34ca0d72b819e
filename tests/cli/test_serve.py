"""`pumice serve` before it serves: what it refuses, and how it says so."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pumice.cli import serve_vllm
from pumice.cli.serve import KEY_VARIABLE, named
from pumice.errors import CheckpointError, UsageError
from pumice.serve.facts import Facts
from pumice.serve.vllm import check_known


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


VLLM = ("serve", "tiny", "--engine", "vllm")


def test_vllms_command(pumice: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("me a-secret-key-of-mine\n")
    more = ("--host", "0.0.0.0", "--port", "9000", "--api-key-file", str(keys), "--max-images", "3")
    result = pumice(
        *VLLM, "--dry-run", *more, "--running", "32", "--allow-origin", "https://chat.example.org"
    )
    assert result.code == 0, result.err
    folder = named(["tiny"])["tiny"]
    words = shlex.split(result.out)
    environment = dict(word.split("=", 1) for word in words[: words.index("vllm")])
    assert environment == {
        "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"
    }  # fmt: skip
    assert words[words.index("vllm") :] == [
        "vllm", "serve", str(folder), "--served-model-name", "tiny", "--host", "0.0.0.0", "--port", "9000",
        "--dtype", "bfloat16", "--chat-template", str(folder / "chat_template.jinja"),
        "--chat-template-content-format", "openai", "--limit-mm-per-prompt", '{"image": 3}',
        "--max-num-seqs", "32", "--allowed-origins", '["https://chat.example.org"]',
        "--allowed-media-domains", "none.invalid",
    ]  # fmt: skip
    assert "a-secret-key" not in result.out + result.err
    assert "VLLM_API_KEY" in result.err
    assert "--allowed-media-domains" not in pumice(*VLLM, "--dry-run", "--fetch-images").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "3"], "--rate is of Pumice's own engine"),
        (["--template", "plain"], "--template is of Pumice's own engine"),
        (["other=tiny"], "vLLM serves one model"),
        (["--port", "0"], "name a port"),
        (["--host", "0.0.0.0"], "there is no API key"),
    ],
)
def test_what_vllm_has_no_place_for_is_said(pumice: Any, words: list[str], said: str) -> None:
    result = pumice(*VLLM, "--dry-run", *words)
    assert result.code == 2
    assert said in result.err


def test_a_machine_without_vllm_or_a_gpu(
    pumice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_vllm, "program_path", lambda: None)
    result = pumice(*VLLM)
    assert "pip install 'pumice[vllm]'" in result.err
    monkeypatch.setattr(serve_vllm, "program_path", lambda: "/bin/vllm")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = pumice(*VLLM)
    assert "vLLM needs a GPU" in result.err


def test_vllm_takes_this_process_with_the_key_in_its_environment(
    pumice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Any] = []
    monkeypatch.setattr(serve_vllm, "check_machine", lambda: None)
    monkeypatch.setattr(serve_vllm, "program_path", lambda: "/opt/bin/vllm")
    monkeypatch.setattr("os.execve", lambda *given: became.append(given))
    monkeypatch.setenv(KEY_VARIABLE, "a-secret-key-of-mine")
    assert pumice(*VLLM).code == 0
    ((program, words, environment),) = became
    assert (program, words[:2]) == ("/opt/bin/vllm", ("vllm", "serve"))
    assert "a-secret-key-of-mine" not in words
    assert environment["VLLM_API_KEY"] == "a-secret-key-of-mine"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


def test_vllm_gets_an_export_where_the_layout_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = Facts("old", tmp_path / "old", 0.0, 1, "ab" * 32, 1, "F16", {})
    monkeypatch.setattr("pumice.model.folder.kind_of", lambda folder: "original")
    exported: list[Any] = []

    def export(source: Path, place: Path, form: str, **_: Any) -> None:
        exported.append((source, form))
        place.mkdir()
        (place / "config.json").write_text("{}")

    monkeypatch.setattr("pumice.export.export", export)
    place = Path("runs/.cache/served") / ("old-" + "ab" * 8)
    assert serve_vllm.for_others(facts, dry_run=True).folder == place
    assert not exported
    for _ in range(2):  # the second time it is there
        assert serve_vllm.for_others(facts, dry_run=False).folder == place
    assert exported == [(facts.folder, "hf")]


def test_models_that_vllm_has_no_place_for_are_refused() -> None:
    facts = Facts("a", Path("a"), 0.0, 1, "ab", 1, "F16", {"projector_hidden_act": "pumice_towers"})
    with pytest.raises(CheckpointError, match=r"no such model .towers."):
        check_known(facts)
