"""generate/shards.py and scale_out.py: a generation in parts is the one that was made in one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice.data.index import open_table
from pumice.data.tombstones import add_tombstones
from pumice.errors import DataError, EndpointError, UsageError
from pumice.generate.budget import Budget
from pumice.generate.carry_out import carry_out
from pumice.generate.plan import Plan
from pumice.generate.scale_out import carry_out_everywhere
from pumice.generate.scripted import scripted
from pumice.generate.shards import gather, merge
from pumice.generate.spec import read_specs

from .small import files_of, plan, scene, terms

SPECS = list(read_specs().values())
SCENES = [scene(n) for n in range(5)]
KINDS = "caption,short,region,grounding,comparison,correction"


def wanted(shard: int = 0, shards: int = 1) -> Plan:
    """Kinds of all sorts in two languages, or a part of it."""
    whole = plan(SCENES, KINDS, ("en", "de"))
    return Plan(whole.scenes, whole.kinds, whole.shares, whole.languages, whole.seed, shard, shards)


def made(folder: Path, shard: int = 0, shards: int = 1, **more: Any) -> dict[str, Any]:
    """A generation by a teacher that errs, or a part of it."""
    teacher = scripted(SPECS, faults=0.2, told=more.pop("told", None))
    return carry_out(wanted(shard, shards), terms(SCENES, agree=True), [teacher], folder, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in one."""
    folder = tmp_path_factory.mktemp("whole")
    made(folder)
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Made in three."""
    folders = [tmp_path_factory.mktemp("part") for _ in range(3)]
    for shard, folder in enumerate(folders):
        made(folder, shard, 3)
    return folders


def test_parts_put_together_are_the_whole(whole: Path, parts: list[Path], tmp_path: Path) -> None:
    record = merge([parts[2], parts[0], parts[1]], tmp_path)
    assert files_of(tmp_path) == files_of(whole)
    theirs = json.loads((whole / "generation.json").read_text())
    assert {name for name in theirs if theirs[name] != record[name]} <= {"requests"}
    assert list(record["kinds"]) == list(theirs["kinds"])
    assert record["requests"]["replies"] == theirs["requests"]["replies"]
    calls: list[str] = []
    made(tmp_path, told=lambda content, fate: calls.append(fate))
    assert not calls, "the command without parts goes on in the folder"
    merge(parts, tmp_path)
    assert files_of(tmp_path) == files_of(whole)


def test_what_was_erased_of_a_part_is_erased_of_the_whole(parts: list[Path], tmp_path: Path) -> None:
    own = [shutil.copytree(part, tmp_path / part.name) for part in parts]
    table = open_table(own[1] / "data.json", tmp_path, "part", check_files=False)
    name = table[0].id
    add_tombstones(own[1] / "data.json", [bytes(table.columns.digest[0])], erasure="e")
    merge(own, tmp_path / "whole")
    whole = open_table(tmp_path / "whole/data.json", tmp_path, "whole", check_files=False)
    assert whole.head.erased == 1
    assert name not in [one.id for one in whole]


def test_parts_that_do_not_go_together_are_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 part of 3 is missing"):
        merge(parts[:2], tmp_path)
    with pytest.raises(UsageError, match="part 0 of 3 stands twice"):
        merge([parts[0], *parts], tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        merge([*parts, tmp_path], tmp_path)
    made(tmp_path / "other", 2, 4)
    with pytest.raises(UsageError, match="the number of parts differs"):
        merge([*parts[:2], tmp_path / "other"], tmp_path)
    carry_out(plan(SCENES, "caption"), terms(SCENES), [scripted(SPECS)], tmp_path / "one")
    with pytest.raises(UsageError, match="prompts differs"):
        merge([parts[1], tmp_path / "one"], tmp_path)


def test_a_part_that_was_left_while_it_was_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "part"
    carry_out(plan(SCENES, "caption"), terms(SCENES), [scripted(SPECS)], folder)
    with (folder / "data.json").open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="left while its files were written"):
        merge([folder], tmp_path)


def test_replies_of_parts_that_broke_off_are_not_asked_again(whole: Path, tmp_path: Path) -> None:
    """Whatever the parts were: a later sitting may have other ones, or none."""
    asked: list[bytes] = []

    def told(content: bytes, fate: str) -> None:
        if fate == "answered":
            asked.append(content)

    for shard in range(2):
        record = made(tmp_path / str(shard), shard, 2, budget=Budget(max_requests=15), told=told)
        assert record["spent"]
    gather([tmp_path / "0", tmp_path / "1"], tmp_path / "all")
    known = tmp_path / "all" / "replies.jsonl"
    again = [tmp_path / f"again-{shard}" for shard in range(3)]
    for shard, folder in enumerate(again):
        made(folder, shard, 3, known=known, told=told)
    merge(again, tmp_path / "all")
    assert files_of(tmp_path / "all") == files_of(whole)
    assert len(asked) == len(set(asked))


def test_what_parts_may_cost_is_no_more_than_the_whole() -> None:
    part = Budget(6.0, 7, 1.0, 2.0, 60.0, None).part(3)
    assert part == Budget(2.0, 2, 1.0, 2.0, 20.0, None)


@pytest.mark.slow
def test_a_cluster_makes_the_same_files(whole: Path, tmp_path: Path) -> None:
    """Ray on this machine: broken off, gone on with in other parts, and an error that names its part."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    words: Any = (terms(SCENES, agree=True), [scripted(SPECS, faults=0.2)], tmp_path, "local")
    record = carry_out_everywhere(wanted(), *words, parts=3, budget=Budget(max_requests=25))
    assert record["spent"]
    assert 0 < record["requests"]["replies"] <= 25
    seen: list[tuple[int, int]] = []
    record = carry_out_everywhere(
        wanted(), *words, parts=2, progress=lambda what, done, total, figures: seen.append((done, total))
    )
    assert record["complete"]
    assert seen
    assert all(0 <= done <= total for done, total in seen)
    assert files_of(tmp_path) == files_of(whole)
    assert not (tmp_path / "parts").exists()

    from pumice.endpoint import Endpoint

    nobody = Endpoint("http://127.0.0.1:9/v1", "m", "", retries=0)
    with pytest.raises(EndpointError) as caught:
        carry_out_everywhere(wanted(), terms(SCENES), [nobody], tmp_path / "x", "local", parts=2)
    assert "part 0" in str(caught.value.where)
