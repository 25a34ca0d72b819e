"""Erasure end to end: rows go from data and caches, weights that saw them are locked, the rest is free."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pumice.data.index import open_table
from pumice.data.plan import Plan
from pumice.data.seen import Seen
from pumice.errors import DataError, RunError
from pumice.lineage.quarantine import MARKER, QuarantinedError, check_quarantine
from pumice.model import load
from pumice.trust.lineage.log import append, read_log
from pumice.trust.lineage.rewrite import rewrite
from pumice.trust.lineage.select import DataFile, Wanted, choose, digests_named

from .conftest import Place


def late(place: Place) -> tuple[str, int]:
    """The id of the row that the fourth step of instruct shows, and of nothing else's picture; its step."""
    plan = Plan.load(place.run / "stages/instruct/plan.json")
    seen = Seen.load(place.run / "stages/instruct/rows.npz")
    rows = json.loads((place.folder / "data/instruct.json").read_text("utf-8"))
    (sample,) = plan.samples(3)
    return str(rows[seen.origin(sample)[1]]["id"]), 4


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_a_dry_run_says_all_and_changes_nothing(place: Place) -> None:
    name, step = late(place)
    before = files(place.folder)
    said = place.call("erase", "data/instruct.json", "--row", name, "--models", "exports", "--dry-run")
    assert files(place.folder) == before
    assert "data/instruct.json: 1 row of 10" in said
    for folder in ("runs/old/stages/instruct/model (stage)", "exports/out (export)"):
        assert f"{folder}: 1 row of stage instruct of run old, the first in step {step}" in said
    clean = said.partition("Weights that did not")[2].partition("To have")[0]
    assert "runs/old/stages/align/model" in clean
    assert "pumice train runs/old/recipe.yaml --name old-erasure-1 --reuse runs/old" in said
    assert "keeps stage align; 6 steps again" in said
    assert "1 more row with the same pictures" in said, "the caption of the same picture"
    assert "vision, language" not in said
    assert "without a record: language, vision" in said


def test_erased_rows_are_gone_and_weights_that_saw_them_are_locked(place: Place) -> None:
    name, _ = late(place)
    digest = next(
        table.columns.digest[row].tobytes().hex()
        for table in [open_table("data/instruct.json", Path("data"), "i", cache_folder=Path("runs/.cache"))]
        for row, one in enumerate(table)
        if one.id == name
    )
    said = place.call("erase", "data/instruct.json", "--row", name, "--models", "exports", "--yes")
    assert "1 row of 1 file erased" in said
    table = open_table("data/instruct.json", Path("data"), "instruct")
    assert (len(table), table.head.erased) == (9, 1)
    cached = b"".join(path.read_bytes() for path in Path("runs/.cache").rglob("*") if path.is_file())
    assert bytes.fromhex(digest) not in cached

    for folder in ("runs/old/stages/instruct/model", "exports/out"):
        with pytest.raises(QuarantinedError, match="stage instruct of run old from step 4 on") as caught:
            load(folder)
        assert "--reuse runs/old" in str(caught.value)
    assert load("exports/out", allow_quarantined=True).model is not None
    load("runs/old/stages/align/model")
    (entry,) = read_log(Path("runs"))
    assert entry["rows"] == [digest]
    assert (entry["counts"]["rows"], entry["counts"]["quarantined"], entry["counts"]["clean"]) == (1, 2, 1)
    text = Path("data/instruct.json.erased.jsonl").read_text() + Path("exports/out", MARKER).read_text()
    assert "colour" not in text


@pytest.mark.slow
def test_who_uses_locked_weights_is_told_why(place: Place, makers: Any) -> None:
    from pumice.cli import app
    from pumice.train.run import Parts

    name, _ = late(place)
    place.call("erase", "data/instruct.json", "--row", name, "--models", "exports", "--yes")
    from typer.testing import CliRunner

    for words in (
        ["chat", "exports/out", "What ?"],
        ["look", "exports/out", "What ?", "--image", "data/0.png"],
        ["serve", "exports/out"],
        ["eval", "exports/out", "--questions", "data/instruct.json"],
        ["export", "runs/old/model", "again"],
        ["quantize", "runs/old/model", "again"],
    ):
        result = CliRunner().invoke(app, words)
        assert isinstance(result.exception, SystemExit), words
        assert "quarantined" in result.output, (words, result.output)
    words = ["chat", "exports/out", "What ?", "--max-new-tokens", "2"]
    looked = CliRunner().invoke(app, [*words, "--allow-quarantined"])
    assert looked.exit_code == 0, looked.output
    recipe = makers.make_recipe(place.folder / "data", makers.align())
    whole = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"vision": None, "language": None, "checkpoint": "x"})
        }
    )
    with pytest.raises(QuarantinedError):
        makers.run(whole, place.folder / "runs/new", Parts(checkpoint=Path("exports/out")))
    with pytest.raises(QuarantinedError):
        makers.run(makers.make_recipe(place.folder / "data"), place.run, makers.Parts(), resume=True)


