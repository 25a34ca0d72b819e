"""docs/evaluation.md and the pages beside it: commands run on stand-ins, tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.evaluate.hub import SLAKE, SOURCES
from pumice.evaluate.results import write_predictions, write_result
from pumice.evaluate.tasks import ALIASES, benchmark_of, prompts
from pumice.evaluate.tasks import TASKS as ASKED
from pumice.recipes.evaluation import Evaluation
from pumice.recipes.text import read_yaml
from pumice.score import TASKS
from pumice.score.answers import IDS, TEXTS
from pumice.score.published import CASES

from .cli.conftest import run_pumice
from .cli.official_pope import write_pope
from .evaluate.results_made import gqa, prediction, task_result
from .evaluate.stand_in import StandIn

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("evaluation.md", "evaluation-tasks.md", "scoring.md", "dimensions.md")
# titles count as headings, so that the last section of a page ends with it
TEXT = "".join("\n#" + (DOCS / page).read_text("utf-8") for page in PAGES)


def commands(start: str = "pumice score ") -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.S | re.M)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    return [line.strip() for line in lines if line.startswith(start)]


def table(heading: str) -> list[list[str]]:
    return table_of(TEXT[TEXT.index(f"\n## {heading}\n") :].split("\n## ")[1])


def table_of(part: str, heading: str = "") -> list[list[str]]:
    part = part[part.index(heading) :].split("\n### ")[0] if heading else part
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def lines(name: str, rows: Iterable[Any]) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def whole(name: str, value: Any) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def stand_ins() -> None:
    """Files of the names that the page uses, a question or two in each."""
    for name in ("answers", "sqa", "seed", "mmbench", "vqav2"):
        lines(f"{name}.jsonl", [{"question_id": 1, "text": "A"}])
    lines("llava_pope_test.jsonl", [{"question_id": 1, "text": "Is it?", "category": "random"}])
    lines("coco/coco_pope_random.json", [{"question_id": 1, "text": "Is it?", "label": "yes"}])
    whole("scienceqa/problems.json", {"1": {"choices": ["x", "y"], "answer": 0, "image": "image.png"}})
    inner = Path("MME_Benchmark_release_version/existence/questions_answers_YN")
    inner.mkdir(parents=True)
    (inner / "1.txt").write_text(
        "Is it? Please answer yes or no.\tYes\nWas it? Please answer yes or no.\tNo\n"
    )
    asked = {"question_id": "existence/1.jpg", "text": "Yes"}
    lines("mme.jsonl", [asked | {"prompt": "Is it?"}, asked | {"prompt": "Was it?"}])
    question = {"question_id": "1", "answer": "A", "question_type_id": 1, "data_type": "image"}
    whole("SEED-Bench.json", {"questions": [question], "question_type": {"Scene": 1}})
    for name in ("mmbench_dev_20230712.tsv", "mmbench_dev_cn_20231003.tsv"):
        head = (
            "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit"
        )
        Path(name).write_text(head + "\n1\tWhich?\t\tx\ty\t\t\tA\tc\t\ts\tl\t\tdev\n")
    for name in ("eval1", "eval2"):
        lines(f"{name}.jsonl", [{"question_id": 0, "tuple": [8, 4], "category": "llava_bench_conv"}])
    whole("grades.json", {"v1_0": {"model": ["m"], "content": ["0.5"], "score": [0.5]}})
    whole("mm-vet.json", {"v1_0": {"question": "?", "answer": "x", "capability": ["ocr"]}})
    lines("llava_vqav2_mscoco_test2015.jsonl", [{"question_id": 1, "text": "What?"}])
    Path("evals/tiny/mmmu").mkdir(parents=True)
    lines("evals/tiny/mmmu/answers.jsonl", [{"question_id": "validation_Art_1", "text": "A"}])
    label = {"id": "validation_Art_1", "question_type": "multiple-choice", "options": "['x']", "answer": "A"}
    lines("evals/tiny/mmmu/labels.jsonl", [label])


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stand_ins()
    found = commands()
    assert len(found) >= 9
    for line in found:
        result = run_pumice(*shlex.split(line)[1:])
        assert result.code == 0, f"{line}\n{result.both}"


def test_every_comparison_and_page_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "third"):
        folder = gqa(Path("evals") / name, [True, name == "first"])
        (folder / "pope").mkdir()
        task = task_result("pope", "f1", 100.0, 1)
        write_result(folder / "pope", task)
        for place in (folder / "pope", folder / "pope" / "blind"):
            place.mkdir(exist_ok=True)
            write_predictions(place, [prediction("1", 1.0, group="random")])
        lines(f"{name}.jsonl", [{"question_id": "1", "parsed": "x", "score": 1.0, "groups": []}])
    found = commands("pumice eval compare ") + commands("pumice report ")
    assert len(found) == 9
    for line in found:
        result = run_pumice(*shlex.split(line)[1:])
        assert result.code == 0, f"{line}\n{result.both}"


def test_every_command_that_asks_a_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pope(tmp_path / "benchmarks" / "pope")
    asked = benchmark_of("pope").load(tmp_path / "benchmarks" / "pope", {}).samples
    lines("answers.jsonl", [{"question_id": sample.row["question_id"], "text": "No"} for sample in asked])
    told_there = part("Measure a model")
    blocks = re.findall(r"^```\n(.*?)^```", told_there, re.S | re.M)
    found = [line for block in blocks for line in block.splitlines()]
    assert len(found) == 6
    with StandIn(lambda body: "Yes", models=("served",)) as server:
        for line in found:
            result = run_pumice(*shlex.split(line.replace("http://localhost:8000", server.url))[1:])
            assert result.code == 0, f"{line}\n{result.both}"
        assert len(server.bodies) == 8, "the second command finds the first one's answers"
    told = {cells[0].strip("`") for cells in table_of(told_there, "### What it writes")}
    written = {path.relative_to("evals/tiny").as_posix() for path in Path("evals/tiny").rglob("*.json*")}
    own = {name for name in written if "limit" not in name and "blind" not in name}
    assert {name.replace("pope/", "NAME/") for name in own} <= told
    assert (tmp_path / "evals/tiny/limit-4/results.json").is_file()


def test_the_block_of_a_recipe_is_one() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", part("During training"), re.S | re.M)
    value: Any = read_yaml(block, "evaluation.md").value
    plan = Evaluation.model_validate(value["evaluation"])
    assert plan.tasks == ("pope", "mme")
    assert set(plan.tasks) <= set(ASKED)


def test_the_tasks_and_their_figures_are_those_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {cells[0].strip("`"): cells[2] for cells in table("Tasks")}
    assert list(rows) == list(TASKS)
    monkeypatch.chdir(tmp_path)
    stand_ins()
    for line in commands():
        words = shlex.split(line)[1:]
        if "--submission" in words or words[1] in ("mme", "mmmu"):
            continue
        named = set(re.findall(r"`(\w+)`", rows[words[1]]))
        result = run_pumice(*words, *([] if "--json" in words else ["--json"]))
        told = set(json.loads(result.out)) - {"task", "n", "interval", "groups", "counts", "notes"}
        assert told <= named, line


def test_the_submissions_are_those_of_the_code() -> None:
    assert [cells[0].strip("`") for cells in table("Submissions")] == [
        name for name, task in TASKS.items() if task.submit
    ]


def test_every_name_of_a_key_is_told() -> None:
    part = TEXT[TEXT.index("## Answer files") : TEXT.index("## What is missing")]
    assert set(IDS + TEXTS) <= set(re.findall(r"`(\w+)`", part)) | {"question_id", "text"}


def test_every_published_figure_is_told() -> None:
    told = " ".join(cell for cells in table("Published figures") for cell in cells)
    for case in CASES:
        for figure in case.figures:
            value = figure.published
            assert (
                value in told
                or f"{int(float(value)):,}" in told
                or figure.what in ("questions", "right answers")
            ), value


def test_every_benchmark_says_what_files_it_takes() -> None:
    part = TEXT[TEXT.index("## Benchmarks' files") : TEXT.index("### Prompts")]
    cells = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    rows = {row[0].strip(" `"): row[1] for row in cells}
    assert list(rows) == list(ASKED)
    for name, benchmark in ASKED.items():
        told = set(re.findall(r"`([^`]+)`", rows[name]))
        assert told, name
        files = " ".join(benchmark.files)
        for file in told - {"ID/image.png"}:
            assert file.rstrip("/") in files, f"{name} does not read {file}"
        for line in benchmark.files:
            first = line.split(" (")[0]
            assert first in {file.rstrip("/") for file in told}, f"{name}: {first} is not told"
    assert all(f"`{alias}`" in part for names in ALIASES.values() for alias in names)


def test_the_prompts_are_those_of_the_code() -> None:
    part = TEXT[TEXT.index("### Prompts") : TEXT.index("### Options of a task")]
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in part.split("```")[1].splitlines()[1:])
    assert lines.pop("OCR").startswith(prompts.OCR)
    assert lines == {
        "short": prompts.SHORT,
        "letter": prompts.LETTER,
        "letter, cn": prompts.LETTER_CN,
        "unanswerable": prompts.UNANSWERABLE,
    }
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in part.splitlines()
            if line.startswith("| `")]  # fmt: skip
    assert {name: int(longest) for name, _, longest in rows} == {
        name: benchmark.max_new_tokens for name, benchmark in ASKED.items()
    }


def test_the_options_are_those_of_the_code() -> None:
    part = TEXT[TEXT.index("### Options of a task") : TEXT.index("## Benchmarks beyond")]
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("| `")]
    assert {row[0].strip(" `"): tuple(re.findall(r"`([^`]+)`", row[1])) for row in rows} == {
        f"{name}.{choice.name}": choice.values
        for name, benchmark in ASKED.items()
        for choice in benchmark.choices
    }


def test_the_hubs_tasks_are_told() -> None:
    told = {cells[0].strip("`"): cells[1] for cells in table("The hub")}
    assert {name: row.split(",")[0].split(":")[0].split(";")[0] for name, row in told.items()} == {
        **{name: source.repository for name, source in SOURCES.items()},
        "slake": SLAKE,
    }


def test_the_embedded_benchmarks_and_the_dimensions_are_those_of_the_code() -> None:
    from pumice.evaluate.dimensions import DIMENSIONS
    from pumice.evaluate.dimensions.forms import FORMS
    from pumice.world.benchmarks import BENCHMARKS
    from pumice.world.domains import DOMAINS

    written = {name for cells in table_of(part("The embedded benchmarks"), "| folder")
               for name in re.findall(r"`([\w-]+)`", cells[0])}  # fmt: skip
    assert written == set(BENCHMARKS)
    assert [cells[0].strip("`") for cells in table_of(part("Dimensions"), "| dimension")] == list(DIMENSIONS)
    told = part("Dimensions")
    assert set(FORMS) <= set(re.findall(r"`([\w-]+)`", told))
    assert all(word in told for word in ("hatched", "confetti", "dusk", "third of the\nresolution"))
    assert len(DOMAINS) == 5


def test_the_commands_of_the_embedded_evaluation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (write,) = commands("pumice world benchmarks ")
    only = ["--n", "6", "--only", "pope,reasoning,domain"]
    result = run_pumice(*shlex.split(write)[1:], *only)
    assert result.code == 0, result.both
    lines = [line for line in commands("pumice eval ") if "data/benchmarks" in line and "tiny" in line]
    assert len(lines) == 2
    for line in lines:
        result = run_pumice(*shlex.split(line)[1:])
        assert result.code == 0, f"{line}\n{result.both}"


def test_the_benchmark_of_ones_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pumice.score.rules import RULES

    monkeypatch.chdir(tmp_path)
    told = part("Your own benchmark")
    assert [cells[0].strip("`") for cells in table_of(told)] == list(RULES)
    Path("photos").mkdir()
    for name in ("a", "b"):
        PIL.Image.new("RGB", (32, 32), "red").save(f"photos/{name}.png")
    for kind, name in (("yaml", "parts.yaml"), ("csv", "parts.csv"), ("python", "own.py")):
        (text,) = re.findall(rf"^```{kind}\n(.*?)^```", told, re.S | re.M)
        Path(name).write_text(text)
    result = run_pumice("eval", "tiny", "--tasks", "parts.yaml", "--blind")
    assert result.code == 0, result.both
    assert "parts" in result.out
    with StandIn(lambda body: "4", models=("served",)) as server:
        code = Path("own.py").read_text().replace("http://localhost:8000", server.url)
        exec(compile(code, "own.py", "exec"), {"__name__": "own"})
    scores = json.loads(Path("evals/served/count/result.json").read_text())["scores"]
    assert scores["metrics"]["accuracy"] == pytest.approx(100 * (2 / 3 + 4 / 5) / 2)


def part(heading: str) -> str:
    return TEXT[TEXT.index(f"\n## {heading}\n") :].split("\n## ")[1]
