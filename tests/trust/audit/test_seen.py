"""What a tower, corners and counts find of faults that were planted, in pictures of the embedded world."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from pumice.data import open_table
from pumice.data.fingerprints import build_index
from pumice.data.mixture import Source
from pumice.errors import CheckpointError, DataError
from pumice.trust.audit import Wishes, choose, mixed, open_material, run_audit
from pumice.trust.audit.against import others
from pumice.trust.audit.faces import made_faces
from pumice.trust.audit.planted import Caught, caught, read_truth
from pumice.trust.audit.tower import Tower, made_tower
from pumice.trust.audit.unsafe import UnsafeHead
from pumice.trust.audit.unusual import unusual
from pumice.trust.plant import plant
from pumice.world.embedded import resolve
from pumice.world.make import make_world

from . import data

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


def test_a_tower_sees_what_other_data_has_but_not_in_fingerprints(pictured: Path, tmp_path: Path) -> None:
    rows = json.loads((pictured / "align.json").read_text())[:61]
    (tmp_path / "out").mkdir()
    for number, at in enumerate((5, 60)):  # row 60 is not among one's own
        image = Image.open(pictured / rows[at]["image"]).convert("RGB")
        image.resize((image.width // 2, image.height // 2)).save(tmp_path / f"{number}.jpg", quality=80)
    bench = data.write(
        tmp_path / "bench.json", [data.row(str(n), ("What?", "It."), image=f"{n}.jpg") for n in (1, 0)]
    )
    build_index([open_table(str(bench), tmp_path, "bench")], workers=1).save(tmp_path / "prints.npz")
    sources = [Source("bench", bench, tmp_path), Source("prints", tmp_path / "prints.npz")]
    tower = made_tower(resolve(TOWER))
    assert isinstance(tower, Tower)
    assert pickle.loads(pickle.dumps(replace(tower, others=(object(),)))).others == ()  # type: ignore[arg-type]
    with others(sources, notes=None, cache_folder=None, workers=1, more=[tower]) as held:
        done = run_audit(
            open_material([Source("data", pictured / "align.json", pictured)], limit=60),
            choose(["tower"]),
            Wishes(tower=resolve(TOWER), against=held),
            out=tmp_path / "out",
            notes=None,
            workers=1,
        )
    (found,) = (one for one in done.findings if one.kind == "looks-alike-against")
    assert done.material.showing(found.picture or 0).tolist() == [5]
    assert found.details == {"file": str(bench), "row": 1, "picture": str(tmp_path / "0.jpg")}
    assert [one.what for one in done.findings if "prints are fingerprints" in one.what] != []


def test_far_pictures_are_told_though_they_lie_together_and_few_of_many() -> None:
    rng = np.random.default_rng(0)
    embeds = rng.normal(0, 1, (400, 24)).astype(np.float32)
    embeds[:, 0] *= 20  # a wide direction hides nothing in a narrow one
    numbers = np.arange(400) + 1000
    assert list(unusual("tower", numbers, embeds)) == []
    embeds[7, 3], embeds[200:203, 5] = 25, 12
    found = list(unusual("tower", numbers, embeds))
    assert found[0].picture == 1007
    assert {one.picture for one in found} == {1007, 1200, 1201, 1202}
    assert [one.score for one in found] == sorted((one.score for one in found if one.score), reverse=True)
    embeds[::10, 3] = 60
    assert len(list(unusual("tower", numbers, embeds))) <= 8
    assert list(unusual("tower", numbers[:49], embeds[:49])) == []
    assert list(unusual("tower", numbers, np.ones((400, 3), np.float32))) == []


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
