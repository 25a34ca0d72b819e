"""Saving a whole model in transformers' LLaVA layout, our own facts beside it.

``pumice.json`` holds what ``config.json`` has no field for: the connector's kind, the template, ...
"""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, GenerationConfig
from transformers.core_model_loading import revert_weight_conversion

from pumice.errors import CheckpointError
from pumice.image.process import ImageProcessor
from pumice.lineage.record import write_lineage
from pumice.model.layout import NEXT, RECORD, activation
from pumice.model.limits import card, limits
from pumice.model.loading import load_model
from pumice.model.names import to_disk
from pumice.model.parts import torch_dtype
from pumice.model.quantized.forms import QUANTIZED
from pumice.model.quantized.language import form_of
from pumice.model.quantized.saving import quantized_tensors
from pumice.model.quantized.stored import config_of
from pumice.model.stored import Stored, held
from pumice.model.towers import JoinedTowers
from pumice.model.vlm import VisionLanguageModel
from pumice.model.vocabulary import IMAGE_END, IMAGE_START
from pumice.model.weights import read_json, write_tensors
from pumice.text.chat import chat_template
from pumice.text.ends import answer_ends
from pumice.text.resolve import resolve_template
from pumice.types import PLACEHOLDER

__all__ = ["RECORD", "disk_tensors", "load_model", "save_model", "write_checkpoint"]

SHARD_BYTES = 4 * 1000**3
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def save_model(
    model: VisionLanguageModel,
    tokenizer: Any,
    processor: ImageProcessor,
    folder: str | Path,
    *,
    dtype: str = "bfloat16",
    shard_bytes: int = SHARD_BYTES,
    lineage: Mapping[str, Any] | None = None,
) -> None:
    """Write a model so that transformers loads ``folder``: ``LlavaForConditionalGeneration`` or, of a model
    that cuts pictures into tiles, ``LlavaNextForConditionalGeneration``.

    Weights that are quantised are written as they are; transformers refuses such a folder.

    What transformers has no place for (``pumice.model.limits``) is written in the same layout, but with a
    ``projector_hidden_act`` that transformers does not know (``pumice_...``): it raises there instead of
    drawing random weights, and ``README.md`` says why. ``load_model`` reads all.

    Everything is written to a sibling folder, synced and renamed: ``folder`` is whole or absent. A
    checkpoint that was there is replaced.

    Args:
        model: what to save.
        tokenizer: its tokenizer, which knows ``<image>``.
        processor: its image processor.
        folder: where to; its parents are made.
        dtype: of the weights on disk: ``float32``, ``bfloat16`` or ``float16``.
        shard_bytes: the most that one weight file holds.
        lineage: where the weights come from (``lineage.record``); None writes no record.

    Raises:
        CheckpointError: an unknown dtype, or ``folder`` is something other than a checkpoint.
    """
    torch_dtype(dtype)

    def write(place: Path) -> None:
        write_layout(model, tokenizer, processor, place, dtype, shard_bytes)
        if lineage is not None:
            write_lineage(place, lineage)

    write_checkpoint(Path(folder), write)


def write_layout(
    model: VisionLanguageModel,
    tokenizer: Any,
    processor: ImageProcessor,
    folder: Path,
    dtype: str,
    shard_bytes: int,
) -> None:
    """Write the files of ``save_model`` straight into an empty folder."""
    if dtype == "float16" and form_of(model.lm) in QUANTIZED:
        raise CheckpointError(
            "scales of quantised weights are beyond the range of float16",
            where="dtype",
            remedy="save in bfloat16",
        )
    write_tensors(disk_tensors(model), folder, torch_dtype(dtype), shard_bytes)
    _write_configs(model, tokenizer, processor, folder, dtype)


