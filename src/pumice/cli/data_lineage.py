"""`pumice data lineage`: from weights to the rows they saw, and proofs of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples
from pumice.errors import CheckpointError, DataError, UsageError
from pumice.words import counted

if TYPE_CHECKING:
    from pumice.trust.lineage.found import Found, StageRows

EPILOG = examples(
    ("where a model comes from", "pumice data lineage runs/tiny"),
    ("whether a row was in its data", "pumice data lineage exported --row 17"),
    ("a proof for someone else", "pumice data lineage runs/tiny --row 17 --proof row-17.json"),
    ("they check it, with nothing but the root", "pumice data lineage --verify row-17.json --root 4f0c..."),
)


def lineage(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A folder of weights, or a run's.", show_default=False),
    ] = None,
    row: Annotated[
        str | None,
        typer.Option(
            "--row", metavar="ID", help="A row by its id or digest: was it in the data, in which steps?"
        ),
    ] = None,
    proof: Annotated[
        Path | None, typer.Option("--proof", metavar="FILE", help="With --row: write the proof that it was.")
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option("--verify", metavar="FILE", help="Check a proof; needs --root and no model."),
    ] = None,
    root: Annotated[
        str | None, typer.Option("--root", metavar="HEX", help="The root that a proof must lead to.")
    ] = None,
    runs: Annotated[
        Path, typer.Option("--runs", metavar="DIR", help="The folder of runs, which hold the rows.")
    ] = Path("runs"),
    check: Annotated[
        bool, typer.Option("--check", help="Hash the weights and the tree again, and compare.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Show what weights come from: stages, data, steps, parents; prove that a row was in the data."""
    if verify is not None:
        _verify(verify, root)
        return
    if model is None:
        raise UsageError("no model is named", where="MODEL", remedy="name a folder of weights or a run")
    for option, value in (("--proof", proof), ("--root", root)):
        if value is not None and (row is None or option == "--root"):
            needs = "--row" if option == "--proof" else "--verify"
            raise UsageError(f"{option} needs {needs}", where=option, remedy=f"add {needs}, or leave it out")
    folder = _folder(model)
    from pumice.lineage.record import read_lineage
    from pumice.trust.lineage.found import look_through

    record = read_lineage(folder)
    if record is None:
        raise CheckpointError(
            "nothing is known of where these weights come from: they have no lineage.json",
            where=str(folder),
            remedy="an earlier version of Pumice, or another program, wrote them; its mixture.json, where it "
            "is a run, names data files",
        )
    places = [runs, folder, *(place for place in folder.parents if (place / "run.json").is_file())]
    found = look_through([place for place in places if place.is_dir()])
    if as_json:
        typer.echo(json.dumps(record, indent=1))
    elif row is None:
        _show(folder, record, found)
    if check:
        _check(folder, record, found)
    if row is not None:
        _prove(record, found, row, proof)


def _folder(name: str) -> Path:
    """A folder of weights; of a run its finished model, or where it has none the last state or model."""
    folder = Path(name).expanduser()
    if not folder.is_dir() and (Path("runs") / name).is_dir():
        folder = Path("runs") / name
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {name}", where="MODEL", remedy="name a folder of weights or a run"
        )
    if (folder / "run.json").is_file():
        made = sorted(folder.glob("stages/*/lineage.json"), key=lambda path: path.stat().st_mtime)
        whole = folder / "model"
        folder = whole if whole.is_dir() else made[-1].parent if made else folder
    return folder


def _show(folder: Path, record: Mapping[str, Any], found: Found) -> None:
    from pumice.cli.console import out, visible

    for line in [f"{folder}: {_title(record)}", *_tree(record, found, "  ")]:
        out.print(visible(line), soft_wrap=True, markup=False)


def _title(record: Mapping[str, Any]) -> str:
    kind = record["kind"]
    if record.get("data") is None:
        facts = ", ".join(str(record[key]) for key in ("layout", "form", "dtype") if record.get(key))
        return f"{kind} ({facts})" if facts else str(kind)
    step = record.get("step", record["steps"])
    return f"{kind}, stage {record['stage']} of run {record['run']}, step {step} of {record['steps']}"


