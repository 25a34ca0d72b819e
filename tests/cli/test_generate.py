"""`pumice generate`, from scenes to data that is trained on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from ..evaluate.stand_in import Body, StandIn
from .conftest import Pumice

SCENES: list[dict[str, Any]] = [
    {
        "id": n,
        "image": f"{n}.png",
        "captions": [f"A dog sits next to {n + 2} cars.", "A dog and cars on a sunny street."],
        "instances": [{"category": "dog", "bbox": [0.4, 0.4, 0.6, 0.8]}],
    }
    for n in range(3)
]


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three scenes; the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "scenes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SCENES))
    return path


def test_a_dry_run_shows_every_prompt_and_asks_nobody(scenes: Path, pumice: Pumice) -> None:
    done = pumice("generate", scenes, "--kinds", "all", "--dry-run", "--price-in", "1", "--price-out", "2")
    assert done.code == 0, done.both
    for kind in (
        "conversation",
        "detail",
        "reasoning",
        "short",
        "region",
        "grounding",
        "correction",
        "caption",
    ):
        assert done.out.count(f"===== {kind} (en)") == 1
        assert all(f"--- {n}-{kind}\n" in done.out for n in range(3))
    assert "1: dog [0.40, 0.40, 0.60, 0.80]" in done.out
    assert "ocr: 3 scenes have nothing of what it is made from" in done.out
    assert "by the prices given" in done.out
    assert not Path("generated").exists()


def test_a_rehearsal_is_data_that_can_be_read(scenes: Path, pumice: Pumice) -> None:
    words = ("generate", scenes, "--kinds", "all", "--teacher", "scripted", "--faults", "0.2", "--agree")
    done = pumice(*words)
    assert done.code == 0, done.both
    checked = pumice("data", "check", "generated/data.json", "--no-images")
    assert checked.code == 0, checked.both
    assert "no bad row" in checked.out
    page = Path("generated/report.html").read_text()
    assert "3 scenes" in page
    assert "0-conversation" not in page or "A dog sits" in page
    again = pumice(*words)
    assert "0 calls in this sitting" in again.out


def test_a_server_is_asked_with_its_key(
    scenes: Path, pumice: Pumice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-1")

    def answer(body: Body) -> str:
        return "A dog sits next to a car on a sunny street."

    with StandIn(answer, models=("writer",)) as server:
        done = pumice(
            "generate", scenes, "--teacher", server.url, "--model", "writer", "--kinds", "caption",
            "--key-variable", "MY_KEY", "--out", "out", "--limit", "2",
        )  # fmt: skip
    assert done.code == 0, done.both
    assert set(server.keys) == {"Bearer sk-1"}
    assert len(json.loads(Path("out/data.json").read_text())) == 2
    assert "sk-1" not in "".join(path.read_text() for path in Path("out").iterdir())


def test_a_spent_budget_is_told_and_the_same_command_goes_on(scenes: Path, pumice: Pumice) -> None:
    words = ("generate", scenes, "--teacher", "scripted", "--kinds", "caption,detail")
    done = pumice(*words, "--max-requests", "4")
    assert done.code == 1
    assert "the budget is spent, and 2 jobs lack a reply" in done.err
    assert "nothing is asked twice" in done.err
    done = pumice(*words)
    assert done.code == 0, done.both
    assert "6 replies, 2 calls in this sitting" in done.out


def test_ctrl_c_says_that_nothing_is_lost(
    scenes: Path, pumice: Pumice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*words: object) -> None:
        raise KeyboardInterrupt

    words = ("generate", scenes, "--teacher", "scripted", "--kinds", "caption")
    with monkeypatch.context() as patch:
        patch.setattr("pumice.generate.carry_out.write_rows", stop)
        done = pumice(*words)
    assert done.code == 130
    assert "every reply so far is kept" in done.err
    assert "3 replies, 0 calls in this sitting" in pumice(*words).out


def test_prompts_of_ones_own(scenes: Path, pumice: Pumice) -> None:
    assert pumice("generate", "prompts", "mine").code == 0
    text = Path("mine/caption.yaml").read_text()
    Path("mine/haiku.yaml").write_text(text.replace("Write one sentence", "Write one haiku"))
    Path("mine/caption.yaml").write_text(text.replace("words: [4, 40]", "words: [4, 5]"))
    done = pumice("generate", scenes, "--prompts", "mine", "--kinds", "haiku", "--dry-run")
    assert "Write one haiku" in done.out
    done = pumice("generate", scenes, "--prompts", "mine", "--kinds", "caption", "--teacher", "scripted")
    assert "9 length" in done.out
    assert "is there, and stays" in pumice("generate", "prompts", "mine").out
    Path("mine/caption.yaml").write_text("abot: x\n")
    done = pumice("generate", scenes, "--prompts", "mine", "--kinds", "haiku", "--dry-run")
    assert done.code == 1
    assert "unknown key 'abot'" in done.err
    assert "did you mean 'about'" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nobody is named who writes"),
        (("--teacher", "http://localhost:1"), "the teacher's model is missing"),
        (("--kinds", "detial", "--dry-run"), "did you mean 'detail'"),
        (("--kinds", "detail=2", "--dry-run"), "has the share '2'"),
        (("--language", "xx", "--dry-run"), "there is no language 'xx'"),
        (("--max-cost", "1", "--dry-run"), "without prices"),
        (("--faults", "0.1", "--dry-run"), "only the scripted teacher"),
        (("--second", "m", "--dry-run"), "nobody reads a second time"),
        (("--second-url", "http://x", "--agree", "--dry-run"), "the second model has no name"),
        (("--teacher", "world", "--model", "m"), "world is no server"),
        (("--teacher", "world"), "knows a world's alone"),
        (("--kinds", "ocr", "--dry-run"), "the scenes have nothing"),
        (("--prompts", "nowhere", "--dry-run"), "the folder holds no prompts"),
        (("--shards", "2", "--dry-run"), "go together"),
        (("--shards", "2", "--shard", "2", "--dry-run"), "there is no part 2 of 2"),
        (("--ray", "auto", "--shards", "2", "--shard", "0"), "a cluster makes all parts"),
        (("--ray", "auto", "--teacher", "world"), "before a cluster has begun"),
        (("--instances", "x.json", "--dry-run"), "no file of instances"),
    ],
)
def test_commands_that_cannot_be_carried_out(
    scenes: Path, pumice: Pumice, words: tuple[str, ...], said: str
) -> None:
    done = pumice("generate", scenes, *words)
    assert done.code == 2
    assert said in done.err


def test_the_worlds_teacher_passes_every_check(
    world: Path, pumice: Pumice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = pumice("generate", world / "scenes-train.jsonl", "--teacher", "world", "--kinds", "all")
    assert done.code == 0, done.both
    record: dict[str, Any] = json.loads(Path("generated/generation.json").read_text())
    rejected = {name: kind["rejected"] for name, kind in record["kinds"].items() if kind["rejected"]}
    assert {check for kind in rejected.values() for check in kind} <= {"repeated", "balance"}, rejected
    checked = pumice("data", "check", "generated/data.json", "--images", world)
    assert checked.code == 0, checked.both


def test_parts_are_merged(scenes: Path, pumice: Pumice) -> None:
    words = ("generate", scenes, "--teacher", "scripted", "--kinds", "caption,comparison")
    assert pumice(*words).code == 0
    for shard in range(2):
        done = pumice(*words, "--shards", "2", "--shard", str(shard), "--out", f"part-{shard}")
        assert done.code == 0, done.both
    done = pumice("generate", "merge", "part-1", "part-0", "--out", "merged")
    assert done.code == 0, done.both
    assert Path("merged/data.json").read_bytes() == Path("generated/data.json").read_bytes()
    assert "3 scenes" in Path("merged/report.html").read_text()


def test_two_files_are_compared(scenes: Path, pumice: Pumice) -> None:
    pumice("generate", scenes, "--teacher", "scripted", "--kinds", "conversation,detail")
    row = {"instruction": "What?", "output": "A dog. It sits.", "type": "conv"}
    Path("theirs.jsonl").write_text(json.dumps(row) + "\n")
    done = pumice("generate", "compare", "generated/data.json", "theirs.jsonl")
    assert done.code == 0, done.both
    (line,) = [line for line in done.out.splitlines() if "theirs.jsonl" in line]
    assert "conversation" in line
    assert "4.0 words" in line
    Path("theirs.jsonl").write_text("{}\n")
    assert pumice("generate", "compare", "generated/data.json", "theirs.jsonl").code == 1


def _pictures(scenes: list[dict[str, Any]], folder: Path) -> None:
    """Stand-ins for pictures that are not here: what boxes say, in colors."""
    for scene in scenes:
        picture = Image.new("RGB", (120, 90), "grey")
        draw = ImageDraw.Draw(picture)
        for box in scene["instances"]:
            x1, y1, x2, y2 = box["bbox"]
            color = hashlib.sha256(box["category"].encode()).hexdigest()[:6]
            draw.rectangle((120 * x1, 90 * y1, 120 * x2, 90 * y2), f"#{color}")
        picture.save(folder / scene["image"])


@pytest.mark.slow
@pytest.mark.parametrize("source", ["world", "made", "coco"])
def test_generated_data_is_trained_on(
    world: Path, pumice: Pumice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """Scenes, a scripted teacher, LLaVA JSON, a clean check, a trained model that answers."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    shutil.copytree(world, data)
    file = data / "scenes-train.jsonl"
    if source == "coco":
        if not os.environ.get("PUMICE_REAL_DATA"):
            pytest.skip("PUMICE_REAL_DATA names no folder")
        file = Path(os.environ["PUMICE_REAL_DATA"]) / "coco" / "caps_boxes_coco2014_val_80.jsonl"
    elif source == "made":
        file = tmp_path / "made.jsonl"
        more = "A dog waits on a quiet street."  # a conversation has three turns, one for each sentence
        rows = [row | {"captions": [*row["captions"], more]} for row in SCENES]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scenes = [json.loads(line) for line in file.open()]
    if source != "world":
        _pictures(scenes, data)
    done = pumice("generate", file, "--teacher", "scripted", "--faults", "0.1", "--kinds", "all", "--agree")
    assert done.code == 0, done.both
    rows = json.loads(Path("generated/data.json").read_text())
    kinds = {"conversation", "detail", "reasoning", "short", "existence", "correction", "region", "grounding"}
    assert kinds <= {row["type"] for row in rows}
    if source == "coco":
        assert {str(row["image"]) for row in rows if row["type"] == "detail"} == {
            scene["image"] for scene in scenes
        }
    checked = pumice("data", "check", "generated/data.json", "--images", data, "--decode")
    assert checked.code == 0, checked.both
    one_picture = [row for row in rows if isinstance(row["image"], str)]  # what the small recipe trains on
    (data / "instruct.json").write_text(json.dumps(one_picture))
    trained = pumice(
        "train", "tiny", "--data", data, "--small", "--runs", tmp_path / "runs", "--name", "made"
    )
    assert trained.code == 0, trained.both
    image = data / scenes[0]["image"]
    said = pumice("chat", tmp_path / "runs" / "made" / "model", "--image", image, "What is in the picture?")
    assert said.code == 0, said.both
