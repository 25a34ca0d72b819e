"""Answers that obey a schema; the library is in the extra ``schema``."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pumice.errors import MissingExtraError, UsageError
from pumice.infer.engine.schema import ANY_OBJECT, Schemas

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 99}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
)


def accepts(schema: Any, tokenizer: Any, text: str) -> bool:
    """Whether an answer that obeys a schema may begin so."""
    matcher = Schemas(tokenizer, []).matcher(json.dumps(schema))
    for token in tokenizer.encode(text, add_special_tokens=False):
        if not matcher.allowed(len(tokenizer))[token]:
            return False
        matcher.take(token)
    return True


@pytest.fixture
def llguidance() -> Any:
    return pytest.importorskip("llguidance", reason="the extra schema is not installed")


@pytest.mark.usefixtures("llguidance")
@pytest.mark.parametrize("temperature", [0.0, 1.0, 5.0])
def test_random_weights_write_what_the_schema_says(rig: Any, show: Any, temperature: float) -> None:
    for seed in range(5):
        request = rig.request(
            "What ?", show(0), json_schema=SCHEMA, temperature=temperature, seed=seed, max_new_tokens=200
        )
        answer = rig.alone(request)[0]
        assert answer.reason == "stop"
        found = json.loads(answer.text)
        assert set(found) == {"colour", "count"}
        assert found["colour"] in ("red", "blue")
        assert isinstance(found["count"], int)


@pytest.mark.usefixtures("llguidance")
def test_members_that_are_not_listed_are_not_invented(rig: Any, show: Any) -> None:
    listed = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    for schema, path in (
        (listed, ()),
        ({"type": "array", "items": listed, "minItems": 1, "maxItems": 1}, (0,)),
        ({"$ref": "#/$defs/one", "$defs": {"one": listed}}, ()),
        (
            {"type": "object", "properties": {"properties": listed}, "required": ["properties"]},
            ("properties",),
        ),
    ):
        for seed in range(3):
            answer = rig.alone(
                rig.request(
                    "What ?", show(0), json_schema=json.dumps(schema), temperature=5.0, seed=seed,
                    max_new_tokens=200,
                )
            )[0]  # fmt: skip
            assert answer.reason == "stop"
            found = json.loads(answer.text)
            for key in path:
                assert len(found) == 1
                found = found[key]
            assert set(found) == {"colour"}


@pytest.mark.usefixtures("llguidance")
def test_objects_that_are_open_or_put_together_stay_so(rig: Any) -> None:
    member = {"type": "integer", "maximum": 9}
    parts = [
        {"type": "object", "properties": {name: member}, "required": [name]} for name in ("first", "second")
    ]
    opened = {**parts[0], "additionalProperties": member, "minProperties": 2}
    begun = '{"first": 1, "second": 2'
    for schema in ({"allOf": parts}, {**parts[0], "anyOf": [parts[1]]}, opened):
        assert accepts(schema, rig.engine.tokenizer, begun), schema
    assert not accepts(parts[0], rig.engine.tokenizer, begun)


@pytest.mark.usefixtures("llguidance")
def test_any_object_and_neighbours_without_a_schema(rig: Any, show: Any) -> None:
    free = rig.request("What ?", show(0))
    expected = rig.by_transformers(free)
    bound = rig.ask("What ?", show(0), json_schema=ANY_OBJECT, temperature=1.0, seed=3, max_new_tokens=30)
    beside = rig.engine.submit(free)
    rig.run()
    assert rig.answer(beside).ids == expected
    assert rig.answer(bound).text.lstrip().startswith("{")


@pytest.mark.usefixtures("llguidance")
def test_each_of_several_answers_is_bound(rig: Any) -> None:
    request = rig.request("What ?", json_schema=SCHEMA, temperature=2.0, n=3, max_new_tokens=200)
    for answer in rig.alone(request):
        assert set(json.loads(answer.text)) == {"colour", "count"}


@pytest.mark.usefixtures("llguidance")
def test_preempted_in_the_middle(tiny_rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumice.infer.engine.scheduler.ROOM", 2)
    settings = {"json_schema": SCHEMA, "temperature": 2.0, "max_new_tokens": 60}
    free = tiny_rig()
    requests = [free.request("What ? " + "a " * 8, seed=seed, **settings) for seed in range(4)]
    expected = [free.alone(one)[0].text for one in requests]
    tight = tiny_rig(tokens=90)
    running = [tight.engine.submit(one) for one in requests]
    tight.run()
    assert [tight.answer(one).text for one in running] == expected


@pytest.mark.usefixtures("llguidance")
@pytest.mark.parametrize("schema", ["{", '{"type": "colour"}', '{"$ref": "#/nowhere"}'])
def test_bad_schemas_are_refused(rig: Any, schema: str) -> None:
    with pytest.raises(UsageError, match="schema"):
        rig.ask("What ?", json_schema=schema)
    assert rig.engine.stats().waiting_tokens == 0


def nested(levels: int) -> dict[str, Any]:
    """Lists in lists."""
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema, "minItems": 1}
    return schema


SELF = {"$ref": "#"}
NOTHING_OBEYS: dict[str, Any] = {
    "itself": SELF,
    "each other": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "one choice": {"anyOf": [SELF]},
    "a part": {"allOf": [{"type": "object"}, SELF]},
    "a member": {"type": "object", "properties": {"a": SELF}, "required": ["a"]},
    "any member": {"type": "object", "additionalProperties": SELF, "minProperties": 1},
    "an item": {"type": ["array", "object"], "items": SELF, "minItems": 1, "properties": {"a": SELF},
                "required": ["a"]},
    "the first item": {"type": "array", "prefixItems": [SELF], "minItems": 1},
    "no value": {"enum": []},
    "no type": {"type": []},
    "two types": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "bounds": {"type": "integer", "minimum": 5, "maximum": 3},
    "a member without values": {"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]},
    "deep": nested(300),
    "large": {"const": "x" * 200_000},
}  # fmt: skip


@pytest.mark.usefixtures("llguidance")
@pytest.mark.parametrize("name", NOTHING_OBEYS)
def test_schemas_that_no_text_obeys_are_refused_before_the_first_token(tiny_rig: Any, name: str) -> None:
    with pytest.raises(UsageError, match="schema"):
        Schemas(tiny_rig().engine.tokenizer, []).matcher(json.dumps(NOTHING_OBEYS[name]))


@pytest.mark.usefixtures("llguidance")
@pytest.mark.parametrize("levels", [980, 100_000])
def test_schemas_too_deep_to_be_read_are_refused(tiny_rig: Any, levels: int) -> None:
    with pytest.raises(UsageError, match="schema"):
        Schemas(tiny_rig().engine.tokenizer, []).matcher('{"not":' * levels + "{}" + "}" * levels)


@pytest.mark.usefixtures("llguidance")
def test_schemas_that_hold_themselves_and_can_end_are_obeyed(rig: Any) -> None:
    member = {"type": "object", "properties": {"a": SELF}}
    for schema, text in (
        (member, '{"a": {"a": {}}}'),
        ({"type": "array", "items": SELF}, "[[], []]"),
        ({"anyOf": [SELF, {"type": "integer"}]}, "12"),
        ({"anyOf": [{**member, "required": ["a"]}, {"type": "null"}]}, '{"a": null}'),
        ({"type": "array", "items": {"enum": [1, 2]}, "minItems": 2}, "[1, 2]"),
        (
            {
                "type": "object",
                "patternProperties": {"^a": {"type": "integer"}},
                "required": ["ab"],
                "additionalProperties": SELF,
            },
            '{"ab": 1}',
        ),
        (nested(40), "[" * 40 + "1" + "]" * 40),
    ):
        assert accepts(schema, rig.engine.tokenizer, text), schema


@pytest.mark.usefixtures("llguidance")
def test_a_grammar_that_outgrows_the_library_refuses_the_answer(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pumice.infer.engine.schema.is_endless", lambda *_: False)
    running = rig.ask("What ?", json_schema=json.dumps(NOTHING_OBEYS["a member"]), max_new_tokens=9)
    rig.run()
    with pytest.raises(UsageError, match="cannot be obeyed") as caught:
        rig.answers(running)
    assert "<state>" not in str(caught.value)


def test_without_the_library_a_schema_is_refused(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match="llguidance"):
        rig.ask("What ?", json_schema=ANY_OBJECT)
