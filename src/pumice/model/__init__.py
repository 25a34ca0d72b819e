"""The model: a vision tower, a connector and a causal language model, built, saved and loaded."""

from pumice.model.attention import set_attention, visibility_mask
from pumice.model.build import build_model
from pumice.model.connector import build_connector
from pumice.model.save import load_model, save_model
from pumice.model.tower import VisionTower
from pumice.model.vlm import VisionLanguageModel, VLMConfig

__all__ = [
    "VLMConfig",
    "VisionLanguageModel",
    "VisionTower",
    "build_connector",
    "build_model",
    "load_model",
    "save_model",
    "set_attention",
    "visibility_mask",
]
