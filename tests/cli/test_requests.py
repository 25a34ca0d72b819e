"""cli/requests.py: what help says of servers is what is done."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from pumice.cli import evaluate, generate, judge, requests
from pumice.cli import evaluate_options as options
from pumice.endpoint import Endpoint


@pytest.mark.parametrize("name", ["concurrency", "timeout", "retries", "key_variable"])
def test_all_verbs_have_one_declaration_and_its_defaults_are_true(name: str) -> None:
    alias = "".join(part.capitalize() for part in name.split("_"))
    ours, evals = getattr(requests, alias), getattr(options, alias)
    shown, theirs = get_args(ours)[1], get_args(evals)[1]
    default = Endpoint.__dataclass_fields__[name].default
    assert shown.show_default == (f"{default:g}" if isinstance(default, float) else str(default))
    assert (shown.help, shown.show_default, shown.min) == (theirs.help, theirs.show_default, theirs.min)
    assert inspect.signature(generate.generate).parameters[name].annotation == alias
    assert inspect.signature(judge.judge).parameters[name].annotation == alias
    assert inspect.signature(evaluate.evaluate).parameters[name].annotation == f"options.{alias}"


def test_what_is_not_said_is_as_the_endpoint_has_it() -> None:
    plain = requests.Requests().endpoint("http://localhost:1", "m")
    assert plain == Endpoint("http://localhost:1", "m")
    said = requests.Requests(2, 3.0, 0, "MINE").endpoint("http://localhost:1", "m")
    assert (said.concurrency, said.timeout, said.retries, said.key_variable) == (2, 3.0, 0, "MINE")
