"""Features of one tower on disk: looked up by key, read with their checksum, written a file at a time."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from pumice.files import write_json
from pumice.recipes.features import FeatureType
from pumice.train.codec import Packed
from pumice.train.shards import SUFFIX, DamagedShard, Entry, Shard, open_shard, shard_name, write_shard
from pumice.train.storeroom import Storeroom

SHARD_BYTES = 128 * 2**20
"""Features of so many bytes make a file; the last one of a stage is smaller."""
OPEN_FILES = 64
"""Files that are open at once."""
ENTRY_BYTES = 16 + 8 + 8 + 16
"""What a view takes in a file beside its features."""
HEAD_BYTES = 1024
"""At least what the head of a file takes."""
ABOUT = "about.json"


class Shelf:
    """What a stage has of its pictures' features on disk.

    Args:
        room: the folder that runs share.
        space: names the tower and the way of computing.
        about: what that is, for people who look into the folder.
        kind: the numbers in which features are kept.
        shape: of a tile, (P, V).
        notice: told what went wrong and was mended.
    """

    def __init__(
        self,
        room: Storeroom,
        space: str,
        about: Mapping[str, Any],
        kind: FeatureType,
        shape: tuple[int, int],
        notice: Callable[[str], None],
    ) -> None:
        self.room, self.kind, self.shape = room, kind, shape
        self.folder = room.root / space
        self.full = False
        self._about, self._notice = about, notice
        self._wanted: frozenset[bytes] = frozenset()
        self._shards: dict[Path, Shard] = {}
        self._where: dict[bytes, Shard] = {}
        self._damaged: set[Path] = set()
        self._pending: dict[bytes, Entry] = {}
        self._pending_bytes = 0
        self._open: OrderedDict[Path, int] = OrderedDict()

    def want(self, keys: Collection[bytes]) -> None:
        """From now on these views and no others are looked for; what is there is in use from now on."""
        self._wanted = frozenset(keys)
        self._where = {}
        self._shards = {}
        self.look()

    def look(self) -> None:
        """Find files that were written since the last time, by whichever process."""
        if not self.folder.is_dir():
            return
        with contextlib.suppress(OSError), self.room.locked():
            used = []
            for path in sorted(self.folder.glob(f"*{SUFFIX}")):
                if path in self._shards or path in self._damaged:
                    continue
                shard = self._opened(path)
                if shard is None:
                    continue
                self._shards[path] = shard
                own = shard.places.keys() & self._wanted
                if own:
                    used.append(path)
                    self._where.update(dict.fromkeys(own, shard))
            self.room.use(used)

    def _opened(self, path: Path) -> Shard | None:
        try:
            return open_shard(path, self.kind, self.shape)
        except DamagedShard as error:
            self._notice(f"{path} holds {error}: it is removed, and its features are made again")
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        except OSError:
            pass  # gone, or not to be read: its features are made again
        return None

    def __contains__(self, key: bytes) -> bool:
        return key in self._pending or key in self._where

    @property
    def deviation(self) -> tuple[float, float]:
        """Over all wanted views that are here: what keeping moved, and all there was, as sums of squares."""
        lost = whole = 0.0
        for key in sorted(self._wanted):
            pending, shard = self._pending.get(key), self._where.get(key)
            if pending is not None:
                pair = pending.deviation
            elif shard is not None:
                row = shard.deviations[shard.places[key]]
                pair = float(row[0]), float(row[1])
            else:
                continue
            lost, whole = lost + pair[0], whole + pair[1]
        return lost, whole

    def read(self, key: bytes) -> Packed | None:
        """The features of a view as they were put here; None where they are not here, or are damaged."""
        if key in self._pending:
            return self._pending[key].packed
        shard = self._where.get(key)
        if shard is None:
            return None
        try:
            return shard.read(shard.places[key], self._handle(shard.path))
        except DamagedShard as error:
            self._notice(f"{shard.path} holds {error}: they are made again")
            self._damaged.add(shard.path)
        except OSError:  # another process took the file away, and may write it anew
            self._shards.pop(shard.path, None)
        del self._where[key]
        return None

    def put(self, entry: Entry) -> None:
        """Keep the features of a view; they are written with others, at last by ``flush``."""
        if self.full or entry.key in self._pending:
            return
        self._pending[entry.key] = entry
        self._pending_bytes += entry.packed.nbytes + ENTRY_BYTES
        if self._pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was put here; where there is no room, it is made again when it is needed."""
        if not self._pending:
            return
        self.look()  # another run may have written the same meanwhile, and then no room is needed
        entries = [entry for key, entry in self._pending.items() if key not in self._where]
        self._pending, self._pending_bytes = {}, 0
        if not entries:
            return
        size = sum(entry.packed.nbytes + ENTRY_BYTES for entry in entries) + HEAD_BYTES
        path = self.folder / shard_name([entry.key for entry in entries])

        def put() -> Path:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / ABOUT).exists():
                write_json(self.folder / ABOUT, self._about)
            write_shard(path, entries)
            return path

        try:
            written = self.room.write(size, put)
        except OSError as error:
            self._give_up(f"cannot be written ({error.strerror or error})")
            return
        if written is None:
            self._give_up(
                f"have no room beside those of other runs (all together {self.room.budget / 1e9:.3g} GB)"
            )
            return
        self._damaged.discard(written)
        self._drop(written)
        shard = self._opened(written)
        if shard is not None:
            self._shards[written] = shard
            self._where.update(dict.fromkeys(shard.places.keys() & self._wanted, shard))

    def _give_up(self, why: str) -> None:
        self.full = True
        self._notice(f"more features {why} in {self.room.root}: they are made again each time")

    def close(self) -> None:
        """Write what is left, remove files in which something was damaged, and let others make room."""
        self.flush()
        for path in list(self._open):
            self._drop(path)
        for path in self._damaged:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        self.room.release()

    def _handle(self, path: Path) -> int:
        """The file, opened, or still open from before; of many the one unused for longest is closed."""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        handle = self._open[path] = os.open(path, os.O_RDONLY)
        while len(self._open) > OPEN_FILES:
            self._drop(next(iter(self._open)))
        return handle

    def _drop(self, path: Path) -> None:
        handle = self._open.pop(path, None)
        if handle is not None:
            os.close(handle)
