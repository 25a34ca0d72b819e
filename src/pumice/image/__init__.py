"""Images and videos: safe decoding, the tower's inputs, and how many tokens they fill."""

from pumice.image.anyres import image_tiles, sample_tiles
from pumice.image.decode import FORMATS, MAX_ASPECT, MAX_PIXELS, image_size, open_image
from pumice.image.families import read_original, read_transformers
from pumice.image.layout import (
    FEATURES,
    ImageLayout,
    features_per_side,
    image_layout,
    image_tokens,
    kept_class_tokens,
    video_layout,
    video_tokens,
)
from pumice.image.process import ImageProcessor, Mode
from pumice.image.settings import LayoutSettings, VideoSettings, parse_aspect, parse_pinpoints
from pumice.image.video import Extent, VideoInfo, frame_indices, read_frames, video_info, video_pixels

__all__ = [
    "FEATURES",
    "FORMATS",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "Extent",
    "ImageLayout",
    "ImageProcessor",
    "LayoutSettings",
    "Mode",
    "VideoInfo",
    "VideoSettings",
    "features_per_side",
    "frame_indices",
    "image_layout",
    "image_size",
    "image_tiles",
    "image_tokens",
    "kept_class_tokens",
    "open_image",
    "parse_aspect",
    "parse_pinpoints",
    "read_frames",
    "read_original",
    "read_transformers",
    "sample_tiles",
    "video_info",
    "video_layout",
    "video_pixels",
    "video_tokens",
]
