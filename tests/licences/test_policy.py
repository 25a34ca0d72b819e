from __future__ import annotations

from typing import Any

import pytest

from pumice.licences import make_policy, read_licence


def policy(purpose: Any = None, allow: str = "", forbid: str = "", unknown: Any = "refuse") -> Any:
    return make_policy(purpose, allow.split(), forbid.split(), unknown)


@pytest.mark.parametrize(
    ("of", "licence", "reason"),
    [
        (policy("commercial"), "CC-BY-4.0", None),
        (policy("commercial"), "CC-BY-NC-4.0", "CC-BY-NC-4.0 permits no commercial use"),
        (policy("commercial"), "CC-BY-ND-4.0", "permits no sharing of what is made from it"),
        (policy("commercial"), "OpenAI terms", "under conditions (outputs must not be used to develop"),
        (policy("commercial", allow="OpenAI-terms"), "CC-BY-4.0 AND OpenAI terms", None),
        (policy("commercial"), "CC-BY-NC-4.0 OR MIT", None),
        (policy("commercial"), "CC-BY-NC-4.0 AND MIT", "CC-BY-NC-4.0 permits no commercial use"),
        (policy("commercial"), "unknown", "no known licence"),
        (policy("commercial", unknown="warn"), "", None),
        (policy("commercial", unknown="warn", forbid="unknown"), "", "unknown is forbidden by name"),
        (policy("research"), "CC-BY-NC-SA-4.0", None),
        (policy("research"), "Flickr terms", "as far as can be told"),
        (policy("private"), "CC-BY-NC-ND-4.0", None),
        (policy("private"), "all rights reserved", "proprietary permits no use"),
        (policy("private", forbid="CC-BY-NC"), "CC-BY-NC-2.0", "CC-BY-NC-2.0 is forbidden by name"),
        (policy("private", forbid="CC-BY-NC-4.0"), "CC-BY-NC-2.0", None),
        (policy(allow="CC-BY MIT"), "CC-BY-3.0", None),
        (policy(allow="CC-BY MIT"), "Apache-2.0", "Apache-2.0 is not among those allowed"),
        (policy(forbid="GPL-3.0"), "proprietary", None),
        (policy("research"), "LicenseRef-ours", "as far as can be told"),
        (policy("research", allow="LicenseRef-ours"), "LicenseRef-ours", None),
    ],
)
def test_what_passes_and_why_not(of: Any, licence: str, reason: str | None) -> None:
    found = of.objection(read_licence(licence))
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def test_what_nobody_knows_is_told_where_it_passes() -> None:
    warned = policy("commercial", unknown="warn")
    assert warned.warns(read_licence("our own"))
    assert not warned.warns(read_licence("MIT"))
    assert not policy("commercial").warns(read_licence(""))