def test_a_slip_in_an_id_erases_nothing_and_is_told(place: Place) -> None:
    name, _ = late(place)
    rows = json.loads(Path("data/instruct.json").read_text("utf-8"))
    rows[[row["id"] for row in rows].index(name)]["id"] = "harbour-view"
    Path("data/instruct.json").write_text(json.dumps(rows))
    other = next(row["id"] for row in rows if row["id"] != "harbour-view")
    words = ["erase", "data/instruct.json", "--row", other, "--row", "harbor-view", "--yes"]
    said = place.call(*words, code=1)
    assert "no row has the id 'harbor-view'; nothing was erased" in said
    assert "did you mean 'harbour-view'?" in said
    assert not Path("data/instruct.json.erased.jsonl").exists()
    place.call("erase", "data/instruct.json", "--row", "harbour-view", "--yes")
    said = place.call("erase", "data/instruct.json", "--row", "harbour-view", "--yes")
    assert "harbour-view: erased already" in said


def test_a_row_that_is_erased_is_still_found_by_its_id(place: Place) -> None:
    name, _ = late(place)
    before = digests_named(name, ["data/instruct.json"])
    place.call("erase", "data/instruct.json", "--row", name, "--yes")
    assert digests_named(name, ["data/instruct.json"]) == before


def test_a_picture_takes_all_its_rows_and_those_that_come_later(place: Place) -> None:
    shutil.copy("data/0.png", "elsewhere.png")
    said = place.call("erase", "--image", "elsewhere.png", "--yes")
    assert "data/align.json: 1 row" in said
    assert "data/instruct.json: 1 row" in said
    assert all(
        "0" not in [one.id for one in open_table(f"data/{n}.json", Path("data"), n)]
        for n in ("align", "instruct")
    )
    rows = json.loads(Path("data/align.json").read_text())
    Path("data/align.json").write_text(json.dumps([*rows, {**rows[0], "id": "later"}]))
    assert "later" not in [one.id for one in open_table("data/align.json", Path("data"), "align")]
    assert "keeps nothing" in said


def test_a_subject_is_found_in_texts_ids_and_names(place: Place) -> None:
    said = place.call("erase", "data/instruct.json", "--subject", "how many CIRCLES", "--dry-run")
    assert "data/instruct.json: 2 rows of 10" in said
    assert "1 row of 8 (row 3)" in place.call("erase", "--subject", r"^3\.png$", "--dry-run")
    assert "nothing is erased" in place.call(
        "erase", "data/instruct.json", "--subject", "nobody", "--dry-run"
    )
    assert "fits every text" in place.call("erase", "--subject", "a*", code=2)


def test_a_rewritten_file_has_the_other_rows_as_they_were(place: Place) -> None:
    path = Path("data/instruct.json")
    rows = json.loads(path.read_text())
    without_id = [{k: v for k, v in row.items() if k != "id"} for row in rows]
    path.write_text(json.dumps(without_id))
    before = open_table(path, Path("data"), "i")
    digests = [before.columns.digest[row].tobytes() for row in range(len(before))]
    place.call("erase", "data/instruct.json", "--row", digests[2].hex(), "--rewrite", "--yes")
    left = json.loads(path.read_text())
    assert [{k: v for k, v in row.items() if k != "id"} for row in left] == without_id[:2] + without_id[3:]
    after = open_table(path, Path("data"), "i")
    assert [after.columns.digest[row].tobytes() for row in range(len(after))] == digests[:2] + digests[3:]


def test_a_link_is_rewritten_where_it_leads_and_a_file_that_changed_is_not(place: Place) -> None:
    Path("links").mkdir()
    link = Path("links/instruct.json")
    link.symlink_to(Path("data/instruct.json").resolve())
    place.call("erase", str(link), "--images", "data", "--row", "3", "--rewrite", "--yes")
    assert link.is_symlink()
    assert "3" not in [row["id"] for row in json.loads(Path("data/instruct.json").read_text())]
    chosen, *_ = choose([DataFile("data/instruct.json", Path("data"))], Wanted(rows=("4",)), None)
    assert chosen.rows
    Path("data/instruct.json").write_text(json.dumps(json.loads(link.read_text())[1:]))
    with pytest.raises(DataError, match="changed since"):
        rewrite(chosen)


