"""Parts of one generation, made apart, put together: the same files as if it had been made in one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pumice.data.lines import lines_file
from pumice.data.tombstones import add_tombstones, read_tombstones
from pumice.endpoint.cache import Cache
from pumice.errors import DataError, UsageError
from pumice.files import write_json
from pumice.generate.budget import Budget
from pumice.generate.carry_out import digest_of, in_order
from pumice.generate.checks import CHECKS
from pumice.generate.write import DATA, RECORD, REJECTED, REPLIES, KindFigures, Some
from pumice.words import counted

SAME = ("prompts", "shares", "languages", "seed", "attempts", "second_pass")
"""What all parts must have been asked alike, besides their scenes."""
MERGED = "merged"
"""Names, in tombstones, the erasures of parts."""


def merge(parts: Sequence[Path], folder: Path, budget: Budget | None = None) -> dict[str, Any]:
    """Put the folders of all parts together in one, in the order of the scenes.

    Rows, rejected rows and record are those of a generation that was made in one, and all replies are there,
    so the command without parts goes on in this folder and asks nothing twice. Rows that were erased of a
    part (``data.tombstones``) are erased of the whole.

    Args:
        parts: a folder of each, in any order.
        folder: where everything goes; made where it is missing.
        budget: what it may cost in all; the sum of what the parts may where nothing is said.

    Returns:
        The record. It is not complete where a part lacks replies.

    Raises:
        UsageError: a part is missing, stands twice, or is of another generation.
        DataError: a folder holds none, or was left while it was written; or what was erased cannot be read.
    """
    records = _in_order(parts)
    folder.mkdir(parents=True, exist_ok=True)
    with _cache(folder) as cache:
        cache.claim()
        for part, _ in records:
            with Cache(part / REPLIES) as replies:
                cache.add_all(replies)
        for part, _ in records:  # what was erased of a part is erased of the whole, before the rows are there
            gone = read_tombstones([part / DATA])
            if gone:
                add_tombstones(folder / DATA, gone.rows, gone.pictures, gone.contents, erasure=MERGED)
        for name in (DATA, REJECTED):
            with lines_file(folder / name, llava=name == DATA, shared=False) as add:
                for part, _ in records:
                    for line in _lines(part / name):
                        add(line)
        record = merged_record([record for _, record in records])
        budget = budget or Budget(**record["budget"])
        tokens = {name: cache.tokens[name] for name in ("prompt_tokens", "completion_tokens")}
        record["requests"]["replies"] = len(cache)
        record |= {
            "tokens": tokens,
            "cost": round(budget.cost(*tokens.values()), 6),
            "budget": asdict(budget),
        }
    record["files"] = {name: digest_of(folder / name) for name in (DATA, REJECTED)}
    write_json(folder / RECORD, record)
    return record


def gather(parts: Sequence[Path], folder: Path) -> None:
    """Bring the replies of parts, whole or broken off, into a folder.

    Raises:
        RunError: another process writes into one of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _cache(folder) as cache:
        cache.claim()
        for part in parts:
            with _cache(part) as replies:
                replies.claim()
                cache.add_all(replies)


def merged_record(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The record of all parts together, from theirs in order."""
    first = records[0]
    kinds: dict[str, KindFigures] = {}
    samples: dict[str, Some] = {}
    rejected: dict[str, Some] = {}
    for record in records:
        for name, told in record["kinds"].items():
            kinds.setdefault(name, KindFigures()).add(told)
        for found, key in ((samples, "samples"), (rejected, "rejected_samples")):
            for name, rows in record[key].items():
                for row in rows:
                    found.setdefault(name, Some()).add(row)
    names = list(first["prompts"])
    scenes = {key: sum(record["scenes"][key] for record in records) for key in ("number", "with_boxes")}
    refused = {id: words for record in records for id, words in record["refused"].items()}
    return {
        "scenes": scenes | {"sha256": first["scenes"]["sha256"]},
        "shard": {"index": 0, "of": 1},
        **{key: first[key] for key in SAME},
        "passed_over": in_order(_sum([record["passed_over"] for record in records]), names),
        "kinds": in_order({name: figures.shown() for name, figures in kinds.items()}, names),
        "samples": in_order({name: some.rows for name, some in samples.items()}, names),
        "rejected_samples": in_order({name: some.rows for name, some in rejected.items()}, CHECKS),
        "complete": all(record["complete"] for record in records),
        "spent": any(record["spent"] for record in records),
        "teachers": _teachers(records),
        "requests": _sum([record["requests"] for record in records]),
        "tokens": _sum([record["tokens"] for record in records]),
        "cost": round(sum(record["cost"] for record in records), 6),
        "budget": _budget([record["budget"] for record in records]),
        "refused": dict(list(refused.items())[:100]),
    }


def _cache(folder: Path) -> Cache:
    return Cache(
        folder / REPLIES, what="generating", remedy="wait for it, or stop it: what it has is not lost"
    )


def _in_order(parts: Sequence[Path]) -> list[tuple[Path, dict[str, Any]]]:
    """Folders with their records, by number; all of one generation are there."""
    found: dict[int, tuple[Path, dict[str, Any]]] = {}
    for part in parts:
        record = _read(part)
        index, of = record["shard"]["index"], record["shard"]["of"]
        if index in found:
            raise UsageError(
                f"part {index} of {of} stands twice",
                where=f"{found[index][0]} and {part}",
                remedy="name each once",
            )
        found[index] = part, record
    first_part, first = next(iter(found.values()))
    for part, record in found.values():
        wrong = [key for key in SAME if record[key] != first[key]]
        wrong += ["scenes"] if record["scenes"]["sha256"] != first["scenes"]["sha256"] else []
        wrong += ["the number of parts"] if record["shard"]["of"] != first["shard"]["of"] else []
        if wrong:
            raise UsageError(
                f"they are parts of two generations: {wrong[0]} differs",
                where=f"{first_part} and {part}",
                remedy="make all parts by the same command, with another --shard each",
            )
    of = first["shard"]["of"]
    missing = [number for number in range(of) if number not in found]
    if missing:
        raise UsageError(
            f"{counted(len(missing), 'part')} of {of} {'is' if len(missing) == 1 else 'are'} missing",
            where=f"--shard {missing[0]}",
            remedy="name the folders of all",
        )
    return [found[number] for number in range(of)]


def _read(part: Path) -> dict[str, Any]:
    path = part / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        whole = all(digest_of(part / name) == digest for name, digest in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the record of the part cannot be read ({type(error).__name__}: {error})",
            where=str(path),
            remedy="name folders that pumice generate --shards N --shard K wrote to its end",
        ) from error
    if not whole:
        raise DataError(
            "the part was left while its files were written",
            where=str(part),
            remedy="run its command again: nothing is asked twice",
        )
    return record


def _lines(path: Path) -> Iterator[str]:
    """The rows of a file that ``lines_file`` wrote, as they stand there."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.startswith("{"):
                yield line.rstrip("\n").removesuffix(",")


def _teachers(records: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Each once."""
    found: list[Any] = []
    for record in records:
        found += [one for one in record["teachers"] if one not in found]
    return found


def _sum(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0) for part in parts) for name in names}


def _budget(parts: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The limits of all together; prices are those of each."""
    total: dict[str, float | None] = {}
    for name in (field.name for field in fields(Budget)):
        said = [part[name] for part in parts]
        limits = [one for one in said if one is not None]
        total[name] = said[0] if name.startswith("price") else sum(limits) if limits else None
    return total
