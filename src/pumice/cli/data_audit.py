"""`pumice data audit`: what is in data that should not be."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.data_options import CACHE, CacheOption, Format, FormatOption, ImagesOption
from pumice.cli.help import examples
from pumice.errors import UsageError
from pumice.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.data.mixture import Source
    from pumice.licences import Policy
    from pumice.trust.audit import Audit, Check, Wishes
    from pumice.trust.audit.registry import Listed

EPILOG = examples(
    ("everything that needs no model", "pumice data audit talk.json --images photos --out audit"),
    ("all data of a recipe", "pumice data audit mine.yaml --out audit"),
    ("some checks alone, on a part", "pumice data audit talk.json --checks readable --sample 10000"),
    (
        "in a script: end with 1 where something serious is found",
        "pumice data audit talk.json --fail-on serious",
    ),
)


class Level(StrEnum):
    """How bad a finding is."""

    note = "note"
    warning = "warning"
    serious = "serious"


class Purpose(StrEnum):
    """What data is for."""

    commercial = "commercial"
    research = "research"
    private = "private"


def audit(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Data files of any format (JSON, JSONL, parquet, .tar, a folder of these), or one recipe: "
            "then all its data.",
            show_default=False,
        ),
    ] = None,
    images: ImagesOption = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The folder that is written: page, findings, record.")
    ] = Path("audit"),
    checks: Annotated[
        str | None,
        typer.Option(
            "--checks", metavar="LIST", help="Only these checks, with commas between.", show_default="all"
        ),
    ] = None,
    skip: Annotated[
        str | None, typer.Option("--skip", metavar="LIST", help="All checks but these.", show_default="none")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the checks, and stop.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N rows of each file.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, metavar="N", help="Only N rows of each file, drawn.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Decides that draw.")] = 0,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="PATH",
            help="Also look for what this data has: a benchmark's file, or fingerprints (.npz) of it; may "
            "be given several times.",
        ),
    ] = None,
    purpose: Annotated[
        Purpose | None,
        typer.Option(
            "--purpose",
            help="What the data is for: licences that do not permit it are serious.",
            show_default="the recipe's policy, or none",
        ),
    ] = None,
    write_clean: Annotated[
        Path | None,
        typer.Option(
            "--write-clean",
            metavar="FILE",
            help="Also write PATH again, as it is but for the rows that --drop leaves out.",
        ),
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            "--drop",
            metavar="LIST",
            help="Checks whose rows are left out of FILE, with commas between; CHECK:KIND is one kind alone.",
            show_default=False,
        ),
    ] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Write personal data out in what is written, not masked.")
    ] = False,
    tower: Annotated[
        str | None,
        typer.Option(
            "--tower",
            metavar="TOWER",
            help="See pictures with this tower: a folder (CLIP or SigLIP with both halves, a vision model, "
            "a LLaVA), embedded:clip-tiny, hub:ORG/NAME.",
        ),
    ] = None,
    unsafe_head: Annotated[
        Path | None,
        typer.Option(
            "--unsafe-head", metavar="FILE", help="A linear head on the tower's embeddings, safetensors."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Read answers with this LLaVA: tiny, a folder, or a run."
        ),
    ] = None,
    planted: Annotated[
        Path | None,
        typer.Option(
            "--planted", metavar="FILE", help="Say what was found of these faults (pumice data plant)."
        ),
    ] = None,
    fail_on: Annotated[
        Level | None,
        typer.Option(
            "--fail-on", help="End with 1 where a finding is so bad or worse.", show_default="never"
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="What ${data} in a recipe stands for.")
    ] = None,
    format: FormatOption = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes that look.", show_default="as many as processors"),
    ] = None,
    cache: CacheOption = CACHE,
) -> None:
    """Look for what should not be in data: unreadable, doubled, personal, worthless or seen in benchmarks."""
    import os
    from dataclasses import replace

    from pumice.cli.console import commands
    from pumice.cli.progress import counting
    from pumice.report.audit import write_audit_page
    from pumice.trust.audit import choose, open_material, run_audit
    from pumice.trust.audit.against import others
    from pumice.trust.audit.kept import FOLDER
    from pumice.trust.audit.run import FINDINGS

    chosen = choose(_names(checks), _names(skip))
    dropped = _dropped(drop, write_clean, [listed.name for listed in chosen])
    if list_:
        _show_list()
        return
    if not paths:
        raise UsageError(
            "there is nothing to audit", where="PATH", remedy="name a data file, several, or a recipe"
        )
    _check_wishes([listed.name for listed in chosen], against, tower, model, purpose)
    truth = None if planted is None else _truth(planted, paths)
    wishes = _wishes(show_values, tower, unsafe_head, model, cache)
    _check_out(out)
    sources, policy = _sources(paths, images, format, data, cache)
    if write_clean is not None and (len(sources) > 1 or limit is not None or sample is not None):
        raise UsageError(
            "one whole file is written again at a time",
            where="--write-clean",
            remedy="name one data file, without --limit and --sample",
        )
    with counting() as count:
        material = open_material(
            sources,
            cache_folder=cache,
            limit=limit,
            sample=sample,
            seed=seed,
            progress=count,
        )
        processes = workers or os.cpu_count() or 1
        with others(
            _files(against or (), images, None),
            notes=cache / FOLDER,
            cache_folder=cache,
            workers=processes,
            progress=count,
            more=_seers(chosen, wishes),
        ) as held:
            done = run_audit(
                material,
                chosen,
                replace(wishes, against=held, policy=_policy(policy, purpose)),
                out=out,
                notes=cache / FOLDER,
                workers=processes,
                progress=count,
                needed=[*_names(checks), *(name for name, _ in dropped)],
            )
    page = write_audit_page(out)
    _show(done)
    if write_clean is not None:
        _write_clean(done, dropped, write_clean)
    if truth is not None:
        _show_planted(done, truth, out)
    commands(("look at it", f"open {page}"), ("every finding, one a line", f"less {out / FINDINGS}"))
    worst = done.worst()
    if fail_on is not None and worst is not None:
        levels = list(Level)
        if levels.index(Level(worst)) >= levels.index(fail_on):
            raise typer.Exit(1)


def _seers(chosen: Sequence[Listed], wishes: Wishes) -> list[Check]:
    """The checks that look at the pictures of --against as well."""
    from pumice.trust.audit.tower import Tower, made_tower

    if Tower.name not in [listed.name for listed in chosen]:
        return []
    made = made_tower(wishes.tower)
    return [] if isinstance(made, str) else [made]


def _check_wishes(
    checks: Sequence[str],
    against: Sequence[str] | None,
    tower: str | None,
    model: str | None,
    purpose: Purpose | None,
) -> None:
    """Refuse what is given for a check that is not run."""
    for option, value, check in (
        ("--against", against, "tower" if tower and "against" not in checks else "against"),
        ("--tower", tower, "tower"),
        ("--model", model, "answers"),
        ("--purpose", purpose, "licences"),
    ):
        if value and check not in checks:
            raise UsageError(
                f"it is for the check {check}, which is not run",
                where=option,
                remedy=f"add {check} to --checks, or leave {option} out",
            )


def _wishes(
    show_values: bool, tower: str | None, head: Path | None, model: str | None, cache: Path
) -> Wishes:
    from pumice.cli.models import find_model, find_part
    from pumice.trust.audit import Wishes

    if head is not None and tower is None:
        raise UsageError(
            "the head is for a tower's embeddings",
            where="--unsafe-head",
            remedy="add the tower, with --tower",
        )
    return Wishes(
        show_values=show_values,
        tower=None if tower is None else find_part(tower, "vision", cache.parent),
        unsafe_head=head,
        model=None if model is None else find_model(model),
    )


def _truth(planted: Path, paths: Sequence[str]) -> list[dict[str, Any]]:
    """The faults of the one file that is audited."""
    from pumice.trust.audit.planted import read_truth

    if len(paths) > 1:
        raise UsageError("faults were planted in one file", where="--planted", remedy="audit that file alone")
    return read_truth(planted)


def _show_planted(done: Audit, truth: Sequence[dict[str, Any]], out: Path) -> None:
    """What was found of planted faults, on the screen and in a file."""
    from pumice.cli.data_plant import show_caught
    from pumice.files import write_json
    from pumice.trust.audit.planted import caught

    ran = [entry["check"] for entry in done.record["checks"]]
    found = caught(done.material, done.findings, ran, truth)
    show_caught(found)
    write_json(out / "planted.json", [one.record() for one in found])


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _dropped(drop: str | None, target: Path | None, checks: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The checks and kinds whose rows are left out; "" is every kind."""
    from pumice.errors import suggest
    from pumice.trust.audit.registry import CHECKS

    if (drop is None) != (target is None):
        raise UsageError(
            "--write-clean says where to, and --drop which rows are left out",
            where="--write-clean" if drop is None else "--drop",
            remedy="give both: --drop duplicate-rows,personal --write-clean FILE",
        )
    pairs = []
    kinds = {listed.name: listed.kinds for listed in CHECKS}
    for name in _names(drop):
        check, _, kind = name.partition(":")
        if check not in checks:
            raise UsageError(f"no check {check!r} is run", where="--drop", remedy=suggest(check, checks))
        if kind and kind not in kinds[check]:
            raise UsageError(
                f"the check {check} has no kind {kind!r}", where="--drop", remedy=suggest(kind, kinds[check])
            )
        pairs.append((check, kind))
    return tuple(pairs)


