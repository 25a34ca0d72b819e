"""Options that several verbs of `pumice data` share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """A data format."""

    llava = "llava"
    sharegpt = "sharegpt"
    messages = "messages"
    preference = "preference"
    parquet = "parquet"
    hub = "hub"
    webdataset = "webdataset"


ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="The folder that names of pictures are relative to."),
]
FormatOption = Annotated[
    Format | None, typer.Option("--format", help="What PATH is.", show_default="told from the file")
]
CacheOption = Annotated[
    Path,
    typer.Option("--cache", metavar="DIR", help="Where what was read is kept; training looks there, too."),
]
CACHE = Path("runs") / ".cache"
