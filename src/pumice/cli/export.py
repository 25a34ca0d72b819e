"""`pumice export`: a model in another layout, read back and compared before it is called done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples
from pumice.cli.opening import OverwriteOption, check_free
from pumice.cli.sharing import PurposeOption, check_sharing

EPILOG = examples(
    (
        "for transformers, vLLM and SGLang",
        "pumice export runs/tiny/model exported --format hf --dtype bfloat16",
    ),
    ("for the original LLaVA's code", "pumice export runs/tiny/model exported --format llava"),
    (
        "for a product: refused where a row's licence does not permit it",
        "pumice export runs/tiny/model exported --purpose commercial",
    ),
    (
        "an adapter, merged",
        "pumice export llava-lora merged --base vicuna-7b-v1.5 --vision clip-vit-large-patch14-336",
    ),
)


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint in any LLaVA layout: a folder, a run, a shipped model's name, or "
            "ORGANISATION/NAME on the hub.",
            metavar="MODEL",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The new folder.", metavar="OUT")],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="hf: transformers' LLaVA or LLaVA-NeXT. llava: the original's.",
            metavar="hf|llava",
        ),
    ] = "hf",
    dtype: Annotated[
        str,
        typer.Option(
            help="Weights on disk: auto (as they are), float32, bfloat16 or float16.", metavar="TYPE"
        ),
    ] = "auto",
    vision: Annotated[
        str | None,
        typer.Option(
            help="The vision tower's folder or hub name: of an original checkpoint that comes without it, "
            "and what a llava export names.",
            metavar="PATH",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The language model's folder or hub name, for mm_projector.bin or a LoRA adapter alone.",
            metavar="PATH",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="The conversation template, where the checkpoint does not tell.", metavar="NAME"),
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
    """Write a model in another layout, and prove that it is the same."""
    check_free(folder, overwrite)
    from pumice.export import export as run

    source = source_of(model)
    check_sharing(source, purpose)
    done = run(
        source,
        folder,
        format,
        dtype=dtype,
        vision=vision,
        base=base,
        template=template,
        check_dtype=check_dtype,
    )
    out.print(f"wrote {done.folder} ({done.format}, {done.dtype})", soft_wrap=True)
    out.print(
        f"read back by Pumice: scores differ by at most {done.difference:.2g} ({done.checked_in})",
        soft_wrap=True,
    )
    if done.transformers_difference is not None:
        out.print(f"read back by transformers: by at most {done.transformers_difference:.2g}", soft_wrap=True)
    for line in done.notes:
        note(line)


def source_of(name: str) -> str | Path:
    """A shipped model or a run by its name; everything else is for ``load`` to find."""
    from pumice.cli.models import find_model

    folder = Path(name).expanduser()
    if (folder / "run.json").is_file() or (not folder.exists() and "/" not in name):
        return find_model(name)
    return name
