"""Seconds and memory of `pumice plan` on a data file: the first time, and from the cache.

    python benchmarks/make_mix.py mix.json
    python benchmarks/plan_mix.py mix.json

Both are whole commands in a process of their own, from its start to its end: every row read, checked,
rendered and counted, packed into steps, and the plan written. Pictures need not exist. Parts are LLaVA-1.5
7B's; the tokenizer is the counting one, or that of ``--language FOLDER``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST, AGAIN, MEMORY = 600.0, 15.0, 3e9
"""Seconds and bytes that must not be passed; of the bytes, by three processes together."""

RECIPE = """\
name: mix
model:
  vision: hub:openai/clip-vit-large-patch14-336
  language: {language}
  template: v1
data:
  mix: {{file: {file}}}
stages:
  - name: instruct
    kind: instruct
    sources: [mix]
    lr: {{connector: 2e-5, language: 2e-5}}
    epochs: 1
    row_length: 2048
    too_long: cut
    samples_per_step: 128
    activation_checkpointing: true
"""


def run(recipe: Path, folder: Path) -> tuple[float, float, float]:
    """One `pumice plan`: seconds, those of CPU of all its processes, and bytes of the largest at most."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["plan", str(recipe), "--no-images", "--hardware", "a100-80g", "--devices", "8"]
    words += ["--runs", str(folder / "runs"), "--out", str(folder / "plan.json")]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "pumice", *words], stdout=subprocess.PIPE, text=True)
    said, _ = process.communicate()
    seconds = time.monotonic() - began
    if process.returncode:
        raise SystemExit(f"the plan failed:\n{said[-2000:]}")
    print(said)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, after.ru_maxrss * 1024


def main() -> None:
    """Plan twice and hold both against the bounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--language", default="hub:lmsys/vicuna-7b-v1.5", help="a language model's folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        recipe = Path(name) / "mix.yaml"
        language = options.language
        if not language.startswith("hub:"):
            language = str(Path(language).absolute())
        recipe.write_text(RECIPE.format(file=os.path.abspath(options.file), language=language))
        results = [(title, *run(recipe, Path(name))) for title in ("first", "from the cache")]
    for title, seconds, cpu, most in results:
        print(f"{title}: {seconds:.1f} s ({cpu:.1f} s of CPU), at most {most / 1e6:,.0f} MB a process")
    if results[0][1] > FIRST or results[1][1] > AGAIN or results[0][3] * 3 > MEMORY:
        raise SystemExit(f"more than {FIRST:.0f} s, {AGAIN:.0f} s or {MEMORY / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
