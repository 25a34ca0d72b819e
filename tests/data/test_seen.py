"""What a stage saw: rows by digest, pictures by their bytes, steps by row; proofs against the root."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pumice.data.contents import Contents
from pumice.data.merkle import leaf_hash, root_of_proof
from pumice.data.mixture import Source, read_mixture
from pumice.data.seen import Seen, leaf_data, seen_rows
from pumice.errors import RunError


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    rows = []
    for number in range(5):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
        turns = [{"from": "human", "value": "What?\n<image>"}, {"from": "gpt", "value": "It."}]
        rows.append({"id": str(number), "image": f"{number % 3}.png", "conversations": turns})
    rows.append(
        {"id": "t", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    )
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(rows))
    return path


def seen(talk: Path, steps: list[list[int]] | None = None, weight: float = 1) -> Seen:
    mixture = read_mixture([Source("talk", talk, talk.parent, weight=weight)], seed=0)
    return seen_rows(mixture.samples, steps or [], Contents(None), workers=2)


def test_rows_know_their_pictures_steps_and_places(talk: Path, tmp_path: Path) -> None:
    found = seen(talk, [[0, 7], [5, 6, 1], [0, 6]], weight=2)  # 6 rows, each twice: sample 6 is row 0 again
    assert (len(found), len(found.columns.picture), len(found.columns.sample)) == (6, 3, 12)
    assert [found.steps(row).tolist() for row in range(6)] == [[0, 1, 2], [0, 1], [], [], [], [1]]
    assert found.picture_digests(1) == found.picture_digests(4) != found.picture_digests(0)
    assert found.picture_digests(5) == []
    assert found.origin(3) == (str(talk), 3)
    assert found.find_pictures({found.picture_digests(0)[0]}).tolist() == [0, 3]
    assert found.find_rows({found.row_digest(5), bytes(16)}).tolist() == [5]
    assert found.find_rows(set()).tolist() == []
    found.save(tmp_path / "rows.npz")
    again = Seen.load(tmp_path / "rows.npz")
    assert again.root == found.root
    assert again.sources == ["talk"]


def test_a_stranger_proves_a_row_with_the_root_alone(talk: Path) -> None:
    found = seen(talk)
    leaf = leaf_hash(leaf_data(found.row_digest(3), found.picture_digests(3)))
    path = [bytes.fromhex(one) for one in found.proof(3)]
    root = root_of_proof(leaf, 3, 6, path)
    assert root is not None
    assert root.hex() == found.root


def test_the_root_hangs_on_every_row_and_every_byte_of_a_picture(talk: Path) -> None:
    before = seen(talk).root
    assert seen(talk).root == before
    Image.new("RGB", (8, 8), (1, 2, 3)).save(talk.parent / "2.png")
    changed = seen(talk).root
    rows = json.loads(talk.read_text())
    talk.write_text(json.dumps(rows[:-1]))
    assert len({before, changed, seen(talk).root}) == 3


def test_a_digest_that_ends_in_zeros_is_found(talk: Path) -> None:
    found = seen(talk)
    rows = found.columns.row.copy()
    rows[2, 8:] = 0
    from dataclasses import replace

    changed = Seen(replace(found.columns, row=rows))
    assert changed.find_rows({rows[2].tobytes()}).tolist() == [2]
    assert changed.find_rows({np.append(rows[2][:7], [0] * 9).astype(np.uint8).tobytes()}).tolist() == []


def test_a_damaged_file_says_what_is_lost(tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"no")
    with pytest.raises(RunError, match="list of rows that were seen"):
        Seen.load(tmp_path / "rows.npz")
