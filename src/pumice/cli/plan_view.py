"""A plan in the terminal: data, lengths, packing, arithmetic, memory and time of each stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from pumice.cli.console import note, out
from pumice.cli.plan_ranks import show_ranks
from pumice.cli.progress import describe_counts, describe_rows, short, size_of
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.data.problems import Refusal
    from pumice.forecast import Forecast, StageForecast
    from pumice.forecast.stage import Counted

BAR = 40
ROWS = 5
"""Bad rows of a reason that are named here; all are in the file."""
LICENCES = 8
"""Licences that are shown by name, those of most rows."""
REASONS = 3
"""Reasons of one kind that are told word for word, each with its rows."""
SHARDED = {
    "none": "nothing split",
    "grads": "gradients and optimiser split (ZeRO-2)",
    "full": "weights split too (ZeRO-3, FSDP)",
}


def show(found: Forecast, said: list[str], files: Mapping[str, Path]) -> None:
    """Print a plan."""
    summary = found.summary
    parts = ", ".join(f"{name} {short(count)}" for name, count in summary["parameters"].items())
    out.print(f"{summary['recipe']}: {parts} parameters", soft_wrap=True, markup=False)
    for text in [*said, *summary["notes"]]:
        note(f"Note: {text}.")
    for stage in found.stages:
        if stage.counted is not None:
            _stage(stage, stage.counted, files["bad rows"].name if "bad rows" in files else "")
    _together(found)
    for stage in found.stages:
        if "ranks" in stage.summary:
            show_ranks(stage.summary["name"], stage.summary["ranks"])
    told = [stage for stage in found.stages if "published" in stage.summary]
    if told:
        _published(told)
    out.print()
    for what, path in files.items():
        out.print(f"{what}: {path}", soft_wrap=True, markup=False)


def _together(found: Forecast) -> None:
    """The time of all stages, and of questions on the way."""
    seconds = found.summary.get("seconds")
    if seconds is None or (len(found.stages) == 1 and not seconds["asked"]):
        return
    out.print(Text.assemble(("\nall stages", "bold cyan")))
    _line("steps", duration(seconds["steps"]))
    if seconds["asked"]:
        _line("asked", f"at most {duration(seconds['asked'])}")
        _line("together", f"at most {duration(seconds['all'])}")


def _stage(stage: StageForecast, counted: Counted, refused: str) -> None:
    summary = stage.summary
    lora = ""
    if summary["lora"] is not None:
        kind = "QLoRA" if summary["lora"]["quantize"] else "LoRA"
        lora = f" ({kind}, rank {summary['lora']['rank']})"
    trains = ", ".join(part + (lora if part == "language" else "") for part in summary["trains"])
    out.print()
    out.print(Text.assemble((summary["name"], "bold cyan"), f"  {summary['kind']}; trains {trains}"))
    if any("." in entry for entry in summary["trains"]):
        out.print(f"  trained: {describe_counts(summary['trained'])}", markup=False)
    for key, purpose in (("sources", ""), ("validation", ", to validate")):
        for row in summary[key]:
            out.print(
                f"  {row['source']}: {describe_rows(row, refused)}{purpose}", markup=False, soft_wrap=True
            )
    _refused(counted.refused)
    _licences(summary["sources"])
    _data(summary)
    _histogram(summary["lengths"])
    _packing(summary)
    _features(summary["features"], summary["cost"])
    _cost(summary["cost"])
    if "asked" in summary:
        _asked(summary["asked"])


def _asked(told: Mapping[str, Any]) -> None:
    """Questions on the way, whose time is not in the stage's."""
    if told["times"]:
        seconds, times = told["seconds"], counted(told["times"], "time")
        besides = "" if seconds is None else f"; at most {duration(seconds)} besides the time above"
        _line("asked", f"on the way {times}, about {told['questions']:,} questions in all{besides}")
        note(f"      {told['how']}")
    for text in told["notes"]:
        note(f"  Note: {text}.")


def _licences(sources: list[dict[str, Any]]) -> None:
    """The rows of each licence over all sources, where any row says one."""
    rows: Counter[str] = Counter()
    for source in sources:
        for count in source["licences"]:
            rows[count["licence"]] += count["rows"]
    if set(rows) != {"unknown"}:
        told = [f"{name} {count:,}" for name, count in rows.most_common(LICENCES)]
        more = [f"{len(rows) - LICENCES:,} others"] if len(rows) > LICENCES else []
        _line("licences", ", ".join(told + more))


