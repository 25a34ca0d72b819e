"""Answers that obey a schema; the library is in the extra ``schema``."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pumice.errors import MissingExtraError, UsageError
from pumice.infer.engine.schema import ANY_OBJECT

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 99}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
)


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


def test_without_the_library_a_schema_is_refused(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(MissingExtraError, match="llguidance"):
        rig.ask("What ?", json_schema=ANY_OBJECT)
