"""Merging an adapter into its base.

The scores of the base with the adapter active in it come first, then those of the merged weights, then those
of what was written, read back; all must agree.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError, UsageError, suggest
from pumice.export.run import refused
from pumice.export.verify import Evidence, compare, evidence, read_back, transformers_evidence
from pumice.lineage.digests import weight_digests
from pumice.lineage.record import derived, parent_of, write_lineage
from pumice.model.adapter import Adapter, find_bases, is_adapter
from pumice.model.attach import Attached, peft, require_peft, round_weights
from pumice.model.folder import kind_of
from pumice.model.hub import find_checkpoint
from pumice.model.layout import RECORD
from pumice.model.limits import limits
from pumice.model.loading import load, read_pieces
from pumice.model.lora import adapter_tensors
from pumice.model.pieces import AUTO, Pieces, join, stored_type
from pumice.model.save import SHARD_BYTES, write_checkpoint, write_json, write_layout
from pumice.model.weights import DTYPES, read_json

_NAMES = {kind: name for name, kind in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to; differences are the largest of any score of a fixed prompt.

    Attributes:
        folder: where the whole model lies.
        dtype: of the weights on disk.
        merging: between the base with the adapter active in it and the merged weights.
        rounding: between those and the same in ``dtype``.
        read_back: between what was written and what Pumice reads.
        transformers_read_back: the same for transformers alone; None where it has no place for the model.
        checked_in: the type that the scores were computed in.
        notes: what a user should know, as sentences.
    """

    folder: Path
    dtype: str
    merging: float
    rounding: float
    read_back: float
    transformers_read_back: float | None
    checked_in: str
    notes: tuple[str, ...]


