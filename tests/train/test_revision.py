"""The commit of a checkout, and no other repository's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pumice.train.revision import revision


def git(folder: Path, *words: str) -> str:
    names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *names, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "repo/src/pumice"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("", "utf-8")
    git(tmp_path / "repo", "init", "-q")
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-q", "-m", "first")
    return folder


def test_a_checkout_has_a_commit_and_says_whether_it_was_changed(package: Path) -> None:
    head = git(package, "rev-parse", "HEAD")
    assert revision(package) == {"commit": head, "changed": False}
    (package.parents[1] / "notes.txt").write_text("beside the code", "utf-8")
    assert revision(package) == {"commit": head, "changed": False}
    (package / "__init__.py").write_text("changed = True\n", "utf-8")
    assert revision(package) == {"commit": head, "changed": True}


def test_a_hook_of_another_repository_does_not_lead_astray(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    head = git(package, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    found = revision(package)
    assert found is not None
    assert found["commit"] == head


def test_an_install_inside_another_repository_has_none(package: Path, tmp_path: Path) -> None:
    installed = package.parents[1] / ".venv/lib/pumice"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("", "utf-8")
    assert revision(installed) is None
    assert revision(tmp_path) is None
