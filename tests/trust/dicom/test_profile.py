"""The table of PS3.15 as data, what options make of it, and what is computed with a key."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path

import pytest

from pumice.errors import UsageError
from pumice.trust.dicom.profile import (
    KEEP,
    Options,
    action_of,
    clean_words,
    read_profile,
    read_terms,
    rule_of,
)
from pumice.trust.dicom.secret import FIRST_DAY, LAST_DAY, Secret, open_key

KEY = Secret(b"k" * 32)


def test_the_table_is_whole() -> None:
    rules = read_profile()
    assert len(rules) == 620
    actions = {"X", "Z", "D", "U", "Z/D", "X/Z", "X/D", "X/Z/D", "X/Z/U*"}
    assert {rule.basic for rule in rules.values()} == actions
    allowed = {*KEEP, "dates", "descriptors", "structure", "graphics"}
    assert {name for rule in rules.values() for name in rule.options} <= allowed
    # What a hospital would look for first.
    expected = {
        **{0x00100010: "Z", 0x00100020: "Z/D", 0x00100030: "Z", 0x00080050: "Z", 0x00080090: "Z"},
        **{0x0020000D: "U", 0x00081140: "X/Z/U*", 0x00080080: "X/Z/D", 0x00204000: "X", 0x00101010: "X"},
    }
    for tag, action in expected.items():
        rule = rule_of(tag)
        assert rule is not None
        assert rule.basic == action
    assert rule_of(0x60023000) == rules["60xx3000"]
    assert rule_of(0x50041234) == rules["50xxxxxx"]
    assert rule_of(0x00280010) is None


def test_keywords_are_those_of_the_dictionary() -> None:
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed (extra medical)")
    for tag, rule in read_profile().items():
        if "x" not in tag and tag not in ("FFFCFFFC",):
            assert pydicom.datadict.keyword_for_tag(int(tag, 16)) == rule.keyword, tag


def test_options_change_actions() -> None:
    def actions(tag: int, **options: object) -> str:
        rule = rule_of(tag)
        assert rule is not None
        return action_of(rule, Options(**options))[0]  # type: ignore[arg-type]

    study_date, description, uid, age, serial = 0x00080020, 0x00081030, 0x0020000D, 0x00101010, 0x00181000
    assert [actions(tag) for tag in (study_date, description, uid, age, serial)] == ["Z", "X", "U", "X", "D"]
    assert actions(study_date, dates="keep") == "K"
    assert actions(study_date, dates="shift") == "C"
    assert actions(0x00100030, dates="keep") == "Z"  # a birth date is no time of an examination
    assert actions(description, clean=True) == "C"
    assert actions(uid, keep=frozenset({"uids"})) == "K"
    assert actions(age, keep=frozenset({"patient"})) == "K"
    assert actions(serial, keep=frozenset({"device"})) == "K"
    with pytest.raises(UsageError, match="nothing called 'uid'"):
        Options(keep=frozenset({"uid"}))
    assert Options("shift", frozenset({"uids"}), True).codes(masked=True) == [
        "113100", "113101", "113105", "113107", "113110"
    ]  # fmt: skip


def test_only_listed_words_are_left(tmp_path: Path) -> None:
    terms = read_terms()
    text = "CT Chest w/o contrast, Mrs. Lindqvist 0151-2345678, room 12, 5.0 mm; 12.03.1961"
    assert clean_words(text, terms) == "CT Chest w contrast 12 5.0 mm"
    assert not any(name in terms for name in ("smith", "jones", "john", "mary", "miller", "may", "will"))
    (tmp_path / "more.txt").write_text("Aneurysm  # a comment\n")
    assert clean_words("aneurysm x", read_terms(tmp_path / "more.txt")) == "aneurysm x"
    with pytest.raises(UsageError, match="list of words"):
        read_terms(tmp_path / "none.txt")


def test_what_a_key_computes() -> None:
    uid = KEY.uid("1.2.3.4")
    assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)
    assert int(uid[5:]) < 2**128
    assert KEY.uid("1.2.3.4\0") == uid
    assert uid != KEY.uid("1.2.3.5")
    assert Secret(b"l" * 32).uid("1.2.3.4") != uid
    days = {
        (date(2024, 5, 1) - KEY.shift(patient, date(2024, 5, 1))).days for patient in map(str, range(300))
    }
    assert FIRST_DAY <= min(days) < max(days) <= LAST_DAY
    assert len(days) > 250
    apart = KEY.shift("a", date(2024, 5, 9)) - KEY.shift("a", date(2024, 5, 1))
    assert apart.days == 8
    assert "k" * 8 not in repr(KEY)


def test_the_file_of_a_key(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    secret, made = open_key(path)
    assert made
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_key(path) == (secret, False)
    os.chmod(path, 0o644)
    with pytest.raises(UsageError, match="others may read"):
        open_key(path)
    (tmp_path / "b.key").write_text("00ff\n")
    with pytest.raises(UsageError, match="2 bytes, not 32"):
        open_key(tmp_path / "b.key")
    (tmp_path / "c.key").write_text("no key\n")
    with pytest.raises(UsageError, match="cannot be read"):
        open_key(tmp_path / "c.key")
    with pytest.raises(UsageError, match="cannot be made"):
        open_key(tmp_path / "none" / "d.key")
