"""A stage's pictures on disk: each is read by the tower once, whoever needs it first, and then looked up.

Shapes: M tiles of several views, P features of a tile, V tower width, H = W the tower's input.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pumice.data.contents import Content, Contents, stamp_of
from pumice.data.problems import Problems
from pumice.errors import ImageError
from pumice.model import VisionLanguageModel
from pumice.train.codec import Packed, deviation, joined, pack
from pumice.train.parallel import Ranks
from pumice.train.pictures import Pictures, Progress, View, encode_piece
from pumice.train.seats import SEATS, Chunk, chunks, owner
from pumice.train.shards import Entry
from pumice.train.shelf import Shelf
from pumice.train.viewkeys import files_of, view_key

AHEAD = 2
"""Chunks that are decoded while the tower reads another."""
MOST_THREADS = 8


class Shelved:
    """The views of a stage, and the shelf on which their features are.

    Args:
        shelf: where features are kept.
        pictures: decode and prepare what is not there.
        contents: what pictures hold.
        threads: that read and decode pictures.
    """

    def __init__(self, shelf: Shelf, pictures: Pictures, contents: Contents, threads: int) -> None:
        self.shelf, self.pictures, self.contents, self.threads = shelf, pictures, contents, threads
        self._keys: dict[View, bytes] = {}
        self._contents: dict[View, Content] = {}

    @torch.no_grad()
    def prepare(
        self, model: VisionLanguageModel, views: Sequence[View], ranks: Ranks, progress: Progress
    ) -> int:
        """Have the features of all these views on disk; all ranks call it together.

        Returns:
            How many this rank made, each different picture once.

        Raises:
            DataError: pictures that cannot be used; all of them are named.
        """
        if not ranks.lead:
            ranks.wait()  # the first one reads all files and keeps what it found for the others
        self._know(views, progress)
        if ranks.lead:
            ranks.wait()
        self.shelf.want(self._keys.values())
        ranks.wait()  # none writes before all have looked
        missing = {
            key: view
            for view, key in self._keys.items()
            if key not in self.shelf and owner(key, ranks.world) == ranks.rank
        }
        self._fill(model, missing, progress)
        self.shelf.flush()
        ranks.wait()
        if not ranks.alone:
            self.shelf.look()
        return len(missing)

    def read(self, model: VisionLanguageModel, views: Sequence[View]) -> Packed:
        """The features of some views, in order, on the CPU; what is not on the shelf is made as it was."""
        found = {view: self.shelf.read(self._keys[view]) for view in dict.fromkeys(views)}
        if any(packed is None for packed in found.values()) and not self.shelf.full:
            self.shelf.look()  # another rank, on another node, may have written it a moment ago
            found = {view: packed or self.shelf.read(self._keys[view]) for view, packed in found.items()}
        missing = {self._keys[view]: view for view, packed in found.items() if packed is None}
        if missing:
            made = {entry.key: entry for entry in self._made(model, missing)}
            for entry in made.values():
                self.shelf.put(entry)
            found = {view: packed or made[self._keys[view]].packed for view, packed in found.items()}
        return joined([packed for view in views if (packed := found[view]) is not None])

    def close(self) -> None:
        """Nothing is read any more."""
        self.shelf.close()

    def _know(self, views: Sequence[View], progress: Progress) -> None:
        """The keys of all views, from the content of their files."""
        problems, distinct = Problems(), list(dict.fromkeys(views))

        def look(view: View) -> tuple[bytes, Content] | ImageError:
            try:
                return self._look(view)
            except ImageError as error:
                return error

        with ThreadPoolExecutor(self.threads) as pool:
            for done, (view, found) in enumerate(
                zip(distinct, pool.map(look, distinct), strict=True), start=1
            ):
                if isinstance(found, ImageError):
                    problems.add(found)
                else:
                    self._keys[view], self._contents[view] = found
                if done % 1000 == 0 or done == len(distinct):
                    progress("looking for features", done, len(distinct))
        self.contents.save()
        problems.raise_if_any("images cannot be used")

    def _look(self, view: View) -> tuple[bytes, Content]:
        files, frames = files_of(view.picture, self.pictures.extent(view.picture), view.layout)
        content = self.contents.of(files, self.pictures.where(view.picture))
        return view_key(content, self.pictures.geometry.processor, view.layout, frames), content

    def _fill(self, model: VisionLanguageModel, missing: Mapping[bytes, View], progress: Progress) -> None:
        """Make the features of some views and put them on the shelf; after a bad picture only look on."""
        views, problems, done = list(missing.values()), Problems(), 0
        todo = chunks([(key, view.layout.tiles) for key, view in missing.items()])
        keys = list(missing)
        with ThreadPoolExecutor(self.threads) as pool:
            for chunk, decoding in self._decoded(pool, todo, views):
                tiles: list[NDArray[np.float32]] = []
                for future in decoding:
                    try:
                        tiles.append(future.result())
                    except ImageError as error:
                        problems.add(error)
                if not problems.count:
                    for entry in self._entries(model, chunk, keys, tiles):
                        self.shelf.put(entry)
                done += len(chunk.members)
                progress("reading pictures", done, len(views))
        problems.raise_if_any("images cannot be used")

    def _decoded(
        self, pool: ThreadPoolExecutor, todo: Sequence[Chunk], views: Sequence[View]
    ) -> Iterator[tuple[Chunk, list[Future[NDArray[np.float32]]]]]:
        waiting: deque[tuple[Chunk, list[Future[NDArray[np.float32]]]]] = deque()
        for chunk in todo:
            decoding = [pool.submit(self._tiles, views[number]) for number, _ in chunk.members]
            waiting.append((chunk, decoding))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _tiles(self, view: View) -> NDArray[np.float32]:
        """A view's tiles, of the very bytes that its key stands for."""
        tiles = self.pictures.tiles(view)
        files, _ = files_of(view.picture, self.pictures.extent(view.picture), view.layout)
        if tuple(map(stamp_of, files)) != self._contents[view].stamps:
            raise ImageError(
                f"{view.picture} changed since the run looked at it",
                where=self.pictures.where(view.picture),
                remedy="leave the data as it is while a run uses it, and start again",
            )
        return tiles

    @torch.no_grad()
    def _made(self, model: VisionLanguageModel, missing: Mapping[bytes, View]) -> Iterator[Entry]:
        keys, views = list(missing), list(missing.values())
        for chunk in chunks([(key, view.layout.tiles) for key, view in missing.items()]):
            tiles = [self._tiles(views[number]) for number, _ in chunk.members]
            yield from self._entries(model, chunk, keys, tiles)

    def _entries(
        self,
        model: VisionLanguageModel,
        chunk: Chunk,
        keys: Sequence[bytes],
        tiles: Sequence[NDArray[np.float32]],
    ) -> Iterator[Entry]:
        """Read one chunk; ``tiles`` are those of its members, in their order."""
        pixels_M3HW = torch.zeros(chunk.size, *tiles[0].shape[1:])
        for (_, seat), own in zip(chunk.members, tiles, strict=True):
            start = chunk.start(seat)
            pixels_M3HW[start : start + chunk.tiles] = torch.from_numpy(own)
        features_MPV: Tensor = torch.cat(
            [encode_piece(model, piece, self.pictures.half) for piece in torch.split(pixels_M3HW, SEATS)]
        )
        for number, seat in chunk.members:
            own_NPV = features_MPV[chunk.start(seat) : chunk.start(seat) + chunk.tiles]
            packed = pack(own_NPV, self.shelf.kind).clone()
            yield Entry(keys[number], packed, deviation(own_NPV, packed))


def threads_of(ranks: Ranks) -> int:
    """How many threads of a rank decode pictures: its share of the cores, and not too many."""
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) // ranks.per_node))
