from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_published_recipe_in_small_on_two_ranks(tmp_path: Path) -> None:
    """Both stages, the measurement, the page; then its model answers in a process of its own."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def pumice(*words: str, launch: bool) -> str:
        command = [*(launcher if launch else [sys.executable]), "-m", "pumice", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    said = pumice("train", "llava-1.5-7b", "--small", launch=True)
    assert said.count("saved ") == 2, "the first rank alone speaks"
    run = tmp_path / "runs" / "llava-1.5-7b-small"
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert (record["status"], record["ranks"]) == ("finished", 2)
    assert (run / "report.html").is_file()
    image = next((tmp_path / "runs" / ".cache" / "world-small" / "images").glob("*.png"))
    pumice("chat", str(run / "model"), "--image", str(image), "What is this?", launch=False)
