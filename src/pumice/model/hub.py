"""Where a checkpoint lies: a folder, or a repository of the Hugging Face hub in its local cache.

Only configurations, tokenizers and weights are fetched: no code, nothing from subfolders, and pickled
weights only where a repository has no safetensors.
"""

from __future__ import annotations

import re
from pathlib import Path

from pumice.errors import CheckpointError
from pumice.model.weights import INDEX, SINGLE
from pumice.types import HUB

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SAFE = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "*.safetensors")
_PICKLED = (
    "pytorch_model.bin",
    "pytorch_model-*.bin",
    "mm_projector.bin",
    "adapter_model.bin",
    "non_lora_trainables.bin",
)
_NEVER = ("*/*", "consolidated*", "optimizer*", "training_args*")


def find_checkpoint(name: str | Path) -> Path:
    """The folder of a checkpoint: the path itself, or a hub repository's snapshot, fetched if need be.

    Args:
        name: a folder, or ``ORGANISATION/NAME`` on the hub, with or without ``hub:``. A folder wins.

    Raises:
        CheckpointError: there is neither; says what to do without a network.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    text = str(name)
    if text.startswith(HUB):
        return fetch_checkpoint(text.removeprefix(HUB))
    if _ID.fullmatch(text) is None or _looks_local(text):
        raise CheckpointError(
            "there is no such folder",
            where=text,
            remedy="give the folder of a checkpoint, or a name on the hub such as llava-hf/llava-1.5-7b-hf",
        )
    return _snapshot(text, "there is no such folder, and ")


def _looks_local(text: str) -> bool:
    """Whether ``A/B`` is a path and no repository: its first part is a folder here, or is where runs go."""
    first = text.partition("/")[0]
    return first == "runs" or Path(first).is_dir()


def fetch_checkpoint(name: str) -> Path:
    """The folder of a hub repository's snapshot, fetched if it is not in the local cache.

    Raises:
        CheckpointError: the name is none, or the hub cannot be reached and the cache does not have it.
    """
    if _ID.fullmatch(name) is None:
        raise CheckpointError(
            f"{name!r} is no repository of the hub",
            where=name,
            remedy="write ORG/NAME, such as openai/clip-vit-large-patch14-336",
        )
    return _snapshot(name, "")


def _snapshot(name: str, lead: str) -> Path:
    found = _fetch(name, _SAFE, lead)
    if not (found / SINGLE).is_file() and not (found / INDEX).is_file():
        found = _fetch(name, (*_SAFE, *_PICKLED), lead)
    return found


def local_checkpoint(name: str) -> Path | None:
    """The folder of a hub repository in the local cache, or None; nothing is fetched.

    ``name`` is ``ORGANISATION/NAME``.
    """
    from huggingface_hub import snapshot_download

    if _ID.fullmatch(name) is None:
        return None
    try:
        folder = Path(snapshot_download(repo_id=name, local_files_only=True))
    except (OSError, ValueError):  # all that huggingface_hub raises is one of these
        return None
    return folder if (folder / "config.json").is_file() else None


def _fetch(name: str, patterns: tuple[str, ...], lead: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(repo_id=name, allow_patterns=list(patterns), ignore_patterns=list(_NEVER))
        )
    except (OSError, ValueError) as error:  # all that huggingface_hub raises is one of these
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{lead}{name} could not be fetched from the hub: {first}",
            where=name,
            remedy=f"without a network: run `hf download {name}` where there is one, copy the folder, "
            "and give its path",
        ) from error
