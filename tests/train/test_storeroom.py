from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pumice.train.storeroom import Storeroom


def put(room: Storeroom, name: str, size: int, age: float = 0.0) -> Path | None:
    """A file of so many bytes, last used some seconds ago."""
    path = room.root / "space" / f"{name}.safetensors"

    def write() -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(size))
        return path

    found = room.write(size, write)
    if found is not None:
        os.utime(found, (time.time() - age,) * 2)
    return found


def names(room: Storeroom) -> set[str]:
    return {path.stem for path in (room.root / "space").iterdir()}


def test_the_longest_unused_goes_first_and_the_budget_holds(tmp_path: Path) -> None:
    before, room = Storeroom(tmp_path, 100), Storeroom(tmp_path, 100)
    for name, age in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        assert put(before, name, 30, age)
    before.release()
    assert put(room, "d", 30)
    assert names(room) == {"b", "c", "d"}
    assert put(room, "e", 60)
    assert names(room) == {"d", "e"}
    assert room.used() == 90


def test_what_is_in_use_stays_whoever_asks(tmp_path: Path) -> None:
    first, second = Storeroom(tmp_path, 100), Storeroom(tmp_path, 100)
    put(first, "a", 40, 100.0)
    put(second, "b", 40)
    assert put(second, "c", 30) is None
    assert names(first) == {"a", "b"}
    first.release()
    assert put(second, "c", 30)
    assert names(second) == {"b", "c"}


def test_using_a_file_makes_it_the_last_to_go(tmp_path: Path) -> None:
    before, reader, room = (Storeroom(tmp_path, 100) for _ in range(3))
    old = put(before, "a", 40, 100.0)
    put(before, "b", 40, 50.0)
    before.release()
    assert old is not None
    with reader.locked():
        reader.use([old])
    reader.release()
    put(room, "c", 40)
    assert names(room) == {"a", "c"}


def test_a_process_that_was_killed_uses_nothing(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from pumice.train.storeroom import Storeroom
room = Storeroom(Path(sys.argv[1]), 100)
def write():
    path = room.root / "space" / "a.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(80))
    return path
room.write(80, write)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    room = Storeroom(tmp_path, 100)
    [left] = (tmp_path / "in-use").iterdir()
    assert put(room, "b", 80)
    assert names(room) == {"b"}
    assert not left.exists()
    room.release()
    assert not list((tmp_path / "in-use").iterdir())
    left.write_text("space/a.safetensors\n")
    with room.locked():
        room.use([tmp_path / "space" / "b.safetensors"])
    assert not left.exists(), "it goes also where there is room enough"


def test_what_a_killed_writer_left_counts_and_goes(tmp_path: Path) -> None:
    room = Storeroom(tmp_path, 100)
    (tmp_path / "space").mkdir()
    left = tmp_path / "space" / "x.safetensors.7.partial"
    left.write_bytes(bytes(60))
    assert room.used() == 60
    assert put(room, "a", 60) is None
    os.utime(left, (time.time() - 7200,) * 2)
    assert put(room, "a", 60)
    assert not left.exists()


def test_more_than_the_budget_is_not_written(tmp_path: Path) -> None:
    room = Storeroom(tmp_path, 100)
    put(room, "a", 50)
    room.release()
    assert put(room, "b", 101) is None
    assert names(room) == {"a"}, "nothing is removed in vain"
