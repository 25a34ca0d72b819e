"""The page of an evaluation of tasks."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from pumice.errors import DataError, UsageError
from pumice.evaluate.results import BLIND, RESULTS, write_predictions
from pumice.evaluate.samples import Benchmark, Loaded, Sample, Stored
from pumice.report import album, write_evaluation_page
from pumice.report.album import Album
from pumice.report.evaluated import draw, in_turn, read_evaluation, verdict

from ..evaluate.results_made import evaluation, prediction, task_result
from .test_page import Checker, parse

ATTACK = '</td><script>alert("x")</script><img src=x onerror=alert(1)>'


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (64, 48)) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(path)


def rows(n: int, **more: Any) -> list[Any]:
    return [prediction(f"q{i}", float(i % 3 > 0), group=f"g{i % 2}", **more) for i in range(n)]


def make(folder: Path, tasks: Sequence[str] = ("gqa",), n: int = 60, **more: Any) -> Path:
    data = folder.parent / "pictures"
    data.mkdir(exist_ok=True)
    for i in range(n):
        if not (data / f"q{i}.png").exists():
            picture(data / f"q{i}.png", i)
    made = {}
    for task in tasks:
        figure = {"pope": "f1", "mme": "perception", "mm-vet": "total"}.get(task, "accuracy")
        made[task] = (task_result(task, figure, 66.7, n, data=str(data)), rows(n, **more))
    return evaluation(folder, made)


def cards(page: Checker) -> list[dict[str, str | None]]:
    return [attrs for name, attrs in page.elements if name == "article"]


def test_the_page_is_one_file_that_fetches_and_runs_nothing_else(tmp_path: Path) -> None:
    path = write_evaluation_page(make(tmp_path / "e"))
    assert path == tmp_path / "e" / "index.html"
    text, page = path.read_text(encoding="utf-8"), parse(path)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    policy = next(a["content"] for name, a in page.elements if name == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    for name, attrs in page.elements:
        assert name not in ("link", "iframe", "object")
        assert not any(key.startswith("on") for key in attrs)
        for key in ("src", "href"):
            assert (attrs.get(key) or "data:").startswith(("data:image/jpeg;base64,", "data:", "#task-"))


def test_figures_stand_with_interval_chance_blind_and_published_rows(tmp_path: Path) -> None:
    scores = task_result("gqa", "accuracy", 61.0, 60)["scores"]
    base = {"how": 'always "yes"', "scores": {**scores, "metrics": {"accuracy": 41.5}}, "uniform": 33.3}
    blind = {"how": "grey pictures", "scores": {**scores, "metrics": {"accuracy": 44.5}}, "uniform": None}
    result = task_result(
        "gqa", "accuracy", 61.0, 60, total=12_578, baselines={"chance": base, "blind": blind}
    )
    page = parse(write_evaluation_page(evaluation(tmp_path / "e", {"gqa": (result, rows(60))})))
    for words in ("61.0", "59.0\u201363.0", "41.5", "44.5", "(a part)", "60 of 12,578 questions", "63.3"):
        assert words.lower() in page.text.lower(), words
    assert 'always "yes"; a guess among the options gets 33.3' in page.text
    # LLaVA-1.0 was not published with GQA: no column, and no zero
    assert "LLaVA-1.0" not in page.text
    assert "here are 1" in page.text  # too few for a radar plot


def test_the_radar_plot_needs_figures_of_both_and_names_what_is_missing(tmp_path: Path) -> None:
    folder = make(tmp_path / "e", ("gqa", "pope", "mm-vet", "chartqa"))
    text = write_evaluation_page(folder).read_text()
    plot = text[text.index('class="radar"') :]
    plot = plot.split("</svg>")[0]
    there = [name for name in ("GQA", "POPE", "MM-Vet", "ChartQA") if f">{name}" in plot]
    assert there == ["GQA", "POPE", "MM-Vet"]
    page = parse(folder / "index.html")
    assert "LLaVA-1.0-13B has no figure here for GQA, POPE." in page.text
    assert "nothing of the kind was published: ChartQA" in page.text
    assert "These are not the official questions" in page.text


def test_right_and_wrong_answers_are_shown_with_their_pictures(tmp_path: Path) -> None:
    page = parse(write_evaluation_page(make(tmp_path / "e")))
    shown = cards(page)
    assert [card["data-verdict"] for card in shown].count("right") == 12
    assert [card["data-verdict"] for card in shown].count("wrong") == 12
    assert {card["data-group"] for card in shown} == {"g0", "g1"}
    images = [attrs for name, attrs in page.elements if name == "img"]
    assert len(images) == 24
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    # without a script all cards are seen, and the buttons, which do nothing then, are not
    assert not any("hidden" in card for card in shown)
    assert all("hidden" in attrs for name, attrs in page.elements if attrs.get("class") == "filters")


@pytest.mark.parametrize("key", ["raw", "prompt", "truth", "parsed", "group", "id", "images"])
def test_what_models_and_files_say_is_text(tmp_path: Path, key: str) -> None:
    said: Any = [ATTACK] if key == "images" else ATTACK
    made = [prediction(**{**prediction(f"q{i}", 1.0), key: said, "id": f"{ATTACK}{i}"}) for i in range(3)]
    folder = evaluation(tmp_path / "e", {"gqa": (task_result("gqa", "accuracy", 1.0, 3), made)})
    text = write_evaluation_page(folder).read_text()
    assert ATTACK not in text
    assert "<script>alert" not in text
    assert not re.search(r"<img[^>]*onerror", text)
    assert "&lt;script&gt;alert(" in text
    parse(folder / "index.html")


def test_what_results_say_is_text(tmp_path: Path) -> None:
    result = task_result(
        "gqa", "accuracy", 1.0, 3, title=ATTACK, notes=[ATTACK], settings={"template": ATTACK},
        judge={"model": ATTACK, "agreement": {ATTACK: 0.5}}, data=ATTACK,
        model={"kind": "local", "name": ATTACK, "digest": ATTACK},
    )  # fmt: skip
    result["scores"]["groups"] = {ATTACK: {"accuracy": 1.0, "n": 3, "interval": [0.0, 1.0]}}
    folder = evaluation(tmp_path / "e", {"gqa": (result, rows(3))}, model=ATTACK)
    text = write_evaluation_page(folder).read_text()
    assert ATTACK not in text
    assert text.count("<script>") == 1
    parse(folder / "index.html")


def test_all_pictures_together_have_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "pictures"
    data.mkdir()
    for i in range(60):
        picture(data / f"q{i}.png", i, (400, 300))
    monkeypatch.setattr("pumice.report.evaluation.ROOM", 400_000)
    path = write_evaluation_page(make(tmp_path / "e", ("gqa", "vqav2")))
    assert 100_000 < path.stat().st_size < 400_000 + 150_000
    assert sum(name == "img" for name, _ in parse(path).elements) == 48


def test_words_are_cut_and_make_pictures_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "e", raw="long " * 10_000, prompt="why " * 10_000, truth="t" * 9_000)
    path = write_evaluation_page(folder)
    assert "(49,999 characters)" in parse(path).text
    assert path.stat().st_size < 400_000
    # where words alone fill the page, it is written without pictures rather than too large
    monkeypatch.setattr("pumice.report.evaluation.LIMIT", 100_000)
    assert not [name for name, _ in parse(write_evaluation_page(folder)).elements if name == "img"]


def test_hostile_words_make_no_larger_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote takes six bytes in a page; a group's name stands on cards and buttons."""
    said = '"' * 5000
    hostile = dict.fromkeys(("raw", "prompt", "truth", "parsed"), said)
    made = [prediction(f"q{i}{said}", float(i % 2), group=f"{said}{i}", **hostile) for i in range(60)]
    result = task_result("gqa", "accuracy", 1.0, 60, notes=[said * 9], judge={"model": said * 9})
    folder = evaluation(tmp_path / "e", {"gqa": (result, made)})
    assert write_evaluation_page(folder).stat().st_size < 24 * 5 * 600 * 6 + 250_000
    monkeypatch.setattr("pumice.report.evaluation.LIMIT", 250_000)
    assert write_evaluation_page(folder).stat().st_size < 250_000


