"""Pictures for a page: small JPEGs inside it, no more of them in bytes than the page has room for."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import PIL.Image

from pumice.errors import PumiceError
from pumice.evaluate.hub import from_hub
from pumice.evaluate.pictures import open_sight
from pumice.evaluate.results import TaskResult
from pumice.evaluate.samples import Loaded, Picture, Stored
from pumice.evaluate.tasks import TASKS
from pumice.types import HUB

SIZES = ((384, 82), (320, 78), (256, 72), (192, 65), (128, 55))
"""The longer side in pixels, and the JPEG quality; the first that fits is taken."""


class Album:
    """The pictures of one task.

    A name is a file in the task's folder. What is none, a row of a table or a file elsewhere, is asked of the
    task's own loader; a name alone leads nowhere out of the folder, for the page may be given away.

    Args:
        result: whose pictures they are.
        bytes_each: the most that one of them may have as JPEG.
        loaded: the task's questions, where they are at hand; else its files are read when they are needed.
    """

    def __init__(self, result: TaskResult, bytes_each: int, loaded: Loaded | None = None) -> None:
        self.result = result
        self.bytes_each = bytes_each
        self._named = None if loaded is None else _by_name(loaded)

    def uri(self, name: str) -> str | None:
        """A picture as a data URI; None where it cannot be shown."""
        if self.bytes_each <= 0:
            return None
        folder = Path(self.result["data"])
        try:
            path = (folder / name).resolve()
            inside = path.is_relative_to(folder.resolve()) and path.is_file()
            picture: Picture | None = path if inside else self._loaded().get(name)
            if picture is None:
                return None
            upright = open_sight(picture)
        except (PumiceError, OSError, ValueError):  # what a picture is not, and names that no path can have
            return None
        return self._encoded(upright)

    def _encoded(self, picture: PIL.Image.Image) -> str | None:
        for side, quality in SIZES:
            picture.thumbnail((side, side))
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality)
            if buffer.tell() <= self.bytes_each:
                return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        return None

    def _loaded(self) -> Mapping[str, Picture]:
        """The task's pictures by name, read once; none where its files are not there any more."""
        if self._named is None:
            self._named = {}
            task = TASKS.get(self.result["task"])
            folder = Path(self.result["data"])
            fetched = self.result["data"].startswith(HUB)
            if task is not None and (fetched or folder.is_dir()):
                own = from_hub(task) if fetched else task
                self._named = _by_name(own.load(folder, self.result["choices"]))
        return self._named


def _by_name(loaded: Loaded) -> Mapping[str, Picture]:
    """Pictures by what the predictions call them, where they lie elsewhere than in the task's folder."""
    return {
        picture.name if isinstance(picture, Stored) else picture.absolute().as_posix(): picture
        for sample in loaded.samples
        for picture in sample.images
    }
