"""Before a model is written for others: may its rows be shared?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

PurposeOption = Annotated[
    Literal["commercial", "research", "private"] | None,
    typer.Option(
        "--purpose",
        help="What the copy serves: refuse it where licences of the run's rows do not permit that "
        "(docs/licences.md).",
        show_default="as the run's recipe says",
    ),
]


def check_sharing(model: str | Path, purpose: Literal["commercial", "research", "private"] | None) -> None:
    """Refuse a model whose rows the licence policy of its run, or this purpose, forbids; say what was not
    checked.

    Raises:
        DataError: such rows.
    """
    from pumice.cli.console import note
    from pumice.export.permitted import check_permitted

    said = check_permitted(Path(model).expanduser(), purpose)
    if said is not None:
        note(f"Note: {said}.")