def test_a_model_without_figures_may_stand_beside_one_with_some(tmp_path: Path) -> None:
    some, none = make(tmp_path / "a"), tmp_path / "b"
    none.mkdir()
    evaluation(none, {})
    for one, other in ((none, some), (some, none)):
        text = parse(write_evaluation_page(one, [other], page=tmp_path / "p.html")).text
        assert "no task of the folder has figures yet" in text


def test_a_name_leads_nowhere_out_of_the_folder(tmp_path: Path) -> None:
    picture(tmp_path / "private.png")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("../private.png", str(tmp_path / "private.png")):
        assert Album(task_result("gqa", "accuracy", 1, 1, data=str(data)), 60_000).uri(name) is None


def test_what_is_no_picture_of_a_data_set_is_not_opened(tmp_path: Path) -> None:
    """The page reads what anybody may have put into the folder: the formats and bounds of all pictures."""
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.ppm")
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:44])
    shown = Album(task_result("gqa", "accuracy", 1, 1, data=str(tmp_path)), 60_000)
    names = ("a.png", "a.ppm", "b.png", "a\0.png")
    assert [shown.uri(name) is not None for name in names] == [True, False, False, False]


def test_pictures_out_of_tables_come_from_the_task_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.png")
    outside = tmp_path / "b.png"
    picture(outside, 1)
    data = tmp_path / "data"
    data.mkdir()
    stored = Stored("row 7", (tmp_path / "a.png").read_bytes)
    samples = (Sample("1", "?", (stored,), {}), Sample("2", "?", (outside,), {}))

    def load(folder: Path, choices: Any) -> Loaded:
        assert (folder, choices) == (data, {"ocr": "no"})
        return Loaded("mmstar", samples, lambda path: None)  # type: ignore[arg-type, return-value]

    monkeypatch.setitem(album.TASKS, "mmstar", Benchmark("mmstar", (), load))
    own = Album(task_result("mmstar", "accuracy", 1, 1, data=str(data), choices={"ocr": "no"}), 60_000)
    # or from the questions at hand, where there are no files any more
    at_hand = Album(
        task_result("mmstar", "accuracy", 1, 1, data="hub:x/y"), 60_000, load(data, {"ocr": "no"})
    )
    for held in (own, at_hand):
        for name in ("row 7", outside.as_posix()):
            uri = held.uri(name)
            assert uri is not None
            assert uri.startswith("data:image/jpeg;base64,/9j/")
        assert held.uri("row 8") is None


