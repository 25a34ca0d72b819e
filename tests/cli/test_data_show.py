"""`pumice data show`: a sample as the model sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    rows = []
    for number in range(9):
        Image.new("RGB", (60, 40), (20 * number, 90, 90)).save(f"photos/{number}.png")
        turns = [
            {"from": "human", "value": f"<image>\nWhat is number {number}?"},
            {"from": "gpt", "value": "It says </s> there."},
        ]
        rows.append({"id": f"r{number}", "image": f"{number}.png", "conversations": turns})
    rows.append({"id": "bad", "conversations": 3})
    Path("talk.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_row_is_shown_with_its_picture(pumice: Any, here: Path) -> None:
    result = pumice("data", "show", "talk.json", "--images", "photos", "--row", 4)
    assert result.code == 0, result.both
    assert "talk.json, row 4 (id r4)" in result.out
    assert "USER: [image 1: 576 tokens]⏎" in result.out
    assert "« It says </s> there.⟦</s>⟧»" in result.out, "text and control token are told apart"
    assert "embedded:lm-tiny" in result.out
    assert "60 x 40 pixels, one square (pad), 576 tokens" in result.out
    shown = Image.open("shown/talk-4-1.png")
    assert shown.size == (336, 336)
    assert shown.getpixel((168, 168)) == (80, 90, 90)
    assert shown.getpixel((168, 3)) == (122, 116, 104), "padded with the mean colour"
    assert "1 row cannot be read" in result.out


@pytest.mark.parametrize(("words", "wanted"), [(["--id", "r7"], [7]), (["--n", "3"], [0, 3, 6]), ([], [0])])
def test_rows_are_chosen(pumice: Any, here: Path, words: list[str], wanted: list[int]) -> None:
    result = pumice("data", "show", "talk.json", "--images", "photos", *words)
    assert [int(number) for number in re.findall(r"row (\d+) \(id", result.out)] == wanted


def test_a_picture_that_is_not_there_is_said(pumice: Any, here: Path) -> None:
    result = pumice("data", "show", "talk.json")
    assert result.code == 0, result.both
    assert "0.png does not exist" in result.out
    assert "[image 1: 576 tokens]" in result.out
    assert not Path("shown").exists()


def test_each_token_with_its_number(pumice: Any, here: Path) -> None:
    result = pumice("data", "show", "talk.json", "--images", "photos", "--ids")
    lines = [line.split() for line in result.out.splitlines() if re.match(r"\s+\d", line)]
    supervised = [words for words in lines if words[-1] == "yes"]
    told = re.search(r"(\d+) supervised", result.out)
    assert told
    assert len(supervised) == int(told[1])
    assert supervised[-1][2] == "</s>"


def test_a_page_holds_its_pictures(pumice: Any, here: Path) -> None:
    result = pumice("data", "show", "talk.json", "--images", "photos", "--n", 2, "--html", "out/talk.html")
    assert result.code == 0, result.both
    text = Path("out/talk.html").read_text("utf-8")
    assert text.count("data:image/png;base64,") == 2
    assert "src='http" not in text
    assert '<span class="s"> It says &lt;/s&gt; there.</span><span class="s c">&lt;/s&gt;</span>' in text


def test_a_recipe_decides_template_and_pictures(pumice: Any, recipe: Path, world: Path, here: Path) -> None:
    file = world / "short.json"
    words = ["--images", world, "--recipe", recipe]
    instruct = pumice("data", "show", file, *words)
    assert instruct.code == 0, instruct.both
    assert "as stage instruct of short sees it, template tiny" in instruct.out
    align = pumice("data", "show", world / "align.json", *words, "--stage", "align")
    assert "template plain" in align.out


def test_a_recipe_with_tiles_shows_them_as_a_grid(pumice: Any, here: Path) -> None:
    Path("next.yaml").write_text(
        """\
name: next
model:
  vision: hub:openai/clip-vit-large-patch14-336
  language: hub:Qwen/Qwen3-1.7B
  template: chat
  image: {aspect: anyres}
data: {mix: {file: talk.json, images: photos}}
stages:
  - {name: instruct, kind: instruct, sources: [mix], lr: {connector: 1e-3, language: 1e-5}, epochs: 1,
     rows_per_step: 4}
"""
    )
    result = pumice("data", "show", "talk.json", "--images", "photos", "--recipe", "next.yaml")
    assert result.code == 0, result.both
    assert re.search(r"the whole and \d x \d tiles", result.out)
    assert "⟦<|im_start|>⟧" in result.out
    assert "the language model's tokenizer is not here" in result.out
    assert Image.open("shown/talk-0-1.png").size[0] > 2 * 336


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--row", "9"], "conversations is a number"),
        (["--row", "99"], "there is no row 99"),
        (["--id", "nobody"], "no row has the id 'nobody'"),
        (["--row", "1", "--id", "r1"], "both --row and --id"),
        (["--stage", "align"], "--stage belongs to a recipe"),
        (["--recipe", "tiny", "--template", "v1"], "both --recipe and --template"),
        (["--recipe", "tiny", "--stage", "alin"], "'align'"),
        (["--template", "v2"], "'v1'"),
    ],
)
def test_what_cannot_be_shown_is_said(pumice: Any, here: Path, words: list[str], said: str) -> None:
    result = pumice("data", "show", "talk.json", *words)
    assert result.code in (1, 2)
    assert said in result.err


def test_a_pair_is_shown_with_both_answers(pumice: Any, here: Path) -> None:
    row = {"id": "p", "image": "0.png", "prompt": "Which?", "chosen": "The first.", "rejected": "The last."}
    Path("pairs.jsonl").write_text(json.dumps(row) + "\n")
    for words in ([], ["--recipe", "llava-next-dpo"]):
        result = pumice("data", "show", "pairs.jsonl", "--images", "photos", *words)
        assert result.code == 0, result.both
        assert re.search(r"«\n\[branch 1\]\s*The first\..*\[branch 2\]\s*The last\..*»", result.out, re.S)
