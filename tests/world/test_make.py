from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pumice.data.llava_json import read_samples
from pumice.errors import Interrupted, UsageError
from pumice.evaluate.questions import read_questions
from pumice.generate.protocol import Kind, SceneText, Turn
from pumice.generate.run import MAX_TURNS, SHORT_ANSWER
from pumice.generate.scenes import read_scenes
from pumice.world import make
from pumice.world.make import FORMAT, make_world, split_numbers
from pumice.world.scene import make_scene
from pumice.world.teacher import WorldTeacher

SIZE = {"n": 72, "validation": 8, "test": 16}
PICTURES = {"train": 48, "validation": 8, "test": 16}


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "w"
    make_world(out, **SIZE)
    return out


def rows(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def kind_of(row: dict[str, Any]) -> str:
    """What the end of a row's id says it is; parts of a long row are numbered behind that."""
    found = re.search(r"-([a-z]+)(-\d+)?$", row["id"])
    assert found, row["id"]
    assert found[2] is None or found[1] == "short"
    return found[1]


def merged_turns(world: Path, name: str) -> dict[str, list[tuple[str, str]]]:
    """Questions and answers of the short rows of each picture, over all its rows."""
    turns: dict[str, list[tuple[str, str]]] = {}
    for row in rows(world / name):
        if kind_of(row) == "short":
            said = [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]]
            turns.setdefault(row["image"], []).extend(zip(said[::2], said[1::2], strict=True))
    return turns


