"""The small world: rows of every kind, each readable and true to its pictures; made once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pumice.data import mixture
from pumice.data.samples import pictures_of
from pumice.errors import DataError
from pumice.world import make, small
from pumice.world.scene import SIDE
from pumice.world.small import FRAMES, ROWS, small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world(tmp_path_factory.mktemp("cache") / "world-small")


def rows(world: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((world / name).read_text("utf-8"))
    return found


@pytest.mark.parametrize("name", ["align.json", "instruct.json", "mix.json", "science.json", "wide.json"])
def test_every_file_is_read_and_its_pictures_are_there(world: Path, name: str) -> None:
    read = mixture.read_mixture([mixture.Source("s", str(world / name), world)], seed=0)
    assert len(read.samples) == len(rows(world, name)) >= ROWS
    pictures = pictures_of(read.samples)
    assert pictures
    assert all(isinstance(picture, Path) and picture.is_file() for picture in pictures)


def test_the_mixture_holds_rows_without_a_picture_and_short_ones(world: Path) -> None:
    mixed = rows(world, "mix.json")
    without = [row for row in mixed if "image" not in row]
    assert 0 < len(without) < len(mixed) / 2
    assert not any("<image>" in row["conversations"][0]["value"] for row in without)
    assert all(len(row["conversations"]) <= 2 * small.PAIRS for row in mixed)


def test_science_asks_and_answers_by_letter(world: Path) -> None:
    letters, shown = set(), 0
    for row in rows(world, "science.json"):
        asked, answer = (turn["value"] for turn in row["conversations"])
        options = dict(re.findall(r"\(([A-D])\) (\w+)", asked))
        match = re.search(r"The answer is \(([A-D])\)\.$", answer)
        assert match is not None
        letters.add(match.group(1))
        assert len(options) == 4
        right = options[match.group(1)]
        assert right in answer.rpartition("The answer")[0]
        wrong = set(options.values()) - {right}
        if "image" in row:
            shown += 1
            assert not any(re.search(rf"\b{other}\b", answer) for other in wrong), "one option is true"
        assert ("<image>" in asked) == ("image" in row)
    assert len(letters) > 2
    assert 0 < shown < ROWS


def test_wide_pictures_are_wide_and_tall_ones_tall(world: Path) -> None:
    sizes = set()
    for row in rows(world, "wide.json"):
        if isinstance(row["image"], list):
            assert row["conversations"][0]["value"].count("<image>") == len(row["image"]) == 2
            continue
        with Image.open(world / row["image"]) as picture:
            sizes.add(picture.size)
            words = "left" if picture.size[0] > picture.size[1] else "top"
        assert words in row["conversations"][0]["value"]
    assert sizes == {(2 * SIDE, SIDE), (SIDE, 2 * SIDE)}


def centre(weights: np.ndarray) -> tuple[float, float]:
    rows_H, columns_W = weights.sum(1), weights.sum(0)
    x, y = (float((np.arange(len(side)) * side).sum() / side.sum()) for side in (columns_W, rows_H))
    return x, y


def test_what_a_video_says_is_what_moves(world: Path) -> None:
    ways = set()
    for row in rows(world, "videos.json"):
        frames = sorted((world / row["video"]).iterdir())
        assert len(frames) == FRAMES
        pixels = np.stack([np.asarray(Image.open(frame), np.float32) for frame in frames])
        changed = np.abs(pixels - np.median(pixels, axis=0)).sum(-1)  # the object, wherever it passes
        (x, y), (end_x, end_y) = centre(changed[0]), centre(changed[-1])
        words = row["conversations"][3]["value"]
        ways.add(words)
        across = "left" in words
        assert (abs(end_x - x) > abs(end_y - y)) == across
        assert ((end_x > x) if across else (end_y > y)) == words.endswith(("to right.", "to bottom."))
        assert "<image>" in row["conversations"][0]["value"]
    assert len(ways) == 4


def test_of_a_pair_one_answer_is_true(world: Path) -> None:
    read = mixture.read_mixture([mixture.Source("s", str(world / "pairs.jsonl"), world)], seed=0)
    assert len(read.samples) == ROWS
    captions = {row["image"]: row["conversations"][1]["value"] for row in rows(world, "align.json")}
    moves = {row["video"]: row["conversations"][3]["value"] for row in rows(world, "videos.json")}
    kinds = set()
    for line in (world / "pairs.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        chosen, rejected = row["chosen"], row["rejected"]
        assert chosen != rejected
        assert chosen.split()[:2] == rejected.split()[:2], "the same kind of answer"
        kinds.add(chosen.split()[0])
        if "video" in row:
            assert chosen == moves[row["video"]]
        elif (found := re.fullmatch(r"The (\w+) is (\w+)\.", chosen)) and row["image"] in captions:
            other = str(re.fullmatch(r"The \w+ is (\w+)\.", rejected)[1])  # type: ignore[index]
            assert f"{found[2]} {found[1]}" in captions[row["image"]]
            assert f"{other} {found[1]}" not in captions[row["image"]]
    assert kinds == {"The", "There", "It"}


def test_it_is_made_once_and_the_same_everywhere(world: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    assert small_world(world) == world
    assert before == {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    other = small_world(tmp_path / "other")
    for name in (
        "align.json",
        "mix.json",
        "science.json",
        "wide.json",
        "videos.json",
        "pairs.jsonl",
        "videos/0/003.png",
    ):
        assert (other / name).read_bytes() == (world / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["other"], "nothing half made is left"


def test_one_of_another_version_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    record = {"format": small.FORMAT - 1, "world": make.FORMAT}
    (folder / small.RECORD).write_text(json.dumps(record))
    (folder / "stale.json").write_text("[]")
    small_world(folder)
    assert not (folder / "stale.json").exists()


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="something is where the small world goes"):
        small_world(tmp_path / "w")
    assert [path.name for path in (tmp_path / "w").iterdir()] == ["mine.txt"]
