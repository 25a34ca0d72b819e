"""How long `pumice data audit` takes, and how much memory all of its processes have together.

    python benchmarks/audit.py 100000 10000

Makes so many rows (as long as those of LLaVA's mixture, ten to a picture, 1% of them copies and 1% with
personal data) and so many pictures (640 x 480, JPEG), audits them with every check that needs no model, and
audits them again, when everything that was noticed is in the cache.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = 150
"""Of a row, as in a thousand rows of LLaVA's mixture."""


def picture(place: tuple[Path, int]) -> None:
    """A picture with large and small things in it, other for every number."""
    folder, number = place
    draw = np.random.default_rng(number)
    whole = np.zeros((120, 160, 3), np.float32)
    for side in (3, 7, 17, 80):
        part = Image.fromarray(draw.integers(0, 256, (side, side, 3), dtype=np.uint8))
        whole += np.asarray(part.resize((160, 120), Image.Resampling.BILINEAR), np.float32) / 4
    large = Image.fromarray(whole.astype(np.uint8)).resize((640, 480), Image.Resampling.BILINEAR)
    large.save(folder / f"{number}.jpg", quality=90)


def make(folder: Path, rows: int, pictures: int) -> Path:
    """Write rows and pictures; the file of rows."""
    (folder / "images").mkdir()
    with ProcessPoolExecutor() as pool:
        list(pool.map(picture, [(folder / "images", n) for n in range(pictures)], chunksize=64))
    draw = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = np.array(["".join(draw.choice(letters, draw.integers(2, 10))) for _ in range(20_000)])
    likely = np.cumsum(1 / np.arange(1, len(vocabulary) + 1))
    path = folder / "talk.jsonl"
    before = None
    with path.open("w") as file:
        for number in range(rows):
            count = max(int(draw.exponential(WORDS)), 4)
            words = vocabulary[np.searchsorted(likely, draw.random(count) * likely[-1])].tolist()
            if number % 100 == 50:
                words[1] = f"jane{number}@mail{number % 7}.de"
            half = max(count // 3, 1)
            turns = [
                {"from": "human", "value": "<image>\n" * (pictures > 0) + " ".join(words[:half]) + "?"},
                {"from": "gpt", "value": " ".join(words[half:]) + "."},
            ]
            if number % 100 == 99 and before is not None:
                turns = before
            before = turns
            row = {"id": str(number), "conversations": turns}
            if pictures:
                row["image"] = f"{number // 10 % pictures}.jpg"
            file.write(json.dumps(row) + "\n")
    return path


class Memory:
    """The most memory that this process and its children had together, looked at five times a second.

    Pages that several share count once between them (PSS), where the system tells that.
    """

    def __init__(self) -> None:
        self.most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self.most = max(self.most, sum(map(_size, _family(os.getpid()))))


def _family(process: int) -> list[int]:
    found = [process]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _size(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main(rows: int, pictures: int) -> None:
    """Print seconds, rows and pictures a second, and memory, of a first audit and of a second one."""
    from pumice.data.mixture import Source
    from pumice.trust.audit import Wishes, choose, open_material, run_audit

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        path = make(folder, rows, pictures)
        size = path.stat().st_size / 1e6
        took = time.perf_counter() - start
        print(f"made {rows:,} rows ({size:.0f} MB) and {pictures:,} pictures in {took:.0f} s")
        (folder / "out").mkdir()
        for turn in ("first", "again"):
            wall = time.perf_counter()
            with Memory() as memory:
                material = open_material(
                    [Source("talk", path, folder / "images" if pictures else None)],
                    cache_folder=folder / "cache",
                )
                read = time.perf_counter() - wall
                done = run_audit(
                    material,
                    choose(),
                    Wishes(),
                    out=folder / "out",
                    notes=folder / "cache" / "audit",
                    workers=os.cpu_count() or 1,
                )
            wall = time.perf_counter() - wall
            seconds = done.record["seconds"]
            concluding = sum(seconds["concluding"].values())
            print(
                f"{turn}: {wall:.0f} s ({read:.0f} s reading, {seconds['looking']:.0f} s looking, "
                f"{concluding:.0f} s concluding), {rows / wall:,.0f} rows/s, "
                f"{memory.most / 1e9:.2f} GB"
            )
        for entry in done.record["checks"]:
            took = seconds["concluding"][entry["check"]]
            print(f"  {entry['check']}: {entry['findings']:,} findings, concluded in {took:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or ("100000", "10000")))
