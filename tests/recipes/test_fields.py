"""The reference of fields that the command line shows."""

from __future__ import annotations

import pytest

from pumice.recipes import find_fields, near_fields, recipe_fields
from pumice.recipes.fields import annotation_at, choices_at, kind_of


def test_every_field_is_documented_once() -> None:
    docs = recipe_fields()
    keys = [doc.key for doc in docs]
    assert len(keys) == len(set(keys))
    for doc in docs:
        assert doc.description.endswith("."), doc.key
        assert doc.kind, doc.key
    texts = [doc.description for doc in docs]
    assert len(texts) == len(set(texts))


def test_lines_say_kind_default_and_meaning() -> None:
    docs = {doc.key: doc for doc in recipe_fields()}
    assert docs["model.connector"].default == "mlp2x_gelu"
    assert docs["model.vision"].default == "required without checkpoint"
    assert docs["model.image.aspect"].kind == "one of: crop, pad, squash, anyres"
    assert docs["stages.NAME.lr.connector"].kind == "a number, or null"
    trained = "align: connector; instruct: connector, language; prefer: connector, language"
    assert docs["stages.NAME.trainable"].default == trained
    assert docs["stages.NAME.betas"].kind == "a list of 2 numbers"
    assert docs["stages.NAME.grounding.attributes"].kind == "lists of words by name"
    assert "small" in docs
    warmup = docs["stages.NAME.warmup"]
    assert (warmup.kind, warmup.default) == ("a number", "0.03")
    assert warmup.description.startswith("The share of steps")


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("model.image.aspect", ["model.image.aspect"]),
        ("image.aspect", ["model.image.aspect"]),
        ("model.video.frames", ["model.video.frames"]),
        ("lr.connector", ["stages.NAME.lr.connector"]),
        ("stages.NAME.lr.connector", ["stages.NAME.lr.connector"]),
        ("stages.align.lr.connector", ["stages.NAME.lr.connector"]),
        ("data.mine.limit", ["data.NAME.limit"]),
        ("template", ["model.template", "stages.NAME.template"]),
        ("limit", ["data.NAME.limit", "stages.NAME.validation.limit", "evaluation.limit"]),
        ("row_len", ["stages.NAME.row_length"]),
        ("validation.ev", ["stages.NAME.validation.every"]),
        ("evaluatoin.limit", []),
        ("stages.NAME.lr.connector.more", []),
    ],
)
def test_a_field_is_found_by_its_key_or_a_part_of_it(query: str, keys: list[str]) -> None:
    assert [doc.key for doc in find_fields(query)] == keys


def test_no_query_finds_all_fields() -> None:
    assert find_fields("") == recipe_fields()


def test_the_nearest_keys_are_named() -> None:
    assert near_fields("conector") == ("model.connector", "stages.NAME.lr.connector")
    assert near_fields("evaluatoin.limit")[0] == "evaluation.limit"
    assert "stages.NAME.lr.connector" in near_fields("learning rate"), "by what it means"
    assert near_fields("zzzz") == ()


def test_choices_follow_the_way_in() -> None:
    assert choices_at(("stages", 0, "lr")) == ("connector", "language", "vision")
    assert "small" in choices_at(())
    assert choices_at(("data", "anything")) == (
        "file",
        "images",
        "weight",
        "limit",
        "format",
        "prompt",
        "licence",
        "attribution",
        "url",
        "allow_bad",
    )
    assert choices_at(("seed",)) == ()
    assert choices_at(("nothing", "here")) == ()
    assert kind_of(annotation_at(("stages", 3, "validation", "limit"))) == "a whole number, or null"
