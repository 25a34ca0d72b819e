"""Help, versions, and what is said to words that name nothing."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import pumice as package
from pumice.cli import app, chat, evaluate, main, train
from pumice.cli.group import PumiceGroup
from pumice.errors import DataError, Interrupted, UsageError

PROJECT = Path(__file__).parents[2] / "pyproject.toml"

VERBS = (
    ("plan",),
    ("train",),
    ("eval",),
    ("judge",),
    ("score",),
    ("chat",),
    ("serve",),
    ("report",),
    ("runs", "compare"),
    ("data", "check"),
    ("data", "stats"),
    ("data", "show"),
    ("data", "audit"),
    ("data", "attribution"),
    ("card",),
    ("data", "plant"),
    ("data", "convert"),
    ("data", "build-mix"),
    ("export",),
    ("world", "make"),
    ("world", "pretrain"),
    ("recipes", "list"),
    ("recipes", "show"),
    ("recipes", "fields"),
)


ORDER = (
    *("world", "data", "plan", "train", "eval", "judge", "score", "chat", "serve", "report"),
    *("export", "recipes"),
)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_explains_itself_with_an_example_of_itself(pumice: Any, verb: tuple[str, ...]) -> None:
    result = pumice(*verb, "--help")
    assert result.code == 0
    assert "Examples" in result.out
    assert f"pumice {' '.join(verb)}" in result.out


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_option_has_a_help_text(verb: tuple[str, ...]) -> None:
    command: Any = typer.main.get_command(app)
    for word in verb:
        command = command.commands[word]
    assert [p.name for p in command.params if p.name != "help" and not p.help] == []
    assert re.fullmatch(r"[^\n]+\.", command.help.strip()), "one line"


def test_help_lists_all_verbs_in_the_order_of_use(pumice: Any) -> None:
    text = pumice("--help").out
    places = [text.index(f"│ {verb} ") for verb in ORDER]
    assert places == sorted(places)


def test_no_words_at_all_show_the_help(pumice: Any) -> None:
    assert "Usage:" in pumice().both


def test_version(pumice: Any) -> None:
    result = pumice("--version")
    assert (result.code, result.out) == (0, f"pumice {package.__version__}\n")


def test_an_unknown_verb_suggests_the_nearest(pumice: Any) -> None:
    result = pumice("trian")
    assert result.code == 2
    assert "'train'" in result.err


def test_an_unknown_option_suggests_the_nearest(pumice: Any) -> None:
    result = pumice("train", "tiny", "--sed", "3")
    assert result.code == 2
    assert "--seed" in result.err


@pytest.mark.parametrize("verb", ["chat", "eval"])
def test_the_templates_that_the_help_names_are_there(verb: str) -> None:
    from pumice.text.templates import check_template_name

    command: Any = typer.main.get_command(app)
    said = next(p.help for p in command.commands[verb].params if p.name == "template")
    found = re.search(r"such as (.+) or (\w+), the tokenizer's own", said)
    assert found
    for name in (*found[1].split(", "), found[2]):
        check_template_name(name)


def test_optional_words_stand_in_brackets_once(pumice: Any) -> None:
    for words in (("chat",), ("recipes", "fields")):
        usage = next(line for line in pumice(*words, "--help").out.splitlines() if "Usage:" in line)
        assert usage.rstrip().endswith((" [QUESTION]", " [KEY]"))


def _failing(error: BaseException) -> typer.Typer:
    failing = typer.Typer(cls=PumiceGroup, pretty_exceptions_enable=False)

    @failing.callback()
    def root(debug: bool = False) -> None: ...

    @failing.command()
    def verb() -> None:
        raise error

    return failing


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no", where="here", remedy="do this"), 2),
        (DataError("no", where="here", remedy="do this"), 1),
        (Interrupted("no", where="here", remedy="do this"), 130),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "/somewhere"), 1),
    ],
)
def test_errors_end_without_traceback_and_with_their_code(error: BaseException, code: int) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(_failing(error), ["verb"])
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if isinstance(error, KeyboardInterrupt):
        assert result.stderr == "Stopped.\n"
    elif isinstance(error, OSError):
        assert "Permission denied" in result.stderr
        assert "/somewhere" in result.stderr
    else:
        assert result.stderr == "error: no\n  where: here\n  to do: do this\n"


def test_debug_shows_the_traceback() -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(_failing(UsageError("no")), ["--debug", "verb"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_brackets_in_an_error_are_no_markup() -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(_failing(DataError("[red]a[/nothing]", where="[b]")), ["verb"])
    assert "[red]a[/nothing]" in result.stderr
    assert "[b]" in result.stderr


def test_control_characters_do_not_reach_the_terminal() -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(_failing(DataError("a\x1b[2Jb\x9bc\td")), ["verb"])
    assert result.stderr.startswith("error: a\ufffd[2Jb\ufffdc")


def run_module(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pumice", *words], capture_output=True, text=True, encoding="utf-8"
    )


def test_the_module_runs_the_command_line() -> None:
    version = run_module("--version")
    assert (version.returncode, version.stdout) == (0, f"pumice {package.__version__}\n"), version.stderr
    wrong = run_module("recipes", "shwo")
    assert wrong.returncode == 2
    assert "'show'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_the_installed_script_is_main() -> None:
    scripts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, name = scripts["pumice"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


@pytest.mark.parametrize("module", [chat, evaluate, train])
def test_examples_are_commands(module: ModuleType) -> None:
    assert "pumice " in module.EPILOG
