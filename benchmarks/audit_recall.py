"""What `pumice data audit` finds of faults that were planted, and its false alarms, over several worlds.

    python benchmarks/audit_recall.py OUT [--pictures 2000] [--seeds 201 202] [--levels easy full]
        [--data align instruct] [--model tiny]

Each world is drawn anew, one hundredth of its rows get each kind of fault, and the audit says what it found.
Thresholds were chosen on worlds of seed 101; none of the seeds here may be that one. Lines are
printed as they come, and OUT/recall.json holds all of them.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from pumice.data import open_table
from pumice.data.mixture import Source
from pumice.files import write_json
from pumice.trust.audit import NAMES, Wishes, choose, open_material, run_audit
from pumice.trust.audit.planted import caught, read_truth
from pumice.trust.plant import KINDS, plant
from pumice.world.embedded import resolve
from pumice.world.make import make_world

CAPTIONS = "align"
"""Rows with a caption each; of the others several answers make a row."""


def one(world: Path, data: str, seed: int, share: float, model: str | None) -> list[dict[str, Any]]:
    """Plant into one file of a world, audit it; what was found of each kind."""
    folder = world / f"planted-{data}"
    kinds = [kind for kind in KINDS if kind != "label-flips" or data != CAPTIONS]
    plant(open_table(str(world / f"{data}.json"), world, data), folder, kinds, share=share, seed=seed)
    checks = [name for name in NAMES if name not in ("faces", "metadata", "quality", "licences", "against")]
    wishes = Wishes(
        tower=resolve("embedded:clip-tiny") if data == CAPTIONS else None,
        model=None if model is None or data == CAPTIONS else resolve(model),
    )
    out = folder / "audit"
    out.mkdir()
    material = open_material([Source(data, folder / "data.json", folder)])
    done = run_audit(material, choose(checks), wishes, out=out, notes=None, workers=1)
    ran = [entry["check"] for entry in done.record["checks"]]
    return [
        one.record()
        for one in caught(material, done.findings, ran, read_truth(folder / "planted.jsonl"))
        if one.by
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=[201, 202])
    parser.add_argument("--levels", nargs="+", default=["easy", "full"])
    parser.add_argument("--data", nargs="+", default=["align", "instruct"])
    parser.add_argument("--model", help="also read answers of instruct with this LLaVA: tiny")
    asked = parser.parse_args()
    sums: defaultdict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for level in asked.levels:
        for seed in asked.seeds:
            world = asked.out / f"{level}-{seed}"
            make_world(world, n=asked.pictures, level=level, seed=seed, validation=0, test=0, workers=1)
            for data in asked.data:
                began = time.process_time()
                for entry in one(world, data, seed, asked.share, asked.model):
                    total = sums[level, data, entry["kind"], entry["by"]]
                    for place, key in enumerate(("planted", "found", "alarms", "clean")):
                        total[place] += entry[key]
                print(
                    f"{level} {seed} {data}: {time.process_time() - began:.0f} s of a processor", flush=True
                )
    lines = [
        {
            "level": level, "data": data, "kind": kind, "by": by, "planted": planted, "found": found,
            "recall": found / planted, "alarms": alarms, "clean": clean, "alarm_rate": alarms / clean,
        }
        for (level, data, kind, by), (planted, found, alarms, clean) in sums.items()
    ]  # fmt: skip
    for line in lines:
        print(
            f"{line['level']:5} {line['data']:9} {line['kind']:16} {line['by']:22} {line['found']:4} of "
            f"{line['planted']:4} {line['recall']:7.1%}   {line['alarms']:4} of {line['clean']:6,} "
            f"{line['alarm_rate']:7.2%}"
        )
    write_json(asked.out / "recall.json", lines)


if __name__ == "__main__":
    main()
