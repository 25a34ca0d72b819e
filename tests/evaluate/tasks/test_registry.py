"""The registry: names, folders, options."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.errors import UsageError
from pumice.evaluate.samples import Benchmark, Choice
from pumice.evaluate.tasks import TASKS, benchmark_of, choices_of, folder_of
from pumice.score import TASKS as SCORED

ASKED = Benchmark(
    "asked",
    ("a file",),
    lambda folder, choices: pytest.fail("not loaded here"),
    choices=(Choice("ocr", ("yes", "no"), "a line"), Choice("rounds", ("one", "all"), "rounds")),
)


def test_the_order_is_that_of_the_scorers() -> None:
    assert list(TASKS) == [name for name in SCORED if name in TASKS]


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no task 'popee'") as caught:
        benchmark_of("popee")
    assert caught.value.where == "--tasks"


def test_options_that_are_not_given_take_their_first_value() -> None:
    assert choices_of(ASKED, {}) == {"ocr": "yes", "rounds": "one"}
    assert choices_of(ASKED, {"rounds": "all"}) == {"ocr": "yes", "rounds": "all"}


def test_wrong_options_name_the_nearest() -> None:
    with pytest.raises(UsageError, match="asked has no option 'round'") as caught:
        choices_of(ASKED, {"round": "all"})
    assert "did you mean 'rounds'" in str(caught.value.remedy)
    assert caught.value.where == "--set asked.round=all"
    with pytest.raises(UsageError, match="ocr of asked is never 'nope'") as caught:
        choices_of(ASKED, {"ocr": "nope"})
    assert "'no'" in str(caught.value.remedy)
    with pytest.raises(UsageError, match="no option 'x'") as caught:
        choices_of(Benchmark("bare", (), ASKED.load), {"x": "y"})
    assert caught.value.remedy == "bare has no options"


def test_folders_of_llavas_own_evaluation_are_found_by_their_names(tmp_path: Path) -> None:
    assert folder_of(tmp_path, "mme") == tmp_path / "mme"
    (tmp_path / "MME").mkdir()
    assert folder_of(tmp_path, "mme") == tmp_path / "MME"
    (tmp_path / "mme").mkdir()
    assert folder_of(tmp_path, "mme") == tmp_path / "mme"
    assert folder_of(tmp_path, "pope") == tmp_path / "pope"
