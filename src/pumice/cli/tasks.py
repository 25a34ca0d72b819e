"""Benchmark tasks from the words of a command: which, of what files, answered by whom, and what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pumice.cli.requests import Requests
from pumice.errors import UsageError
from pumice.types import HUB

if TYPE_CHECKING:
    from pumice.cli.judging import Judging
    from pumice.endpoint.client import Endpoint
    from pumice.evaluate.asking import Answerer, Progress
    from pumice.evaluate.wish import Wish
    from pumice.model.quantized.forms import Weights
    from pumice.score.answers import Missing

ADDRESSES = ("http://", "https://")
ROWS = 64
"""Questions that a model of ours is asked at once."""
ALL = "all"
HUB_NAME = "hub"


@dataclass(frozen=True)
class Server:
    """What was said of a model behind a server: where it is, and how it is asked."""

    url: str | None = None
    name: str | None = None
    asking: Requests = field(default_factory=Requests)

    @property
    def said(self) -> list[str]:
        """The options that were given."""
        options: dict[str, object] = {"--endpoint": self.url, "--model": self.name, **self.asking.options}
        return [name for name, value in options.items() if value is not None]


def evaluate_tasks(
    model: str,
    tasks: str,
    data: Path | None,
    choices: Sequence[str],
    *,
    server: Server,
    answers: Path | None,
    judge: Judging,
    out: Path | None,
    limit: int | None,
    seed: int,
    blind: bool,
    batch_size: int | None,
    max_new_tokens: int | None,
    template: str | None,
    weights: Weights | None = None,
    training: Sequence[Path] = (),
    allow_bad: int = 0,
    missing: Missing = "error",
    last: bool = True,
    again: str = "the same command",
) -> None:
    """Ask a model the questions of benchmarks and score them; ends with 1 unless all of them have figures.

    Unless it is the ``last`` that the command does, where everything lies is left to be told. ``again`` is
    the command that goes on with this one.

    Raises:
        UsageError: a word that cannot be carried out.
        PumiceError: the model cannot be found or loaded.
    """
    from pumice.cli.console import note, print_error
    from pumice.cli.judging import judge_of
    from pumice.cli.tasks_view import print_results
    from pumice.data.fingerprints import Index
    from pumice.evaluate.trial import Trial
    from pumice.evaluate.wish import Terms
    from pumice.report import write_evaluation_page

    wishes = wanted(_names(tasks), data, choices)
    if judge.said and server.url is None and not model.startswith(ADDRESSES):
        # what is said of how a server is asked is said of the judge's alone
        server = replace(server, asking=Requests(key_variable=server.asking.key_variable))
    _check_missing(answers, missing, limit, allow_bad)
    answerer = _answerer(
        model, server, answers, batch_size, max_new_tokens, template, weights, wishes,
        blind=blind, missing=missing,
    )  # fmt: skip
    judging = judge_of(judge, wishes, again, asked=getattr(answerer, "endpoint", None))
    named = model if answerer.model["kind"] == "local" else answerer.model["name"]
    folder = out or default_folder(named, limit, local=answerer.model["kind"] == "local")
    terms = Terms(limit, seed, max_new_tokens, blind, allow_bad, missing)
    held = [Index.load(file) for file in training]
    trial = Trial(wishes, answerer, folder, terms, judging, held)
    ready, failed = trial.prepare()
    for error in failed.values():
        print_error(error)
    if not ready:  # every reason was told; there is nothing to show
        raise typer.Exit(1)
    for one in ready.values():
        done, total = len(one.own.rows), len(one.samples)
        before = f", {done:,} answered before" if done else ""
        of = f" of {len(one.loaded.samples):,}" if total < len(one.loaded.samples) else ""
        note(f"{one.name}: {total:,}{of} questions{before}")
    with asking_progress() as progress:
        results = trial.carry_out(ready, failed, progress)
    for one in ready.values():
        if changed := one.own.changes():
            note(f"{one.name}: {changed}")
    print_results(results, [wish.benchmark.name for wish in wishes])
    page = write_evaluation_page(folder, loaded={name: one.loaded for name, one in ready.items()})
    if last:
        closing(folder, page)
    if any(results["tasks"][wish.benchmark.name]["state"] != "scored" for wish in wishes):
        raise typer.Exit(1)


def closing(folder: Path, page: Path) -> None:
    """The last lines of a command: where everything lies."""
    from pumice.cli.console import note

    note(f"\nEvery answer is in {folder}")
    note(f"The page: {page}")


def default_folder(name: str, limit: int | None, *, local: bool = True) -> Path:
    """Where an evaluation goes unless told: ``evals/MODEL``, and ``limit-N`` behind it."""
    from pumice.cli.models import label

    place = Path("evals") / _safe(label(name) if local else name)
    return place / f"limit-{limit}" if limit else place


def wanted(words: Sequence[str], data: Path | None, choices: Sequence[str]) -> list[Wish]:
    """Tasks by their words, each with its folder and options.

    Raises:
        UsageError: an unknown name, no folder of data, or an option that no task of the list has.
    """
    from pumice.evaluate.own import is_own, read_own
    from pumice.evaluate.wish import Wish

    own = [Wish(*read_own(Path(word))) for word in words if is_own(word)]
    official = [word for word in words if not is_own(word)]
    if not official and choices:
        raise UsageError("tasks of one's own have no options", where="--set", remedy="leave it out")
    wishes = [*(_official(official, data, choices) if official else []), *own]
    names = [wish.benchmark.name for wish in wishes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"two tasks are called {twice!r}", where="--tasks", remedy="say name: in one of the files"
        )
    return wishes


def _official(names: list[str], data: Path | None, choices: Sequence[str]) -> list[Wish]:
    """The published benchmarks of a list."""
    from pumice.evaluate.tasks import TASKS, benchmark_of, choices_of, folder_of
    from pumice.evaluate.wish import Wish

    if is_hub(data):
        return _of_hub(names, choices)
    if data is None:
        raise UsageError(
            "where the tasks' files lie is not said",
            where="--data",
            remedy="say --data DIR, or set PUMICE_DATA; DIR/NAME has a task's files (--list shows which); or "
            "--data hub",
        )
    if not data.is_dir():
        raise UsageError(f"there is no folder {str(data)!r}", where="--data", remedy="check the path")
    if names == [ALL]:
        names = [name for name in TASKS if folder_of(data, name).is_dir()]
        if not names:
            raise UsageError(
                "the folder holds the files of no task",
                where=f"--data {data}",
                remedy="put those of a task into DIR/NAME; pumice eval --list shows the names",
            )
    benchmarks = [benchmark_of(name) for name in names]
    given = _set(choices, names)
    return [
        Wish(one, folder_of(data, one.name), choices_of(one, given.get(one.name, {}))) for one in benchmarks
    ]


def is_hub(data: Path | None) -> bool:
    """Whether ``--data`` means the Hugging Face hub.

    Raises:
        UsageError: a folder has that name, too.
    """
    if data is None or str(data) not in (HUB_NAME, HUB):
        return False
    if str(data) == HUB_NAME and data.exists():
        raise UsageError(
            "hub is a folder here, and means the Hugging Face hub, too",
            where="--data hub",
            remedy=f"say {HUB} for the hub, {data.absolute()} for the folder",
        )
    return True


def _of_hub(names: list[str], choices: Sequence[str]) -> list[Wish]:
    """The tasks of a list, as they are read from the hub."""
    from pumice.evaluate.hub import NAMES, from_hub, place_of
    from pumice.evaluate.tasks import TASKS, benchmark_of, choices_of
    from pumice.evaluate.wish import Wish

    if names == [ALL]:
        names = [name for name in TASKS if name in NAMES]
    benchmarks = [from_hub(benchmark_of(name)) for name in names]
    given = _set(choices, names)
    return [
        Wish(one, Path(HUB_NAME), choices_of(one, given.get(one.name, {})), place_of(one.name))
        for one in benchmarks
    ]


def _names(tasks: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in tasks.split(",") if name.strip()))
    if not names:
        raise UsageError("no task is named", where="--tasks", remedy=f"names with commas between, or {ALL}")
    return names


def _set(choices: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """``TASK.OPTION=VALUE`` by task and option."""
    given: dict[str, dict[str, str]] = {}
    for text in choices:
        left, equals, value = text.partition("=")
        task, dot, option = left.partition(".")
        if not (equals and dot and task and option):
            raise UsageError(
                "the option is not TASK.OPTION=VALUE", where=f"--set {text}", remedy="say textvqa.ocr=no"
            )
        if task not in names:
            raise UsageError(
                f"the option is of {task!r}, which is not asked",
                where=f"--set {text}",
                remedy=f"asked are {', '.join(names)}",
            )
        if option in given.get(task, {}):
            raise UsageError("the option is given twice", where=f"--set {text}", remedy="give it once")
        given.setdefault(task, {})[option] = value
    return given


def _answerer(
    model: str,
    server: Server,
    answers: Path | None,
    batch_size: int | None,
    max_new_tokens: int | None,
    template: str | None,
    weights: Weights | None,
    wishes: Sequence[Wish],
    *,
    blind: bool,
    missing: Missing,
) -> Answerer:
    """Whoever the words name: a file, a server, or a model of ours."""
    remote = server.url is not None or model.startswith(ADDRESSES)
    own = {"--batch-size": batch_size, "--template": template, "--weights": weights}
    if answers is not None:
        _refuse({**own, "--max-new-tokens": max_new_tokens, "--blind": blind or None}, "a file of answers")
        if server.said or remote:
            raise UsageError(
                "the answers are there: no server is asked", where="--answers", remedy="leave one out"
            )
        if len(wishes) > 1:
            raise UsageError(
                f"a file has the answers to one task, and {len(wishes)} are named",
                where="--answers",
                remedy="name one in --tasks",
            )
        from pumice.evaluate.filed import FileAnswerer

        return FileAnswerer(answers, model, missing)
    if remote:
        _refuse(own, "a server")
        from pumice.evaluate.served import EndpointAnswerer

        return EndpointAnswerer(_endpoint(model, server))
    if server.said:
        raise UsageError(
            f"{server.said[0]} is of a server, and {model!r} is no address",
            where=server.said[0],
            remedy="give the address as MODEL, or --endpoint URL",
        )
    from pumice.cli.models import local_answerer

    return local_answerer(model, batch_size or ROWS, template, weights)


def _check_missing(answers: Path | None, missing: Missing, limit: int | None, allow_bad: int) -> None:
    """Refuse what does nothing, or cannot be told apart.

    Raises:
        UsageError: it is so.
    """
    if answers is None and missing != "error":
        raise UsageError(
            "--missing is of a file of answers: a model that is asked answers all questions",
            where="--missing",
            remedy="leave it out",
        )
    if missing == "wrong" and limit is not None:
        raise UsageError(
            "under --limit all other questions would count as wrong, too",
            where="--missing wrong",
            remedy="leave one of the two out",
        )
    if answers is not None and allow_bad:
        raise UsageError(
            "--allow-bad is of pictures, and for a file of answers none is decoded",
            where="--allow-bad",
            remedy="leave it out; --missing skip leaves out questions without an answer",
        )


def _refuse(given: Mapping[str, object], who: str) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name} does nothing for {who}", where=name, remedy="leave it out")


def _endpoint(model: str, server: Server) -> Endpoint:
    from pumice.cli.console import hint

    if server.url is not None and model.startswith(ADDRESSES):
        raise UsageError("the server is given twice", where="--endpoint", remedy="give it once")
    url = server.url or model
    if server.url is not None and server.name is not None:
        raise UsageError("the model is named twice", where="--model", remedy="MODEL is its name already")
    name = server.name if server.url is None else model
    endpoint = server.asking.endpoint(url, name or "")
    for warning in endpoint.warnings:
        hint(f"Note: {warning}.")
    if name:
        return endpoint
    listed = endpoint.models()
    if len(listed) != 1:
        raise UsageError(
            f"the server has {len(listed)} models, and none is named" if listed else "no model is named",
            where="--model",
            remedy=f"name one: {', '.join(listed)}" if listed else "say --model NAME",
        )
    return server.asking.endpoint(url, listed[0])


def _safe(name: str) -> str:
    """A name as part of a path."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip(".-") or "model"


@contextmanager
def asking_progress() -> Iterator[Progress]:
    """A bar for each task with the answers a second, once enough have come to tell."""
    from pumice.cli.progress import Pace, counting

    with counting() as count:
        paces: dict[str, Pace] = {}

        def progress(name: str, done: int, total: int) -> None:
            pace = paces.setdefault(name, Pace())
            pace.add(done, time.monotonic())
            rate = pace.rate
            count(name, done, total, {} if rate is None else {"a second:": rate})

        yield progress