def merge(
    adapter: str | Path,
    out: str | Path,
    *,
    base: str | Path | None = None,
    vision: str | Path | None = None,
    template: str | None = None,
    dtype: str = AUTO,
    check_dtype: str = "float32",
    shard_bytes: int = SHARD_BYTES,
) -> Merged:
    """Make a whole model of an adapter, its connector and its base, in transformers' layout.

    PEFT computes the scores of a fixed random prompt with the adapter active. The merged weights, computed
    here, must give the same; so must what was written. Then the folder gets its name; on any failure nothing
    is left.

    Weights that were in 4 bits while the adapter was trained (QLoRA) are brought to 4 bits again and back
    before the sum: that is what was trained and measured.

    Args:
        adapter: a folder that a stage with ``lora`` saved, or a LoRA adapter in the original's layout.
        out: the new folder; a checkpoint that is there is replaced.
        base: the language model's folder or hub name, or the whole checkpoint's that the adapter was trained
            on; needed where it is not where the record says, and for the original's layout.
        vision: the vision tower's, likewise.
        template: the conversation template, where the adapter does not tell.
        dtype: of the weights on disk; ``auto`` is what the base has.
        check_dtype: the type to compute the scores in; ``float32`` takes four bytes a weight.
        shard_bytes: the most that one weight file holds.

    Raises:
        UsageError: an unknown type, or ``out`` is ``adapter``.
        CheckpointError: the folder is no adapter, the base is missing or was changed, or the model came out
            different.
        MissingExtraError: PEFT, or bitsandbytes for an adapter of QLoRA, is not installed.
    """
    for option, name, known in (("dtype", dtype, (AUTO, *DTYPES)), ("check_dtype", check_dtype, DTYPES)):
        if name not in known:
            raise UsageError(f"there is no dtype {name!r}", where=option, remedy=suggest(name, known))
    target = Path(out).expanduser()
    source = _Source(
        find_checkpoint(adapter),
        None if base is None else find_checkpoint(base),
        None if vision is None else find_checkpoint(vision),
        template,
    )
    if target.exists() and target.resolve() == source.folder.resolve():
        raise UsageError("the model would replace its adapter", where=str(out), remedy="name another folder")
    _check_kind(source.folder)
    require_peft(str(source.folder))
    pieces = source.pieces(merge=True)
    own_type = _NAMES[stored_type(pieces.language.tensors)] if dtype == AUTO else dtype
    lineage, notes = _lineage(source)
    record = derived("merge", source.parents(), dtype=own_type)
    active = _active(source, check_dtype)
    checkpoint = join(pieces, dtype=check_dtype, attention=AUTO, device="cpu")
    merged = compare(active, evidence(checkpoint, active.ids), check_dtype, _MERGED)
    # Weights alone: a model's buffers, such as the frequencies of positions, are never rounded.
    for parameter in checkpoint.model.parameters():
        parameter.data = parameter.data.to(DTYPES[own_type]).to(DTYPES[check_dtype])
    wanted = evidence(checkpoint, active.ids)
    notes += [f"{limit.what}." for limit in limits(checkpoint.model)]
    word = checkpoint.model.config.template
    found: list[Evidence] = []

    def write(place: Path) -> None:
        write_layout(*checkpoint, place, own_type, shard_bytes)
        write_json(place / RECORD, {**read_json(place / RECORD), "lineage": lineage})
        write_lineage(place, record)

    def check(place: Path) -> None:
        again = load(place, dtype=own_type, template=word)
        again.model.to(dtype=DTYPES[check_dtype])
        found.append(compare(wanted, evidence(again, active.ids), check_dtype, read_back("Pumice")))
        del again
        gc.collect()
        if not refused(place):
            theirs = transformers_evidence(place, wanted, own_type, check_dtype)
            found.append(compare(wanted, theirs, check_dtype, read_back("transformers")))

    write_checkpoint(target, write, check)
    return Merged(
        folder=target,
        dtype=own_type,
        merging=merged.difference,
        rounding=float((merged.logits_TV - wanted.logits_TV).abs().max()),
        read_back=found[0].difference,
        transformers_read_back=found[1].difference if len(found) > 1 else None,
        checked_in=check_dtype,
        notes=tuple(notes),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """An adapter, and where the user says that its base lies."""

    folder: Path
    base: Path | None
    vision: Path | None
    template: str | None

    @property
    def adapter(self) -> Adapter | None:
        """Its record; None for the original's layout, which has none."""
        return Adapter.read(self.folder) if is_adapter(self.folder) else None

    def parents(self) -> dict[str, dict[str, Any]]:
        """The adapter and what it is added to, for the record of the whole model."""
        adapter = self.adapter
        if adapter is None:
            given = {"language": self.base, "vision": self.vision}
            bases = {part: place for part, place in given.items() if place is not None}
        else:
            bases = find_bases(adapter, self.base, self.vision)
        return {part: parent_of(place) for part, place in {"adapter": self.folder, **bases}.items()}

    def pieces(self, *, merge: bool) -> Pieces:
        """What the model is made of, with the adapter in it or without."""
        return read_pieces(
            self.folder,
            template=self.template,
            name=self.folder.resolve().name,
            vision=self.vision,
            base=self.base,
            merge=merge,
        )


_MERGED = "the merged model, beside the base with the adapter active in it,"


def _check_kind(source: Path) -> None:
    if (kind := kind_of(source)) not in ("adapter", "lora"):
        raise CheckpointError(
            "the folder holds no adapter, but "
            + ("a projector alone" if kind == "projector" else "a whole model"),
            where=str(source),
            remedy="give a stage's adapter folder (runs/NAME/stages/STAGE/adapter); "
            "pumice export writes whole models in other layouts",
        )


def _active(source: _Source, check_dtype: str) -> Evidence:
    """The scores of the base with the adapter active in it, by PEFT."""
    checkpoint = join(source.pieces(merge=False), dtype=check_dtype, attention=AUTO, device="cpu")
    config = peft().LoraConfig.from_pretrained(str(source.folder))
    adapter = source.adapter
    if adapter is not None and adapter.quantization is not None:
        # Plain layers of the rounded weights: products in 4 bits are taken in a type of their own.
        round_weights(checkpoint.model.lm, config, adapter.quantization)
    attached = Attached(checkpoint.model.lm, config, None)
    tensors = {key: tensor.read() for key, tensor in adapter_tensors(source.folder).items()}
    attached.set(tensors, str(source.folder))
    return evidence(checkpoint)


def _lineage(source: _Source) -> tuple[dict[str, Any], list[str]]:
    """Where a merged model comes from, and what a user should know of that; errors as ``find_bases``."""
    digests = weight_digests(source.folder)
    adapter, notes = source.adapter, list[str]()
    if adapter is None:
        return {"adapter": {"name": source.folder.resolve().name, "sha256": digests}}, notes
    base: dict[str, Any] = {}
    for part, place in find_bases(adapter, source.base, source.vision).items():
        recorded, found = adapter.base[part], weight_digests(place)
        base[part] = {"name": recorded.name, "sha256": found}
        if found == recorded.sha256:
            continue
        notes.append(
            f"The weight files of {place} are not those that the adapter was trained on ({part} "
            f"{recorded.name}): right where they hold the same weights in other files."
        )
    how = None if adapter.quantization is None else adapter.quantization.to_dict()
    made = {**adapter.lineage, "base": base, "quantization": how, "adapter": {"sha256": digests}}
    if how is not None:
        notes.append("The base was in 4 bits while the adapter trained; the sum is with its rounded weights.")
    return made, notes
