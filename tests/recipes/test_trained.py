from __future__ import annotations

import pytest

from pumice.recipes.trained import Selection, read_selection
from pumice.recipes.values import Problem


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("vision", Selection("vision", "vision")),
        ("vision.last-4", Selection("vision.last-4", "vision", counted=-4)),
        ("vision.first-2", Selection("vision.first-2", "vision", counted=2)),
        ("language.layers", Selection("language.layers", "language", layers=(0, None))),
        ("language.layers.31", Selection("language.layers.31", "language", layers=(31, 31))),
        ("language.layers.16-31", Selection("language.layers.16-31", "language", layers=(16, 31))),
        ("language.norms", Selection("language.norms", "language", kind="norms")),
        ("vision.embeddings", Selection("vision.embeddings", "vision", kind="embeddings")),
        (
            "language.last-8.attention",
            Selection("language.last-8.attention", "language", counted=-8, kind="attention"),
        ),
        ("vision.layers.0-3.mlp", Selection("vision.layers.0-3.mlp", "vision", layers=(0, 3), kind="mlp")),
        (r"language./q_proj\.w|x/", Selection(r"language./q_proj\.w|x/", "language", pattern=r"q_proj\.w|x")),
        ("connector./bias/", Selection("connector./bias/", "connector", pattern="bias")),
    ],
)
def test_what_an_entry_means(text: str, wanted: Selection) -> None:
    found = read_selection(text)
    assert found == wanted
    assert found.whole == (text == "vision")


@pytest.mark.parametrize(
    ("text", "says", "remedy"),
    [
        ("vison", "'vison' is none of the choices", "did you mean 'vision'"),
        ("tower.last-4", "none of the choices", "connector, language, vision"),
        ("language.norm", "nothing that can train", "did you mean 'norms'"),
        ("language.last4", "nothing that can train", "did you mean 'last-N'"),
        ("language.last-0", "nothing that can train", "last-N"),
        ("language.layers.norms.mlp", "nothing that can train", "did you mean 'mlp'"),
        ("language.layers.8-4", "ends before it begins", "lower layer first"),
        ("language.layers.x", "nothing that can train", "layers.A-B"),
        ("language.last-4.head", "head are in no layer", "language.head"),
        ("vision.head", "below a vision tower's head", "leave vision.head out"),
        ("connector.last-1", "the connector has no layers", "connector./PATTERN/"),
        ("language./a(/", "no regular expression", "mend it"),
        ("language./a", "has no end", "between two slashes"),
        ("language.//", "nothing in it", "between two slashes"),
        ("language.", "nothing that can train", "layers"),
    ],
)
def test_what_means_nothing(text: str, says: str, remedy: str) -> None:
    with pytest.raises(Problem) as caught:
        read_selection(text)
    assert says in caught.value.what
    assert remedy in caught.value.remedy