def test_rows_without_an_id_that_say_the_same_go_together(place: Place) -> None:
    path = Path("data/instruct.json")
    rows = [{k: v for k, v in row.items() if k != "id"} for row in json.loads(path.read_text())]
    path.write_text(json.dumps([*rows, rows[2]]))
    said = place.call("erase", str(path), "--row", "2", "--yes")
    assert "2 rows of 11 (rows 2, 10)" in said
    path.write_text(json.dumps([rows[2], *rows]))
    table = open_table(path, Path("data"), "instruct")
    assert (len(table), table.head.erased) == (9, 2)


def test_what_is_not_known_is_said_and_not_guessed(place: Place) -> None:
    name, _ = late(place)
    for path in [*place.run.rglob("lineage.json"), *place.run.rglob("rows*.npz")]:
        path.unlink()
    said = place.call("erase", "data/instruct.json", "--row", name, "--models", "exports", "--dry-run")
    unproven = said.partition("Not proven")[2]
    assert "exports/out: the rows of stage instruct of run old are not here" in unproven
    assert "runs/old/stages/instruct/model: it has no record" in unproven
    assert "runs/old: made without records" in unproven
    assert "saw them, to be quarantined none" in said


def test_weights_that_turn_up_later_are_found_again(place: Place) -> None:
    name, _ = late(place)
    shutil.move("exports/out", "out")
    place.call("erase", "data/instruct.json", "--row", name, "--yes")
    shutil.move("out", "exports/out")
    check_quarantine(Path("exports/out"))
    place.call("erase", "--again", "--models", "exports", "--yes")
    with pytest.raises(QuarantinedError):
        check_quarantine(Path("exports/out"))


def test_no_is_no(place: Place) -> None:
    name, _ = late(place)
    before = files(place.folder)
    place.call("erase", "data/instruct.json", "--row", name, code=1)
    assert files(place.folder) == before


def test_the_log_only_grows(tmp_path: Path) -> None:
    for number in range(3):
        append(tmp_path, {"erasure": str(number)})
    lines = (tmp_path / "erasures.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "erasures.jsonl").write_text(lines[0] + lines[2])
    with pytest.raises(RunError, match="a line before it was changed"):
        read_log(tmp_path)
    with pytest.raises(RunError):
        append(tmp_path, {"erasure": "4"})


def test_replies_of_a_teacher_go_with_the_rows_made_of_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("runs/made")
    folder.mkdir()
    rows = json.loads(Path("data/align.json").read_text())[:2]
    (folder / "data.json").write_text(json.dumps([{**row, "id": f"scene-{row['id']}-short"} for row in rows]))
    (folder / "generation.json").write_text("{}")
    lines = [
        json.dumps({"key": str(k), "job": f"scene-{k}-short", "text": "a secret"}) + "\n" for k in range(2)
    ]
    (folder / "replies.jsonl").write_text("".join(lines))
    Path("scenes.jsonl").write_text(
        "".join(
            json.dumps({"id": str(k), "image": f"{k}.png", "captions": ["a"], "instances": []}) + "\n"
            for k in range(2)
        )
    )
    notes = Path("runs/.cache/audit/00/notes.npz")
    notes.parent.mkdir(parents=True)
    notes.touch()
    Path(notes.parent, "more.npz").write_bytes(b"found in a text")

    def killed(*args: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pumice.trust.lineage.erase.quarantine", killed)
        place.call(
            "erase",
            "runs/made/data.json",
            "data/align.json",
            "--row",
            "scene-1-short",
            "--row",
            "1",
            "--yes",
            code=130,
        )
    assert (folder / "replies.jsonl").read_text() == lines[0]
    assert not notes.exists()
    (folder / "replies.jsonl").write_text("".join(lines))
    Path("runs/made/data.json.erased.jsonl").unlink()
    place.call(
        "erase",
        "runs/made/data.json",
        "--images",
        "data",
        "--image",
        "data/0.png",
        "--scenes",
        "scenes.jsonl",
        "--yes",
    )
    assert (folder / "replies.jsonl").read_text() == lines[1]
    from pumice.generate.readers import open_scenes

    assert [scene.id for scene in open_scenes(Path("scenes.jsonl"))] == ["1"]


def test_a_dataset_of_the_hub_is_refused_with_a_way_out(place: Place) -> None:
    with pytest.raises(DataError, match="hub cannot be erased"):
        choose([DataFile("hub:a/b")], Wanted(rows=("1",)), None)
