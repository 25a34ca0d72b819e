"""The list of tasks, and that none of it needs torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pumice.errors import UsageError
from pumice.score import TASKS, Inputs, score, submit

ISSUE = (
    "vqav2 gqa vizwiz scienceqa textvqa pope mme mmbench mmbench-cn seed llava-bench mm-vet "
    "mmmu mmstar chartqa docvqa ai2d vqa-rad slake pathvqa"
)


def test_every_task_is_there() -> None:
    assert list(TASKS) == ISSUE.split()
    assert [task.name for task in TASKS.values() if task.submit] == [
        "vqav2", "gqa", "vizwiz", "mmbench", "mmbench-cn", "mm-vet", "docvqa",
    ]  # fmt: skip


def test_scoring_loads_no_torch(answers: Any, lines: Any, tmp_path: Path) -> None:
    rows = [{"index": 1, "question": "?", "answer": "A", "category": "c"}]
    given, asked = answers({1: "A"}), lines("q.jsonl", rows)
    program = (
        "import sys\n"
        f"sys.argv = 'pumice score mmstar --answers {given} --questions {asked}'.split()\n"
        "from pumice.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print(*[name for name in ('torch', 'transformers', 'pyarrow', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "100.00" in done.stdout
    assert done.stdout.splitlines()[-1].split() == []


def test_a_file_that_a_task_does_not_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MM-Vet is not scored with --answers") as caught:
        score("mm-vet", Inputs(answers=tmp_path / "a"))
    assert caught.value.remedy == "it takes --grades, --questions; pumice judge mm-vet makes such of answers"
    with pytest.raises(UsageError, match="POPE is not scored with --reviews"):
        score("pope", Inputs(reviews=(tmp_path / "r",)))


def test_a_missing_file_is_called_by_its_published_name(answers: Any) -> None:
    with pytest.raises(UsageError) as caught:
        score("pope", Inputs(answers=answers({1: "yes"})))
    assert caught.value.remedy == "say --labels FILE: coco_pope_CATEGORY.json, or their folder"


def test_unknown_tasks_and_tasks_without_a_server(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no task 'mmvet'") as caught:
        score("mmvet", Inputs())
    assert "'mm-vet'" in str(caught.value.remedy)
    with pytest.raises(UsageError, match="POPE has nothing to submit"):
        submit("pope", Inputs(), tmp_path / "out")


@pytest.mark.parametrize("name", [name for name in ISSUE.split() if name not in ("llava-bench", "mm-vet")])
def test_every_task_says_which_file_is_missing(name: str) -> None:
    with pytest.raises(UsageError, match="the file of answers is missing"):
        score(name, Inputs())


def test_two_files_where_one_is_read_are_refused(answers: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="are one file here"):
        score("gqa", Inputs(answers({1: "a"}), tmp_path / "q", tmp_path / "l"))


def test_a_submission_is_made_of_answers(answers: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not made of grades"):
        submit("mm-vet", Inputs(answers({1: "a"}), grades=tmp_path / "g"), tmp_path / "out")
