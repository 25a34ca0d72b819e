"""The layout of the original LLaVA (liuhaotian's checkpoints and those its code writes), read into pieces.

Three kinds of folder: a whole model; a projector alone (``mm_projector.bin``, what its first stage saves); a
LoRA adapter with ``non_lora_trainables.bin``. The last two need the language model they were trained with.

Keys: ``model.embed_tokens|layers.N|norm.*`` and ``lm_head.*`` are the language model's own;
``model.mm_projector.{0,2}.*`` (linear: ``model.mm_projector.*``), ``model.image_newline``,
``model.vision_tower.vision_tower.*``. The tower is in the folder only where it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pumice.errors import CheckpointError
from pumice.image.families import original_video
from pumice.model.connector import connector_depth
from pumice.model.lora import merged
from pumice.model.original_config import original_facts, text_config
from pumice.model.parts import load_tokenizer
from pumice.model.pieces import PartPieces, Pieces
from pumice.model.sources import language_source
from pumice.model.stored import Stored
from pumice.model.template import template_name
from pumice.model.tower_source import tower_source
from pumice.model.vocabulary import IMAGE_END, IMAGE_START
from pumice.model.weights import open_file, open_weights, read_json

PROJECTORS = ("mm_projector.safetensors", "mm_projector.bin")
TRAINED = ("non_lora_trainables.safetensors", "non_lora_trainables.bin")
_PATCH = "<im_patch>"


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Tensors of one folder by what they belong to."""

    lm: dict[str, Stored]
    bridge: dict[str, Stored]
    tower: dict[str, Stored]
    newline: Stored | None


def original_pieces(
    folder: Path,
    kind: str,
    *,
    template: str | None,
    name: str,
    vision: Path | None,
    base: Path | None,
    merge: bool = True,
) -> Pieces:
    """The pieces of a folder in the original's layout.

    Args:
        folder: the checkpoint.
        kind: ``original``, ``projector`` or ``lora`` (``pumice.model.folder``).
        template: the conversation template, if the caller knows it.
        name: the checkpoint's name on the hub, or its folder's.
        vision: the vision tower's folder; needed where neither the checkpoint nor the hub's cache has it.
        base: the language model's folder, for ``projector`` and ``lora``.
        merge: whether a LoRA adapter is added to the language model.

    Raises:
        CheckpointError: a file, key or field that does not fit, or a folder that is needed and not given.
    """
    fields = read_json(folder / "config.json")
    where = str(folder)
    if kind == "original":
        if base is not None:
            raise CheckpointError(
                "a base was given, but the folder holds a whole model", where=where, remedy="leave base out"
            )
        found, config, home = _sorted(open_weights(folder)), text_config(fields, where), folder
        rows = None
    else:
        if base is None:
            told = fields.get("_name_or_path") or _adapter_base(folder)
            raise CheckpointError(
                "the folder holds "
                + ("a LoRA adapter" if kind == "lora" else "a projector")
                + " and no language model",
                where=where,
                remedy="give the language model it was trained with as base (--base PATH)"
                + (f"; the folder names {told}" if told else ""),
            )
        own, rows = _trained(folder, kind)
        config, tensors = language_source(base)
        if kind == "lora":
            tensors = {**tensors, **own.lm}
            tensors = merged(tensors, folder) if merge else tensors
        elif own.lm:
            raise CheckpointError(
                f"the projector's file holds other tensors too ({', '.join(sorted(own.lm)[:6])})", where=where
            )
        found = _Sorted(tensors, own.bridge, own.tower, own.newline)
        home = folder if (folder / "tokenizer_config.json").is_file() else base
    facts = original_facts(fields, where)
    tower, processor, lacking = tower_source(fields, found.tower, vision, where)
    layer = facts.select_layer + (lacking if facts.select_layer < 0 else 0)
    frames = processor.mode  # the original sends frames through the tower's own processor
    if facts.image["aspect"] == "pad":
        processor = processor.with_mode("pad")
    elif facts.image["aspect"] != "square":
        processor = processor.with_mode("squash")
    video = original_video(fields, str(facts.image["merge_type"]), frames)
    marks = bool(facts.image.get("image_marks"))
    patch = kind == "projector" and bool(fields.get("mm_use_im_patch_token", True))
    return Pieces(
        folder=folder,
        language=PartPieces(config, found.lm, where),
        generation=folder if (folder / "generation_config.json").is_file() else home,
        towers=[tower],
        processors=[processor],
        processor=processor,
        connector=facts.connector,
        bridge=_bridge(found.bridge, facts.connector),
        newline=found.newline,
        tokenizer=load_tokenizer(home, config),
        template=template_name(template, None, folder, name),
        image_token_id=None,
        select_layer=layer,
        select_feature=facts.select_feature,
        facts={**facts.image, "video": video},
        extra_tokens=((_PATCH,) if patch and marks else ()) + ((IMAGE_START, IMAGE_END) if marks else ()),
        extra_rows=rows,
    )


def _adapter_base(folder: Path) -> str | None:
    file = folder / "adapter_config.json"
    return str(read_json(file).get("base_model_name_or_path") or "") or None if file.is_file() else None


def _trained(folder: Path, kind: str) -> tuple[_Sorted, Stored | None]:
    """What a folder without a language model holds beside an adapter, and rows for added tokens."""
    names = PROJECTORS if kind == "projector" else TRAINED
    file = next((folder / name for name in names if (folder / name).is_file()), None)
    if file is None:
        raise CheckpointError(
            f"{names[-1]} is missing: it holds the projector",
            where=str(folder),
            remedy="copy the whole folder; the projector of a LoRA run is saved beside its adapter",
        )
    tensors = {_plain(key): tensor for key, tensor in open_file(file).items()}
    rows = tensors.pop("model.embed_tokens.weight", None) if kind == "projector" else None
    return _sorted(tensors), rows


def _plain(key: str) -> str:
    """A key without the wrappers that PEFT and data-parallel training put before it."""
    key = key.removeprefix("module.").removeprefix("base_model.")
    return key.removeprefix("model.") if key.startswith(("model.model.", "model.lm_head.")) else key


def _sorted(tensors: Mapping[str, Stored]) -> _Sorted:
    result = _Sorted({}, {}, {}, tensors.get("model.image_newline"))
    for key, tensor in tensors.items():
        if key == "model.image_newline":
            continue
        for lead, part in (
            ("model.mm_projector.", result.bridge),
            ("model.vision_tower.vision_tower.", result.tower),
        ):
            if key.startswith(lead):
                part[key.removeprefix(lead)] = tensor
                break
        else:
            result.lm[key] = tensor
    return result


def _bridge(tensors: Mapping[str, Stored], connector: str) -> dict[str, Stored]:
    """The projector's tensors by their places in ``build_connector``; a linear one has no number."""
    if connector_depth(connector) == 1 and set(tensors) <= {"weight", "bias"}:
        return {f"0.{key}": tensor for key, tensor in tensors.items()}
    return dict(tensors)
