from __future__ import annotations

from typing import Any

import pytest

from pumice.errors import CheckpointError
from pumice.image.settings import NEXT_PINPOINTS, LayoutSettings, VideoSettings, parse_aspect, parse_pinpoints

from .parts import NUMBERS, RANGE, next_settings, onevision_settings


def test_pinpoints_are_read_in_each_family_s_order() -> None:
    assert parse_pinpoints(NUMBERS, 336, "original") == NEXT_PINPOINTS
    turned = tuple((second, first) for first, second in NEXT_PINPOINTS)
    assert parse_pinpoints(NUMBERS, 336, "transformers") == turned
    assert parse_pinpoints(str(NUMBERS), 336, "original") == NEXT_PINPOINTS
    assert parse_pinpoints("[(336, 672)]", 336, "original") == ((336, 672),)


def test_the_words_for_aspects() -> None:
    assert parse_aspect("square") == ("square", None)
    assert parse_aspect("pad") == ("pad", None)
    assert parse_aspect("anyres") == ("anyres", None)
    assert parse_aspect("anyres_max_12") == ("anyres", 12)
    for word in ("anyres_max_0", "anyres_max_", "highres", ""):
        with pytest.raises(CheckpointError, match="no image_aspect_ratio"):
            parse_aspect(word)


def test_a_range_is_every_grid_from_first_to_last_width_first() -> None:
    found = parse_pinpoints(RANGE, 384, "original")
    assert len(found) == 36
    assert found[:2] == ((384, 384), (384, 768))
    assert found[6] == (768, 384)
    assert found[-1] == (2304, 2304)
    assert parse_pinpoints("(1x1), ..., (2x3)", 10, "original")[-1] == (20, 30)
    assert parse_pinpoints("(1x2),(2x2)", 336, "original") == ((336, 672), (672, 672))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("(1x2),(2x1)", "lists other grids"),
        ("(1x1),(2x2)", "lists other grids"),
        ("6x6", "are no grid pinpoints"),
        ("nonsense", "are no grid pinpoints"),
        ("", "are no grid pinpoints"),
        (None, "are no grid pinpoints"),
        ([], "are no grid pinpoints"),
        ([[336]], "are no grid pinpoints"),
        ([[336, "672"]], "are no grid pinpoints"),
        ([[336, True]], "are no grid pinpoints"),
        ([336, 672], "are no grid pinpoints"),
        ([[336, 500]], "no whole number of 336 pixel tiles"),
        ([[0, 336]], "no whole number of 336 pixel tiles"),
        ("(0x0),...,(2x2)", "no whole number"),
    ],
)
def test_what_is_no_list_of_canvases_is_refused(value: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        parse_pinpoints(value, 336, "original", "config.json")
    assert caught.value.where == "config.json"
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aspect": "anyress"}, "did you mean 'anyres'"),
        ({"merge": "maxpool2x2"}, "no patch merge type 'maxpool2x2'"),
        ({"flavour": "huggingface"}, "no flavour"),
        ({"multi_image": "tile"}, "no way with several images"),
        ({"features": 0}, "gives no 0 features"),
        ({"features": 337}, "gives no 337 features"),
        ({"pinpoints": ()}, "with 0 grid pinpoints"),
        ({"aspect": "pad"}, "with 5 grid pinpoints"),
        ({"side": 300}, "no whole number of 300 pixel tiles"),
        ({"max_tiles": 0}, "anyres_max_0"),
        ({"max_tiles": 4, "merge": "spatial"}, "spatial merging"),
        ({"class_tokens": 1}, "no place in a map"),
        ({"class_tokens": -1}, "no place in a map"),
        ({"merge": "flat", "video": VideoSettings()}, "the merge type flat has none"),
        ({"newline": False, "video": VideoSettings(newline="grid")}, "image_newline by grid"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        next_settings(**changes)
    assert message in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "conv"},
        {"newline": "no_token"},
        {"aspect": "anyres"},
        {"frames": 0},
        {"stride": 0},
        {"fps": 0.0},
        {"fps": float("nan")},
    ],
)
def test_video_settings_are_checked(changes: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        VideoSettings(**changes)


def test_a_class_token_may_stay_where_nothing_is_a_map() -> None:
    assert next_settings(merge="flat", class_tokens=1).class_tokens == 1
    assert LayoutSettings(side=224, features=16, class_tokens=1, merge="spatial").class_tokens == 1
    with pytest.raises(CheckpointError, match="no place"):
        onevision_settings(aspect="pad", pinpoints=(), max_tiles=None, class_tokens=1)