def write_checkpoint(
    folder: Path,
    write: Callable[[Path], None],
    check: Callable[[Path], None] | None = None,
    *,
    mark: str = "config.json",
) -> None:
    """Let ``write`` fill a new folder beside ``folder``, ``check`` it, and put it in its place.

    Nothing is left behind on failure, and ``folder`` is as it was. A folder that has the file ``mark`` is an
    earlier one, and is replaced.

    Raises:
        CheckpointError: ``folder`` holds something other than a checkpoint.
    """
    if folder.exists() and not (folder / mark).is_file() and any(folder.iterdir()):
        raise CheckpointError(
            "the folder holds no checkpoint, but other files",
            where=str(folder),
            remedy="choose another folder",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_over in folder.parent.glob(f".{glob.escape(folder.name)}.writing-*"):
        shutil.rmtree(left_over, ignore_errors=True)  # of a process that was killed
    temporary = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    temporary.mkdir()
    try:
        write(temporary)
        if check is not None:
            check(temporary)
        _sync(temporary)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def disk_tensors(model: VisionLanguageModel, *, language: bool = True) -> dict[str, Stored]:
    """All tensors of a model under their keys on disk, as they are; tied ones once.

    ``language`` says whether those of the language model are among them.
    """
    tensors: dict[str, Stored] = {}
    seen: set[int] = set()
    for key, tensor in _named(model, seen, language):
        tensors[key] = held(tensor.detach())
    if language:
        for name, stored in quantized_tensors(model.lm):
            tensors[to_disk("lm", name, model.config.connector)] = stored
    return tensors


def _named(model: VisionLanguageModel, seen: set[int], language: bool) -> Iterator[tuple[str, Tensor]]:
    connector = model.config.connector
    for number, member in enumerate(model.tower.members):
        for name, tensor in canonical(member.model, seen).items():
            if number:
                yield to_disk("towers", f"{number}.{name}", connector), tensor
            else:
                yield to_disk("tower", name, connector, member.family.prefix), tensor
    for name, tensor in model.connector.state_dict().items():
        yield to_disk("connector", name, connector), tensor
    for name, tensor in canonical(model.lm, seen).items() if language else ():
        yield to_disk("lm", name, connector), tensor
    if model.image_newline is not None:
        yield to_disk("newline", "", connector), model.image_newline


def canonical(module: nn.Module, seen: set[int]) -> dict[str, Tensor]:
    """A transformers model's tensors by the names of checkpoint files, which outlive its releases.

    Tensors whose memory is in ``seen`` are left out; those that are given are added to it.
    """
    own: dict[str, Tensor] = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() in seen and tensor.numel():
            continue
        seen.add(tensor.data_ptr())
        own[name] = tensor
    renamed: dict[str, Tensor] = revert_weight_conversion(module, own)  # type: ignore[arg-type]
    return renamed


def _write_configs(
    model: VisionLanguageModel, tokenizer: Any, processor: ImageProcessor, folder: Path, dtype: str
) -> None:
    own = model.config
    first = model.tower.members[0]
    found = limits(model)
    strategy = "default" if own.select_feature == "patch" and first.class_tokens else "full"
    refused = [limit.tag for limit in found if limit.refused]
    tiles = {}
    if own.tiled:
        tiles = {"image_grid_pinpoints": [[height, width] for width, height in own.pinpoints]}
    config: Any = AutoConfig.for_model(
        NEXT if own.tiled else "llava",
        vision_config=first.config.to_dict(),
        text_config=model.lm.config.to_dict(),
        image_token_index=own.image_token_id,
        image_seq_length=model.tower.length,
        vision_feature_layer=list(own.select_layer)
        if isinstance(own.select_layer, tuple)
        else own.select_layer,
        vision_feature_select_strategy=strategy,
        projector_hidden_act=f"pumice_{refused[0]}" if refused else activation(own.connector),
        multimodal_projector_bias=True,
        tie_word_embeddings=bool(getattr(model.lm.config, "tie_word_embeddings", False)),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **tiles,
    )
    name = "LlavaNext" if own.tiled else "Llava"
    config.architectures = [f"{name}ForConditionalGeneration"]
    config.dtype = config.text_config.dtype = config.vision_config.dtype = torch_dtype(dtype)
    # transformers keeps where a part was loaded from; a path of this machine is nobody else's business.
    config.text_config._name_or_path = config.vision_config._name_or_path = ""
    form = form_of(model.lm)
    if form in QUANTIZED:
        config.quantization_config = config_of(form)
    config.save_pretrained(folder)
    generation_config(model, tokenizer).save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    write_chat_template(model, tokenizer, folder)
    _write_processor(model, processor, folder, f"{name}Processor", strategy)
    write_json(folder / RECORD, {"format": 1, **model_record(model, processor)})
    if found:
        (folder / "README.md").write_text(card(found), encoding="utf-8")


def _write_processor(
    model: VisionLanguageModel, processor: ImageProcessor, folder: Path, kind: str, strategy: str
) -> None:
    own, first = model.config, model.tower.members[0]
    fields = {**processor.to_dict(), "processor_class": kind}
    if own.tiled:
        side = {"height": processor.image_size, "width": processor.image_size}
        fields |= {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": processor.image_size},
            "crop_size": side,
            "do_center_crop": True,
            "do_pad": True,
            "image_grid_pinpoints": [[height, width] for width, height in own.pinpoints],
        }
    write_json(folder / "preprocessor_config.json", fields)
    write_json(
        folder / "processor_config.json",
        {
            "processor_class": kind,
            "image_token": PLACEHOLDER,
            "patch_size": first.patch_size,
            "num_additional_image_tokens": first.class_tokens,
            "vision_feature_select_strategy": strategy,
        },
    )


def model_record(model: VisionLanguageModel, processor: ImageProcessor) -> dict[str, Any]:
    """What ``pumice.json`` says of a model."""
    own = model.config
    record = own.to_dict()
    if not own.tiled:  # the image processor has the last word on how a picture becomes one square
        record["aspect"] = "pad" if processor.mode == "pad" else "square"
    if isinstance(model.tower, JoinedTowers):
        record["joined"] = [
            {
                "image_size": member.image_size,
                "mean": list(normal.mean),
                "std": list(normal.std),
                "config": {**member.config.to_dict(), "_name_or_path": ""},
            }
            for member, normal in zip(model.tower.members, model.tower.normals, strict=True)
        ]
    return record


def generation_config(model: VisionLanguageModel, tokenizer: Any) -> GenerationConfig:
    """The language model's generation settings, in a form that transformers saves again.

    Settings of sampling are dropped where nothing is sampled: several published language models have them,
    transformers ignores them then, and refuses to save them.
    """
    generation = GenerationConfig.from_dict(model.lm.generation_config.to_dict())
    if not generation.do_sample:
        plain = GenerationConfig()  # type: ignore[no-untyped-call]
        for name in _SAMPLING:
            setattr(generation, name, getattr(plain, name, None))
    generation.pad_token_id, generation.bos_token_id = tokenizer.pad_token_id, tokenizer.bos_token_id
    template = resolve_template(model.config.template, tokenizer)
    held = generation.eos_token_id or tokenizer.eos_token_id
    held = [held] if isinstance(held, int) else list(held or ())
    ends = list(dict.fromkeys([*held, *sorted(answer_ends(template, tokenizer)[0])]))
    generation.eos_token_id = ends[0] if len(ends) == 1 else ends
    # What is no text never comes out of transformers' generate either: <image>, and spare embedding rows.
    rows = model.lm.get_input_embeddings().weight.shape[0]
    generation.suppress_tokens = [model.config.image_token_id, *range(len(tokenizer), rows)]
    return generation


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Save a tokenizer so that releases of transformers before 5 read it too, as other programs need.

    Names that only newer releases know are written as all know them; how the tokenizer was once loaded is
    left out. Beside it goes the SentencePiece file it came from: older programs read that alone.
    """
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    fields = read_json(file)
    for name in ("is_local", "local_files_only"):
        fields.pop(name, None)
    if fields.get("tokenizer_class") == "TokenizersBackend":
        fields["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = fields.get("extra_special_tokens")
    if isinstance(extra, list):  # before 5 it had to be a dictionary
        del fields["extra_special_tokens"]
        fields["additional_special_tokens"] = extra
    write_json(file, dict(sorted(fields.items())))
    pieces = Path(str(tokenizer.name_or_path)) / "tokenizer.model"
    if pieces.is_file() and not (folder / pieces.name).exists():
        shutil.copyfile(pieces, folder / pieces.name)


def write_chat_template(model: VisionLanguageModel, tokenizer: Any, folder: Path) -> None:
    """``chat_template.jinja`` of the model's template, with the marks around pictures if it has them."""
    text = chat_template(resolve_template(model.config.template, tokenizer), tokenizer)
    if model.config.image_marks is not None:
        text = text.replace(PLACEHOLDER, f"{IMAGE_START}{PLACEHOLDER}{IMAGE_END}")
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object, indented."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _sync(folder: Path) -> None:
    """Make the files of a folder, the folder and its place in the parent durable."""
    for path in [*folder.iterdir(), folder, folder.parent]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; an old target is moved aside first and removed last."""
    old = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        target.rename(old)
    source.rename(target)
    shutil.rmtree(old, ignore_errors=True)
