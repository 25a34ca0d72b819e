from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pumice.data.samples import read_samples
from pumice.errors import DataError, UsageError
from pumice.evaluate.questions import read_questions
from pumice.generate import (
    SHORT_ANSWER,
    Instance,
    Kind,
    SceneText,
    Turn,
    generate,
    write_llava,
    write_questions,
)
from pumice.generate.protocol import Remembered
from pumice.generate.run import rows_of
from pumice.types import Rights


class Parrot:
    """A teacher whose turns are known: three short ones, one that is asked twice, and two long kinds."""

    name = "parrot"

    def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
        turns: dict[str, list[Turn]] = {
            "short": [Turn(f"Q{i}?", f"A{i}", "color" if i else "count", True) for i in range(3)],
            "existence": [
                Turn("Is there a dog?", "Yes", "existence", True, "random"),
                Turn("Is there a dog?", "Yes", "existence", True, "popular"),
            ],
            "caption": [Turn("Describe it.", scene.captions[0], "caption")],
            "conversation": [Turn("Hello?", "Hello.", "conversation"), Turn("And?", "So.", "conversation")],
        }
        return turns.get(kind, [])


SCENES = [
    SceneText(str(i), f"p/{i}.png", (f"Caption {i}.",), (Instance("dog", (0.0, 0.0, 0.5, 0.5)),))
    for i in range(40)
]


def test_short_turns_share_a_row_and_long_kinds_have_their_own() -> None:
    rows = generate(SCENES[:1], Parrot(), ["conversation", "short", "reasoning", "existence"])
    assert [row["id"] for row in rows] == ["0-short", "0-conversation"]
    merged, talk = rows
    asked = [t["value"] for t in merged["conversations"] if t["from"] == "human"]
    assert asked[0].startswith("<image>\n")
    plain = sorted(text.removeprefix("<image>\n") for text in asked)
    assert plain == sorted(f"{q}\n{SHORT_ANSWER}" for q in ("Q0?", "Q1?", "Q2?", "Is there a dog?"))
    assert talk == {
        "id": "0-conversation",
        "image": "p/0.png",
        "conversations": [
            {"from": "human", "value": "<image>\nHello?"},
            {"from": "gpt", "value": "Hello."},
            {"from": "human", "value": "And?"},
            {"from": "gpt", "value": "So."},
        ],
    }


def test_a_row_says_whose_its_picture_is() -> None:
    told = replace(SCENES[0], rights=Rights("CC-BY-4.0", "Ada", "https://x.org"))
    (row,) = generate([told], Parrot(), ["conversation"])
    assert (row["license"], row["attribution"], row["url"]) == ("CC-BY-4.0", "Ada", "https://x.org")


def test_answers_stay_with_their_questions_in_an_order_of_the_seed() -> None:
    rows = generate(SCENES, Parrot(), ["short"])
    orders = set()
    for row in rows:
        turns = [t["value"].removeprefix("<image>\n").split("\n")[0] for t in row["conversations"]]
        assert all(q[1] == a[1] for q, a in zip(turns[::2], turns[1::2], strict=True))
        orders.add(tuple(turns[::2]))
    assert len(orders) == 6, "all orders of three turns come about"
    assert generate(SCENES, Parrot(), ["short"]) == rows
    assert generate(SCENES, Parrot(), ["short"], seed=1) != rows
    assert generate(SCENES[5:6], Parrot(), ["short"]) == rows[5:6], "a row depends on its scene alone"


def test_shares_limits_filters_and_regions() -> None:
    rows = generate(
        SCENES,
        Parrot(),
        ["caption", "short"],
        per_scene=1,
        shares={"caption": 0.5},
        keep=lambda turn: turn.type == "color",
        regions=True,
    )
    short = [row for row in rows if row["id"].endswith("-short")]
    assert len(short) == 40
    assert all(len(row["conversations"]) == 2 for row in short)
    assert not any("Q0?" in row["conversations"][0]["value"] for row in short)
    assert 10 <= len(rows) - len(short) <= 30
    assert all(row["regions"] == [{"bbox": [0.0, 0.0, 0.5, 0.5], "phrase": "dog"}] for row in rows)
    assert generate(SCENES, Parrot(), ["caption"], shares={"caption": 0.0}) == []


