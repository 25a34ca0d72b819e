"""vLLM's command for a checkpoint of ours: the same template and the same door, as far as vLLM has one.

Options are those of vLLM's own pages (``vllm serve --help``, "Security"), release 0.33.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pumice.errors import CheckpointError, UsageError
from pumice.serve.facts import Facts
from pumice.serve.guard import Door

OWN = "pumice_"
"""What ``projector_hidden_act`` begins with where transformers' layout has no place for a model."""
NOWHERE = "none.invalid"
"""A domain that no name can be in (RFC 6761): vLLM fetches pictures from anywhere unless it gets a list."""
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
}
"""Nothing is fetched, and nothing is told about what runs here."""
KEY = "VLLM_API_KEY"
"""Holds the key that clients must give; on a command line every user of the machine could read it."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: its words, and what is added to its environment (the key is not among it)."""

    words: tuple[str, ...]
    environment: Mapping[str, str]

    def shown(self) -> str:
        """As one would type it."""
        added = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*added, shlex.join(self.words)])


def vllm_command(
    facts: Facts,
    host: str,
    port: int,
    door: Door,
    *,
    images: int,
    running: int,
    fetch_images: bool,
    dtype: str = "bfloat16",
) -> Command:
    """The command that serves a model as ``pumice serve`` would.

    Args:
        facts: of a folder in transformers' layout.
        host, port: where to listen.
        door: sites whose pages may call; keys and names of hosts are for the caller.
        images: the most pictures in one request.
        running: the most answers that are computed at once.
        fetch_images: whether vLLM may fetch pictures from addresses of anywhere.
        dtype: of the weights on the GPU.

    Raises:
        CheckpointError: vLLM has no such model.
        UsageError: port 0, which vLLM does not know.
    """
    check_known(facts)
    if port == 0:
        raise UsageError("vLLM takes no free port by itself", where="--port", remedy="name a port")
    words = ["vllm", "serve", str(facts.folder), "--served-model-name", facts.name]
    words += ["--host", host, "--port", str(port), "--dtype", dtype]
    template = facts.folder / "chat_template.jinja"
    if template.is_file():
        words += ["--chat-template", str(template), "--chat-template-content-format", "openai"]
    words += ["--limit-mm-per-prompt", json.dumps({"image": images}), "--max-num-seqs", str(running)]
    words += ["--allowed-origins", json.dumps(sorted(door.origins))]
    if not fetch_images:
        words += ["--allowed-media-domains", NOWHERE]
    return Command(tuple(words), ENVIRONMENT)


def check_known(facts: Facts) -> None:
    """Refuse what vLLM would load wrongly or not at all.

    Raises:
        CheckpointError: the model has no place in transformers' layout.
    """
    projector = str(facts.config.get("projector_hidden_act", ""))
    if not projector.startswith(OWN):
        return
    raise CheckpointError(
        f"vLLM has no such model ({projector.removeprefix(OWN)}); README.md in the folder says why",
        where=str(facts.folder),
        remedy="serve it with Pumice's own engine: leave --engine out",
    )
