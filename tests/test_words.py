from __future__ import annotations

from pumice.words import counted


def test_one_thing_is_not_many() -> None:
    assert counted(1, "row") == "1 row"
    assert counted(0, "row") == "0 rows"
    assert counted(2000, "sample") == "2,000 samples"
    assert counted(2, "copy", "copies") == "2 copies"
    assert counted(1, "copy", "copies") == "1 copy"
