"""A new model from any two local transformers checkpoints: a vision model and a causal LM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from pumice.errors import CheckpointError, suggest
from pumice.image.process import ImageProcessor
from pumice.model.attention import set_attention, visibility_mask
from pumice.model.connector import build_connector
from pumice.model.names import LmNames, Part, from_disk
from pumice.model.tower import FAMILIES, VisionTower, tower_family
from pumice.model.vlm import VisionLanguageModel, VLMConfig
from pumice.model.weights import DTYPES, check_keys, fill, read_json, read_tensors
from pumice.types import PLACEHOLDER

LLAVA = "llava"
"""The model_type of whole vision-language checkpoints, of which either part can be taken."""
PAD = "<pad>"
VOCABULARY_MULTIPLE = 64
"""Embedding rows are padded to a multiple of this, as transformers' LLaVA converter does."""

_TWO_TOWERED = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Contrastive checkpoints, of which only the vision half is read."""


def build_model(
    vision_folder: str | Path,
    language_folder: str | Path,
    *,
    connector: str = "mlp2x_gelu",
    select_layer: int = -2,
    select_feature: str = "patch",
    template: str = "v1",
    dtype: str = "float32",
    seed: int = 0,
    attention: str = "auto",
) -> tuple[VisionLanguageModel, Any, Any]:
    """A vision-language model whose connector is new and whose parts come from two folders.

    ``<image>`` is added to the tokenizer if it lacks it, ``<pad>`` if it has no padding token; their
    embedding rows are the mean of the others. Weights are ``dtype`` whatever the files hold.

    Args:
        vision_folder: a ``CLIPModel``, ``CLIPVisionModel`` (or SigLIP) checkpoint with its
            ``preprocessor_config.json``; of a LLaVA checkpoint, its tower.
        language_folder: a causal LM checkpoint with its tokenizer; of a LLaVA checkpoint, its language
            model. The connector is new even where both folders are one LLaVA checkpoint.
        connector: see ``build_connector``.
        select_layer: the tower's hidden state that is read.
        select_feature: ``patch`` or ``cls_patch``.
        template: the conversation template the model is to be trained with.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        seed: of the connector's weights.
        attention: ``auto``, ``sdpa`` or ``eager``.

    Returns:
        (model, tokenizer, image processor).

    Raises:
        CheckpointError: a folder, file, key, shape or option that does not fit.
    """
    vision_folder, language_folder = Path(vision_folder), Path(language_folder)
    kind = torch_dtype(dtype)
    tower = VisionTower(
        load_vision(vision_folder, kind), select_layer=select_layer, select_feature=select_feature
    )
    lm = load_language(language_folder, kind)
    tokenizer = load_tokenizer(language_folder)
    processor = ImageProcessor.from_pretrained(vision_folder)
    image_token_id = extend_vocabulary(lm, tokenizer)
    bridge = build_connector(connector, tower.dim, lm_width(lm), seed=seed).to(kind)
    config = VLMConfig(
        connector=connector,
        select_layer=select_layer,
        select_feature=select_feature,
        image_token_id=image_token_id,
        image_seq_length=tower.length,
        template=template,
    )
    return assemble(tower, bridge, lm, config, attention), tokenizer, processor


def assemble(
    tower: VisionTower, connector: torch.nn.Module, lm: Any, config: VLMConfig, attention: str
) -> VisionLanguageModel:
    """Put the parts together, set their attention and check that the language model fits."""
    set_attention(lm, attention)
    set_attention(tower.model, attention)
    model = VisionLanguageModel(tower, connector, lm, config)
    model.eval()
    check_language(lm, model)
    return model


def check_language(lm: Any, model: VisionLanguageModel) -> None:
    """CheckpointError if the language model does not do what the rest of the system takes for granted.

    Two short passes show it: its scores are a linear head on its body's output, and it obeys our mask
    and positions, so that of two equal samples in one row the second is like the first (recurrent
    models and those that count positions by themselves fail this).
    """
    bodies: list[Any] = []
    ids_BT = torch.tensor([[0, 1, 0, 1]], device=model.device)
    segment_ids_BT = torch.tensor([[1, 1, 2, 2]], device=model.device)
    position_ids_BT = torch.tensor([[0, 1, 0, 1]], device=model.device)
    mask_BTT = visibility_mask(segment_ids_BT, torch.zeros_like(segment_ids_BT))
    hook = lm.base_model.register_forward_hook(lambda module, given, output: bodies.append(output))
    try:
        with torch.no_grad():
            theirs_BTV = lm(input_ids=ids_BT[:, :2]).logits
            own_BTV = model.logits(bodies[0].last_hidden_state)
            hidden_BTD = model.hidden(model.embed(ids_BT, None, ()), position_ids_BT, mask_BTT)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise _unfit(lm, f"does not take embeddings, positions and a mask for each row ({error})") from error
    finally:
        hook.remove()
    if not _close(own_BTV, theirs_BTV):
        raise _unfit(lm, "computes more than a linear head")
    if not _close(hidden_BTD[:, :2], hidden_BTD[:, 2:]):
        raise _unfit(lm, "does not keep the samples of one row apart")


def _unfit(lm: Any, why: str) -> CheckpointError:
    return CheckpointError(
        f"{type(lm).__name__} {why}, which is not supported",
        where="language model",
        remedy="choose a model of the Llama, Mistral or Qwen families",
    )


def _close(left: Tensor, right: Tensor) -> bool:
    """Equal but for rounding: within 2% of the largest value."""
    left, right = left.float(), right.float()
    return bool((left - right).abs().max() <= 0.02 * right.abs().max() + 1e-6)


def lm_width(lm: Any) -> int:
    """D, the width of a causal LM's embeddings."""
    return int(lm.get_input_embeddings().weight.shape[1])


