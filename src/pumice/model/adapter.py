"""The folder of an adapter: low-rank additions, the connector they were trained with, and where both belong.

adapter_config.json, adapter_model.safetensors   as PEFT writes them; PEFT loads them onto the base LM
connector.safetensors      the connector, and image_newline where there is one; names as in names.py
vision_tower.safetensors   only where the tower was trained beside them
pumice.json                what the model is, what the base was, and how all was made
tokenizer files, chat_template.jinja, preprocessor_config.json
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.lineage.digests import weight_digests
from pumice.model.config import image_facts
from pumice.model.hub import find_checkpoint
from pumice.model.layout import RECORD
from pumice.model.lora import ADAPTER_CONFIG, merged
from pumice.model.names import LmNames
from pumice.model.nf4 import Quantization
from pumice.model.parts import load_tokenizer
from pumice.model.pieces import PartPieces, Pieces
from pumice.model.sources import language_source, read_processor, split_parts, vision_source
from pumice.model.stored import Stored
from pumice.model.template import template_name
from pumice.model.weights import open_file, read_json

KIND = "adapter"
CONNECTOR, TOWER = "connector.safetensors", "vision_tower.safetensors"


@dataclass(frozen=True, slots=True)
class BasePart:
    """A checkpoint that an adapter was trained on, or a part of one.

    Attributes:
        name: as the recipe has it: a folder, a name on the hub, ``embedded:...``.
        path: where it lay; relative to the adapter where both are of one run.
        sha256: of its weight files, by their names.
    """

    name: str
    path: str
    sha256: Mapping[str, str]


def is_adapter(folder: Path) -> bool:
    """Whether a folder is one of those that ``save_adapter`` writes."""
    return (
        (folder / ADAPTER_CONFIG).is_file()
        and (folder / RECORD).is_file()
        and read_json(folder / RECORD).get("kind") == KIND
    )


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the record of an adapter's folder says.

    Attributes:
        folder: where it lies.
        model: the fields of ``VLMConfig``.
        quantization: how the weights under the additions were held; None for plain ones.
        base: see ``save_adapter``.
        lineage: how it was made.
    """

    folder: Path
    model: Mapping[str, Any]
    quantization: Quantization | None
    base: Mapping[str, BasePart]
    lineage: Mapping[str, Any]

    @staticmethod
    def read(folder: Path) -> Adapter:
        """The record of a folder.

        Raises:
            CheckpointError: it is not as ``save_adapter`` writes it.
        """
        where = str(folder / RECORD)
        record = read_json(folder / RECORD)
        try:
            base = {
                str(part): BasePart(str(one["name"]), str(one["path"]), dict(one["sha256"]))
                for part, one in record["base"].items()
            }
            model, lineage = dict(record["model"]), dict(record["lineage"])
            quantization = Quantization.from_dict(record["quantization"], where)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the record of the adapter lacks what it needs ({error!r})",
                where=where,
                remedy="copy the whole folder",
            ) from error
        return Adapter(folder, model, quantization, base, lineage)

    def find(self, part: str, given: Path | None, option: str) -> Path:
        """The folder of a part of the base: the one given by ``option``, or where the record says.

        Raises:
            CheckpointError: it is neither given nor there.
        """
        if given is not None:
            return given
        one = self.base[part]
        path = Path(one.path) if os.path.isabs(one.path) else self.folder / one.path
        if path.is_dir():
            return path
        try:
            return find_checkpoint(one.name.removeprefix("hub:"))
        except CheckpointError as error:
            raise CheckpointError(
                f"the adapter was trained on {one.name} ({part}), which is not here",
                where=str(self.folder),
                remedy=f"give its folder: {option}=PATH, or --{option} PATH",
            ) from error

    def check(self, part: str, place: Path, option: str) -> None:
        """CheckpointError where a folder that was found does not hold the weights that were trained on."""
        if weight_digests(place) != self.base[part].sha256:
            name = self.base[part].name
            raise CheckpointError(
                f"the weights of {name} ({part}) are not those that the adapter was trained on",
                where=str(place),
                remedy="put the old files back, or give their folder to use it all the same: "
                f"{option}=PATH, or --{option} PATH",
            )