def _tree(record: Mapping[str, Any], found: Found, indent: str) -> Iterator[str]:
    """What a record says, and below it each parent: a line each."""
    from pumice.trust.lineage.found import data_key

    data = record.get("data")
    if data is not None:
        code = record["code"]
        revision = code.get("revision") or {}
        commit = f", commit {revision['commit'][:12]}" if revision.get("commit") else ""
        changed = " with changes" if revision.get("changed") else ""
        yield f"{indent}code: pumice {code.get('pumice')}{commit}{changed}, torch {code.get('torch')}"
        recipe = record["recipe"]
        yield f"{indent}recipe: {recipe['name']}, SHA-256 {recipe['sha256']}, seed {record['seed']}"
        here = "" if data_key(record) in found.stages else "; the rows themselves are not here (--runs)"
        counts = f"{counted(data['rows'], 'row')}, {counted(data['pictures'], 'picture')}"
        yield f"{indent}data: {counts}, root {data['root']}{here}"
        for source in data["sources"]:
            erased = f", {source['erased']:,} erased" if source.get("erased") else ""
            of = f"{counted(source['used'], 'row')} of {source['file']}, SHA-256 {source['sha256']}"
            yield f"{indent}  {source['source']}: {of}{erased}"
        if data.get("held_out"):
            held = data["held_out"]
            yield f"{indent}  measured on {counted(held['rows'], 'row')}, root {held['root']}"
    for part, parent in record.get("parents", {}).items():
        own = parent.get("lineage")
        said = _title(own) if own is not None else "no record, nothing is known of what it saw"
        yield f"{indent}{part}: {parent['name']} ({said})"
        yield from _tree(own or {}, found, indent + "  ")


def _stages(
    record: Mapping[str, Any], found: Found
) -> tuple[list[tuple[Mapping[str, Any], StageRows]], list[str]]:
    known, missing = [], []
    for one, stage in found.stages_of(record):
        if stage is None:
            missing.append(f"stage {one['stage']} of run {one['run']}")
        else:
            known.append((one, stage))
    return known, missing


def _prove(record: Mapping[str, Any], found: Found, name: str, target: Path | None) -> None:
    from pumice.cli.console import out
    from pumice.files import write_json
    from pumice.trust.lineage.prove import proof_of
    from pumice.trust.lineage.select import digests_named

    known, missing = _stages(record, found)
    files = list(dict.fromkeys(file for _, stage in known for file in stage.seen.files))
    digests = digests_named(name, files)
    proofs = []
    for one, stage in known:
        step = int(one.get("step", one["steps"]))
        where = f"stage {one['stage']} of run {one['run']}"
        rows = stage.seen.find_rows(digests)
        if stage.seen.root != one["data"]["root"]:
            raise DataError(
                "the list of rows is not the one that the record tells of",
                where=str(stage.folder),
                remedy="restore rows.npz from a copy",
            )
        for row in rows.tolist():
            steps = [int(s) + 1 for s in stage.seen.steps(row) if s < step]
            file, number = stage.seen.origin(row)
            proofs.append(proof_of(stage, row))
            shown = (
                f"in {counted(len(steps), 'step')}, the first {steps[0]}" if steps else "in no step so far"
            )
            out.print(
                f"{where}: row {number} of {file} was in its data, {shown}", soft_wrap=True, markup=False
            )
        if not len(rows):
            out.print(f"{where}: it was not among its {len(stage.seen):,} rows", soft_wrap=True, markup=False)
    for where in missing:
        out.print(f"{where}: not known, its rows are not here", soft_wrap=True, markup=False)
    if target is None:
        return
    if len(proofs) != 1:
        raise UsageError(
            f"a proof is of one row in one stage, and there are {len(proofs)}",
            where="--proof",
            remedy="name the weights of one stage (runs/NAME/stages/STAGE/model), or another row",
        )
    write_json(target, proofs[0])
    out.print(f"{target}: leads to root {proofs[0]['root']}", soft_wrap=True, markup=False)


def _check(folder: Path, record: Mapping[str, Any], found: Found) -> None:
    from pumice.cli.console import out
    from pumice.lineage.record import changed_weights

    wrong = changed_weights(folder, record) if record["kind"] != "state" else []
    if wrong:
        raise CheckpointError(
            f"weight files are not those that the record was written with: {', '.join(wrong)}",
            where=str(folder),
            remedy="copy the whole folder again from where it was made",
        )
    known, _ = _stages(record, found)
    for one, stage in known:
        if stage.seen.root != one["data"]["root"]:
            raise DataError(
                "the rows do not give the root of the record",
                where=str(stage.folder / "rows.npz"),
                remedy="restore the file from a copy",
            )
    out.print(f"checked: the weights, and the trees of {counted(len(known), 'stage')}", markup=False)


def _verify(path: Path, root: str | None) -> None:
    from pumice.cli.console import out
    from pumice.trust.lineage.prove import holds, read_proof

    if root is None:
        raise UsageError(
            "a proof proves nothing without the root that it must lead to",
            where="--root",
            remedy="give the root that you know: it stands in lineage.json of the weights",
        )
    proof = read_proof(path)
    if not holds(proof, root):
        raise DataError("the proof does not lead to this root", where=str(path), remedy="it proves nothing")
    out.print(
        f"holds: row {proof['row']} is leaf {proof['index']:,} of {proof['count']:,} under root {root}",
        soft_wrap=True,
        markup=False,
    )