def _refused(rows: list[dict[str, Any]]) -> None:
    """Bad rows by reason; what differs between rows of one reason (a key, a file) is named with its rows."""
    from pumice.data.problems import Refusal, by_kind

    if not rows:
        return
    found = [
        Refusal(
            source=row["source"],
            file=row["file"],
            row=row["row"],
            id=row["id"],
            reason=row["reason"],
            detail=row["place"],
            remedy=row["remedy"],
        )
        for row in rows
    ]
    out.print(f"  {counted(len(found), 'row')} cannot be used:", style="red")
    for kind, some in by_kind(found):
        exact: dict[tuple[str, str | None], list[Refusal]] = {}
        for one in sorted(some, key=lambda each: (each.source, each.row or 0)):
            exact.setdefault((one.reason.partition("\n")[0], one.remedy), []).append(one)
        alike = len(exact) == 1
        title = next(iter(exact))[0] if alike else kind
        out.print(f"    {len(some):,}: {title}", markup=False, soft_wrap=True)
        for (reason, remedy), those in list(exact.items())[:REASONS]:
            note(f"      {_named(those)}" if alike else f"      {_named(those)}: {reason}")
            if remedy:
                note(f"      {'' if alike else '  '}to do: {remedy}")
        rest = sum(map(len, list(exact.values())[REASONS:]))
        if rest:
            note(f"      and {counted(rest, 'row')} more")


def _named(rows: list[Refusal]) -> str:
    """Rows by source, number and id, the first of them."""
    names = ", ".join(
        f"{one.source} {one.row}" + (f" ({one.id})" if one.id not in (None, str(one.row)) else "")
        for one in rows[:ROWS]
    )
    more = f", and {len(rows) - ROWS:,} more" if len(rows) > ROWS else ""
    return f"row{'s' * (len(rows) > 1)} {names}{more}"


def _data(summary: Mapping[str, Any]) -> None:
    tokens = summary["tokens"]
    inputs = summary["tower_inputs"]
    headers = summary["pictures_read"] == "headers" and summary["images"]
    looked = " (headers only; --decode reads every pixel)" if headers else ""
    tiles = f" in {counted(inputs, 'tile')}" if inputs != summary["images"] else ""
    _line(
        "an epoch",
        f"{counted(summary['samples'], 'sample')} ({summary['text_only']:,} text only), "
        f"{counted(summary['images'], 'picture')}{tiles}{looked}",
    )
    _line(
        "tokens",
        f"{tokens['all']:,}: {tokens['image']:,} of pictures, {tokens['text']:,} of text; "
        f"{tokens['supervised']:,} supervised ({tokens['supervised'] / tokens['all']:.1%})",
    )


def _histogram(lengths: Mapping[str, Any]) -> None:
    edges, counts = lengths["edges"], lengths["counts"]
    _line(
        "lengths",
        f"{lengths['min']:,.0f} to {lengths['max']:,.0f} tokens, mean {lengths['mean']:,.0f}, "
        f"median {lengths['median']:,.0f}, 90% under {lengths['p90']:,.0f}",
    )
    filled = [index for index, count in enumerate(counts) if count]
    for index in range(filled[0], filled[-1] + 1):
        bar = "█" * round(BAR * counts[index] / max(counts)) or ("▏" if counts[index] else "")
        span = f"{edges[index]:,} to {edges[index + 1] - (index + 2 < len(edges)):,}"
        out.print(f"    {span:>16} {counts[index]:>9,} {bar}", markup=False)


def _packing(summary: Mapping[str, Any]) -> None:
    packing = summary["packing"]
    epochs = f" in {summary['epochs']:,} epochs" if summary["epochs"] > 1 else ""
    _line(
        "rows",
        f"{packing['rows']:,} of up to {packing['row_length']:,} tokens, "
        f"{packing['samples_per_row']:.1f} samples each, {packing['filled']:.1%} filled "
        f"(one sample a row, padded: {packing['one_sample_a_row']:.1%})",
    )
    _line("steps", f"{summary['steps']:,}{epochs}, {packing['rows_per_step']:.1f} rows each")


