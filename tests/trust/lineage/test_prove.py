"""From weights to their data, and proofs that hold with the root alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumice.data.index import open_table
from pumice.errors import CheckpointError
from pumice.lineage.record import read_lineage
from pumice.trust.lineage.prove import holds

from .conftest import Place


def test_an_export_is_followed_to_its_data(place: Place) -> None:
    said = place.call("lineage", "exports/out", "--check")
    assert "exports/out: export (hf, float32)" in said
    assert "stage instruct of run old, step 6 of 6" in said
    assert "checkpoint: stages/align/model (stage, stage align of run old, step 3 of 3)" in said
    assert "language: language (no record, nothing is known of what it saw)" in said
    assert "10 rows of instruct.json" in said
    assert "checked: the weights, and the trees of 2 stages" in said
    record = read_lineage(place.run / "stages/instruct/model")
    assert record is not None
    assert record["data"]["root"] in said
    assert json.loads(place.call("lineage", "exports/out", "--json"))["kind"] == "export"


def test_a_proof_holds_under_its_root_and_no_other(place: Place) -> None:
    said = place.call("lineage", "runs/old/stages/align/model", "--row", "3", "--proof", "p.json")
    assert "row 3 of" in said
    proof = json.loads(Path("p.json").read_text())
    assert "holds" in place.call("lineage", "--verify", "p.json", "--root", proof["root"])
    place.call("lineage", "--verify", "p.json", "--root", "00" * 32, code=1)
    place.call("lineage", "--verify", "p.json", code=2)
    for key, value in (
        ("row", "00" * 16),
        ("pictures", []),
        ("index", 2),
        ("count", 9),
        ("path", []),
        ("index", 1e999),
    ):
        assert not holds({**proof, key: value}, proof["root"]), key


def test_a_row_that_was_not_there(place: Place) -> None:
    assert "was not among its 8 rows" in place.call(
        "lineage", "runs/old/stages/align/model", "--row", "ab" * 16
    )
    assert "no row has the id" in place.call("lineage", "runs/old", "--row", "nobody", code=1)


def test_an_id_that_looks_like_a_digest_is_looked_up_as_well(place: Place) -> None:
    from pumice.trust.lineage.select import digests_named

    rows = json.loads(Path("data/align.json").read_text())
    name = "0123456789abcdef" * 2
    Path("named.json").write_text(json.dumps([{**rows[0], "id": name}]))
    digest = open_table("named.json", Path("data"), "named").columns.digest[0].tobytes()
    assert digests_named(name, ["named.json"]) == {digest, bytes.fromhex(name)}


def test_other_weights_under_a_record_are_noticed(place: Place) -> None:
    file = Path("exports/out/model.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert "model.safetensors" in place.call("lineage", "exports/out", "--check", code=1)


def test_a_damaged_record_is_an_error(place: Place) -> None:
    file = Path("exports/out/lineage.json")
    for text in ("{", "[]", '{"format": "pumice lineage", "version": 9, "kind": "stage"}'):
        file.write_text(text)
        with pytest.raises(CheckpointError, match="cannot be read"):
            read_lineage(file.parent)
    file.unlink()
    assert "nothing is known" in place.call("lineage", "exports/out", code=1)
