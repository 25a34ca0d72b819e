"""Official scores from answers that are there already: pure functions over files, without torch."""

from pumice.score.inputs import Inputs
from pumice.score.result import Group, Item, Result
from pumice.score.tasks import TASKS, Task, score, submit, task_of

__all__ = ["TASKS", "Group", "Inputs", "Item", "Result", "Task", "score", "submit", "task_of"]
