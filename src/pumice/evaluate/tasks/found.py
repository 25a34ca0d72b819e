"""What the tasks share: files that are not there, pictures by name, labels for the scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pumice.data.checks import image_name
from pumice.data.lines import to_line
from pumice.errors import DataError
from pumice.evaluate.samples import Sample
from pumice.evaluate.tasks.collected import check_pictures
from pumice.files import write_text
from pumice.score import Inputs
from pumice.score.answers import by_id
from pumice.score.choice import ALPHABET
from pumice.score.files import Row

LABELS = "labels.jsonl"
"""Written beside the answers: what the scorer must know of the questions, without the pictures."""
SHOWN = 8


def absent(folder: Path, task: str, files: Sequence[str]) -> DataError:
    """The error for a folder without the files of a task: what is expected, and what is there."""
    if not folder.exists():
        near = sorted(entry.name for entry in folder.parent.iterdir()) if folder.parent.is_dir() else []
        there = f"the folder does not exist; beside it there is: {_listed(near)}"
    else:
        there = f"there is: {_listed(sorted(entry.name for entry in folder.iterdir()))}"
    return DataError(
        f"the files of {task} are not there",
        where=str(folder),
        remedy="\n".join(["put these there:", *(f"    {file}" for file in files), f"    {there}"]),
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) + more) or "nothing"


class Pictures:
    """Picture files by the names that rows give them; ``check`` says which are missing, all at once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Folders in the order in which a picture is looked for; people are told the first."""
        self.folders = tuple(dict.fromkeys(folders))
        self._asked: list[tuple[Path, str]] = []

    @property
    def there(self) -> bool:
        """Whether any of the folders is."""
        return any(folder.is_dir() for folder in self.folders)

    def find(self, name: str, where: str) -> Path:
        """The file of a picture; where it is in none of the folders, its place in the first.

        Raises:
            DataError: the name leaves the folder.
        """
        places = [folder / image_name(name, where) for folder in self.folders]
        found = next((path for path in places if path.is_file()), places[0])
        self._asked.append((found, where))
        return found

    def check(self) -> None:
        """Refuse pictures that are missing or empty.

        Raises:
            DataError: how many they are, and the first of them with their rows.
        """
        check_pictures(self._asked)


def labelled(rows: Iterable[Mapping[str, Any]]) -> Callable[[Path], Inputs]:
    """Inputs of a scorer whose labels are these rows: they are written beside the answers.

    Tables with pictures, and rows of the hub, are no files that a scorer should read again: `pumice score`
    takes the written ones.
    """
    text = "".join(to_line(row) + "\n" for row in rows)

    def inputs(answers: Path) -> Inputs:
        path = answers.parent / LABELS
        if not path.is_file() or path.read_text("utf-8") != text:
            write_text(path, text)
        return Inputs(answers=answers, labels=path)

    return inputs


def sample(id: str, text: str, images: Sequence[Any], *, truth: str, group: str = "") -> Sample:
    """A sample whose answer's row has LLaVA's keys."""
    return Sample(id, text, tuple(images), {"question_id": id, "prompt": text}, truth, group)


def letters(count: int) -> tuple[str, ...]:
    """The letters of so many options: what somebody who sees nothing may say."""
    return tuple(ALPHABET[:count])


def unique(rows: Sequence[Row], *, numbered: bool = False) -> dict[str, Row]:
    """Rows by their ids; by their numbers from 0 where they have none and may be ``numbered``.

    Raises:
        DataError: an id stands twice, or is missing.
    """
    return by_id(rows, numbered=numbered)


def whole_set(found: int, published: Sequence[int]) -> tuple[str, ...]:
    """A note where the files hold another number of questions than was published."""
    if found in published:
        return ()
    usual = " or ".join(f"{number:,}" for number in published)
    return (f"the files hold {found:,} questions; the published set has {usual}",)
