"""Exporting a model: load, write beside the target, reload what was written, compare, rename."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pumice.errors import UsageError, suggest
from pumice.export.original import write_original
from pumice.export.verify import Evidence, compare, evidence, read_back, transformers_evidence
from pumice.lineage.quarantine import check_quarantine
from pumice.lineage.record import derived, parent_of, write_lineage
from pumice.model.folder import kind_of
from pumice.model.hub import find_checkpoint
from pumice.model.limits import limits
from pumice.model.loading import load
from pumice.model.pieces import Checkpoint
from pumice.model.save import SHARD_BYTES, write_checkpoint, write_layout
from pumice.model.weights import DTYPES, read_json

FORMATS = ("hf", "llava")
"""``hf``: transformers' LLaVA or LLaVA-NeXT; ``llava``: the original's."""
_NAMES = {kind: name for name, kind in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to.

    Attributes:
        folder: where it lies.
        format: one of ``FORMATS``.
        dtype: of the weights on disk.
        difference: the largest absolute difference of any score between the model and the export, read back
            by Pumice.
        transformers_difference: the same, read back by transformers alone; None where transformers has no
            place for the model.
        checked_in: the type that the scores were computed in.
        notes: what a user of the export should know, as sentences.
    """

    folder: Path
    format: str
    dtype: str
    difference: float
    transformers_difference: float | None
    checked_in: str
    notes: tuple[str, ...]


def export(
    model: str | Path,
    out: str | Path,
    format: str = "hf",
    *,
    dtype: str = "auto",
    vision: str | Path | None = None,
    base: str | Path | None = None,
    template: str | None = None,
    check_dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
) -> Exported:
    """Write a model in another layout and prove that it is the same.

    The scores of a fixed random prompt with a picture are computed before and after. The export is
    written beside ``out`` and renamed when they agree; on any failure nothing is left.

    Args:
        model: a folder or hub name, in any layout that ``pumice.load`` reads.
        out: the new folder; a checkpoint that is there is replaced.
        format: ``hf`` or ``llava``.
        dtype: of the weights on disk; ``auto`` keeps what they have.
        vision: the vision tower's folder or hub name. For an original checkpoint without its tower, where to
            read it; in a ``llava`` export, what ``mm_vision_tower`` is to name.
        base: the language model, for a projector or an adapter alone.
        template: the conversation template, where the checkpoint does not tell.
        check_dtype: the type to compute the scores in; ``float32`` takes four bytes a weight.
        shard_bytes: the most that one weight file holds.

    Raises:
        UsageError: an unknown format, or ``out`` is ``model``.
        CheckpointError: the model cannot be loaded, has no place in the format, or came back different.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", where="format", remedy=suggest(format, FORMATS))
    if check_dtype not in DTYPES:
        raise UsageError(
            f"there is no dtype {check_dtype!r}", where="check_dtype", remedy=suggest(check_dtype, DTYPES)
        )
    source, target = find_checkpoint(model), Path(out).expanduser()
    check_quarantine(source)
    if target.exists() and target.resolve() == source.resolve():
        raise UsageError(
            "the export would replace its own source", where=str(out), remedy="name another folder"
        )
    whole = kind_of(source) == "transformers"
    if whole and format == "hf" and vision is not None:
        raise UsageError(
            "vision was given, but the model has its tower and an hf export names none",
            where="vision",
            remedy="leave vision out",
        )
    tower = None if whole else vision
    checkpoint = load(model, dtype=dtype, vision=tower, base=base, template=template)
    own_type = _NAMES[checkpoint.model.dtype]
    notes: list[str] = []
    if format == "hf" and checkpoint.model.config.tiled and checkpoint.model.config.flavour == "original":
        checkpoint.model.config = replace(checkpoint.model.config, flavour="transformers")
        notes.append(
            "Pictures are cut into tiles as transformers does it, which for small and for some odd shapes "
            "differs from the original."
        )
    notes += [f"{limit.what}." for limit in limits(checkpoint.model)] if format == "hf" else []
    checkpoint.model.to(dtype=DTYPES[check_dtype])
    before = evidence(checkpoint)
    parents = {"model": parent_of(source)}
    parents |= {
        part: parent_of(find_checkpoint(place))
        for part, place in (("vision", tower), ("language", base))
        if place is not None
    }
    lineage = derived("export", parents, layout=format, dtype=own_type)
    write = _writer(checkpoint, format, own_type, vision, shard_bytes, notes, lineage)
    name = checkpoint.model.config.template
    del checkpoint
    found: list[Evidence] = []

    def check(place: Path) -> None:
        gc.collect()  # the source's weights, before the export's are read
        again = load(place, dtype=own_type, template=name)
        again.model.to(dtype=DTYPES[check_dtype])
        found.append(compare(before, evidence(again, before.ids), check_dtype, read_back("Pumice")))
        del again
        gc.collect()
        if format == "hf" and not refused(place):
            theirs = transformers_evidence(place, before, own_type, check_dtype)
            found.append(compare(before, theirs, check_dtype, read_back("transformers")))

    write_checkpoint(target, write, check)
    return Exported(
        folder=target,
        format=format,
        dtype=own_type,
        difference=found[0].difference,
        transformers_difference=found[1].difference if len(found) > 1 else None,
        checked_in=check_dtype,
        notes=tuple(notes),
    )


def _writer(
    checkpoint: Checkpoint,
    format: str,
    dtype: str,
    vision: str | Path | None,
    shard_bytes: int,
    notes: list[str],
    lineage: Mapping[str, Any],
) -> Callable[[Path], None]:
    """What fills the new folder; it lets go of the model when it is done."""
    held = [checkpoint]

    def write(place: Path) -> None:
        model, tokenizer, processor = held.pop()
        if format == "hf":
            write_layout(model, tokenizer, processor, place, dtype, shard_bytes)
        else:
            notes.extend(write_original(model, tokenizer, processor, place, dtype, vision, shard_bytes))
        write_lineage(place, lineage)

    return write


def refused(place: Path) -> bool:
    """Whether transformers is not to load a folder (``pumice.model.limits``)."""
    return str(read_json(place / "config.json").get("projector_hidden_act")).startswith("pumice_")
