"""`pumice data`: check, stats, convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from pumice.cli.data import Format
from pumice.types import DataFormat


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A LLaVA file beside its pictures, which is where the command runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "in").mkdir(parents=True)
    rows = []
    for i in range(3):
        Image.new("RGB", (8 + i, 6), "red").save(tmp_path / "photos" / "in" / f"{i}.png")
        turns = [{"from": "human", "value": "<image>\nWhat color?"}, {"from": "gpt", "value": "It is red."}]
        rows.append({"id": str(i), "image": f"in/{i}.png", "conversations": turns})
    rows.append({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Paint."}]})
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(rows))
    return path


def test_the_choices_are_the_formats() -> None:
    assert [form.value for form in Format] == list(get_args(DataFormat))


def test_videos_are_counted_beside_pictures(pumice: Any, talk: Path) -> None:
    rows = json.loads(talk.read_text())
    (talk.parent / "photos" / "walk").mkdir()
    for number in range(3):
        Image.new("RGB", (8, 6)).save(talk.parent / "photos" / "walk" / f"{number}.png")
    rows.append({"video": "walk", "conversations": rows[0]["conversations"]})
    talk.write_text(json.dumps(rows))
    result = pumice("data", "check", "talk.json", "--images", "photos", "--decode")
    assert result.code == 0, result.both
    assert "5 rows, 3 pictures, 1 videos (all decoded)" in result.out
    assert "3 pictures, 1 videos; 5 questions" in pumice("data", "stats", "talk.json").out
    (talk.parent / "photos" / "walk" / "1.png").write_bytes(b"\x89PNG no")
    result = pumice("data", "check", "talk.json", "--images", "photos", "--decode")
    assert result.code == 1
    assert "row 4" in result.err
    assert "1.png" in result.err


def test_check_reads_rows_and_headers_or_pixels(pumice: Any, talk: Path) -> None:
    result = pumice("data", "check", "talk.json", "--images", "photos")
    assert result.code == 0, result.both
    assert "talk.json: llava, 4 rows, 3 pictures (all headers read); no bad row" in result.out
    assert "pumice data stats talk.json" in result.out
    assert (talk.parent / "runs" / ".cache" / "images.json").is_file()
    picture = talk.parent / "photos" / "in" / "1.png"
    picture.write_bytes(picture.read_bytes()[:50])
    assert pumice("data", "check", "talk.json", "--images", "photos").code == 0
    result = pumice("data", "check", "talk.json", "--images", "photos", "--decode")
    assert result.code == 1
    assert "1.png is damaged" in result.err
    assert "talk.json, row 1" in result.err


def test_check_lists_bad_rows(pumice: Any, talk: Path) -> None:
    rows = json.loads(talk.read_text())
    for row in rows:
        row["imagee"] = "x"
    talk.write_text(json.dumps(rows))
    result = pumice("data", "check", "talk.json", "--no-images", "--show", "2")
    assert result.code == 1
    assert "(4, the first 2 of them here)" in result.err
    assert "did you mean 'image'" in result.err
    result = pumice("data", "check", "talk.json", "--no-images", "--decode")
    assert result.code == 2


def test_a_format_that_is_none_has_a_nearest(pumice: Any, talk: Path) -> None:
    result = pumice("data", "convert", "talk.json", "back.json", "--to", "llama")
    assert result.code == 2
    assert "error: 'llama' is none of the choices" in result.err
    assert "where: --to" in result.err
    assert "did you mean 'llava'?" in result.err


def test_each_remedy_stands_once_with_its_rows(pumice: Any, talk: Path) -> None:
    rows = json.loads(talk.read_text())
    for row in rows:
        row["id"] = f"seen {len(row)}"
    rows[0]["imagee"] = rows[3]["imagee"] = "x"
    rows[1]["conversations"] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    talk.write_text(json.dumps(rows))
    told = pumice("data", "check", "talk.json", "--no-images").err
    places = [told.index(f"talk.json, row {number} ({rows[number]['id']}): ") for number in (0, 1, 3)]
    assert places == sorted(places)
    assert "\n    rows 0, 3: did you mean 'image'?" in told
    assert "\n    row 1: say --format sharegpt" in told
    assert told.count("did you mean") == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("photos/in/1.png", "the folder photos is named twice: give . as the image folder"),
        ("in/1.PNG", "did you mean 'in/1.png'? Capitals count"),
        ("in/picture.png", "put it under the image folder photos"),
        ("https://a.org/1.png", "not fetched from the web"),
    ],
)
def test_a_missing_picture_is_looked_for(pumice: Any, talk: Path, name: str, said: str) -> None:
    rows = json.loads(talk.read_text())
    rows[1]["image"] = name
    talk.write_text(json.dumps(rows))
    result = pumice("data", "check", "talk.json", "--images", "photos")
    assert result.code == 1
    assert said in result.err


def test_check_needs_the_folder_of_the_pictures(pumice: Any, talk: Path) -> None:
    told = pumice("data", "check", "talk.json").err
    assert "no image folder is given" in told
    assert "--images DIR" in told
    assert "--no-images" in told
    assert "3 pictures (not looked at)" in pumice("data", "check", "talk.json", "--no-images").out


def test_stats_counts_and_draws(pumice: Any, talk: Path) -> None:
    result = pumice("data", "stats", "talk.json")
    assert result.code == 0, result.both
    assert "4 rows, 1 of them text only; 3 pictures; 4 questions with answers; 17 words" in result.out
    assert "text only" in result.out
    lines = [line.split() for line in result.out.splitlines()]
    assert ["in", "3", "3", "1.0", "2.0", "3.0", "90.0%"] in lines
    assert any(line[:4] == ["0", "to", "7", "4"] for line in lines)


def test_convert_there_and_back(pumice: Any, talk: Path) -> None:
    result = pumice("data", "convert", "talk.json", "shards", "--to", "webdataset", "--images", "photos")
    assert result.code == 0, result.both
    assert "shards: 4 rows from llava to webdataset, 3 pictures written" in result.out
    result = pumice("data", "convert", "shards", "back.json", "--to", "llava", "--pictures", "new")
    assert result.code == 0, result.both
    before, after = json.loads(talk.read_text()), json.loads(Path("back.json").read_text())
    assert [row["conversations"] for row in after] == [row["conversations"] for row in before]
    assert [row.get("image") for row in after] == [row.get("image") for row in before]
    assert Path("new/in/2.png").read_bytes() == Path("photos/in/2.png").read_bytes()
    assert pumice("data", "check", "back.json", "--images", "new").code == 0
    result = pumice("data", "convert", "talk.json", "back.txt", "--to", "llava")
    assert (result.code, "OUT ends in .json or .jsonl" in result.err) == (2, True)


def test_an_unknown_format_lists_the_choices(pumice: Any, talk: Path) -> None:
    result = pumice("data", "stats", "talk.json", "--format", "lava")
    assert result.code == 2
    assert "webdataset" in result.err


def test_build_mix_prints_counts_beside_the_published(
    pumice: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("official/gqa").mkdir(parents=True)
    questions = {"1": {"imageId": "7", "question": "Is it dark?", "answer": "yes"}}
    Path("official/gqa/train_balanced_questions.json").write_text(json.dumps(questions))
    Path("official/sharegpt").mkdir()
    turns = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b " * 3000}]
    talk = [
        {"id": "x", "conversations": turns},
        {"id": "y", "conversations": [turns[0], turns[0] | {"from": "gpt"}]},
    ]
    Path("official/sharegpt/sharegpt.json").write_text(json.dumps(talk))
    words = ["--sources", "official", "--out", "mix.json", "--only", "gqa"]
    result = pumice("data", "build-mix", *words)
    assert result.code == 0, result.both
    assert ["gqa", "1", "72,140"] in [line.split() for line in result.out.splitlines()]
    assert ["all", "1", "665,298"] in [line.split() for line in result.out.splitlines()]
    assert "mix.json: 1 row\n" in result.out
    result = pumice("data", "build-mix", *words, "--only", "sharegpt")
    assert (result.code, "--tokenizer" in result.err) == (2, True)
    language = recipe.parent / "parts" / "language"
    result = pumice("data", "build-mix", *words, "--only", "sharegpt", "--tokenizer", language)
    assert result.code == 0, result.both
    assert "1: the first pair has more than 2,048 tokens" in " ".join(result.out.split())