def find_bases(adapter: Adapter, base: Path | None, vision: Path | None) -> dict[str, Path]:
    """Where the base of an adapter lies, by the keys of its record.

    Args:
        adapter: the adapter.
        base: the language model's folder, or that of the whole checkpoint, if the caller knows it.
        vision: the vision tower's.

    Raises:
        CheckpointError: a part is not found, or what the record leads to holds other weights; or ``vision``
            is given where it says nothing.
    """
    several = "vision-2" in adapter.base
    if vision is not None and ("checkpoint" in adapter.base or several):
        raise CheckpointError(
            "vision was given, but the adapter was trained on "
            + ("several towers" if several else "a whole checkpoint"),
            where=str(adapter.folder),
            remedy="leave vision out" + ("" if several else ", and give the checkpoint as base"),
        )
    places = {}
    for part in adapter.base:
        tower = part.startswith("vision")
        given, option = (vision, "vision") if tower else (base, "base")
        places[part] = adapter.find(part, given, option)
        if given is None:
            adapter.check(part, places[part], option)
    return places


def adapter_pieces(
    adapter: Adapter,
    bases: Mapping[str, Path],
    whole: Callable[[Path, str], Pieces],
    *,
    template: str | None,
    name: str,
    merge: bool = True,
) -> Pieces:
    """The pieces of a model with an adapter.

    Args:
        adapter: the adapter.
        bases: where its base lies.
        whole: reads a whole checkpoint of any layout, with a conversation template.
        template: the conversation template, if the caller wants another.
        name: the adapter's name, for errors.
        merge: add it to the language model's weights as they are read; without it they stay as they are,
            and all the rest is the adapter's.

    Raises:
        CheckpointError: a file, key or shape that does not fit.
    """
    folder, record = adapter.folder, adapter.model
    names = LmNames()
    parts = split_parts(open_file(folder / CONNECTOR), names, folder)
    towers = split_parts(open_file(folder / TOWER), names, folder) if (folder / TOWER).is_file() else None
    word = template_name(template, record.get("template"), folder, name)
    pieces = whole(bases["checkpoint"], word) if "checkpoint" in bases else _new_pieces(adapter, bases, word)
    if towers is not None:
        pieces = replace(pieces, towers=_trained_towers(pieces, towers["tower"], towers["towers"]))
    language = pieces.language
    if merge:
        tensors = merged(language.tensors, folder, adapter.quantization)
        language = PartPieces(language.config, tensors, language.where)
    return replace(
        pieces,
        folder=folder,
        language=language,
        bridge=parts["connector"],
        newline=parts["newline"].get(""),
        connector=str(record["connector"]),
        facts={**pieces.facts, **image_facts(record)},
        processor=ImageProcessor.from_pretrained(folder),
    )


def _new_pieces(adapter: Adapter, bases: Mapping[str, Path], template: str) -> Pieces:
    """A base of two parts or more, as ``build_model`` joined them."""
    record, language = adapter.model, bases["language"]
    config, tensors = language_source(language)
    folders = [path for part, path in bases.items() if part.startswith("vision")]
    processors = [read_processor(folder) for folder in folders]
    layer = record["select_layer"]
    return Pieces(
        folder=adapter.folder,
        language=PartPieces(config, tensors, str(language)),
        generation=language,
        towers=[PartPieces(*vision_source(folder), str(folder)) for folder in folders],
        processors=processors,
        processor=processors[0],
        connector=str(record["connector"]),
        bridge={},
        newline=None,
        tokenizer=load_tokenizer(language),
        template=template,
        image_token_id=None,
        select_layer=tuple(layer) if isinstance(layer, list) else int(layer),
        select_feature=str(record["select_feature"]),
    )


def _trained_towers(
    pieces: Pieces, first: Mapping[str, Stored], others: Mapping[str, Stored]
) -> list[PartPieces]:
    result = [PartPieces(pieces.towers[0].config, first, pieces.towers[0].where)]
    for number, tower in enumerate(pieces.towers[1:], start=1):
        lead = f"{number}."
        own = {key.removeprefix(lead): item for key, item in others.items() if key.startswith(lead)}
        result.append(PartPieces(tower.config, own, tower.where))
    return result


def check_token(adapter: Adapter, image_token_id: int) -> None:
    """CheckpointError where ``<image>`` has another id on this base than the adapter was trained with."""
    wanted = adapter.model.get("image_token_id")
    if wanted != image_token_id:
        raise CheckpointError(
            f"the adapter was trained with <image> as token {wanted}, but with this base it is "
            f"{image_token_id}",
            where=str(adapter.folder),
            remedy="give the base model that the adapter was trained on, with its own tokenizer",
        )