def test_the_teacher_writes_each_kind_about_a_scene_once(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[tuple[str, str]] = Counter()
    write = WorldTeacher.write

    def counted(teacher: WorldTeacher, scene: SceneText, kind: Kind) -> Sequence[Turn]:
        asked[scene.id, kind] += 1
        return write(teacher, scene, kind)

    monkeypatch.setattr(WorldTeacher, "write", counted)
    monkeypatch.setattr(make, "gallery_page", lambda *given: (world / "gallery.html").read_text("utf-8")[:-1])
    make_world(tmp_path / "w", **SIZE)
    assert files(tmp_path / "w") == files(world)
    assert len({scene for scene, _ in asked}) == 72
    assert set(asked.values()) == {1}


def test_the_same_bytes_from_any_number_of_workers(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "w", workers=3, **SIZE)
    assert files(tmp_path / "w") == files(world)


def test_another_seed_is_another_world(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "w", seed=1, **SIZE)
    mine, other = files(world), files(tmp_path / "w")
    assert all(mine[name] != other[name] for name in mine.keys() & other.keys())


def test_splits_hold_what_was_asked_and_share_no_scene(world: Path) -> None:
    seen: dict[str, str] = {}
    for split, number in PICTURES.items():
        scenes = read_scenes(world / f"scenes-{split}.jsonl")
        assert len(scenes) == number
        for scene in scenes:
            _, seed, index = scene.id.split("-")
            assert make_scene(int(seed), int(index), "full").split == split
            assert seen.setdefault(repr((scene.instances, scene.texts)), split) == split
            with Image.open(world / scene.image) as picture:
                assert (picture.format, picture.size, picture.mode) == ("PNG", (112, 112), "RGB")
    assert len(list((world / "images").iterdir())) == 72


def test_no_row_to_train_on_is_of_a_test_picture(world: Path) -> None:
    pictures = {s.image for s in read_scenes(world / "scenes-train.jsonl")}
    for name in ("align.json", "lookup.json", "instruct.json"):
        assert {row["image"] for row in rows(world / name)} <= pictures
    held_out = {s.image for s in read_scenes(world / "scenes-validation.jsonl")}
    for name in ("val.json", "val_align.json"):
        assert {row["image"] for row in rows(world / name)} == held_out


def test_the_reader_takes_every_file(world: Path) -> None:
    for name in ("align.json", "lookup.json", "instruct.json", "val.json", "val_align.json"):
        samples = read_samples(world / name, world)
        assert len({s.id for s in samples}) == len(samples)
        assert all(len(s.images) == 1 for s in samples)
    regions = {s.id.removesuffix("-caption"): s.regions for s in read_samples(world / "align.json", world)}
    for scene in read_scenes(world / "scenes-train.jsonl"):
        wanted = [(i.category, i.box) for i in (*scene.instances, *scene.texts)]
        assert [(r.phrase, r.box) for r in regions[scene.id]] == wanted


def test_short_questions_carry_the_prompt_and_long_ones_do_not(world: Path) -> None:
    suffixes = Counter()  # type: ignore[var-annotated]
    for row in rows(world / "instruct.json"):
        suffix = kind_of(row)
        suffixes[suffix] += 1
        turns = row["conversations"]
        assert turns[0]["value"].startswith("<image>\n")
        for turn in turns[::2]:
            assert turn["value"].endswith(f"\n{SHORT_ANSWER}") == (suffix == "short")
        assert sum(turn["value"].count("<image>") for turn in turns) == 1
        asked = [turn["value"].removeprefix("<image>\n") for turn in turns[::2]]
        assert len(set(asked)) == len(asked), "one question twice"
        assert len(asked) <= MAX_TURNS
    merged = {row["image"] for row in rows(world / "instruct.json") if kind_of(row) == "short"}
    assert len(merged) == PICTURES["train"]
    assert suffixes["short"] > len(merged), "no picture has more turns than a row holds"
    assert set(suffixes) == {"short", "conversation", "detail", "reasoning"}
    assert all(5 <= suffixes[kind] <= 26 for kind in ("conversation", "detail", "reasoning"))


def test_short_turns_of_all_kinds_are_mixed(world: Path) -> None:
    firsts = []
    for turns in merged_turns(world, "instruct.json").values():
        asked, answers = zip(*turns, strict=True)
        assert len(set(asked)) == len(asked), "one question in two rows"
        firsts.append(asked[0].split()[0])
        if len(asked) > 12:
            assert any(a.startswith("There is no") for a in answers)
            assert {"Yes", "No"} & set(answers)
            assert any(q.startswith("How many") for q in asked)
    assert len(set(firsts)) >= 3, "the same kind always comes first"


def test_look_ups_are_dense_and_look_ups_only(world: Path) -> None:
    found = [turn["value"] for row in rows(world / "lookup.json") for turn in row["conversations"][::2]]
    assert all(text.endswith(SHORT_ANSWER) for text in found)
    assert not any(re.search("How many|Is there", text) for text in found)
    for words in ("What color", "What shape", "What size", "relative to", "What does the sign say"):
        assert any(words in text for text in found)
    pictures = {row["image"] for row in rows(world / "lookup.json")}
    assert len(found) > 6 * len(pictures)


def test_long_rows_are_parted_in_order_and_numbered(world: Path) -> None:
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for row in rows(world / "lookup.json"):
        by_picture.setdefault(row["image"], []).append(row)
    for parts in by_picture.values():
        ends = [row["id"].rpartition("short")[2] for row in parts]
        assert ends == ([""] if len(parts) == 1 else [f"-{i}" for i in range(len(parts))])
        assert [len(row["conversations"]) for row in parts[:-1]] == [2 * MAX_TURNS] * (len(parts) - 1)
    assert max(map(len, by_picture.values())) > 1


def test_questions_are_few_of_each_type_and_balanced(world: Path) -> None:
    questions = read_questions(world / "test_questions.jsonl").questions
    most = {**make.QUESTIONS, "existence": 6, "correction": 1}
    per_picture = Counter((q.image, q.type.split("-")[0]) for q in questions)
    assert all(number <= most[kind] for (_, kind), number in per_picture.items())
    assert {kind for _, kind in per_picture} == set(most)
    assert {q.image for q in questions} == {s.image for s in read_scenes(world / "scenes-test.jsonl")}
    tally = Counter((q.setting, q.answer) for q in questions if q.setting)
    for setting in ("random", "popular", "adversarial"):
        assert tally[setting, "yes"] == tally[setting, "no"] > 0
    assert all(q.present and q.answer in q.present for q in questions if q.type in ("color", "shape", "size"))
    assert all(q.text.endswith(SHORT_ANSWER) for q in questions)


def test_popular_names_are_those_of_the_training_pictures(world: Path) -> None:
    names = Counter(
        " ".join(i.category.split()[1:])
        for scene in read_scenes(world / "scenes-train.jsonl")
        for i in scene.instances
        if i.category != "sign"
    )
    head = [name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0]))][:12]
    for question in read_questions(world / "test_questions.jsonl").questions:
        if (question.setting, question.answer) == ("popular", "no"):
            assert any(f" {name} in the image" in question.text for name in head)


def test_the_record_tells_what_is_there(world: Path) -> None:
    record = rows(world / "world.json")
    assert (record["level"], record["seed"], record["pictures"]) == ("full", 0, PICTURES)
    assert record["files"]["instruct.json"]["rows"] == len(rows(world / "instruct.json"))
    assert set(record["files"]) | {"world.json", "images"} == {p.name for p in world.iterdir()}


def test_the_gallery_needs_nothing_but_the_pictures(world: Path) -> None:
    page = (world / "gallery.html").read_text("utf-8")
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert len(shown) == 60
    assert all((world / name).is_file() for name in shown)
    assert "<script" not in page
    assert "http" not in page
    assert "url(" not in page
    for name in re.findall(r'href="([^"]+)"', page):
        assert (world / name).is_file()
    scene = make_scene(0, 0, "full")
    card = page.split("<article")[1]
    assert card.count('<g class="b') == len(scene.things)
    x1, y1, x2, y2 = (round(v * 1000) for v in scene.things[0].box)
    assert f'x="{x1}" y="{y1}" width="{x2 - x1}" height="{y2 - y1}"' in card


