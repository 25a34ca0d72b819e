"""Images: safe decoding, the tower's input, and how many tokens an image fills."""

from pumice.image.decode import FORMATS, MAX_ASPECT, MAX_PIXELS, image_size, open_image
from pumice.image.layout import FEATURES, image_tokens
from pumice.image.process import ImageProcessor, Mode

__all__ = [
    "FEATURES",
    "FORMATS",
    "MAX_ASPECT",
    "MAX_PIXELS",
    "ImageProcessor",
    "Mode",
    "image_size",
    "image_tokens",
    "open_image",
]
