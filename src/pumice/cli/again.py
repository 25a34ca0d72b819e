"""A command as it was given, to be given again."""

from __future__ import annotations

import shlex
from typing import Any

import typer


def command_again(context: typer.Context) -> str:
    """The command line that says what this one said, by its arguments, then its options by their long names.

    What is by default, or of the environment, is left out: it is the same the next time.
    """
    words = ["pumice", str(context.info_name)]
    options: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source is None or source.name != "COMMANDLINE":
            continue
        value: Any = context.params[str(parameter.name)]
        values = value if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            words += [str(one) for one in values]
        elif value is True:
            options.append(parameter.opts[-1])
        else:
            options += [word for one in values for word in (parameter.opts[-1], str(one))]
    return shlex.join([*words, *options])
