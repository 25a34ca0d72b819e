"""What a recipe may say of its measurement."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pumice.recipes.values import Count, Names, PathText, Problem, Strict, Variants, is_task_path, no_repeats


class Evaluation(Strict):
    """What is measured once the last stage is done, and by choice on the way."""

    questions: PathText | None = Field(
        default=None, description="JSONL of questions with answers; null: tasks alone."
    )
    images: PathText | None = Field(default=None, description="The folder that image names are relative to.")
    tasks: Names = Field(
        default=(),
        description="Benchmarks by name, as pumice eval --list shows them, or all that are in data; a task "
        "of your own by its YAML file (or its folder, with a / in it). The finished model answers them, and "
        "without the pictures where variants has blind.",
    )
    data: PathText | None = Field(
        default=None,
        description="With benchmarks among tasks: the folder of the official files, each one's in DIR/NAME.",
    )
    task_options: Names = Field(
        default=(), description="Options of tasks, as for pumice eval --set: TASK.OPTION=VALUE."
    )
    limit: Count | None = Field(
        default=None,
        description="Ask only the first so many questions; of each task so many, drawn with whole pictures.",
    )
    allow_bad: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="So many questions of each task may be left out, on the way and at the end, for their "
        "pictures cannot be decoded; one more stops it.",
    )
    variants: Variants = Field(
        default=("tuned", "aligned", "blind", "wrong-image"),
        min_length=1,
        description="Who answers: tuned, the finished model; aligned, the model after the last align stage; "
        "blind, the finished one without the picture; wrong-image, the finished one with another picture.",
    )
    max_new_tokens: Count = Field(
        default=64, description="The longest answer to questions, in tokens; tasks have their own."
    )

    every: Count | None = Field(
        default=None,
        description="Also ask the model in training every so many steps of a stage; null: at the end only.",
    )
    every_limit: Count = Field(
        default=200,
        description="With every: how many of the questions are asked on the way, the first ones; and about "
        "how many of each task, drawn with whole pictures.",
    )

    def asked(self, steps: int) -> int:
        """How often the model in training is asked in a stage of so many steps."""
        return 0 if self.every is None else steps // self.every

    def never(self, stage: str, steps: int) -> list[str]:
        """A warning where ``every`` is more than a stage has steps."""
        if self.every is None or self.every <= steps:
            return []
        return [
            f"evaluation.every is {self.every:,} and the stage {stage} has {steps:,} steps: nothing is asked "
            "on its way"
        ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        no_repeats(self.variants, "variants")
        no_repeats(self.tasks, "tasks")
        if self.questions is None and not self.tasks:
            raise Problem(
                "the evaluation asks nothing", "give questions, a file of your own, or tasks", ("questions",)
            )
        if self.questions is None and self.images is not None:
            raise Problem("images are of questions, and there are none", "leave images out", ("images",))
        named = not all(map(is_task_path, self.tasks))
        if named and self.data is None:
            raise Problem("tasks need their files", "say in data which folder holds them", ("data",))
        if self.tasks and not named and self.data is not None:
            raise Problem("data is of benchmarks, and there are none", "leave data out", ("data",))
        of_tasks = {"data": self.data, "task_options": self.task_options, "allow_bad": self.allow_bad}
        for name, value in of_tasks.items():
            if value and not self.tasks:
                raise Problem(f"{name} is of tasks, and there are none", f"leave {name} out", (name,))
        return self
