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
            *(
                "world",
                "data",
                "plan",
                "train",
                "eval",
                "eval compare",
                "judge",
                "score",
                "chat",
                "look",
                "serve",
            ),
            *("report", "card", "runs", "merge", "export", "quantize", "recipes", "bench"),
        ]
        return sorted(self.commands, key=lambda name: order.index(name) if name in order else len(order))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Two words may be one verb: ``pumice eval compare`` stands beside ``pumice eval MODEL``."""
        if " ".join(args[:2]) in self.commands:
            args = [" ".join(args[:2]), *args[2:]]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a verb."""
        debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if debug:
                traceback.print_exc()
            err.print("Stopped.", style="yellow", highlight=False)
            raise typer.Exit(INTERRUPTED) from error
        except PumiceError as error:
            if debug:
                traceback.print_exc()
            print_error(error)
            raise typer.Exit(exit_code(error)) from error
        except typer.BadParameter as error:
            found = re.search(r"'(.*)' is not one of ('.*')", error.message)
            if found is None:
                raise
            where = next(iter(getattr(error.param, "opts", ())), None)
            choices = re.findall(r"'([^']*)'", found[2])
            print_error(
                UsageError(
                    f"{found[1]!r} is none of the choices", where=where, remedy=suggest(found[1], choices)
                )
            )
            raise typer.Exit(2) from error
        except BrokenPipeError:
            raise  # `pumice ... | head`: the library below ends quietly
        except OSError as error:
            if debug or error.strerror is None:
                raise
            where = str(error.filename) if error.filename else None
            remedy = "check the disk and the permissions; pumice --debug shows where it happened"
            print_error(PumiceError(f"the system says: {error.strerror}", where=where, remedy=remedy))
            raise typer.Exit(1) from error


def exit_code(error: Exception) -> int:
    """The code that a program ends with for an error."""
    if isinstance(error, Interrupted):
        return INTERRUPTED
    return 2 if isinstance(error, UsageError) else 1
