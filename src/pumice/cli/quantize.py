"""`pumice quantize`: a model with weights in 8 or 4 bits, and what that costs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pumice.cli.console import note, out
from pumice.cli.help import examples
from pumice.cli.opening import OverwriteOption, check_free
from pumice.cli.sharing import PurposeOption, check_sharing

if TYPE_CHECKING:
    from pumice.infer.quality import Divergence

EPILOG = examples(
    ("the shipped model in 4 bits", "pumice quantize tiny tiny-int4 --weights int4"),
    ("a large one, compared in half the memory", "pumice quantize llava-7b out --reference bfloat16"),
)


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint in any LLaVA layout: a folder, a run, or a shipped model's name.",
            metavar="MODEL",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The new folder.", metavar="OUT")],
    weights: Annotated[
        Literal["int8", "int4"],
        typer.Option(help="Bits of the language model's linear layers; all else is bfloat16."),
    ] = "int4",
    reference: Annotated[
        Literal["float32", "bfloat16", "none"],
        typer.Option(
            help="What the result is compared with: the model in this type, which must fit into memory; none "
            "compares nothing."
        ),
    ] = "float32",
    template: Annotated[
        str | None,
        typer.Option(help="The conversation template, where the checkpoint does not tell.", metavar="NAME"),
    ] = None,
    purpose: PurposeOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model with weights in 8 or 4 bits, and say how far its scores are from the original's."""
    check_free(folder, overwrite)
    from pumice.cli.export import source_of
    from pumice.lineage.record import derived, parent_of
    from pumice.model.hub import find_checkpoint
    from pumice.model.loading import load
    from pumice.model.save import save_model

    place = source_of(model)
    check_sharing(place, purpose)
    made = load(place, dtype="bfloat16", form=weights, template=template)
    save_model(
        *made, folder, lineage=derived("quantize", {"model": parent_of(find_checkpoint(place))}, form=weights)
    )
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    out.print(f"wrote {folder} ({weights}, {size / 1e6:,.0f} MB)", soft_wrap=True)
    del made
    gc.collect()
    if reference == "none":
        return
    from pumice.infer import quality

    note(f"comparing with the model in {reference}")
    checkpoint = load(place, dtype=reference, template=template)
    wanted = quality.reference(checkpoint)
    del checkpoint
    gc.collect()
    found = quality.divergence(wanted, load(folder, dtype="bfloat16", form=weights))
    out.print(_told(found, reference), soft_wrap=True)
    note("what it answers to questions of yours: pumice eval, with both models")


def _told(found: Divergence, reference: str) -> str:
    return (
        f"beside {reference}, over {found.tokens} tokens of its answers: KL divergence {found.kl:.4f} nats "
        f"on average, {found.worst:.3f} at most; the most likely token is the same in {found.same:.1%}; "
        f"perplexity {found.perplexity:.3f} times the original's"
    )
