"""What every verb ends in when it does not end well: a line or three in red, and an exit code."""

from __future__ import annotations

import re
import traceback
from typing import Any

import typer
from typer.core import TyperGroup

from pumice.cli.console import err, print_error
from pumice.errors import Interrupted, PumiceError, UsageError, suggest

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended (128 + SIGINT), as shells have it."""


class PumiceGroup(TyperGroup):
    """The root of all verbs: shows errors a user can mend as what, where and what to do.

    Exit codes: 2 for a command that cannot be carried out as given, 130 after Ctrl-C, 1 for the rest.
    ``--debug`` shows the traceback first. A failure that nobody foresaw keeps its traceback anyway.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order in which one needs them, groups among them."""
        order = [
