"""Training at the sizes of LLaVA-1.5-7B on one GPU: the share of its peak, beside transformers' Trainer.

    python benchmarks/gpu_train.py                 # on a GPU: 7.1 billion random weights, bf16, both stages
    python benchmarks/gpu_train.py --small         # the same way on a CPU with a tiny model: a minute or two
    python benchmarks/gpu_train.py --json gpu.json

First bfloat16 products of square matrices are measured: the peak. Then each stage is trained by Pumice and
by Trainer in turn, on the same samples in the same steps, with the lengths of LLaVA-1.5's mixture. Instruct
trains all weights where they fit, else additions (LoRA); the table says which. Shares of the peak count what
the samples need: no padding, nothing computed twice. ``carried out`` counts what is computed twice, too.

7B takes some 30 GB of disk, 40 GB of host memory and half an hour on an H100.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import torch
import transformers

from pumice.bench.gpu import GOALS, SIDES, Figure, bench_card, matmul_peak
from pumice.bench.material import LLAVA_7B, MINI, STAGES, make_data, make_model
from pumice.bench.train import Settings
from pumice.errors import PumiceError

SMALL_SIDES = (256, 512)


def settings_of(given: argparse.Namespace) -> Settings:
    """Sizes and rounds, as the options say."""
    cores = os.cpu_count() or 1
    chosen = Settings(samples=64, micro=8, steps=6, rounds=3, threads=cores)
    if given.small:
        chosen = replace(chosen, samples=8, micro=4, steps=3, rounds=1)
    said = {name: getattr(given, name) for name in ("samples", "micro", "steps", "rounds")}
    chosen = replace(chosen, **{name: value for name, value in said.items() if value is not None})
    if chosen.samples % chosen.micro:
        raise SystemExit(f"{chosen.samples} samples are no whole number of {chosen.micro}: choose a divisor")
    return chosen


def memory_of() -> float:
    """Bytes of the card, a little left for what nobody counts; of a machine without one, its own."""
    if torch.cuda.is_available():
        return 0.95 * float(torch.cuda.get_device_properties(0).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


TITLES = (
    "stage",
    "side",
    "trains",
    "at once",
    "supervised tok/s",
    "of the peak",
    "carried out",
    "GB",
    "ours is",
)


def show(figures: Sequence[Figure], peak: float) -> None:
    """The table, as Markdown; behind it how near the first losses are."""
    print(f"| {' | '.join(TITLES)} |\n|{'---|' * len(TITLES)}")
    for one in figures:
        cells = [one.stage, one.meaning, one.trains, str(one.micro)]
        ours = next(other for other in figures if (other.stage, other.side) == (one.stage, "pumice"))
        if one.failed is not None:
            cells += [f"failed: {' '.join(one.failed.split())[:200]}", *([""] * 4)]
        else:
            goal = f" (goal {GOALS[one.stage]:.0%})" if one is ours else ""
            cells += [
                f"{one.supervised_rate:,.0f}",
                f"{one.useful / peak:.1%}{goal}",
                f"{one.carried / peak:.1%}" if one.carried else "",
                f"{one.peak_bytes / 1e9:.1f}",
                "" if one is ours else f"{ours.supervised_rate / one.supervised_rate:.2f}x",
            ]
        print(f"| {' | '.join(cells)} |")
    for one in figures:
        ours = next(other for other in figures if (other.stage, other.side) == (one.stage, "pumice"))
        if one.losses and one is not ours:
            apart = abs(one.losses[0] - ours.losses[0]) / ours.losses[0]
            print(f"{one.stage}, {one.meaning}: the first step's loss is {apart:.1e} from ours (relative)")


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="a tiny model, on whatever is here")
    parser.add_argument("--stage", action="append", choices=STAGES, help="default: both")
    parser.add_argument(
        "--side", action="append", choices=("padded", "grouped", "sorted"), help="Trainer's ways"
    )
    parser.add_argument(
        "--way", default="auto", choices=("auto", "full", "lora"), help="what instruct trains"
    )
    parser.add_argument("--samples", type=int, help="of a step")
    parser.add_argument("--micro", type=int, help="samples that go through the model at once")
    parser.add_argument("--steps", type=int, help="of a measurement; the first warms up")
    parser.add_argument("--rounds", type=int, help="how often every side is measured")
    parser.add_argument("--folder", type=Path, help="where the model is made, and removed; default: /tmp")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    return parser


def main() -> None:
    """Measure and print."""
    given = options().parse_args()
    if not given.small and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here: --small runs the same way with a tiny model on a CPU")
    settings, size = settings_of(given), MINI if given.small else LLAVA_7B
    peak = matmul_peak(SMALL_SIDES if given.small else SIDES, 0.2 if given.small else 1.0)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    print(f"{name}: bf16 products {peak / 1e12:.4g} TFLOP/s")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {date.today()}", flush=True)
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        make_model(folder, size, dtype="bfloat16")
        make_data(folder, settings.samples * settings.steps, size)
        figures = bench_card(
            folder,
            given.stage or STAGES,
            given.side or ["padded", "grouped"],
            settings,
            memory_of(),
            lambda what, done, total: print(f"  {what}", file=sys.stderr, flush=True),
            only=given.way,
        )
    show(figures, peak)
    if given.json is not None:
        told = {
            "device": name,
            "peak": peak,
            "settings": asdict(settings),
            "figures": list(map(asdict, figures)),
        }
        given.json.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main()
    except PumiceError as error:
        raise SystemExit(f"{error}") from error
