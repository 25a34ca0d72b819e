"""The embedded benchmarks: whole folders, read by the loaders and scorers of the published ones."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import UsageError
from pumice.evaluate.tasks import TASKS, choices_of
from pumice.score import score
from pumice.world.benchmarks import BENCHMARKS, RECORD, write_benchmarks
from pumice.world.benchmarks.material import Material

N = 18
READ = [name for name in BENCHMARKS if name in TASKS and not BENCHMARKS[name].judged]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks") / "data"
    write_benchmarks(folder, n=N)
    write_benchmarks(folder, n=N, names=["llava-bench", "mm-vet"])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", READ)
def test_the_right_answers_get_all_points(written: Path, tmp_path: Path, name: str) -> None:
    benchmark = TASKS[name]
    loaded = benchmark.load(written / name, choices_of(benchmark, {}))
    assert len(loaded.samples) >= N * 0.5
    answers = tmp_path / "answers.jsonl"

    def scored(say: Any) -> float:
        rows = [json.dumps({**sample.row, "text": say(sample)}) + "\n" for sample in loaded.samples]
        answers.write_text("".join(rows), encoding="utf-8")
        result = score(name, loaded.inputs(answers))
        return next(iter(result.metrics.values()))

    full = {"mme": 1000.0}.get(name, 100.0)
    assert scored(lambda sample: sample.truth) == pytest.approx(full)
    assert scored(lambda sample: "?") < full / 2 + 20


@pytest.mark.parametrize("name", ["llava-bench", "mm-vet"])
def test_what_a_judge_reads_is_written_when_it_is_named(written: Path, name: str) -> None:
    loaded = TASKS[name].load(written / name, choices_of(TASKS[name], {}))
    assert len(loaded.samples) >= N - 1
    assert all(sample.images and Path(str(sample.images[0])).is_file() for sample in loaded.samples)


def test_the_same_settings_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    names = ["pope", "vqav2", "mmbench", "domain"]
    for seed, same in ((0, True), (1, False)):
        folder = tmp_path / str(seed)
        write_benchmarks(folder, n=N, seed=seed, names=names)
        for name in names:
            assert (files(folder / name) == files(written / name)) is same, name


def test_a_folder_that_was_begun_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"

    def stop(*_: Any) -> int:
        raise KeyboardInterrupt

    names = ["gqa", "reasoning"]
    broken = dataclasses.replace(BENCHMARKS["reasoning"], write=stop)
    with monkeypatch.context() as patched:
        patched.setattr("pumice.world.benchmarks.write._ALL", (BENCHMARKS["gqa"], broken))
        with pytest.raises(KeyboardInterrupt):
            write_benchmarks(folder, n=6)
    assert (folder / "gqa").is_dir()
    assert not (folder / "reasoning").is_dir()
    kept = (folder / "gqa" / "testdev_balanced_questions.json").stat().st_mtime_ns
    record = write_benchmarks(folder, n=6, names=names)
    assert list(record["questions"]) == names
    assert record["whole"]
    assert (folder / "gqa" / "testdev_balanced_questions.json").stat().st_mtime_ns == kept
    assert not list(folder.glob(".*"))


def test_other_settings_and_other_folders_are_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed 0, not 3"):
        write_benchmarks(written, n=N, seed=3)
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        write_benchmarks(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="poppe") as caught:
        write_benchmarks(tmp_path / "new", names=["poppe"])
    assert "pope" in str(caught.value)
    (written.parent / "torn").mkdir()
    (written.parent / "torn" / RECORD).write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        write_benchmarks(written.parent / "torn")


def test_without_pyarrow_its_benchmark_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumice.world.benchmarks.write.find_spec", lambda name: None)
    record = write_benchmarks(tmp_path / "data", n=4, names=["mmstar", "gqa"])
    assert record["left_out"] == {"mmstar": "pyarrow"}
    assert list(record["questions"]) == ["gqa"]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_pope_is_chosen_as_its_authors_choose(written: Path) -> None:
    names = {
        f"COCO_val2014_{view.number + 1:012d}.jpg": set(view.names)
        for view, _ in zip(Material(0, list(BENCHMARKS).index("pope")).views(), range(200), strict=False)
    }
    rows = {s: lines(written / "pope" / f"coco_pope_{s}.json") for s in ("random", "popular", "adversarial")}
    positives = {s: [row["text"] for row in own if row["label"] == "yes"] for s, own in rows.items()}
    assert positives["random"] == positives["popular"] == positives["adversarial"]
    for own in rows.values():
        assert [row["label"] for row in own] == ["yes", "no"] * (len(own) // 2)
        asked: dict[str, list[str]] = {}
        for row in own:
            words = row["text"].removeprefix("Is there a").removeprefix("n").removesuffix(" in the image?")
            assert (words.strip() in names[row["image"]]) == (row["label"] == "yes")
            asked.setdefault(row["image"], []).append(words)
        assert all(len(set(each)) == len(each) == 6 for each in asked.values()), "no name twice"
    popular = Counter(row["text"] for row in rows["popular"] if row["label"] == "no")
    assert popular.most_common(1)[0][1] > 1 or len(popular) <= 3, "the most frequent names come again"


def test_mme_has_a_yes_and_a_no_to_each_picture(written: Path) -> None:
    found = sorted((written / "mme").rglob("questions_answers_YN/*.txt"))
    assert found
    for path in found:
        truths = [line.rsplit("\t", 1)[1] for line in path.read_text("utf-8").splitlines()]
        assert sorted(truths) == ["No", "Yes"], path
        assert (path.parent.parent / "images" / f"{path.stem}.jpg").is_file()


def test_some_questions_cannot_be_answered_and_some_have_no_picture(written: Path) -> None:
    rows = json.loads((written / "vizwiz" / "val.json").read_text("utf-8"))
    kinds = Counter(row["answer_type"] for row in rows)
    assert 0 < kinds["unanswerable"] < len(rows) / 2
    assert all((row["answerable"] == 0) == (row["answer_type"] == "unanswerable") for row in rows)
    problems = json.loads((written / "scienceqa" / "problems.json").read_text("utf-8"))
    alone = [name for name, row in problems.items() if row["image"] is None]
    assert 0 < len(alone) < len(problems)
    assert not any((written / "scienceqa" / "images" / "test" / name).exists() for name in alone)


def test_annotators_disagree_a_little(written: Path) -> None:
    rows = json.loads((written / "vqav2" / "v2_mscoco_val2014_annotations.json").read_text("utf-8"))
    people = [[answer["answer"] for answer in row["answers"]] for row in rows["annotations"]]
    assert any(len(set(each)) > 1 for each in people)
    for row, each in zip(rows["annotations"], people, strict=True):
        assert len(each) == 10
        assert each.count(row["multiple_choice_answer"]) >= 7
