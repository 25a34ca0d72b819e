"""Seconds and memory of reading and checking a data file: the first time, and from the cache.

    python benchmarks/make_mix.py mix.json
    python benchmarks/index_mix.py mix.json

Each measurement is a process of its own. Pictures need not exist.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measure(path: Path, cache: Path | None, *, iterate: bool) -> None:
    """Index a file, perhaps read all its samples, and print what that took."""
    from pumice.data import open_table

    began, cpu = time.monotonic(), time.process_time()
    table = open_table(path, Path("images"), "mix", check_files=False, cache_folder=cache)
    if iterate:
        assert sum(1 for _ in table) == len(table)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(table):,} rows: {seconds:.1f} s ({cpu:.1f} s of CPU), at most {peak:,.0f} MB")


def main() -> None:
    """Measure three times, each in a fresh process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--iterate", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cache is not None:
        measure(arguments.file, arguments.cache, iterate=arguments.iterate)
        return
    with tempfile.TemporaryDirectory() as folder:
        for title, more in (
            ("read and checked", []),
            ("again, from the cache", []),
            ("from the cache, every sample read", ["--iterate"]),
        ):
            print(f"{title}: ", end="", flush=True)
            command = [sys.executable, __file__, str(arguments.file), "--cache", folder, *more]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