def _policy(policy: Policy | None, purpose: Purpose | None) -> Policy | None:
    from pumice.licences import make_policy

    return policy if purpose is None else make_policy(purpose.value, (), (), "warn")


def _write_clean(done: Audit, dropped: Sequence[tuple[str, str]], target: Path) -> None:
    """Write the audited file without the rows of some findings, and say how many."""
    from pumice.cli.console import out
    from pumice.data.without import write_without
    from pumice.trust.audit.run import concerned

    rows = {
        done.material.find(row)[1]
        for finding in done.findings
        if (finding.check, "") in dropped or (finding.check, finding.kind) in dropped
        for row in concerned(done.material, finding)
    }
    (table,) = done.material.tables
    kept = write_without(table, rows, target)
    lost = len(table.head.unreadable)
    more = f", and {counted(lost, 'row')} that cannot be read" if lost else ""
    out.print(
        f"{target}: {counted(kept, 'row')}; {counted(len(rows), 'row')} left out{more}",
        soft_wrap=True,
        markup=False,
    )


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError("there is a file of that name", where=f"--out {out}", remedy="name a folder")
    out.mkdir(parents=True, exist_ok=True)


def _sources(
    paths: Sequence[str], images: Path | None, format: Format | None, data: Path | None, cache: Path
) -> tuple[list[Source], Policy | None]:
    """The files that are audited; a recipe stands for all of its data, and may have a policy."""
    from dataclasses import replace

    from pumice.recipes import recipe_names
    from pumice.recipes.load import SUFFIXES

    recipes = [path for path in paths if path.endswith(SUFFIXES) or path in recipe_names()]
    if not recipes:
        if data is not None:
            raise UsageError("--data is for a recipe", where="--data", remedy="leave it out")
        return _files(paths, images, format), None
    if len(paths) > 1:
        raise UsageError(
            "a recipe is audited alone", where=recipes[0], remedy="name its data files, or the recipe alone"
        )
    if images is not None or format is not None:
        raise UsageError(
            "the recipe says where pictures are and what its files are",
            where="--images" if images is not None else "--format",
            remedy="leave it out",
        )
    from pumice.cli.opening import open_recipe
    from pumice.train.sources import source_of

    recipe = open_recipe(recipes[0], (), small=False, data=data, runs=cache.parent)
    sources = [replace(source_of(recipe, name), prompt=None) for name in recipe.data]
    return sources, recipe.policy