def test_many_turns_become_several_rows_and_the_limit_counts_them_all() -> None:
    class Chatty(Parrot):
        def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
            return [Turn(f"Q{i}?", f"A{i}", "color", True) for i in range(25)]

    rows = generate(SCENES[:1], Chatty(), ["short"])
    assert [row["id"] for row in rows] == ["0-short-0", "0-short-1", "0-short-2"]
    assert [len(row["conversations"]) for row in rows] == [20, 20, 10]
    assert len({turn["value"] for row in rows for turn in row["conversations"][1::2]}) == 25
    assert all(row["conversations"][0]["value"].startswith("<image>\n") for row in rows)
    rows = generate(SCENES[:1], Chatty(), ["short"], per_scene=12)
    assert [len(row["conversations"]) for row in rows] == [20, 4]
    rows = generate(SCENES[:1], Chatty(), ["short"], per_scene=10)
    assert [(row["id"], len(row["conversations"])) for row in rows] == [("0-short", 20)]


def test_progress_counts_scenes() -> None:
    seen: list[tuple[int, int]] = []
    generate(SCENES[:3], Parrot(), ["caption"], progress=lambda *numbers: seen.append(numbers))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_wrong_wishes_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown kind 'captions'") as caught:
        generate(SCENES, Parrot(), ["captions"])  # type: ignore[list-item]
    assert "'caption'" in str(caught.value)
    for wish in (
        {"kinds": ["short", "short"]},
        {"kinds": []},
        {"per_scene": 0},
        {"shares": {"short": 1.5}},
        {"shares": {"shorts": 0.5}},
    ):
        with pytest.raises(UsageError):
            generate(SCENES, Parrot(), **wish)  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", [Turn("Q?", " ", "x"), Turn("", "A", "x"), Turn("Q?", "an <image>", "x")])
def test_turns_that_cannot_be_trained_on_name_their_scene(turn: Turn) -> None:
    class Bad(Parrot):
        def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
            return [turn]

    with pytest.raises(DataError, match="cannot be used") as caught:
        generate(SCENES[3:4], Bad(), ["detail"])
    assert caught.value.where == "scene 3"


def test_llava_json_is_read_back(tmp_path: Path) -> None:
    rows = generate(SCENES[:4], Parrot(), ["caption", "short"], regions=True)
    path = tmp_path / "data.json"
    assert write_llava(iter(rows), path) == 8
    assert json.loads(path.read_text("utf-8")) == rows
    samples = read_samples(path, tmp_path, check_files=False)
    assert [s.id for s in samples] == [row["id"] for row in rows]
    assert samples[1].messages[0].text == "\nDescribe it."
    assert samples[1].regions[0].phrase == "dog"
    assert len(path.read_text("utf-8").splitlines()) == 10, "one row per line"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("old")

    def broken():  # type: ignore[no-untyped-def]
        yield {"id": "1"}
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_llava(broken(), path)
    with pytest.raises(DataError, match="nothing to write"):
        write_llava([], path)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("data.json", "old")]


def test_questions_are_read_back_by_the_evaluator(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "p").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "p" / "0.png")
    turns = [
        Turn("Is there a dog?", "Yes", "existence", True, "popular"),
        Turn("What color is it?", "Red", "color", True, None, ("Red", "blue")),
        Turn("Why?", "Because.", "reasoning"),
    ]
    path = tmp_path / "q.jsonl"
    assert write_questions([(SCENES[0], turns)], path) == 3
    first, second, third = read_questions(path).questions
    assert (first.id, first.answer, first.setting, first.present) == ("0-0", "yes", "popular", None)
    assert first.text == f"Is there a dog?\n{SHORT_ANSWER}"
    assert (second.answer, second.setting, second.present) == ("Red", None, ("Red", "blue"))
    assert (third.text, third.type) == ("Why?", "reasoning")


def test_a_remembered_teacher_writes_each_kind_once_and_about_its_scene_alone() -> None:
    class Counting(Parrot):
        asked: ClassVar[list[Kind]] = []

        def write(self, scene: SceneText, kind: Kind) -> Sequence[Turn]:
            self.asked.append(kind)
            return super().write(scene, kind)

    kinds: tuple[Kind, ...] = ("short", "conversation", "reasoning")
    teacher = Remembered(Counting(), SCENES[3])
    first, again = (rows_of(SCENES[3], teacher, kinds, seed=4) for _ in range(2))
    assert first == again == rows_of(SCENES[3], Parrot(), kinds, seed=4)
    assert Counting.asked == list(kinds)
    with pytest.raises(AssertionError, match="turns of 3 are asked for 4"):
        teacher.write(SCENES[4], "short")
