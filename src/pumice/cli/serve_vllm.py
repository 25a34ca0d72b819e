"""`pumice serve MODEL --engine vllm`: vLLM on the same checkpoint, in place of this process."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pumice.cli.console import hint, out
from pumice.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from pumice.serve.facts import Facts
    from pumice.serve.guard import Door
    from pumice.serve.keys import Keys

TAKEN = frozenset(
    (
        *("models", "host", "port", "api_key_file", "allow_origins", "fetch_images", "running", "max_images"),
        *("engine", "dry_run"),
    )
)
"""Options that vLLM is told; every other one is of Pumice's own engine."""
INSTALL = "pip install 'pumice[vllm]', or vLLM into an environment of its own whose vllm is on the PATH"


def refuse_others(context: typer.Context) -> None:
    """Refuse options that vLLM has no counterpart for, rather than let them do nothing.

    Raises:
        UsageError: one was given.
    """
    for param in context.command.params:
        source = context.get_parameter_source(param.name or "")
        given = source is not None and not source.name.startswith("DEFAULT")
        if given and param.name not in TAKEN:
            raise UsageError(
                f"{param.opts[0]} is of Pumice's own engine, and vLLM has no such thing",
                where=param.opts[0],
                remedy=f"leave {param.opts[0]} out, or --engine vllm",
            )


def start(
    models: dict[str, Path], host: str, port: int, door: Door, secrets: tuple[str, ...], *,
    images: int, running: int, fetch_images: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Check all that can be checked, then become vLLM; or print its command.

    Raises:
        UsageError: several models or keys, no GPU, or a port that vLLM does not know.
        MissingExtraError: vLLM is not installed.
        CheckpointError: a model that vLLM has no place for.
    """
    from pumice.serve.facts import read_facts
    from pumice.serve.vllm import KEY, vllm_command

    if len(models) != 1:
        raise UsageError(
            "vLLM serves one model", where="MODEL", remedy="start one for each, at ports of their own"
        )
    if len(secrets) > 1:
        raise UsageError(
            f"{KEY} holds one key, and {len(secrets)} were given", where="--api-key-file",
            remedy="give one; a proxy before several servers can tell callers apart",
        )  # fmt: skip
    if not dry_run:
        check_machine()
    (name, folder), *_ = models.items()
    facts = for_others(read_facts(name, folder), dry_run=dry_run)
    command = vllm_command(facts, host, port, door, images=images, running=running, fetch_images=fetch_images)
    if dry_run:
        if secrets:
            hint(f"the key is given in the environment, as {KEY}")
        out.print(command.shown(), soft_wrap=True, markup=False, highlight=False)
        return
    program = program_path()
    assert program is not None, "check_machine found it"
    key = {KEY: secrets[0]} if secrets else {}
    os.execve(program, command.words, {**os.environ, **command.environment, **key})


def check_machine() -> None:
    """Refuse a machine that vLLM does not run on.

    Raises:
        MissingExtraError: it is not installed.
        UsageError: there is no GPU.
    """
    if program_path() is None:
        raise MissingExtraError("vLLM is not installed here", remedy=INSTALL)
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "vLLM needs a GPU, and torch finds none here",
            where="--engine vllm",
            remedy="leave --engine out: Pumice's own engine answers on a CPU as well",
        )


def program_path() -> str | None:
    """vLLM's program: beside this Python, or on the PATH."""
    return shutil.which("vllm", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))


def for_others(facts: Facts, *, dry_run: bool) -> Facts:
    """A model in transformers' layout, which others read: itself, or an export beside the runs.

    An original checkpoint, or an adapter, is exported once; the export is found again by the model's digest.
    """
    from pumice.data.index import CACHE_FOLDER
    from pumice.model.folder import kind_of
    from pumice.serve.facts import read_facts

    if kind_of(facts.folder) == "transformers":
        return facts
    place = Path("runs") / CACHE_FOLDER / "served" / f"{facts.name}-{facts.digest[:16]}"
    if (place / "config.json").is_file():
        return read_facts(facts.name, place)
    if dry_run:
        hint(f"the model is exported first: pumice export {facts.folder} {place} --dtype bfloat16")
        return replace(facts, folder=place)
    from pumice.export import export

    hint(f"exporting to transformers' layout, once: {place}")
    place.parent.mkdir(parents=True, exist_ok=True)
    export(facts.folder, place, "hf", dtype="bfloat16", check_dtype="bfloat16")
    return read_facts(facts.name, place)


def secrets_of(path: Path | None, keys: Keys, variable: str) -> tuple[str, ...]:
    """The keys themselves, which ``keys`` has checked and forgotten."""
    if not keys:
        return ()
    lines = [] if path is None else path.read_text("utf-8").splitlines()
    words = [line.split() for line in lines]
    found = [line[-1] for line in words if line and not line[0].startswith("#")]
    return tuple(dict.fromkeys([*found, *filter(None, [os.environ.get(variable)])]))
