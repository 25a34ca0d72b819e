"""What other programs call the keys and values of a recipe: transformers' Trainer, PEFT, LLaVA's scripts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_STAGE = "stages.NAME."
_RATES = (_STAGE + "lr.language", _STAGE + "lr.connector")
_ROWS = (_STAGE + "samples_per_step", _STAGE + "rows_per_step")
_SIZE = "of one step over all devices and parts of accumulation"
_NF4 = "nf4 holds the frozen weights in 4 bits"
_SPLIT = (
    "weights are split among the ranks that torchrun starts, over those of a node or as --split says "
    "(docs/training.md)"
)

KEYS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "adam_beta1": ((_STAGE + "betas",), "both averages together"),
        "adam_beta2": ((_STAGE + "betas",), "both averages together"),
        "attn_implementation": ((_STAGE + "attention",), ""),
        "batch_size": (_ROWS, _SIZE),
        "bf16": ((_STAGE + "precision",), "bf16, fp32 or auto"),
        "bits": ((_STAGE + "lora.quantize",), _NF4),
        "cutoff_len": ((_STAGE + "row_length",), ""),
        "data_path": (("data.NAME.file",), ""),
        "deepspeed": ((), _SPLIT),
        "dpo_alpha": ((_STAGE + "preference.dpo",), ""),
        "eval_steps": ((_STAGE + "validation.every", "evaluation.every"), ""),
        "flash_attn": ((_STAGE + "attention",), "varlen is FlashAttention; auto takes it where it can"),
        "fp16": ((_STAGE + "precision",), "bf16, fp32 or auto"),
        "fsdp": ((), _SPLIT),
        "gradient_accumulation_steps": (
            (_STAGE + "accumulation",),
            "in how many parts a step is taken; it leaves the size of a step as it is",
        ),
        "gradient_checkpointing": ((_STAGE + "activation_checkpointing",), ""),
        "image_aspect_ratio": (("model.image.aspect",), ""),
        "image_folder": (("data.NAME.images",), ""),
        "learning_rate": (_RATES, "one for each part that trains"),
        "license": (("data.NAME.licence",), "of rows that do not say theirs"),
        "licenses": (("licences",), "what the licences of rows must permit"),
        "load_in_4bit": ((_STAGE + "lora.quantize",), _NF4),
        "load_in_8bit": ((_STAGE + "lora.quantize",), _NF4 + "; of 8 there are none"),
        "logging_steps": ((), "every step is a row of metrics.jsonl"),
        "lora_alpha": ((_STAGE + "lora.alpha",), ""),
        "lora_bias": ((), "biases do not train beside additions"),
        "lora_dropout": ((_STAGE + "lora.dropout",), ""),
        "lora_enable": ((_STAGE + "lora",), "lora={} is the usual size"),
        "lora_r": ((_STAGE + "lora.rank",), ""),
        "lora_rank": ((_STAGE + "lora.rank",), ""),
        "lora_target": ((_STAGE + "lora.targets",), ""),
        "lr_scheduler": ((_STAGE + "schedule",), ""),
        "lr_scheduler_type": ((_STAGE + "schedule",), ""),
        "max_grad_norm": ((_STAGE + "clip_norm",), ""),
        "max_length": ((_STAGE + "row_length",), ""),
        "max_seq_length": ((_STAGE + "row_length",), ""),
        "max_steps": ((_STAGE + "steps",), ""),
        "mm_projector_lr": ((_STAGE + "lr.connector",), ""),
        "mm_projector_type": (("model.connector",), ""),
        "mm_vision_select_feature": (("model.select_feature",), ""),
        "mm_vision_select_layer": (("model.select_layer",), ""),
        "mm_vision_tower_lr": ((_STAGE + "lr.vision",), ""),
        "model_max_length": ((_STAGE + "row_length",), ""),
        "model_name_or_path": (("model.language", "model.checkpoint"), "hub:ORG/NAME or a folder"),
        "num_epochs": ((_STAGE + "epochs",), ""),
        "num_train_epochs": ((_STAGE + "epochs",), ""),
        "optim": ((_STAGE + "optimizer",), "adamw or adamw_8bit"),
        "output_dir": ((), "--name names the run's folder, and --runs is where it goes"),
        "per_device_train_batch_size": (_ROWS, _SIZE),
        "projector": (("model.connector",), ""),
        "r": ((_STAGE + "lora.rank",), ""),
        "report_to": ((), "write --log tensorboard or --log wandb behind pumice train"),
        "resume_from_checkpoint": ((), "write --resume behind pumice train"),
        "save_steps": ((_STAGE + "checkpoint_every",), ""),
        "save_total_limit": ((_STAGE + "keep",), ""),
        "target_modules": ((_STAGE + "lora.targets",), ""),
        "tf32": ((_STAGE + "precision",), "bf16, fp32 or auto"),
        "train_batch_size": (_ROWS, _SIZE),
        "tune_mm_mlp_adapter": ((_STAGE + "trainable",), "[connector] trains it alone"),
        "use_dora": ((_STAGE + "lora.dora",), ""),
        "vision_tower": (("model.vision",), ""),
        "warmup_ratio": ((_STAGE + "warmup",), "a share of the steps"),
        "warmup_steps": ((_STAGE + "warmup",), "a share of the steps"),
    }
)
"""Their names (small letters, ``_`` between words): our keys for it, none where it is no key; and what to
mind."""

VALUES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "attention": {"flash_attention_2": "varlen", "flash_attention_3": "varlen", "flash_attn": "varlen"}
        | {"flash_attention": "varlen", "flash": "varlen", "fa2": "varlen", "flex_attention": "flex"}
        | {"xformers": "sdpa"},
        "optimizer": {"adamw_torch": "adamw", "adamw_torch_fused": "adamw", "adamw_hf": "adamw"}
        | {"adam": "adamw", "adamw_bnb_8bit": "adamw_8bit", "paged_adamw_8bit": "adamw_8bit"}
        | {"adamw8bit": "adamw_8bit", "paged_adamw_32bit": "adamw"},
        "precision": {
            "bfloat16": "bf16",
            "float32": "fp32",
            "fp16": "bf16",
            "float16": "bf16",
            "half": "bf16",
        }
        | {"tf32": "auto"},
        "quantize": {"4bit": "nf4", "int4": "nf4", "fp4": "nf4", "bnb": "nf4", "bitsandbytes": "nf4"},
        "schedule": {"constant_with_warmup": "constant", "cosine_with_min_lr": "cosine"},
        "offload": {"cpu": "optimizer"},
    }
)
"""Of keys with choices: what others call one."""


def called_elsewhere(name: str, stage: str | None = None) -> str:
    """What a key of another program is here, in words; empty where it is known of none.

    Args:
        name: the other's.
        stage: the stage that is spoken of, whose name the keys then hold.
    """
    keys, told = KEYS.get(name.lower().replace("-", "_"), ((), ""))
    if not keys:
        return f"{name} is no key here: {told}" if told else ""
    named = (key.replace(_STAGE, f"stages.{stage}.") if stage else key for key in keys)
    return f"here that is {' and '.join(named)}" + (f" ({told})" if told else "")


def keys_called(name: str) -> tuple[str, ...]:
    """Our keys for what another program calls ``name``; none where it is known of none."""
    return KEYS.get(name.lower().replace("-", "_"), ((), ""))[0]
