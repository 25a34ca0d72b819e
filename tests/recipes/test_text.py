"""YAML with YAML 1.2's scalars, the lines of keys, and what recipes refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumice.errors import RecipeError
from pumice.recipes.text import read_yaml, write_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2E5", 200000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("embedded:clip-tiny", "embedded:clip-tiny"),
        ("[a, 1, {b: 2}]", ["a", 1, {"b": 2}]),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = read_yaml(text, "f").value
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys() -> None:
    document = read_yaml("# top\na: 1\nb:\n  - x: 2\n\n  - x: 3\n    y: 4\n", "f")
    assert document.value == {"a": 1, "b": [{"x": 2}, {"x": 3, "y": 4}]}
    assert document.lines[("a",)] == 2
    assert document.lines[("b", 0, "x")] == 4
    assert document.lines[("b", 1)] == 6
    assert document.lines[("b", 1, "y")] == 7


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' stands twice, on lines 1 and 3", "f, line 3, key a"),
        ("a:\n  b: 1\n  b: 2\n", "the key 'b' stands twice, on lines 2 and 3", "f, line 3, key a.b"),
        (
            "a: [1\nb: 2\n",
            "this is not YAML: expected ',' or ']'",
            "f, line 2, column 2 (what it belongs to began on line 1)",
        ),
        ("a: 1\n\tb: 2\n", "this is not YAML: found character", "f, line 2, column 1"),
        ("a: 1\n--- \nb: 2\n", "this is not YAML: but found another document", "f, line 2, column 1"),
        ("a: \x00", "this is not YAML", "f"),
        ("x: 1\na: !!python/object/apply:os.system [ls]\n", "recipes have no tags", "f, line 2"),
        ("a: !!int five\n", "recipes have no tags", "f, line 1"),
        ("a: &x 1\nb: *x\n", "recipes have no anchors", "f, line 1"),
        ("[1, 2]: 3\n", "a key must be a word", "f, line 1"),
        ("a: " + "9" * 5000, "this number is too long", "f, line 1"),
        ("[" * 5000 + "]" * 5000, "blocks are nested too deep", "f, line 1"),
    ],
)
def test_refused(text: str, what: str, where: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_yaml(text, "f")
    assert caught.value.what.startswith(what)
    assert (caught.value.where or "").startswith(where)
    assert caught.value.remedy


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_what_is_written_reads_back(value: Any) -> None:
    found = read_yaml(write_yaml(value), "f").value
    assert found == value
    assert repr(found) == repr(value)  # 1 is not 1.0 or True here


@pytest.mark.parametrize(
    "text",
    [
        "1e-3",
        "no",
        "null",
        "~",
        "",
        "0x1F",
        "007",
        "<<",
        "=",
        "a: b",
        "# x",
        "&a",
        "1:30",
        "a\x85b",
        "\u2028",
        "a\nb\n",
        "é ☃",
        "\ufeff",
        " x ",
    ],
)
def test_text_stays_text(text: str) -> None:
    assert read_yaml(write_yaml({"key": text}), "f").value == {"key": text}
