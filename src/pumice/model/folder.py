"""What kind of checkpoint a folder holds, told exactly by its files and its ``config.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pumice.errors import CheckpointError, suggest
from pumice.model.adapter import is_adapter
from pumice.model.layout import RECORD
from pumice.model.lora import ADAPTER_CONFIG
from pumice.model.original import PROJECTORS
from pumice.model.original_config import ORIGINAL_TYPES, is_original
from pumice.model.parts import WHOLE
from pumice.model.weights import INDEX, PICKLED, PICKLED_INDEX, SINGLE, read_json

Kind = Literal["transformers", "original", "projector", "lora", "adapter"]

_WHOLE_FILES = (SINGLE, INDEX, PICKLED, PICKLED_INDEX)


def kind_of(folder: Path) -> Kind:
    """The kind of checkpoint: ``transformers`` (LLaVA or LLaVA-NeXT), one of the original's three, or an
    ``adapter`` of ours.

    Both say ``model_type: llava``. Transformers' configurations hold those of their parts (``text_config``,
    ``vision_config``), the original's name their projector or tower (``mm_*``).

    Raises:
        CheckpointError: the folder holds none of them; says what it seems to hold.
    """
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such folder", where=str(folder), remedy="give the path of a local checkpoint folder"
        )
    if not (folder / "config.json").is_file() and (folder / ADAPTER_CONFIG).is_file():
        if is_adapter(folder):
            return "adapter"
        raise CheckpointError(
            f"the folder holds an adapter of PEFT, and no {RECORD} that says which connector belongs to it",
            where=str(folder),
            remedy="give an adapter that Pumice trained, or one in the original's layout with config.json",
        )
    fields = read_json(folder / "config.json")
    own = str(fields.get("model_type"))
    if own in WHOLE and "text_config" in fields and "vision_config" in fields:
        return "transformers"
    if is_original(fields):
        if (folder / ADAPTER_CONFIG).is_file():
            return "lora"
        if any((folder / name).is_file() for name in _WHOLE_FILES):
            return "original"
        if any((folder / name).is_file() for name in PROJECTORS):
            return "projector"
        raise CheckpointError(
            "the folder has the config.json of an original LLaVA, but no weights",
            where=str(folder),
            remedy=f"it needs {SINGLE}, {PICKLED}, {ADAPTER_CONFIG} or {PROJECTORS[-1]}",
        )
    raise CheckpointError(
        f"a checkpoint of model_type {own!r} is no LLaVA model",
        where=str(folder / "config.json"),
        remedy="give a LLaVA folder, or build a model from two checkpoints; "
        + suggest(own, {*ORIGINAL_TYPES, *WHOLE}),
    )
