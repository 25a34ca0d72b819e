"""Digests of the weight files of a folder."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def weight_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each weight file of a folder, by its name; several files at once."""
    files = sorted(path for end in ("*.safetensors", "*.bin") for path in folder.glob(end))
    with ThreadPoolExecutor(max(1, min(len(files), os.cpu_count() or 1, 8))) as pool:
        return dict(zip([path.name for path in files], pool.map(_sha256, files), strict=True))


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
