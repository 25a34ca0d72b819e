"""Every command of README runs: those of ``sh`` blocks in order, in one folder, in small.

What takes minutes there is made small here (fewer pictures, the recipe's small mode); nothing else is
changed. The two make targets are the tests themselves and the demo, whose commands are checked too.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PICTURES = ["--n", "120", "--validation", "10", "--test", "12"]


def commands(text: str) -> list[str]:
    """The lines of all ``sh`` blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.splitlines() if line]


def in_small(words: list[str]) -> list[str]:
    """The same command with less to do."""
    if words[:3] == ["pumice", "world", "make"]:
        for option in ("--n", "--validation", "--test"):
            at = words.index(option)
            words = words[:at] + words[at + 2 :]
        return [*words, *PICTURES]
    if words[:3] == ["pumice", "world", "benchmarks"]:
        return [*words, "--n", "8"]
    if words[:2] == ["pumice", "train"]:
        return [*words, "--small"]
    if words[:2] == ["pumice", "eval"] and "--dimensions" in words:
        # All dimensions are measured by tests/evaluate/dimensions.
        at = words.index("--dimensions") + 1
        return [*words[:at], "retrieval", *words[at + 1 :], "--limit", "8"]
    if words[:2] == ["pumice", "eval"]:
        return [*words, "--limit", "40"]
    return words


def own_data(folder: Path) -> None:
    """What README asks for: JPEGs and four files beside them."""
    folder.mkdir()
    rows = []
    for i, colour in enumerate(("navy", "olive")):
        Image.new("RGB", (320, 200 + 60 * i), colour).save(folder / f"{i}.jpg")
        turns = [{"from": "human", "value": "<image>\nWhat color is it?"}, {"from": "gpt", "value": colour}]
        rows.append({"id": str(i), "image": f"{i}.jpg", "conversations": turns})
    for name in ("align", "instruct", "val", "val_align"):
        (folder / f"{name}.json").write_text(json.dumps(rows))


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "pumice", *words[1:]]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, env=env)


def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    own_data(tmp_path / "mine")
    lines = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "pumice", line
        if "--image" in words:
            # The picture named in README is one of 4,400; any of the few made here will do.
            at = words.index("--image") + 1
            words[at] = str(min((tmp_path / "data/easy/images").iterdir()))
        done = run(in_small(words), tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), line


def test_the_demo_does_what_the_readme_says() -> None:
    """The picture that README and the demo ask about is made by the command that both name."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    picture = re.search(r"DEMO_PICTURE := (\S+)", makefile)
    made = re.search(r"\$\(PUMICE\) (world make .*)", makefile)
    assert picture is not None
    assert made is not None
    assert picture.group(1) in readme
    assert made.group(1) in readme


@pytest.mark.parametrize("file", ["README.md", "Makefile", "CONTRIBUTING.md"])
def test_all_say_the_same_time_for_the_environment(file: str) -> None:
    text = " ".join((ROOT / file).read_text(encoding="utf-8").split())
    assert "about a minute and a half, more on a slow network" in text


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_of_the_readme_exist(target: str) -> None:
    assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
