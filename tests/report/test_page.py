from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import PIL.Image
import pytest

from pumice.processes import own_process
from pumice.report import write_report
from pumice.report.html import VOID
from pumice.report.measurement import picture_uri

MakeRun = Callable[..., Path]


class Checker(HTMLParser):
    """Collects elements and attributes, and fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def parse(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    checker.close()
    assert checker.open == []
    return checker


def test_the_page_shows_the_whole_run(make_run: MakeRun) -> None:
    folder = make_run()
    path = write_report(folder)
    assert path == folder / "report.html"
    page = parse(path)
    scores = json.loads((folder / "eval" / "scores.json").read_text())
    tuned = scores["variants"]["tuned"]
    wanted = [f"{100 * figure['value']:.1f}" for figure in (tuned["overall"], *tuned["by_type"].values())]
    wanted += [f"{100 * row['f1']:.1f}" for row in tuned["pope"].values()]
    wanted += ["finished", "2 CPU cores, AMD EPYC", "pumice train tiny", "3 min 03 s", "2,705,088", "86,592"]
    wanted += ["short answers", "mlp2x_gelu", scores["digest"], "9f2c9f2c", "colour", "Grounding"]
    wanted += ["easily confused with what is there (adversarial)"]
    for words in wanted:
        assert words in page.text
    pictures = [attrs for name, attrs in page.elements if name == "img"]
    assert len(pictures) == 12
    assert all(attrs["alt"] for attrs in pictures)
    assert page.text.count("right") > 12
    assert not list(folder.glob("*.partial"))


def test_two_renderings_are_the_same(make_run: MakeRun) -> None:
    folder = make_run(pictures=6, steps=40)
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_the_page_asks_for_nothing_outside_itself(make_run: MakeRun) -> None:
    path = write_report(make_run(pictures=6, steps=40))
    page = parse(path)
    assert not {name for name, _ in page.elements} & {"script", "link", "iframe", "object", "embed", "base"}
    for _, attrs in page.elements:
        for key in ("src", "href", "srcset", "action"):
            assert (attrs.get(key) or "data:").startswith(("data:", "#"))
        assert not [key for key in attrs if key.startswith("on")]
    text = path.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in [a.get("content") or "" for n, a in page.elements if n == "meta"][1]


def test_tables_and_drawings_can_be_read_aloud(make_run: MakeRun) -> None:
    page = parse(write_report(make_run(pictures=6, steps=40)))
    assert all(attrs.get("scope") for name, attrs in page.elements if name == "th")
    drawings = [attrs for name, attrs in page.elements if name == "svg"]
    assert len(drawings) > 8
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") for attrs in drawings)
    identities = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script><img src=x onerror=alert(2)>",
        "\"'></td></table></style><iframe src='https://example.org'>",
        "\ud800\x00\u202e right to left",
        "x" * 5000,
        " ",
    ],
)
def test_hostile_answers_stay_text(make_run: MakeRun, hostile: str) -> None:
    page = parse(write_report(make_run(pictures=12, steps=40, hostile=hostile)))
    assert not {name for name, _ in page.elements} & {"script", "iframe"}
    assert len([name for name, _ in page.elements if name == "img"]) == 12
    if hostile.startswith("<script>"):
        assert hostile in page.text
        assert "<script>alert('recipe')</script>" in page.text
    if hostile.startswith("x"):
        assert "(5,000 characters)" in page.text
    if hostile == " ":
        assert "(empty)" in page.text


def test_hostile_names_and_types_stay_text(make_run: MakeRun) -> None:
    folder = make_run(pictures=6, steps=40)
    evil = "<script>evil</script>"
    info = json.loads((folder / "run.json").read_text())
    info |= {"name": evil, "status": evil, "machine": evil, "created": evil, "command": evil}
    info["stages"][0]["name"] = evil
    info["parts"]["vision"][evil] = [evil]
    (folder / "run.json").write_text(json.dumps(info))
    for name in ("eval/scores.json", "eval/predictions-tuned.jsonl", "mixture.json"):
        file = folder / name
        file.write_text(
            re.sub(r'"(colour|captions|data/train/detail.json)"', json.dumps(evil), file.read_text())
        )
    page = parse(write_report(folder))
    assert "script" not in {name for name, _ in page.elements}
    assert page.text.count(evil) >= 8


def test_the_mixture_shows_what_a_limit_left_out(make_run: MakeRun) -> None:
    folder = make_run(pictures=6, steps=40)
    assert "12,000 of 15,000 (limit)" in parse(write_report(folder)).text
    rows = json.loads((folder / "mixture.json").read_text())
    before = [{key: value for key, value in row.items() if key not in ("rows", "kept")} for row in rows]
    (folder / "mixture.json").write_text(json.dumps(before))
    assert "(limit)" not in parse(write_report(folder)).text, "of a run that did not record it"


def test_a_young_run_says_what_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "young"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    page = parse(write_report(folder))
    for words in (
        "young",
        "Not measured yet",
        "No steps have been logged yet",
        "no predictions yet",
        "not recorded",
    ):
        assert words in page.text


def test_a_run_without_measurement_shows_its_losses(make_run: MakeRun) -> None:
    folder = make_run(pictures=6, steps=40)
    (folder / "eval" / "scores.json").unlink()
    page = parse(write_report(folder))
    assert "instruct: validation loss" in page.text
    assert "img" not in {name for name, _ in page.elements}


def test_one_variant_alone_is_shown(make_run: MakeRun) -> None:
    folder = make_run(pictures=6, steps=40)
    scores = json.loads((folder / "eval" / "scores.json").read_text())
    scores["variants"] = {"tuned": scores["variants"]["tuned"]}
    scores["paired"] = {}
    (folder / "eval" / "scores.json").write_text(json.dumps(scores))
    page = parse(write_report(folder))
    assert "Over the blind model" not in page.text
    assert "On the same questions" not in page.text


def test_a_picture_that_is_gone_leaves_its_name(make_run: MakeRun) -> None:
    folder = make_run(pictures=12, steps=40)
    (folder / "data" / "00003.png").unlink()
    assert "00003.png cannot be shown" in parse(write_report(folder)).text


def test_pictures_outside_the_image_folder_are_not_embedded(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    PIL.Image.new("RGB", (4, 4)).save(root / "fine.png")
    assert (picture_uri(root, "fine.png") or "").startswith("data:image/png;base64,")
    assert picture_uri(root, "../secret.png") is None
    assert picture_uri(root, str(tmp_path / "secret.png")) is None
    assert picture_uri(root, "link.png") is None
    (root / "text.png").write_text("no picture")
    assert picture_uri(root, "text.png") is None


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_words_stand_out_from_the_paper(theme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    style = resources.files("pumice.report").joinpath("style.css").read_text(encoding="utf-8")
    block = dict(zip(("light", "dark", "print"), re.findall(r":root \{([^}]*)\}", style), strict=True))[theme]
    colours = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]+)", block))

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for name in ("ink", "soft", "right", "wrong", "warn", "c1"):
        for ground in ("paper", "sheet"):
            dim, bright = sorted((luminance(colours[name]), luminance(colours[ground])))
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (name, ground)


def test_large_pictures_are_made_small(tmp_path: Path) -> None:
    PIL.Image.effect_noise((1200, 900), 90).save(tmp_path / "large.png")
    uri = picture_uri(tmp_path, "large.png") or ""
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 200_000


def test_questions_on_the_way_the_best_model_and_ranks_are_shown(make_run: MakeRun) -> None:
    folder = make_run()
    info = json.loads((folder / "run.json").read_text())
    best = {"instruct": {"step": 120, "loss": 0.43219, "model": "stages/instruct/best"}}
    (folder / "run.json").write_text(json.dumps({**info, "ranks": 8, "best": best}))
    metrics = folder / "stages/instruct/metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    for row in rows:
        if row["kind"] == "train":
            row["memory"] = 5_600_000_000
    rows += [
        {"kind": "evaluation", "stage": "instruct", "step": step, "value": step / 500, "n": 50}
        for step in (100, 200, 300)
    ]
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = parse(write_report(folder)).text
    assert "Questions on the way, answered rightly" in words
    assert "best validation loss 0.4322 after step 120, kept in stages/instruct/best" in words
    assert "5.6 GB at most" in words
    assert re.search(r"Ranks\s+8", words)


def test_the_starts_of_a_run_are_told(make_run: MakeRun) -> None:
    """A run that died, and went on with another command and other code."""
    folder = make_run()
    assert "Sessions" not in write_report(folder).read_text("utf-8")
    info = json.loads((folder / "run.json").read_text("utf-8"))
    first = {
        "started": "2025-03-01T09:00:00+00:00",
        "ended": None,
        "how": "died",
        "begins": None,
        "ends": {"stage": "align", "step": 17},
        "command": "pumice train first",
        "ranks": 1,
        "pumice": "0.1",
        "revision": {"commit": "a" * 40, "changed": True},
    }
    second = {**first, "how": "finished", "begins": first["ends"], "command": "pumice train <b>", "ranks": 2}
    second |= {"ended": "2025-03-01T11:30:00+00:00", "ends": {"stage": "instruct", "step": 40}}
    (folder / "run.json").write_text(json.dumps({**info, "sessions": [first, second]}), "utf-8")
    page = write_report(folder).read_text("utf-8")
    table = page.partition('id="sessions"')[2].partition("</section>")[0]
    for told in (
        "2025-03-01 09:00 UTC", "not told", "died", "nothing", "step 17 of align", "pumice train first",
        "2025-03-01 11:30 UTC", "finished", "step 40 of instruct", "pumice train &lt;b&gt;",
        f"0.1, commit {'a' * 12}, with changes",
    ):  # fmt: skip
        assert told in table, told


def test_a_run_whose_process_is_gone_is_not_called_running(make_run: MakeRun) -> None:
    folder = make_run()
    info = json.loads((folder / "run.json").read_text("utf-8"))
    process = {**own_process(), "began": 1}
    session = {"how": "running", "started": "2025-03-01T09:00:00+00:00", "process": process}
    info |= {"status": "running", "sessions": [session]}
    (folder / "run.json").write_text(json.dumps(info), "utf-8")
    page = write_report(folder).read_text("utf-8")
    assert '<span class="status bad">died</span>' in page
    assert "Its process ended without a word, after " in page
