"""What each rank would hold, in the terminal: a table a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from pumice.cli.console import note, out
from pumice.words import counted

PARTS = ("weights", "padding", "gradients", "optimizer", "gathered")
BUSY = ("activations", "logits", "overhead")


def show_ranks(stage: str, told: Mapping[str, Any]) -> None:
    """Print what the first, the fullest and the last rank of a stage hold, and all that share a copy."""
    split, copies = told["split"], told["copies"]
    repeated = f", {counted(copies, 'copy', 'copies')}" if copies > 1 else ""
    nodes = f", {told['per_node']} a node" if told["devices"] > told["per_node"] else ""
    out.print()
    out.print(
        Text.assemble(
            (stage, "bold cyan"),
            f"  {told['devices']:,} x {told['label']}{nodes}; weights split over {split:,}{repeated}",
        ),
        soft_wrap=True,
    )
    rows = f"{counted(told['rows_at_once'], 'row')} of up to {told['row']:,} tokens"
    assumed = ", all full: no data was read" if told["assumed"] else ""
    note(f"  at once on a rank: {rows}{assumed}; layers gathered in {'bf16' if told['half'] else 'fp32'}")
    if told["rows"] < told["devices"]:
        idle = told["devices"] - told["rows"]
        rows = counted(told["rows"], "row")
        note(f"  a step has {rows}: {idle:,} of {told['devices']:,} ranks have nothing to do")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("  GB")
    for title in ("rank 0", "fullest", f"rank {split - 1:,}", f"all {split:,}"):
        table.add_column(title, justify="right")
    ranks = [told["first"], told["worst"], told["last"]]
    for part in PARTS:
        own = [f"{one[part] / 1e9:.3f}" for one in ranks]
        table.add_row(f"  {part}", *own, f"{told['copy'][part] / 1e9:.3f}" if part in told["copy"] else "")
    for part in BUSY:
        table.add_row(f"  {part}", *([f"{told[part] / 1e9:.3f}"] * len(ranks)), "")
    more = sum(told[part] for part in BUSY)
    table.add_row("  together", *(f"{(one['all'] + more) / 1e9:.3f}" for one in ranks), "", style="bold")
    out.print(table)
    fits = "it fits" if told["fits"] else "it does not fit"
    out.print(
        f"  the model is {told['whole'] / 1e9:.2f} GB in fp32; a device has {told['device'] / 1e9:.0f} GB: "
        f"{fits}",
        style=None if told["fits"] else "red",
        soft_wrap=True,
        highlight=False,
    )
    away = told["worst"]["host"]
    if away:
        note(f"  of these {away / 1e9:.3f} lie in host memory (offload)")
    host = (told["whole"] + away) * told["per_node"]
    note(f"  each rank also keeps the whole model in host memory: {host / 1e9:,.0f} GB a node")
    if not told["fits"] and not told["would_fit"]:
        out.print("  nothing that is known here makes it fit", style="red")
    for one in told["would_fit"]:
        beside = f", and {one['host'] / 1e9:.3g} of host memory" if one["host"] else ""
        out.print(f"  it fits with {one['words']}: {one['bytes'] / 1e9:.3g} GB{beside}", markup=False)