def torch_dtype(name: str) -> torch.dtype:
    """The torch type of a name; CheckpointError with the choices."""
    if name not in DTYPES:
        raise CheckpointError(f"there is no dtype {name!r}", where="dtype", remedy=suggest(name, DTYPES))
    return DTYPES[name]


def load_config(folder: Path) -> Any:
    """The transformers config of a local folder; never runs code from it."""
    if not folder.is_dir():
        raise CheckpointError(
            "there is no such folder", where=str(folder), remedy="give the path of a local checkpoint folder"
        )
    read_json(folder / "config.json")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"transformers cannot read the configuration: {error}", where=str(folder / "config.json")
        ) from error


def load_vision(folder: Path, dtype: torch.dtype) -> Any:
    """The vision model of a folder, in ``dtype``; of a LLaVA folder, its tower."""
    config = load_config(folder)
    model_type = str(config.model_type)
    if model_type in _TWO_TOWERED or model_type == LLAVA:
        config = config.vision_config
    elif model_type not in FAMILIES:
        raise CheckpointError(
            f"a checkpoint of model_type {model_type!r} is no vision tower that is known here",
            where=str(folder / "config.json"),
            remedy=suggest(model_type, [*_TWO_TOWERED, *FAMILIES, LLAVA]),
        )
    tower_family(config.model_type)
    model = new_part(AutoModel, config)
    nested = hasattr(model, "vision_model")
    tensors = {}
    stored = read_tensors(folder)
    if model_type == LLAVA:
        stored = split_parts(stored, LmNames(), folder)["tower"]
    for key, tensor in stored.items():
        other_half = key.startswith(("text_model.", "text_projection.", "visual_projection.", "logit_"))
        if (model_type in _TWO_TOWERED and other_half) or key.endswith(".position_ids"):
            continue
        name = key.removeprefix("vision_model.")
        tensors[f"vision_model.{name}" if nested else name] = tensor
    fill(model, tensors, str(folder), dtype)
    return model


def load_language(folder: Path, dtype: torch.dtype) -> Any:
    """The causal LM of a folder, in ``dtype``; of a LLaVA folder, its language model."""
    config = load_config(folder)
    whole = config.model_type == LLAVA
    model = new_part(AutoModelForCausalLM, config.text_config if whole else config)
    tensors = {key: value for key, value in read_tensors(folder).items() if not key.endswith(".inv_freq")}
    if whole:
        tensors = split_parts(tensors, LmNames(body=model.base_model_prefix), folder)["lm"]
    fill(model, tensors, str(folder), dtype)
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def split_parts(tensors: dict[str, Tensor], names: LmNames, folder: Path) -> dict[Part, dict[str, Tensor]]:
    """A LLaVA checkpoint's tensors by part and name; CheckpointError naming keys that belong to no part."""
    parts: dict[Part, dict[str, Tensor]] = {"tower": {}, "connector": {}, "lm": {}}
    unknown = {}
    for key, tensor in tensors.items():
        try:
            place = from_disk(key, names)
        except KeyError:
            unknown[key] = tensor
            continue
        if place is not None:
            parts[place[0]][place[1]] = tensor
    if unknown:
        check_keys({}, unknown, str(folder))
    return parts


def new_part(auto: Any, config: Any) -> Any:
    """A model of a config, weights not yet meaningful; CheckpointError if ``auto`` has none for it."""
    try:
        with torch.random.fork_rng(devices=[]):
            return auto.from_config(config, dtype=torch.float32)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"transformers has no {auto.__name__} for model_type {config.model_type!r}: {error}"
        ) from error


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder; never runs code from it."""
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"the tokenizer cannot be read: {error}",
            where=str(folder),
            remedy="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error


def extend_vocabulary(lm: Any, tokenizer: Any) -> int:
    """Give the tokenizer ``<image>`` and a padding token, and the LM rows for them; the id of ``<image>``."""
    old = len(tokenizer)
    if PLACEHOLDER not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(PLACEHOLDER, special=True, normalized=False)], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.add_special_tokens({"pad_token": PAD})
    rows = int(lm.get_input_embeddings().weight.shape[0])
    if old > rows:
        raise CheckpointError(
            f"the tokenizer knows {old} tokens, but the language model has {rows} embedding rows",
            where="vocab_size",
            remedy="use the tokenizer that belongs to this language model",
        )
    if len(tokenizer) > rows:
        with torch.random.fork_rng(devices=[]):  # new rows are drawn, before they become the mean
            lm.resize_token_embeddings(
                len(tokenizer), pad_to_multiple_of=VOCABULARY_MULTIPLE, mean_resizing=False
            )
    if len(tokenizer) > old:
        tables = [lm.get_input_embeddings().weight]
        if lm.get_output_embeddings().weight is not tables[0]:
            tables.append(lm.get_output_embeddings().weight)
        with torch.no_grad():
            for table_VD in tables:
                table_VD[old:] = table_VD[:old].float().mean(dim=0).to(table_VD.dtype)
    lm.config.pad_token_id = lm.generation_config.pad_token_id = tokenizer.pad_token_id
    image_token_id = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    assert isinstance(image_token_id, int)
    return image_token_id
