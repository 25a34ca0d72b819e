"""One generation on many machines, by Ray Data: each part is made by the same code as everywhere.

The folder must be one that all machines see. Each part keeps its replies in a folder of its own below it; a
driver or worker that dies loses none, and the next sitting, with as many parts as it likes, takes them over.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pumice.endpoint.cache import Cache
from pumice.endpoint.client import Endpoint
from pumice.errors import EndpointError, MissingExtraError, PumiceError, RunError, UsageError
from pumice.generate.budget import Budget
from pumice.generate.carry_out import Progress, carry_out
from pumice.generate.plan import Plan
from pumice.generate.shards import gather, merge
from pumice.generate.work import Terms
from pumice.generate.write import REPLIES

HERE = "local"
"""In place of a cluster's address: Ray on this machine alone, started and stopped with the command."""
PARTS = "parts"
SEEN = ".seen-by-all"
EVERY = 0.5
"""Seconds between two looks at how far the parts are."""


def carry_out_everywhere(
    plan: Plan,
    terms: Terms,
    endpoints: Sequence[Endpoint],
    folder: Path,
    address: str,
    *,
    parts: int | None = None,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Have all jobs done by the machines of a cluster, and write the files as ``carry_out`` does.

    Args:
        plan: all jobs.
        terms: how they are done.
        endpoints: as each machine reaches them: localhost is each machine's own.
        folder: where everything goes; all machines see it under this path.
        address: of the cluster, ``auto`` for the one that this machine is part of, or ``local``.
        parts: how many; one for each machine where nothing is said.
        budget: limits of all together, and prices.
        progress: told how far all of them are together.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: there is no such cluster, or a machine does not see the folder.
        EndpointError: a teacher could not be asked by one of the machines.
        RunError: a part, or the cluster, failed.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    _collect(folder)
    budget = budget or Budget()
    with _cluster(address) as ray:
        machines = sum(bool(node["Alive"]) for node in ray.nodes())
        number = max(1, min(parts or machines, len(plan.scenes)))
        with Cache(folder / REPLIES) as replies:
            left = _left(budget, replies)
        if left.max_requests:  # a part without a request would do nothing
            number = min(number, left.max_requests)
        token = uuid.uuid4().hex
        (folder / SEEN).write_text(token)
        part = _Part(
            ray.put(plan), terms, tuple(endpoints), folder, number, left.part(number), token,
            _board(ray).remote(),
        )  # fmt: skip
        try:
            jobs = sum(1 for _ in plan.jobs()) * len(endpoints) + len(plan.scenes)
            errors = _run(ray, part, jobs, progress or (lambda what, done, total, figures: None))
        finally:
            (folder / SEEN).unlink(missing_ok=True)
    if errors:
        _collect(folder)
        raise errors[0]
    made = [_place(folder, index) for index in range(number)]
    record = merge(made, folder, budget)
    shutil.rmtree(folder / PARTS)
    return record


@dataclass(frozen=True)
class _Part:
    """What a machine is sent; called, it makes one part."""

    plan: Any
    terms: Terms
    endpoints: tuple[Endpoint, ...]
    folder: Path
    parts: int
    budget: Budget
    token: str
    board: Any

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The number of the part, and the error of one that failed, as words."""
        ray: Any = importlib.import_module("ray")
        index = int(row["part"])
        try:
            self._make(ray.get(self.plan), index)
        except PumiceError as error:
            kind = "endpoint" if isinstance(error, EndpointError) else "other"
            return {"part": index, "kind": kind, "what": error.what, "where": error.where or "",
                    "remedy": error.remedy or ""}  # fmt: skip
        return {"part": index, "kind": "", "what": "", "where": "", "remedy": ""}

    def _make(self, plan: Plan, index: int) -> None:
        import socket

        place = self.folder / SEEN
        if not place.is_file() or place.read_text() != self.token:
            raise RunError(
                f"the machine {socket.gethostname()} does not see the folder",
                where=str(self.folder),
                remedy="name one with --out that all machines of the cluster share, under the same path",
            )
        own = replace(plan, shard=index, shards=self.parts)
        last, phases, jobs = 0.0, list[str](), sum(1 for _ in own.jobs())

        def tell(what: str, done: int, total: int, figures: Mapping[str, float]) -> None:
            nonlocal last
            if what not in phases:
                phases.append(what)
            if (now := time.monotonic()) - last >= EVERY or done == total:
                last = now
                before = (len(phases) - 1) * jobs
                self.board.tell.remote(index, before + done, dict(figures))

        carry_out(
            own,
            self.terms,
            self.endpoints,
            _place(self.folder, index),
            budget=self.budget,
            progress=tell,
            known=self.folder / REPLIES,
        )


def _run(ray: Any, part: _Part, jobs: int, progress: Progress) -> list[PumiceError]:
    """Make all parts, and return what went wrong.

    Args:
        ray: the cluster.
        part: what its machines are sent.
        jobs: how many there are, each counted once for each teacher and once more when it is written.
        progress: told how many of these are done.
    """
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY):
            done, figures = ray.get(part.board.state.remote())
            progress(f"{part.parts} parts", done, jobs, figures)

    watcher = threading.Thread(target=watch, name="parts", daemon=True)
    watcher.start()
    rows = [{"part": index} for index in range(part.parts)]
    data = ray.data.from_items(rows, override_num_blocks=part.parts)
    # A part mostly waits for its teacher, so it takes half a core; all of them run at once, far apart.
    made = data.map(part, num_cpus=0.5)
    try:
        said = list(made.iter_rows())
    except ray.exceptions.RayError as error:
        cause = " ".join(str(error).split())
        return [
            RunError(
                f"the cluster failed: {cause[:500]}",
                where=str(part.folder),
                remedy="run the same command again: what was answered is kept",
            )
        ]
    finally:
        ended.set()
        watcher.join()
    kinds = {"endpoint": EndpointError, "other": RunError}
    return [
        kinds[row["kind"]](
            row["what"], where=f"part {row['part']}: {row['where']}", remedy=row["remedy"] or None
        )
        for row in sorted(said, key=lambda row: row["part"])
        if row["kind"]
    ]


def _board(ray: Any) -> Any:
    """Where all parts write how far they are."""

    class Board:
        def __init__(self) -> None:
            self.parts: dict[int, tuple[int, Counter[str]]] = {}

        def tell(self, index: int, done: int, figures: dict[str, float]) -> None:
            # While a part writes, it has no figures: those that it had stay.
            self.parts[index] = done, Counter(figures) or self.parts.get(index, (0, Counter()))[1]

        def state(self) -> tuple[int, dict[str, float]]:
            figures: Counter[str] = Counter()
            for _, told in self.parts.values():
                figures.update(told)
            return sum(done for done, _ in self.parts.values()), dict(figures)

    return ray.remote(num_cpus=0)(Board)


def _place(folder: Path, index: int) -> Path:
    return folder / PARTS / f"{index:05d}"


def _collect(folder: Path) -> None:
    """Bring what parts of an earlier sitting were answered into the folder itself."""
    parts = sorted((folder / PARTS).glob("*")) if (folder / PARTS).is_dir() else []
    gather(parts, folder)
    if parts:
        shutil.rmtree(folder / PARTS)


def _left(budget: Budget, replies: Cache) -> Budget:
    """What is left of a budget."""
    tokens = replies.tokens
    spent = budget.cost(tokens["prompt_tokens"], tokens["completion_tokens"])
    cost, calls = budget.max_cost, budget.max_requests
    return replace(
        budget,
        max_cost=None if cost is None else max(cost - spent, 0.0),
        max_requests=None if calls is None else max(calls - len(replies), 0),
    )


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, started or found, and let go at the end."""
    try:
        ray: Any = importlib.import_module("ray")
        ray_data: Any = importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingExtraError(
            f"Ray is not installed ({error})",
            where="--ray",
            remedy='pip install "pumice[ray]" on all machines, or take --shards N --shard K without it',
        ) from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers
    # Where a machine is alone, Ray need not look for its address in a network.
    here = {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        ray.init(
            log_to_driver=False,
            logging_level="ERROR",
            **(here if address == HERE else {"address": address}),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"there is no cluster ({' '.join(str(error).split())[:200]})",
            where=f"--ray {address}",
            remedy="start one (ray start --head), name its address, or say --ray local",
        ) from error
    for name in ("ray.data", "ray.data.context"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray_data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
