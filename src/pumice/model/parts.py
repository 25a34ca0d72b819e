"""The parts of a model as transformers knows them: vision models, causal LMs, tokenizers.

Weights go in tensor by tensor: a model is built without memory and each tensor is read into its place.
Names that releases of transformers changed are mapped by transformers itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from logging import ERROR
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from pumice.errors import CheckpointError, MissingExtraError, suggest
from pumice.model.quantized.stored import is_ours
from pumice.model.stored import Stored
from pumice.model.weights import DTYPES, read_json, refuse_keys, refuse_shapes

WHOLE = ("llava", "llava_next")
"""The model_type of whole vision-language checkpoints in transformers' layout."""


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
    fields = read_json(folder / "config.json")
    how = fields.get("quantization_config")
    if how and not is_ours(how):
        raise CheckpointError(
            "the weights are quantised, which is not supported",
            where=f"{folder / 'config.json'} (quantization_config)",
            remedy="take the checkpoint that was quantised",
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"transformers cannot read the configuration: {error}", where=str(folder / "config.json")
        ) from error


def load_part(auto: Any, config: Any, tensors: Mapping[str, Stored], dtype: torch.dtype, where: str) -> Any:
    """The model of a config with these weights in ``dtype``, in evaluation mode, on the CPU.

    Args:
        auto: ``AutoModel`` or ``AutoModelForCausalLM``.
        config: the part's config; it is copied.
        tensors: by any names that transformers knows for this architecture.
        dtype: of the weights in memory.
        where: the folder, for errors.

    Raises:
        CheckpointError: transformers has no such model; a key is missing or unexpected, a shape differs.
    """
    kind = model_class(auto, config)
    with torch.random.fork_rng(devices=[]), quiet():
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    refuse_keys(info["missing_keys"], info["unexpected_keys"], where)
    refuse_shapes({key: (stored, wanted) for key, stored, wanted in info["mismatched_keys"]}, where)
    model.config._name_or_path = ""
    return model


def model_class(auto: Any, config: Any) -> Any:
    """The transformers class of a config's model; CheckpointError where there is none."""
    try:
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            return type(auto.from_config(config))
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"transformers has no {auto.__name__} for model_type {config.model_type!r}: {error}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its progress bars and loading report: what is wrong is raised as an error."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def body_name(config: Any) -> str:
    """How the causal LM of a config calls itself without its head: ``model`` for Llama."""
    return str(model_class(AutoModelForCausalLM, config).base_model_prefix)


def load_tokenizer(folder: Path, config: Any = None) -> Any:
    """The tokenizer of a folder; never runs code from it.

    ``config`` is the language model's, where the folder's own ``config.json`` is not transformers'.
    """
    options = {} if config is None else {"config": config}
    try:
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **options
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError, json.JSONDecodeError) as error:
        if (folder / "tokenizer.model").is_file() and find_spec("sentencepiece") is None:
            raise MissingExtraError(
                "the tokenizer is a SentencePiece file, and the library that reads it is not installed",
                where=str(folder / "tokenizer.model"),
                remedy="pip install 'pumice[sentencepiece]'",
            ) from error
        raise CheckpointError(
            f"the tokenizer cannot be read: {error}",
            where=str(folder),
            remedy="the folder needs tokenizer.json and tokenizer_config.json",
        ) from error
