"""How many tokens an image fills, from its size alone.

The plan is made before any image is decoded, so the count must follow from the header. Today every
image becomes one square of the tower's size and the count is a constant; layouts that cut an image
into tiles depend on width and height, which is why both are asked for already.
"""

from __future__ import annotations

from pumice.errors import CheckpointError, suggest

FEATURES = ("patch", "cls_patch")
"""``patch`` drops the class token, ``cls_patch`` keeps it (LLaVA's ``mm_vision_select_feature``)."""


def image_tokens(
    size: tuple[int, int], *, image_size: int, patch_size: int, select_feature: str = "patch"
) -> int:
    """The exact number of tokens for an image.

    A vision transformer embeds patches by a convolution of stride ``patch_size`` without padding, so
    a side of ``image_size`` gives ``image_size // patch_size`` patches (transformers' CLIP does the same).

    Args:
        size: width and height of the image in pixels, as ``image_size()`` of ``decode`` tells.
        image_size: side of the square that the tower sees, pixels.
        patch_size: side of a patch, pixels.
        select_feature: one of ``FEATURES``.

    Raises:
        CheckpointError: an unknown feature selection, or sizes that give no patch.
    """
    if select_feature not in FEATURES:
        raise CheckpointError(
            f"unknown feature selection {select_feature!r}", remedy=suggest(select_feature, FEATURES)
        )
    if patch_size < 1 or image_size < patch_size:
        raise CheckpointError(
            f"a {image_size} pixel image holds no patch of {patch_size} pixels",
            remedy="check image_size and patch_size of the vision tower's config",
        )
    assert min(size) > 0, f"an image of {size} was not refused when its header was read"
    patches = (image_size // patch_size) ** 2
    return patches + (select_feature == "cls_patch")
