"""The kernel is compiled once, into a folder of the user's own; without a compiler there is none."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pumice.model.quantized import kernel as module
from pumice.model.quantized.kernel import Kernel, build, cache_folder, find_kernel, fingerprint


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_FOUND", {})
    return cache_folder()


def test_what_is_compiled_is_kept_and_its_name_says_of_what(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = module.best_path()
    if find_kernel() is None:
        pytest.skip("there is no compiler")
    ready = cache_folder() / f"{fingerprint(path)}.so"
    cache: Path = request.getfixturevalue("cache")
    built: list[Path] = []

    def counted(path: str, library: Path) -> None:
        built.append(library)
        shutil.copyfile(ready, library)
        library.chmod(0o700)

    monkeypatch.setattr(module, "build", counted)
    assert isinstance(find_kernel(), Kernel)
    assert [one.name for one in cache.iterdir()] == [f"{fingerprint(path)}.so"]
    assert cache.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(module, "_FOUND", {})
    assert isinstance(find_kernel(), Kernel)
    assert len(built) == 1
    before = fingerprint(path)
    monkeypatch.setattr(module, "FLAGS", (*module.FLAGS, "-g"))
    assert fingerprint(path) != before


def test_without_a_compiler_it_says_so_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with caplog.at_level(logging.WARNING, "pumice.kernel"):
        assert find_kernel() is None
        assert find_kernel() is None
    assert len(caplog.records) == 1
    assert "install g++" in caplog.text


def test_a_compiler_that_fails_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho the kernel does not please me >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda name: str(compiler))
    cache.mkdir(parents=True)
    killed, going_on = cache / "y.1.partial", cache / "y.2.partial"
    for left in (killed, going_on):
        left.touch()
    os.utime(killed, (0, 0))
    with pytest.raises(subprocess.SubprocessError, match="does not please me"):
        build("portable", cache / "x.so")
    assert list(cache.iterdir()) == [going_on]
    assert find_kernel() is None


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_kernel_that_others_could_have_written_is_not_loaded(
    cache: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cache.mkdir(parents=True, mode=0o700)
    library = cache / f"{fingerprint(module.best_path())}.so"
    library.write_bytes(b"no library")
    (cache if what == "folder" else library).chmod(0o777)
    built: list[Path] = []

    def refused(path: str, place: Path) -> None:
        built.append(place.parent)
        raise OSError("not now")

    monkeypatch.setattr(module, "build", refused)
    assert find_kernel() is None
    assert len(built) == 1
    assert (built[0] == cache) == (what == "file")  # a folder that others write into is not written to either


def ready_kernel() -> Path:
    if find_kernel() is None:
        pytest.skip("there is no compiler")
    return cache_folder() / f"{fingerprint(module.best_path())}.so"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Where kernels were built, of which a copy of the user's own takes the place; and an empty cache."""
    ready = ready_kernel()
    built: list[Path] = []

    def copy(path: str, library: Path) -> None:
        built.append(library.parent)
        shutil.copyfile(ready, library)
        library.chmod(0o700)

    monkeypatch.setattr(module, "build", copy)
    monkeypatch.setattr(module, "_FOUND", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return built


def test_a_kernel_that_was_cut_short_is_made_anew(copied: list[Path]) -> None:
    cache = cache_folder()
    cache.mkdir(parents=True, mode=0o700)
    library = cache / f"{fingerprint(module.best_path())}.so"
    library.touch(0o700)
    assert isinstance(find_kernel(), Kernel)
    assert copied == [cache]
    assert library.stat().st_size > 0


@pytest.mark.parametrize("home", ["a file in the way", "unknown"])
def test_without_a_place_to_keep_it_the_kernel_is_made_for_this_process(
    copied: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    home: str,
) -> None:
    if home == "unknown":  # as of a container's user without a name
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(module.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        (tmp_path / "pumice").touch()
    with caplog.at_level(logging.WARNING, "pumice.kernel"):
        assert isinstance(find_kernel(), Kernel)
    assert "XDG_CACHE_HOME" in caplog.text
    assert len(copied) == 1
    assert not copied[0].exists()


def test_a_home_of_several_machines_has_a_kernel_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("portable")
    monkeypatch.setattr(module.platform, "machine", lambda: "another")
    assert fingerprint("portable") != before


def test_only_a_whole_path_names_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    assert cache_folder().is_relative_to(Path.home())


def test_a_link_is_no_kernel(cache: Path, tmp_path: Path) -> None:
    cache.mkdir(parents=True, mode=0o700)
    (tmp_path / "x").write_bytes(b"")
    os.symlink(tmp_path / "x", cache / "x.so")
    assert not module._own(cache / "x.so")
