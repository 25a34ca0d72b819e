"""Loading a whole model: one function for every layout of LLaVA."""

from __future__ import annotations

from pathlib import Path

from pumice.errors import CheckpointError
from pumice.lineage.quarantine import check_quarantine
from pumice.model.adapter import Adapter, adapter_pieces, check_token, find_bases, is_adapter
from pumice.model.folder import kind_of
from pumice.model.hub import find_checkpoint
from pumice.model.layout import layout_pieces
from pumice.model.original import original_pieces
from pumice.model.pieces import AUTO, Checkpoint, Pieces, join
from pumice.model.quantized.forms import Form


def load(
    name: str | Path,
    *,
    dtype: str = AUTO,
    device: str = "cpu",
    attention: str = "auto",
    template: str | None = None,
    vision: str | Path | None = None,
    base: str | Path | None = None,
    form: Form | None = None,
    allow_quarantined: bool = False,
) -> Checkpoint:
    """Read a LLaVA model from a folder or from the Hugging Face hub.

    The kind of folder is told by its files: transformers' LLaVA and LLaVA-NeXT in every key layout they
    have had; what ``save_model`` writes; the original's whole models, projectors (``mm_projector.bin``)
    and LoRA adapters. Weights are read tensor by tensor; nothing of a checkpoint is ever run.

    Args:
        name: a folder, or ``ORGANISATION/NAME`` on the hub (its local cache is used where it is filled).
        dtype: of the weights in memory: ``float32``, ``bfloat16``, ``float16``, or ``auto``, as on disk.
        device: where they go: ``cpu``, ``cuda``, ``cuda:1``, ...
        attention: see ``attention.ATTENTION_CHOICES``.
        template: the conversation template; needed only where the checkpoint does not tell.
        vision: the folder (or hub name) of the vision tower, for original checkpoints without theirs, and for
            an adapter whose tower is not where it was trained.
        base: the folder (or hub name) of the language model, for a projector or an adapter alone; for an
            adapter that was trained on a whole checkpoint, that one.
        form: of the language model's linear layers (``pumice.model.quantized``), for a model that only
            answers; ``dtype`` is then of all else.
        allow_quarantined: load weights all the same that must not be used (``lineage.quarantine``).

    Returns:
        ``Checkpoint``: model (in evaluation mode), tokenizer, image processor.

    Raises:
        CheckpointError: a file, key, shape or option that does not fit.
        QuarantinedError: the folder, or what an adapter was trained on, must not be used.
        TemplateError: no template has the name that was given.
    """
    folder = find_checkpoint(name)
    title = Path(name).expanduser().resolve().name if folder == Path(name).expanduser() else str(name)
    title = title.rsplit("/", 1)[-1]
    pieces = read_pieces(
        folder,
        template=template,
        name=title,
        vision=None if vision is None else find_checkpoint(vision),
        base=None if base is None else find_checkpoint(base),
        allow_quarantined=allow_quarantined,
    )
    checkpoint = join(pieces, dtype=dtype, attention=attention, device=device, form=form)
    if is_adapter(folder):
        check_token(Adapter.read(folder), checkpoint.model.config.image_token_id)
    return checkpoint


def read_pieces(
    folder: Path,
    *,
    template: str | None,
    name: str,
    vision: Path | None = None,
    base: Path | None = None,
    merge: bool = True,
    allow_quarantined: bool = False,
) -> Pieces:
    """The pieces of a folder of any kind; the arguments are those of ``load``.

    Args:
        folder: the checkpoint.
        template, vision, base: see ``load``.
        name: the checkpoint's name, in which a published one is known.
        merge: whether an adapter is added to the language model's weights as they are read.
        allow_quarantined: see ``load``.

    Raises:
        CheckpointError: a file, key, shape or option that does not fit.
        QuarantinedError: see ``load``.
    """
    if not allow_quarantined:
        for place in (folder, base, vision):
            if place is not None:
                check_quarantine(place)
    kind = kind_of(folder)
    if kind == "adapter":
        adapter = Adapter.read(folder)
        return adapter_pieces(
            adapter,
            find_bases(adapter, base, vision),
            lambda place, word: read_pieces(
                place, template=word, name=place.name, allow_quarantined=allow_quarantined
            ),
            template=template,
            name=name,
            merge=merge,
        )
    if kind == "transformers":
        for option, given in (("vision", vision), ("base", base)):
            if given is not None:
                raise CheckpointError(
                    f"{option} was given, but the folder holds a whole model",
                    where=str(folder),
                    remedy=f"leave {option} out",
                )
        return layout_pieces(folder, template=template, name=name)
    return original_pieces(folder, kind, template=template, name=name, vision=vision, base=base, merge=merge)


def load_model(
    folder: str | Path, *, dtype: str = "float32", attention: str = "auto", template: str | None = None
) -> Checkpoint:
    """``load`` from a local folder onto the CPU, in float32 unless told otherwise."""
    folder = Path(folder)
    kind_of(folder)
    return load(folder, dtype=dtype, attention=attention, template=template)
