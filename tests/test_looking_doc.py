"""docs/looking.md: its commands run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = (Path(__file__).parent.parent / "docs" / "looking.md").read_text("utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TEXT, re.S | re.M)


@pytest.mark.slow
def test_its_commands_run(tmp_path: Path) -> None:
    code = "".join(BLOCKS).replace("pumice ", f"{sys.executable} -m pumice ")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        ["sh", "-ec", code], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {"map.png", "star.png"} <= {one.name for one in tmp_path.iterdir()}
    assert (
        "'star': log-probability" in done.stdout.replace(" star", "star")
        or "made no difference" in done.stdout
    )
