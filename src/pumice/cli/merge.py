"""`pumice merge`: an adapter, its connector and its base as one whole model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples
from pumice.cli.opening import OverwriteOption, check_free
from pumice.cli.sharing import PurposeOption, check_sharing
from pumice.errors import CheckpointError

EPILOG = examples(
    ("the adapter of a run's last stage with lora", "pumice merge runs/llava-lora merged"),
    (
        "one that was copied from elsewhere",
        "pumice merge adapter merged --base vicuna-7b-v1.5 --vision clip-vit-large-patch14-336",
    ),
)


def merge(
    adapter: Annotated[
        str,
        typer.Argument(
            help="An adapter's folder (runs/NAME/stages/STAGE/adapter), a run's folder, or a LoRA folder in "
            "the original's layout.",
            metavar="ADAPTER",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The new folder.", metavar="OUT")],
    base: Annotated[
        str | None,
        typer.Option(
            help="What the adapter was trained on, if it is not where its record says: the folder or hub "
            "name of the language model, or of the whole checkpoint.",
            metavar="PATH",
        ),
    ] = None,
    vision: Annotated[str | None, typer.Option(help="The same for the vision tower.", metavar="PATH")] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="Weights on disk: auto (as the base has them), float32, bfloat16 or float16.", metavar="TYPE"
        ),
    ] = "auto",
    template: Annotated[
        str | None,
        typer.Option(help="The conversation template, where the adapter does not tell.", metavar="NAME"),
    ] = None,
    check_dtype: Annotated[
        str,
        typer.Option(
            help="Compute the compared scores in this type; float32 takes four bytes of memory a weight.",
            metavar="TYPE",
        ),
    ] = "float32",
    purpose: PurposeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Make one whole model of an adapter and its base, and prove that it is the same."""
    check_free(folder, overwrite)
    place = _adapter(adapter)
    check_sharing(place, purpose)
    from pumice.export import merge as run

    done = run(
        place,
        folder,
        base=_part(base),
        vision=_part(vision),
        template=template,
        dtype=dtype,
        check_dtype=check_dtype,
    )
    out.print(f"wrote {done.folder} (hf, {done.dtype})", soft_wrap=True)
    lines = [
        ("merged weights against the adapter active in its base", done.merging),
        (f"the same weights in {done.dtype}", done.rounding),
        ("read back by Pumice", done.read_back),
        ("read back by transformers", done.transformers_read_back),
    ]
    for what, difference in lines:
        if difference is not None:
            out.print(f"{what}: scores differ by at most {difference:.2g}", soft_wrap=True)
    for line in done.notes:
        note(line)


def _adapter(name: str) -> str | Path:
    """An adapter's place; of a run, that of its last stage that has one."""
    from pumice.cli.models import run_named

    record = (run_named(name) or Path(name).expanduser()) / "run.json"
    if not record.is_file():
        return name
    try:
        stages = json.loads(record.read_text(encoding="utf-8")).get("stages", [])
        found = [stage["adapter"] for stage in stages if "adapter" in stage]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"the run's record cannot be read ({type(error).__name__}: {error})",
            where=str(record),
            remedy="restore it from a copy, or name the adapter: stages/NAME/adapter in this folder",
        ) from error
    if not found:
        raise CheckpointError(
            "no finished stage of this run has an adapter",
            where=str(record),
            remedy="train a stage with lora; other stages made whole models already (stages/NAME/model)",
        )
    return record.parent / str(found[-1])


def _part(name: str | None) -> str | Path | None:
    """A shipped part by its name; everything else is for ``merge`` to find."""
    from pumice.world.embedded import PREFIX, resolve

    return resolve(name) if name is not None and name.startswith(PREFIX) else name
