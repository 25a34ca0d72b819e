"""The model: a vision tower, a connector and a causal language model, built, saved and loaded."""

from pumice.model.attention import set_attention, visibility_mask
from pumice.model.build import Tiles, build_model
from pumice.model.config import VLMConfig
from pumice.model.connector import build_connector
from pumice.model.loading import load, load_model
from pumice.model.pieces import Checkpoint
from pumice.model.save import save_model
from pumice.model.tower import Tower, VisionTower
from pumice.model.vlm import VisionLanguageModel

__all__ = [
    "Checkpoint",
    "Tiles",
    "Tower",
    "VLMConfig",
    "VisionLanguageModel",
    "VisionTower",
    "build_connector",
    "build_model",
    "load",
    "load_model",
    "save_model",
    "set_attention",
    "visibility_mask",
]
