from __future__ import annotations

import pytest

from pumice.errors import CheckpointError
from pumice.image import image_tokens


@pytest.mark.parametrize(
    ("image_size", "patch_size", "feature", "tokens"),
    [(336, 14, "patch", 576), (224, 14, "patch", 256), (224, 16, "cls_patch", 197), (230, 16, "patch", 196)],
)
def test_published_towers(image_size: int, patch_size: int, feature: str, tokens: int) -> None:
    for size in ((640, 480), (1, 1)):
        count = image_tokens(size, image_size=image_size, patch_size=patch_size, select_feature=feature)
        assert count == tokens


@pytest.mark.parametrize("feature", ["patch", "cls_patch"])
def test_the_count_is_what_the_tower_gives(feature: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=30,
        patch_size=7,
    )
    hidden_BLD = transformers.CLIPVisionModel(config)(torch.zeros(1, 3, 30, 30)).last_hidden_state
    given = hidden_BLD.shape[1] - (feature == "patch")
    assert image_tokens((9, 9), image_size=30, patch_size=7, select_feature=feature) == given


def test_refusals() -> None:
    with pytest.raises(CheckpointError) as caught:
        image_tokens((9, 9), image_size=30, patch_size=7, select_feature="patches")
    assert "did you mean 'patch'" in str(caught.value)
    with pytest.raises(CheckpointError, match="holds no patch"):
        image_tokens((9, 9), image_size=6, patch_size=7)
