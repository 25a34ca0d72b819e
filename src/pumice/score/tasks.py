"""Every task that can be scored: what it needs, what it says, what its server takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pumice.errors import UsageError, suggest
from pumice.score import choice, documents, gqa, llava_bench, medical, mm_vet, mmbench, mme, mmmu, pope, vqa
from pumice.score.inputs import Inputs
from pumice.score.result import Result
from pumice.score.scienceqa import scienceqa
from pumice.score.seed import seed

Score = Callable[[Inputs], Result]
Submit = Callable[[Inputs, Path], int]


@dataclass(frozen=True)
class Task:
    """A benchmark.

    Attributes:
        name: as it is asked for.
        title: as papers write it.
        score: from files to figures.
        takes: the options it reads, besides ``missing``.
        truth: what the true answers are read from.
        submit: writes what its server (or its own tool) takes; None where there is nothing to submit.
    """

    name: str
    title: str
    score: Score
    takes: tuple[str, ...]
    truth: str
    submit: Submit | None = None


_ANSWERS = ("answers", "questions", "labels")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("vqav2", "VQAv2", vqa.vqav2, _ANSWERS, "v2_mscoco_val2014_annotations.json", vqa.submit_vqav2),
        Task("gqa", "GQA", gqa.gqa, _ANSWERS, "testdev_balanced_questions.json", gqa.submit_gqa),
        Task("vizwiz", "VizWiz", vqa.vizwiz, _ANSWERS, "val.json", vqa.submit_vizwiz),
        Task("scienceqa", "ScienceQA", scienceqa, _ANSWERS, "problems.json, pid_splits.json"),
        Task("textvqa", "TextVQA", vqa.textvqa, _ANSWERS, "TextVQA_0.5.1_val.json"),
        Task("pope", "POPE", pope.pope, _ANSWERS, "coco_pope_CATEGORY.json, or their folder"),
        Task("mme", "MME", mme.mme, _ANSWERS, "the folder of CATEGORY/questions_answers_YN"),
        Task("mmbench", "MMBench", mmbench.scorer("mmbench"), _ANSWERS, "the .tsv", mmbench.submit_mmbench),
        Task(
            "mmbench-cn",
            "MMBench-CN",
            mmbench.scorer("mmbench-cn"),
            _ANSWERS,
            "the .tsv",
            mmbench.submit_mmbench,
        ),
        Task("seed", "SEED-Bench", seed, _ANSWERS, "SEED-Bench.json"),
        Task(
            "llava-bench",
            "LLaVA-Bench",
            llava_bench.llava_bench,
            ("reviews", "questions"),
            "reviews of a judge",
        ),
        Task(
            "mm-vet",
            "MM-Vet",
            mm_vet.mm_vet,
            ("grades", "questions"),
            "grades of a judge",
            mm_vet.submit_mm_vet,
        ),
        Task("mmmu", "MMMU", mmmu.mmmu, _ANSWERS, "the validation rows, or answer_dict_val.json"),
        Task("mmstar", "MMStar", choice.mmstar, _ANSWERS, "mmstar.parquet"),
        Task("chartqa", "ChartQA", documents.chartqa, _ANSWERS, "test_human.json, test_augmented.json"),
        Task("docvqa", "DocVQA", documents.docvqa, _ANSWERS, "val_v1.0_withQT.json", documents.submit_docvqa),
        Task("ai2d", "AI2D", choice.ai2d, _ANSWERS, "the test rows"),
        Task("vqa-rad", "VQA-RAD", medical.scorer("vqa-rad"), _ANSWERS, "test.json"),
        Task("slake", "SLAKE", medical.scorer("slake"), _ANSWERS, "test.json"),
        Task("pathvqa", "PathVQA", medical.scorer("pathvqa"), _ANSWERS, "test.json"),
    )
}


def task_of(name: str) -> Task:
    """A task by its name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    if name not in TASKS:
        raise UsageError(f"there is no task {name!r}", where="TASK", remedy=suggest(name, TASKS))
    return TASKS[name]


def score(name: str, inputs: Inputs) -> Result:
    """The figures of a task.

    Raises:
        UsageError: there is no such task, or it does not read one of the files.
        DataError: a file is missing or wrong, or questions and answers do not match.
    """
    task = task_of(name)
    check_takes(task, inputs)
    if "answers" in task.takes:
        inputs.need(inputs.answers, "answers")
    return task.score(replace(inputs, known_as=task.truth))


def submit(name: str, inputs: Inputs, target: Path) -> int:
    """Write what the server of a task takes.

    Returns:
        How many answers were written.

    Raises:
        UsageError: the task has no server, or there is no such task.
        DataError: as ``score``.
    """
    task = task_of(name)
    if task.submit is None:
        able = ", ".join(other.name for other in TASKS.values() if other.submit)
        raise UsageError(
            f"{task.title} has nothing to submit", where="--submission", remedy=f"these have: {able}"
        )
    for option in inputs.given():
        if option not in _ANSWERS:
            raise UsageError(
                f"a submission is not made of {option}", where=f"--{option}", remedy="give --answers"
            )
    return task.submit(inputs, target)


def check_takes(task: Task, inputs: Inputs) -> None:
    """Refuse a file that the task would not read."""
    for option in inputs.given():
        if option not in task.takes:
            takes = ", ".join(f"--{name}" for name in task.takes)
            raise UsageError(
                f"{task.title} is not scored with --{option}",
                where=f"--{option}",
                remedy=f"it takes {takes}"
                + (f"; pumice judge {task.name} makes such of answers" if option == "answers" else ""),
            )
    judged = "answers" not in task.takes
    if judged and inputs.missing != "error" and inputs.questions is None:
        raise UsageError(
            f"what is missing of {task.title} is told by its questions alone",
            where="--missing",
            remedy="say --questions FILE, or leave out --missing",
        )
