"""`pumice plan`: what a recipe's stages will see, need and take, before the first step."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples
from pumice.cli.opening import (
    AllowBad,
    ChangesArgument,
    RecipeArgument,
    SetOption,
    allowing,
    changes_of,
    nearest_beside,
    open_recipe,
    small_data,
)
from pumice.errors import UsageError, suggest

if TYPE_CHECKING:
    from pumice.forecast import Forecast, Options
    from pumice.model.planned import Find, Kind
    from pumice.recipes import Change, Recipe

EPILOG = examples(
    ("everything that training would check, and what it will take", "pumice plan tiny --data data/easy"),
    (
        "one data file in place of the last stage's, pictures not looked at",
        "pumice plan llava-1.5-7b --data talk.jsonl --no-images",
    ),
    (
        "against the published hours; no data needed",
        "pumice plan llava-1.5-13b --hardware a100-80g --devices 8 --published-size",
    ),
    (
        "what each rank of 64 devices would hold; no data needed",
        "pumice plan llava-1.5-13b --hardware h100 --devices 64 --ranks",
    ),
    ("on other hardware", "pumice plan mine.yaml --hardware h100 --devices 8 --sharding full"),
)


class Sharded(StrEnum):
    """What is split over devices."""

    none = "none"
    grads = "grads"
    full = "full"


def plan(
    recipe: RecipeArgument,
    words: ChangesArgument = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="The folder that ${data} in the recipe stands for; or a data file, which stands for all "
            "sources of one stage.",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="With a data file: where its pictures are."),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Look at no picture.")] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every picture, not its header alone.")
    ] = False,
    assume_size: Annotated[
        str,
        typer.Option(
            "--assume-size", metavar="WxH", help="What pictures that are not looked at count as, in pixels."
        ),
    ] = "640x480",
    hardware: Annotated[
        str | None,
        typer.Option(
            "--hardware",
            metavar="NAME",
            help="a100-40g, a100-80g, h100, h200, rtx4090, or this: this machine, measured in some seconds.",
            show_default="as published, or this",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", min=1, metavar="N", help="How many.", show_default="as published, or 1"),
    ] = None,
    sharding: Annotated[
        Sharded | None,
        typer.Option(
            "--sharding",
            help="What is split over devices: nothing, gradients and optimiser (ZeRO-2), or weights too "
            "(ZeRO-3, FSDP).",
            show_default="as published",
        ),
    ] = None,
    per_node: Annotated[
        int,
        typer.Option("--per-node", min=1, metavar="N", help="How many devices one node has."),
    ] = 8,
    split: Annotated[
        int | None,
        typer.Option(
            "--split",
            min=1,
            metavar="N",
            help="Over how many devices weights are split, as for pumice train.",
            show_default="those of a node",
        ),
    ] = None,
    ranks: Annotated[
        bool,
        typer.Option(
            "--ranks",
            help="Split the model among ranks that do not exist, as training would, and print what each "
            "holds. Needs no data.",
        ),
    ] = False,
    published: Annotated[
        bool,
        typer.Option("--published-size", help="Predict the published run, beside the hours that it took."),
    ] = False,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="NAME", help="Plan this stage alone.")
    ] = None,
    changes: SetOption = None,
    small: Annotated[bool, typer.Option("--small", help="The recipe's small mode.")] = False,
    allow_bad: AllowBad = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where the plan goes; steps and bad rows go beside it.",
            show_default="plans/RECIPE.json in the folder of runs",
        ),
    ] = None,
    runs: Annotated[
        Path,
        typer.Option("--runs", metavar="DIR", help="The folder that holds all runs, and the cache of all."),
    ] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON alone.")] = False,
) -> None:
    """Read and count all data, and tell steps, memory and time; nothing is trained or downloaded."""
    from pumice.cli.console import err, out
    from pumice.cli.plan_view import show
    from pumice.cli.progress import counting
    from pumice.data.index import CACHE_FOLDER
    from pumice.forecast import forecast

    if no_images and (decode or images is not None):
        raise UsageError("--no-images looks at no picture", where="--no-images", remedy="leave it out")
    options = _options(hardware, devices, sharding, assume_size)
    without = published or ranks
    loaded, said = _recipe(recipe, data, images, stage, changes_of(words, changes), small, without, runs)
    if small and (data is None or data.is_dir()):
        said += small_data(recipe, changes_of(words, changes))
    if allow_bad is not None:
        loaded = allowing(loaded, allow_bad)
    reads = data is not None or not without or _has_data(loaded)
    with counting(err if as_json else out) as count:
        found = forecast(
            loaded,
            finder(runs),
            _with(
                options,
                images=not no_images,
                decode=decode,
                published=published,
                per_node=per_node,
                split=split,
                ranks=ranks,
                data=reads,
                longest=_longest(loaded),
                cache=runs / CACHE_FOLDER,
                progress=count,
            ),
        )
    if not reads and published:
        said.append("no data was given: the published sizes alone are planned")
    if out_file is None:
        # An earlier plan of the recipe is replaced; of a run nothing stands there.
        out_file = runs / "plans" / f"{loaded.name}{'-small' * small}.json"
    files = _write(found, out_file, said)
    if as_json:
        typer.echo(out_file.read_text("utf-8"), nl=False)
    else:
        show(found, said, files)
    found.check()


def _recipe(
    name: str,
    data: Path | None,
    images: Path | None,
    stage: str | None,
    changes: list[Change],
    small: bool,
    without: bool,
    runs: Path,
) -> tuple[Recipe, list[str]]:
    """The recipe to plan, and what must be said of what is left out of it."""
    from pumice.recipes import load_recipe

    if data is None and images is not None:
        raise UsageError("--images belongs to a data file", where="--images", remedy="add --data FILE")
    if data is not None and not data.exists():
        raise UsageError(
            f"there is no {str(data)!r}",
            where="--data",
            remedy=f"{nearest_beside(data)}give a folder or a data file",
        )
    if data is None or data.is_dir():
        if images is not None:
            raise UsageError(
                "--data is a folder, and --images belongs to a data file",
                where="--images",
                remedy="the recipe says where pictures are",
            )
        if data is None and without and not small:
            loaded = load_recipe(name, changes)  # its data need not be there
        else:
            loaded = open_recipe(name, changes, small=small, data=data, runs=runs)
        return (loaded, []) if stage is None else _one_stage(loaded, stage)
    loaded = load_recipe(name, changes, small=small)
    loaded, said = _one_stage(loaded, stage or loaded.stages[-1].name)
    return _with_file(loaded, data, images), [
        f"{data} stands for the sources of stage {loaded.stages[0].name}",
        *said,
    ]


def _one_stage(recipe: Recipe, name: str) -> tuple[Recipe, list[str]]:
    names = [stage.name for stage in recipe.stages]
    if name not in names:
        raise UsageError(f"there is no stage {name!r}", where="--stage", remedy=suggest(name, names))
    others = [other for other in names if other != name]
    said = [f"not planned: {', '.join(others)}"] if others else []
    chosen = tuple(stage for stage in recipe.stages if stage.name == name)
    told = {key: value for key, value in recipe.published.items() if key == name}
    return recipe.model_copy(update={"stages": chosen, "published": told}), said


def _with_file(recipe: Recipe, file: Path, images: Path | None) -> Recipe:
    """A recipe of one stage whose only source is a file."""
    from pumice.recipes.schema import Source

    name = re.sub(r"[^A-Za-z0-9_-]", "-", file.stem).lstrip("-_") or "data"
    source = Source(file=str(file), images=None if images is None else str(images))
    (stage,) = recipe.stages
    changed = stage.model_copy(update={"sources": (name,), "validation": None})
    update = {"stages": (changed,), "data": {name: source}, "evaluation": None}
    return recipe.model_copy(update=update)


def _longest(recipe: Recipe) -> tuple[int, ...]:
    """Of each kind of questions on the way the longest answer in tokens; nothing where a task is not here."""
    asked = recipe.evaluation
    if asked is None or asked.every is None:
        return ()
    own = () if asked.questions is None else (asked.max_new_tokens,)
    if not asked.tasks:
        return own
    from pumice.cli.tasks import wanted
    from pumice.errors import PumiceError

    try:
        wishes = wanted(",".join(asked.tasks), Path(asked.data or ""), asked.task_options)
    except PumiceError:  # a plan needs no benchmark's files, and training says what is wrong with them
        return ()
    return (*own, *(wish.benchmark.max_new_tokens for wish in wishes))


def _has_data(recipe: Recipe) -> bool:
    """Whether no path of the data waits for a variable."""
    return not any("${" in source.file for source in recipe.data.values())


def _options(hardware: str | None, devices: int | None, sharding: Sharded | None, size: str) -> Options:
    from pumice.cost.hardware import THIS_MACHINE, get_hardware
    from pumice.forecast import Options

    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", size)
    if found is None:
        raise UsageError(f"{size!r} is no size", where="--assume-size", remedy="write it as 640x480")
    this = hardware is not None and hardware.lower() == THIS_MACHINE
    return Options(
        hardware=None if hardware is None or this else get_hardware(hardware),
        measure=this,
        devices=devices,
        sharding=None if sharding is None else sharding.value,
        size=(int(found[1]), int(found[2])),
    )


def _with(options: Options, **changes: Any) -> Options:
    from dataclasses import replace

    return replace(options, **changes)


def finder(runs: Path) -> Find:
    """Where a recipe's parts lie; None for those of the hub that are not in its cache. Nothing is fetched."""
    from pumice.cli.models import find_part
    from pumice.model.hub import local_checkpoint
    from pumice.types import HUB

    def find(name: str, kind: Kind) -> Path | None:
        if name.startswith(HUB):
            return local_checkpoint(name.removeprefix(HUB))
        return find_part(name, kind, runs)

    return find


def _write(found: Forecast, out_file: Path, said: list[str]) -> dict[str, Path]:
    """``plan.json``, and beside it the steps of each stage and all bad rows; what was written."""
    from pumice.files import write_json
    from pumice.train.sources import write_refused

    out_file.parent.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    rows: list[dict[str, Any]] = []
    for stage in found.stages:
        if stage.counted is not None:
            name = stage.summary["name"]
            path = out_file.with_name(f"{out_file.stem}.{name}.steps.json")
            stage.counted.plan.save(path)
            files[f"steps of {name}"] = path
            stage.summary["steps_file"] = path.name
            rows += stage.counted.refused
    refused = out_file.with_name(f"{out_file.stem}.refused.jsonl")
    write_refused(refused, rows)
    value = found.to_dict()
    value["notes"] = [*said, *value["notes"]]
    value["refused_file"] = refused.name if rows else None
    write_json(out_file, value)
    if rows:
        files["bad rows"] = refused
    return {"plan": out_file, **files}