def _features(features: Mapping[str, Any], cost: Mapping[str, Any]) -> None:
    """What becomes of the tower's features, and how long it takes to make them."""
    if features["keep"] == "none":
        return
    size, views = size_of(features["bytes"]), features["views"]
    made = duration(cost["seconds"] * cost["flops"]["vision"] / cost["flops"]["all"])
    place = "in memory" if features["keep"] == "memory" else f"on disk (of {size_of(features['budget'])})"
    _line("features", f"{counted(views, 'picture')}, {size} {place} in {features['dtype']}; made in {made}")
    if features["keep"] == "disk":
        note("      a run that finds them made does without that part of the time")
        if features["refused"] is not None:
            out.print(f"      {features['refused']['what']}", style="red", soft_wrap=True)
            note(f"      to do: {features['refused']['to do']}")


def _cost(cost: Mapping[str, Any]) -> None:
    flops = dict(cost["flops"])
    whole = flops.pop("all")
    shares = ", ".join(f"{part} {count / whole:.1%}" for part, count in flops.items() if count)
    _line("FLOP", f"{whole:.3g}: {shares}")
    place = f"{cost['devices']:,} x {cost['label']}" if cost["devices"] > 1 else cost["label"]
    _line("on", f"{place}, {SHARDED[cost['sharding']]}" if cost["devices"] > 1 else place)
    note(f"      {cost['source']}")
    _memory(cost)
    _line(
        "time",
        f"{duration(cost['seconds'])}, at {cost['share_of_peak']:.0%} of {cost['peak'] / 1e12:.3g} TFLOP/s "
        "a device",
    )
    for text in cost["notes"]:
        note(f"      {text}")


def _memory(cost: Mapping[str, Any]) -> None:
    memory = dict(cost["memory"])
    whole, device, host = memory.pop("all"), memory.pop("device"), memory.pop("host")
    parts = ", ".join(f"{name} {size / 1e9:.3g}" for name, size in memory.items())
    rows = cost["rows_at_once"]
    fits = "" if cost["fits"] else ": does not fit"
    _line(
        "memory", f"{whole / 1e9:.3g} of {device / 1e9:.3g} GB a device, {counted(rows, 'row')} at once{fits}"
    )
    note(f"      GB: {parts}")
    if host:
        note(f"      beside each device, in host memory: {host / 1e9:.3g} GB (offload)")
    if cost["fits"]:
        return
    if not cost["would_fit"]:
        out.print("      nothing that is known here makes it fit", style="red")
    for one in cost["would_fit"]:
        host = f", and {one['host'] / 1e9:.3g} of host memory" if one["host"] else ""
        out.print(f"      it fits with {one['words']}: {one['bytes'] / 1e9:.3g} GB{host}", markup=False)


def _published(stages: list[StageForecast]) -> None:
    out.print("\nBeside the published run", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stage")
    for title in ("samples", "steps", "FLOP", "GB a device", "predicted", "published", "difference"):
        table.add_column(title, justify="right")
    for stage in stages:
        told = stage.summary["published"]
        memory = told["memory"]
        hours, difference = told["published_hours"], told["difference"]
        table.add_row(
            stage.summary["name"],
            f"{told['samples']:,}",
            f"{told['steps']:,}",
            f"{told['flops']['all']:.3g}",
            f"{memory['all'] / 1e9:.1f} of {memory['device'] / 1e9:.0f}",
            f"{told['hours']:.2f} h",
            "not told" if hours is None else f"{hours:g} h",
            "" if difference is None else f"{difference:+.1%}",
        )
    out.print(table)
    for stage in stages:
        told = stage.summary["published"]
        place = f"{told['devices']:,} x {told['label']}, {SHARDED[told['sharding']]}"
        note(
            f"{stage.summary['name']}: {place}; {told['source']}. {told['published_source']}".rstrip(". ")
            + "."
        )
        for text in told["notes"]:
            note(f"  {text}")
        if not told["fits"]:
            out.print(f"{stage.summary['name']} does not fit onto such a device", style="red")
            for one in told["would_fit"]:
                out.print(f"  it fits with {one['words']}: {one['bytes'] / 1e9:.3g} GB", markup=False)


def duration(seconds: float) -> str:
    """Seconds as one says them: 40 s, 12 min, 3.5 h, 4 days."""
    for limit, unit, size in ((90.0, "s", 1.0), (90 * 60.0, "min", 60.0), (48 * 3600.0, "h", 3600.0)):
        if seconds < limit:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"


def _line(title: str, text: str) -> None:
    out.print(Text.assemble((f"  {title:<9} ", "bold"), text), soft_wrap=True)