def test_a_picture_that_is_none_or_gone_is_said(tmp_path: Path) -> None:
    folder = make(tmp_path / "e")
    (tmp_path / "pictures" / "q1.png").write_bytes(b"no picture")
    for path in (tmp_path / "pictures").glob("q[2-9]*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "pictures" / "q0.png").unlink()
    page = parse(write_evaluation_page(folder))
    shown = sum(name == "img" for name, _ in page.elements)
    assert page.text.count("cannot be shown") == 24 - shown
    assert shown < 10


def test_several_models_stand_side_by_side(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a"), make(tmp_path / "b", raw="Something else")
    (first / "gqa" / BLIND).mkdir()
    write_predictions(first / "gqa" / BLIND, rows(60, raw="Blind words"))
    page = parse(write_evaluation_page(first, [second], page=tmp_path / "both.html"))
    assert "Something else" in page.text
    assert "Blind words" in page.text
    assert f"small ({tmp_path / 'b'})" in page.text  # one name for two models: told apart by folder
    assert "Both have the same score on every one of 60 questions." in page.text


def test_models_that_were_asked_other_questions_are_not_compared(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", n=60), make(tmp_path / "b", n=50)
    page = parse(write_evaluation_page(first, [second], page=tmp_path / "both.html"))
    assert "gqa: not compared: the questions of gqa are not the same" in page.text


def test_tasks_without_figures_say_why(tmp_path: Path) -> None:
    folder = make(tmp_path / "e")
    results = (folder / RESULTS).read_text()
    state = '"pope": {"state": "failed", "result": null, "problem": "no <file>", "remedy": "fetch it"}, '
    (folder / RESULTS).write_text(results.replace('"gqa": {', state + '"gqa": {', 1))
    page = parse(write_evaluation_page(folder))
    assert "1 of 2 tasks have figures." in page.text
    assert "no <file>" in page.text


def test_a_folder_that_is_none_and_a_broken_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no evaluation of tasks"):
        write_evaluation_page(tmp_path)
    folder = make(tmp_path / "e")
    (folder / "gqa" / "predictions.jsonl").write_text("{\n")
    with pytest.raises(DataError, match="not JSON") as caught:
        write_evaluation_page(folder)
    assert "line 1" in str(caught.value.where)
    assert not (folder / "index.html").exists()


def test_the_draw_is_the_same_each_time_and_takes_groups_in_turn(tmp_path: Path) -> None:
    many = [prediction(f"q{i}", 1.0, group="big" if i else "small") for i in range(50)]
    assert {row["group"] for row in in_turn(many, 4, set())} == {"big", "small"}
    assert in_turn(many, 5, set()) == in_turn(list(reversed(many)), 5, set())
    assert len(in_turn(many[:2], 5, set())) == 2
    one = read_evaluation(make(tmp_path / "e"))
    assert draw("gqa", one, []) == draw("gqa", one, [])


def test_other_pictures_come_first() -> None:
    rows = [prediction(f"q{i}", 1.0, images=["same.png" if i else "other.png"]) for i in range(9)]
    used: set[str] = set()
    assert {tuple(row["images"]) for row in in_turn(rows, 2, used)} == {("same.png",), ("other.png",)}
    assert len(in_turn(rows, 3, used)) == 3, "and the same again where there is no other"


def test_rows_without_a_score_are_no_examples(tmp_path: Path) -> None:
    made = [prediction("q0", 1.0), prediction("q0#1", None, parsed=None)]
    folder = evaluation(tmp_path / "e", {"mmbench": (task_result("mmbench", "accuracy", 100.0, 1), made)})
    assert [one.row["id"] for one in draw("mmbench", read_evaluation(folder), [])] == ["q0"]


def test_what_stood_in_the_training_data_is_told(tmp_path: Path) -> None:
    overlap = {
        "pictures": 500, "pictures_same": 12, "pictures_near": 3, "questions": 600, "questions_same": 40,
        "questions_with_picture": 5, "examples": [ATTACK], "training": [{"path": ATTACK, "rows": 9}],
    }  # fmt: skip
    result = task_result("gqa", "accuracy", 50.0, 3, overlap=overlap)
    path = write_evaluation_page(evaluation(tmp_path / "e", {"gqa": (result, rows(3))}))
    said = parse(path).text
    assert "Of 500 pictures 12 stand in the training data, and 3 more are near" in said
    assert "40 stand there in the same words, 5 of them beside the same" in said
    assert ATTACK not in path.read_text()


def test_verdicts() -> None:
    assert verdict(prediction("1", 0.6)) == "right"
    assert verdict(prediction("1", 0.3)) == "wrong"
    assert verdict(prediction("1", 0.0, parsed="")) == "unparsed"
    assert verdict(prediction("1", 0.0, parsed="other")) == "unparsed"
    assert verdict(prediction("1", None, parsed=None)) == "unparsed"
