from __future__ import annotations

import dataclasses

import pytest

from pumice.errors import TemplateError
from pumice.text import TEMPLATES, get_template


def test_the_names_are_exact() -> None:
    assert set(TEMPLATES) == {"plain", "v1", "tiny"}
    assert all(get_template(name).name == name for name in TEMPLATES)


@pytest.mark.parametrize("name", ["V1", "vicuna", "tin", ""])
def test_an_unknown_name_is_an_error_with_the_list(name: str) -> None:
    with pytest.raises(TemplateError, match="there is no template") as caught:
        get_template(name)
    assert "plain, tiny, v1" in str(caught.value)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(TemplateError) as caught:
        get_template("tinny")
    assert "did you mean 'tiny'?" in str(caught.value)


def test_templates_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_template("v1").eos = False  # type: ignore[misc]
    with pytest.raises(TypeError):
        TEMPLATES["mine"] = get_template("v1")  # type: ignore[index]
