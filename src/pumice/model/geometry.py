"""How a model takes pictures and videos: the inputs its tower gets, and the tokens they fill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from pumice.image.layout import ImageLayout
from pumice.image.process import ImageProcessor, Mode
from pumice.image.settings import LayoutSettings, Merge, parse_aspect
from pumice.model.config import VLMConfig
from pumice.model.tower import Tower


@dataclass(frozen=True, slots=True)
class Geometry:
    """What makes pixels, and what counts tokens; the two belong together.

    Attributes:
        processor: makes the tower's inputs (``pumice.image.sample_tiles``, ``video_pixels``).
        settings: lays them out (``pumice.image.image_layout``, ``video_layout``).
        marks: tokens beside those of the layout: 2 where ``<im_start>`` and ``<im_end>`` stand around a
            picture.
    """

    processor: ImageProcessor
    settings: LayoutSettings
    marks: int = 0

    def tokens(self, layout: ImageLayout) -> int:
        """The tokens that a picture or video fills in a row."""
        return layout.tokens + self.marks

    @property
    def fixed(self) -> bool:
        """Whether every picture fills the same number of tokens (videos aside)."""
        return self.settings.aspect != "anyres"


def model_geometry(
    config: VLMConfig, tower: Tower, processor: ImageProcessor, aspect: Mode | None = None
) -> Geometry:
    """The geometry of a model.

    Args:
        config: the model's.
        tower: its tower.
        processor: its image processor; of a model that makes tiles, in whatever mode.
        aspect: one square a picture in this way, without tiles and ``image_newline``, as LLaVA aligns; None
            for the model's own.

    Raises:
        CheckpointError: settings that contradict each other.
    """
    side = processor.image_size
    settings = LayoutSettings(
        side=side,
        features=tower.grid,
        class_tokens=tower.length - tower.grid**2,
        flavour=config.flavour,
        multi_image=config.multi_image,
        newline=config.newline,
    )
    if config.tiled and aspect is None:
        processor = processor.with_mode("anyres", config.pinpoints)
        merge = cast(Merge, config.merge_type)  # settings refuse any other word
        settings = replace(
            settings,
            aspect="anyres",
            merge=merge,
            pinpoints=config.pinpoints,
            max_tiles=parse_aspect(config.aspect)[1],
            video=config.video,
        )
    else:
        processor = processor if aspect is None else processor.with_mode(aspect)
        settings = replace(settings, aspect=processor.mode)
        if config.video is not None:
            # Single squares are laid out flat; a video's own newlines need the merge that has them.
            video = config.video if config.video.newline == "none" else replace(config.video, newline="none")
            settings = replace(settings, video=video)
    return Geometry(processor, settings, 0 if config.image_marks is None else 2)