def test_making_it_again_touches_nothing(world: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in world.rglob("*")}
    seen: list[tuple[int, int]] = []
    summary = make_world(world, **SIZE, progress=lambda *numbers: seen.append(numbers))
    assert summary == rows(world / "world.json")
    assert {path: path.stat().st_mtime_ns for path in world.rglob("*")} == before
    assert seen == [(72, 72)]


def test_what_is_missing_or_changed_is_made_good(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "w", **SIZE)
    next((tmp_path / "w" / "images").iterdir()).unlink()
    (tmp_path / "w" / "val.json").unlink()
    (tmp_path / "w" / "align.json").write_text("[]")
    (tmp_path / "w" / "images" / "full-0-9.png.77.partial").write_bytes(b"half a pict")
    make_world(tmp_path / "w", **SIZE)
    assert files(tmp_path / "w") == files(world)


def test_a_stopped_world_says_so_and_goes_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = make._save, []

    def stop_at_thirty(*args: Any) -> None:
        if len(saved) == 30:
            raise KeyboardInterrupt
        saved.append(args)
        save(*args)

    monkeypatch.setattr(make, "_save", stop_at_thirty)
    with pytest.raises(Interrupted, match="before the world was complete") as caught:
        make_world(tmp_path / "w", **SIZE)
    assert "same command again" in str(caught.value)
    left = {path.name for path in (tmp_path / "w").iterdir()}
    assert left == {"images", "world.unfinished.json"}, "something is half-written"
    monkeypatch.setattr(make, "_save", save)
    with pytest.raises(UsageError, match="another world: seed 0, not 1"):
        make_world(tmp_path / "w", **SIZE, seed=1)
    make_world(tmp_path / "w", **SIZE)
    assert files(tmp_path / "w") == files(world)


def test_other_settings_are_refused_and_the_world_stays(world: Path) -> None:
    before = files(world)
    for change in ({"seed": 5}, {"level": "easy"}, {"n": 73}):
        with pytest.raises(UsageError, match="another world"):
            make_world(world, **{**SIZE, **change})  # type: ignore[arg-type]
    assert files(world) == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not a world") as caught:
        make_world(tmp_path, n=10)
    assert "empty folder" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="taken by a file"):
        make_world(tmp_path / "thesis.tex", n=10)


def test_a_broken_record_is_reported(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(UsageError, match="record cannot be read"):
        make_world(tmp_path, n=10)
    (tmp_path / "world.json").write_text("[]")
    with pytest.raises(UsageError, match="no object"):
        make_world(tmp_path, n=10)
    (tmp_path / "world.json").write_text(f'{{"level": "full", "seed": 0, "format": {FORMAT}}}')
    with pytest.raises(UsageError, match="train None, not 8"):
        make_world(tmp_path, n=10)


def test_a_world_of_another_version_can_only_be_made_anew(tmp_path: Path) -> None:
    (tmp_path / "world.json").write_text(f'{{"level": "full", "seed": 0, "format": {FORMAT - 1}}}')
    with pytest.raises(UsageError, match=f"another version .*format {FORMAT - 1}, not {FORMAT}") as caught:
        make_world(tmp_path, n=10)
    assert "delete the folder" in str(caught.value)


def test_half_a_first_file_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "world.unfinished.json.123.partial").write_text("{")
    make_world(tmp_path, n=10)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level": "hard"}, "unknown level"),
        ({"n": 0}, "at least 1"),
        ({"n": 2}, "leave 0 to train on"),
        ({"seed": -1}, "seed -1"),
        ({"workers": 0}, "workers 0"),
        ({"n": 10, "test": -1}, "-1 for test"),
        ({"n": 10, "validation": 5, "test": 5}, "leave 0 to train on"),
    ],
)
def test_impossible_wishes_leave_no_folder(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        make_world(tmp_path / "w", **change)
    assert words in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_split_numbers() -> None:
    assert split_numbers(1000) == {"train": 800, "validation": 100, "test": 100}
    assert split_numbers(3) == {"train": 1, "validation": 1, "test": 1}
    assert split_numbers(100, validation=0, test=30) == {"train": 70, "validation": 0, "test": 30}


def test_a_split_of_none_has_no_files(tmp_path: Path) -> None:
    summary = make_world(tmp_path, n=6, validation=0, test=1, level="easy")
    assert summary["pictures"] == {"train": 5, "validation": 0, "test": 1}
    assert not (tmp_path / "val.json").exists()
    assert len(list((tmp_path / "images").iterdir())) == 6
