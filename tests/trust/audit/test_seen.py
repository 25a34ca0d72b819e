"""What a tower, corners and counts find of faults that were planted, in pictures of the embedded world."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pumice.data import open_table
from pumice.data.mixture import Source
from pumice.errors import CheckpointError, DataError
from pumice.trust.audit import Wishes, choose, mixed, open_material, run_audit
from pumice.trust.audit.faces import made_faces
from pumice.trust.audit.planted import Caught, caught, read_truth
from pumice.trust.audit.unsafe import UnsafeHead
from pumice.trust.plant import plant
from pumice.world.embedded import resolve
from pumice.world.make import make_world

TOWER = "embedded:clip-tiny"


@pytest.fixture(scope="session")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of easy pictures, all for training; read only."""
    out = tmp_path_factory.mktemp("pictured")
    make_world(out, n=240, level="easy", seed=31, validation=0, test=0, workers=1)
    return out


def planted(data: Path, out: Path, kinds: Sequence[str], share: float, seed: int = 3) -> Path:
    table = open_table(str(data), data.parent, "data")
    plant(table, out, kinds, share=share, seed=seed)
    return out


def audited(folder: Path, checks: Sequence[str], wishes: Wishes, out: Path) -> dict[str, Caught]:
    """What was found of what was planted, by all checks together, by kind of fault."""
    out.mkdir(exist_ok=True)
    material = open_material([Source("data", folder / "data.json", folder)])
    done = run_audit(material, choose(checks), wishes, out=out, notes=None, workers=1)
    truth = read_truth(folder / "planted.jsonl")
    found = caught(material, done.findings, [entry["check"] for entry in done.record["checks"]], truth)
    return {one.kind: one for one in reversed(found)}  # the first of a kind is of all checks together


def test_faults_are_found_and_little_else(pictured: Path, tmp_path: Path) -> None:
    kinds = ("duplicates", "near-duplicates", "triggers", "phrases", "personal")
    folder = planted(pictured / "align.json", tmp_path / "planted", kinds, 0.05)
    checks = ("duplicate-rows", "duplicate-pictures", "personal", "patches", "phrases")
    found = audited(folder, checks, Wishes(), tmp_path / "out")
    assert set(found) == set(kinds)
    least = {"duplicates": 1.0, "near-duplicates": 0.8, "triggers": 0.75}
    for kind, one in found.items():
        assert one.recall >= least.get(kind, 0.9), one
        assert one.alarm_rate <= 0.02, one


def test_captions_of_other_pictures_and_copies_are_seen_by_a_tower(pictured: Path, tmp_path: Path) -> None:
    kinds = ("near-duplicates", "mismatches")
    folder = planted(pictured / "align.json", tmp_path / "planted", kinds, 0.05)
    found = audited(folder, ["tower"], Wishes(tower=resolve(TOWER)), tmp_path / "out")
    assert found["mismatches"].recall >= 0.75, found
    assert found["mismatches"].alarm_rate <= 0.02, found
    assert found["near-duplicates"].recall >= 0.6, found
    assert found["near-duplicates"].alarm_rate <= 0.02, found


def test_clean_data_raises_no_alarm(pictured: Path, tmp_path: Path) -> None:
    material = open_material([Source("data", pictured / "align.json", pictured)])
    done = run_audit(material, choose(["patches", "phrases"]), Wishes(), out=tmp_path, notes=None, workers=1)
    assert [one for one in done.findings if one.severity == "serious"] == []


def test_checks_that_need_something_say_so(tmp_path: Path, pictured: Path) -> None:
    material = open_material([Source("data", pictured / "align.json", pictured)], limit=3)
    done = run_audit(material, choose(["tower", "answers"]), Wishes(), out=tmp_path, notes=None, workers=1)
    assert [one["why"].split(": ")[1] for one in done.record["not_run"]] == [
        "give one with --tower",
        "give one with --model",
    ]


def test_who_cannot_tell_right_from_wrong_judges_nothing() -> None:
    rng = np.random.default_rng(0)
    wrong = rng.normal(0, 1, 4000)
    knows = np.concatenate([rng.normal(6, 1, 950), rng.normal(0, 1, 50)])
    assert mixed.blind(knows, wrong, "the tower") == ""
    told = mixed.wrong_chances(knows, wrong) >= 0.5
    assert told[950:].sum() >= 48
    assert told[:950].sum() <= 75
    for knows_not in (rng.normal(0, 1, 1000), rng.normal(0.3, 1, 1000)):
        assert "no row is told" in mixed.blind(knows_not, wrong, "the tower")


def test_faces_do_not_run_without_a_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumice.trust.audit.faces.find_spec", lambda name: None)
    assert "OpenCV" in str(made_faces())


def head(path: Path, weight: Any, bias: Any, **said: str) -> Path:
    save_file({"weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}, path, said)
    return path


def test_a_head_says_how_unsafe_a_picture_is(tmp_path: Path) -> None:
    embeds = np.array([[1, 0], [0, 1]], np.float32)
    one = UnsafeHead.read(head(tmp_path / "one", [4.0, -4.0], [0.0], threshold="0.9"))
    assert one.threshold == 0.9
    assert one.scores(embeds) == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))])
    two = UnsafeHead.read(head(tmp_path / "two", [[-2.0, 2.0], [2.0, -2.0]], [0.5, 0.5]))
    assert two.scores(embeds) == pytest.approx(one.scores(embeds))
    assert [finding.picture for finding in one.findings("tower", np.array([7, 9]), embeds)] == [7]
    with pytest.raises(CheckpointError, match="embeddings of 2 numbers, the tower's have 3"):
        one.scores(np.zeros((1, 3), np.float32))
    with pytest.raises(CheckpointError, match=r"weight \[3, 2\]"):
        UnsafeHead.read(head(tmp_path / "three", np.zeros((3, 2)), np.zeros(3)))


def test_truth_must_be_truth(tmp_path: Path) -> None:
    path = tmp_path / "planted.jsonl"
    path.write_text('{"kind": "weeds", "row": 1}\n')
    with pytest.raises(DataError, match="no planted fault"):
        read_truth(path)
