from __future__ import annotations

import pytest

from pumice.licences import LICENCES, UNKNOWN, creative_commons, licence_named, read_licence, suggestion
from pumice.licences.known import CC_KINDS, CC_VERSIONS, NAMES, NUMBERED, SETS

NC_SA = "Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        (NC_SA, "CC-BY-NC-SA-4.0"),
        ("CC BY 2", "CC-BY-2.0"),
        ("CC-BY", "CC-BY"),
        ("CC-BY-3.0-IGO", "CC-BY-3.0-IGO"),
        ("https://creativecommons.org/licenses/by-nc/2.0/deed.en", "CC-BY-NC-2.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("The MIT License (MIT)", "MIT"),
        ("GPL-3.0-or-later", "GPL-3.0"),
        ("https://opendatacommons.org/licenses/by/1-0/", "ODC-By-1.0"),
        ("https://opendatacommons.org/licenses/odbl/1-0/", "ODbL-1.0"),
        ("openrail++", "OpenRAIL++"),
        ("llama3.1", "Llama-3.1"),
        ("vicuna-7b-v1.5", "Llama-2"),
        ("OpenAI terms of use", "OpenAI-terms"),
        ("All rights reserved.", "proprietary"),
        ("4", "CC-BY-2.0"),
        ("7", "no-known-copyright"),
        ("coco", "CC-BY-4.0 AND Flickr-terms"),
        ("ScienceQA", "CC-BY-NC-SA-4.0"),
        ("CC BY 4.0 (annotations); Flickr terms (images)", "CC-BY-4.0 AND Flickr-terms"),
        ("CC BY 4.0 (non-commercial use)", "CC-BY-4.0 AND research-only"),
        ("CC BY 4.0 (not the pictures)", "unknown ('CC BY 4.0 (not the pictures)')"),
        ("MIT (images: CC BY-NC 4.0)", "unknown ('MIT (images: CC BY-NC 4.0)')"),
        ("MIT (CC BY-NC 4.0)", "MIT AND CC-BY-NC-4.0"),
        ("MIT or GPL-3.0", "MIT OR GPL-3.0"),
        ("(MIT OR Apache-2.0) AND CC-BY-4.0", "(MIT AND CC-BY-4.0) OR (Apache-2.0 AND CC-BY-4.0)"),
        ("LicenseRef-Agreement-7", "LicenseRef-Agreement-7"),
        ("unknown", "unknown"),
        ("", "unknown"),
        ("our own", "unknown ('our own')"),
        ("CC BY 4.0 and something else", "unknown ('CC BY 4.0 and something else')"),
        ("CC-BY-NC-BY-4.0", "unknown ('CC-BY-NC-BY-4.0')"),
    ],
)
def test_a_licence_is_known_by_every_way_to_write_it(text: str, label: str) -> None:
    assert read_licence(text).label == label
    assert read_licence(label).label == label or "unknown" in label


@pytest.mark.parametrize(
    ("text", "near"),
    [("cc-bi-4.0", "CC-BY-4.0"), ("Apche-2.0", "Apache-2.0"), ("MITT", "MIT"), ("mixed, see paper", None)],
)
def test_a_slip_is_told_what_was_probably_meant(text: str, near: str | None) -> None:
    reading = read_licence(text)
    assert not reading.known
    assert reading.near == near
    if near is not None:
        assert f"did you mean '{near}'?" in suggestion(text)
    else:
        assert "OpenAI-terms" in suggestion(text)


def test_no_two_licences_share_a_name_and_every_id_address_and_number_reads_back() -> None:
    told = [*LICENCES.values(), *(creative_commons(k, v) for k in CC_KINDS for v in ("", *CC_VERSIONS))]
    for licence in told:
        for text in filter(None, (licence.id, licence.name, licence.url)):
            named = licence_named(text)
            assert named is not None
            assert named.id == licence.id, text
    for name, licence in NAMES:
        assert read_licence(name).licences == (licence,), name
    assert all(read_licence(of).known for of in (*SETS.values(), *(v for v in NUMBERED.values())))


def test_text_without_end_costs_nothing_and_says_nothing() -> None:
    reading = read_licence("Permission is hereby granted, free of charge, " * 1000)
    assert (reading.ways, reading.near) == (((UNKNOWN,),), None)


def test_one_name_is_asked_for_and_several_are_none() -> None:
    assert licence_named("MIT AND Apache-2.0") is None
    assert licence_named("whatever") is None
    assert licence_named("unknown") is UNKNOWN
