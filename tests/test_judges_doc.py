"""docs/judges.md, and evaluation.md on lmms-eval: commands run on stand-ins, what is shown is there."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import yaml

from pumice.evaluate.judging.agreement import Agreement

from .cli.conftest import run_pumice
from .evaluate.stand_in import Body, StandIn

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "evaluation.md").read_text("utf-8")
JUDGES = (ROOT / "docs" / "judges.md").read_text("utf-8")
EXAMPLE = ROOT / "examples" / "lmms_eval"


def section(heading: str) -> str:
    return TEXT[TEXT.index(f"\n## {heading}\n") + 1 :].split("\n## ")[0]


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_every_judging_runs_and_can_be_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    Path("llava-bench").mkdir()
    Path("mm-vet").mkdir()
    asked = {"question_id": 0, "image": "a.jpg", "category": "conv", "text": "?"}
    lines(Path("llava-bench/questions.jsonl"), [asked])
    lines(Path("llava-bench/context.jsonl"), [{"image": "a.jpg", "caption": "A dog."}])
    lines(Path("llava-bench/answers_gpt4.jsonl"), [{"question_id": 0, "text": "A dog."}])
    lines(Path("answers.jsonl"), [{"question_id": 0, "text": "A cat."}])
    question = {"question": "?", "answer": "a dog", "capability": ["rec"]}
    Path("mm-vet/mm-vet.json").write_text(json.dumps({"v1_0": question}))

    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit"
    table = [head, *(f"{n}\tWhich?\t\tred\tblue\t\t\tB\tc\t\ts\tl\t\tdev" for n in (1, 2))]
    Path("mmbench_dev_20230712.tsv").write_text("\n".join(table) + "\n")
    lines(Path("mmbench.jsonl"), [{"question_id": 1, "text": "A"}, {"question_id": 2, "text": "azure"}])

    def judge(body: Body) -> str:
        if "<<<OPTIONS" in body["messages"][-1]["content"]:
            return "B"
        return "0.5" if "<<<TRUTH" in body["messages"][-1]["content"] else "8 4"

    found = [line for line in JUDGES.splitlines() if line.startswith("pumice judge ")]
    assert len(found) == 3
    with StandIn(judge, models=("JUDGE",)) as server:
        for line in found:
            result = run_pumice(*shlex.split(line.replace("http://localhost:8000", server.url))[1:])
            assert result.code == 0, f"{line}\n{result.both}"
            (after,) = [line for line in result.out.splitlines() if line.strip().startswith("pumice score")]
            scored = run_pumice(*shlex.split(after)[1:], "--json")
            assert scored.code == 0, scored.both
            assert 50 in json.loads(scored.out).values()


def test_the_files_are_those_that_are_looked_for() -> None:
    from pumice.evaluate.judging import llava_bench, mm_vet
    from pumice.evaluate.judging.task import CACHE, RECORD

    names = (llava_bench.CONTEXT, llava_bench.REFERENCE, llava_bench.RULES, mm_vet.PROMPT, CACHE, RECORD)
    for name in (*names, llava_bench.JUDGE, mm_vet.JUDGE):
        assert f"`{name}`" in JUDGES, name


def test_the_figures_of_agreement_are_those_of_the_code() -> None:
    part = JUDGES
    rows = [line.split("|")[1] for line in part[part.index("| key") :].splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(Agreement.__annotations__)


def test_the_task_of_lmms_eval_is_the_one_in_the_example() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", section("lmms-eval against Pumice"), re.S)
    assert shown == (EXAMPLE / "local_pope.yaml").read_text("utf-8")


def test_the_example_writes_what_its_task_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("local_pope.py", "local_pope.yaml"):
        (tmp_path / name).write_text((EXAMPLE / name).read_text("utf-8"))
    spec = importlib.util.spec_from_file_location("local_pope", tmp_path / "local_pope.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    world = tmp_path / "world"
    world.mkdir()
    PIL.Image.new("RGB", (4, 3)).save(world / "a.png")
    asked = {"question_id": "a-0", "image": "a.png", "type": "existence", "answer": "no"}
    lines(
        world / "test_questions.jsonl",
        [asked | {"text": "Is there a cat?\nAnswer so."}, asked | {"type": "count", "text": "How many?"}],
    )
    module.main(world)
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_constructor("!function", lambda loader, node: node.value)  # type: ignore[attr-defined]
    task = yaml.load((tmp_path / "local_pope.yaml").read_text(), loader)
    rows = json.loads((tmp_path / task["dataset_kwargs"]["data_files"]["test"]).read_text())
    assert [(row["question"], row["answer"]) for row in rows] == [("Is there a cat?", "no")]
    assert module.picture(rows[0])[0].size == (4, 3)
    assert set(
        json.loads(re.findall(r"```json\n(.*?)```", section("lmms-eval against Pumice"), re.S)[0])
    ) == set(rows[0])
