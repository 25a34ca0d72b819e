"""Which code a run was made with, where its version does not say it: a checkout, or an install from one."""

from __future__ import annotations

import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pumice

_WAIT = 10
"""Seconds that git may take on a slow file system."""


def revision(package: Path | None = None) -> dict[str, Any] | None:
    """The commit of this package's code, and whether its files were changed since (``changed``).

    Args:
        package: a folder with the code; None: this package's.

    Returns:
        None where there is no checkout (an ordinary install), or no git to ask. Of an install from a
        repository what pip wrote down, which cannot tell of changes.
    """
    folder = package or Path(pumice.__file__).parent
    # A virtual environment may lie inside some other repository: the code must be tracked in it.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is not None:
        commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--", ".")
        if commit:
            return {"commit": commit, "changed": None if changed is None else bool(changed)}
    return None if package is not None else _installed()


def _git(folder: Path, *words: str) -> str | None:
    """What git says, stripped; None where it fails."""
    # A hook sets GIT_DIR for the repository that it is of.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=_WAIT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed() -> dict[str, Any] | None:
    """The commit that pip noted (PEP 610)."""
    try:
        told = metadata.distribution("pumice").read_text("direct_url.json")
        commit = json.loads(told or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    return {"commit": str(commit), "changed": None} if commit else None