def _files(paths: Sequence[str], images: Path | None, format: Format | None) -> list[Source]:
    """Data files as sources, each with a name of its own."""
    from pumice.data.mixture import Source

    names: list[str] = []
    for path in paths:
        stem, more = Path(path).stem, 2
        name = stem
        while name in names:
            name, more = f"{stem}-{more}", more + 1
        names.append(name)
    kind = None if format is None else format.value
    return [Source(name, path, images, format=kind) for name, path in zip(names, paths, strict=True)]


def _show_list() -> None:
    from rich.table import Table

    from pumice.cli.console import out
    from pumice.trust.audit import CHECKS

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("check")
    table.add_column("finds")
    for listed in CHECKS:
        table.add_row(listed.name, listed.about)
    out.print(table)


def _show(done: Audit) -> None:
    """What each check found, in a table, and which did not run."""
    from rich.table import Table
    from rich.text import Text

    from pumice.cli.console import note, out, visible

    record = done.record
    out.print(
        f"{counted(record['rows'], 'row')}, {counted(record['pictures'], 'picture')} of "
        f"{counted(len(record['sources']), 'file')}",
        markup=False,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("check")
    for title in ("findings", "rows", "of all", "pictures", "of all"):
        table.add_column(title, justify="right")
    table.add_column("how bad")
    for entry in record["checks"]:
        table.add_row(
            entry["check"],
            f"{entry['findings']:,}",
            f"{entry['rows']:,}",
            f"{entry['row_rate']:.2%}",
            f"{entry['pictures']:,}",
            f"{entry['picture_rate']:.2%}",
            "",
        )
        for kind, figures in entry["kinds"].items():
            bad = ", ".join(f"{name} {count:,}" for name, count in figures["severities"].items())
            table.add_row(
                Text(f"  {visible(kind)}", "dim"),
                f"{figures['findings']:,}",
                f"{figures['rows']:,}",
                "",
                "",
                "",
                bad,
            )
    out.print(table)
    for one in record["not_run"]:
        note(f"{one['check']} did not run: {one['why']}")


__all__ = ["EPILOG", "audit"]
