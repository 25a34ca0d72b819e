"""`pumice eval`: any model, on questions of one's own or on benchmarks, with the baselines beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pumice.cli import evaluate_options as options
from pumice.cli.again import command_again
from pumice.cli.help import examples
from pumice.cli.models import WeightsOption
from pumice.cli.requests import Requests
from pumice.errors import UsageError, suggest

if TYPE_CHECKING:
    from pumice.model.quantized.forms import Weights

VARIANTS = ("tuned", "blind", "wrong-image")
INSIDE, RECORDS = ("retrieval", "fusion"), ("efficiency", "scaling")
"""Dimensions that look into weights, and those that read what a run wrote down."""

EPILOG = examples(
    (
        "the shipped model on a world's test questions",
        "pumice eval tiny --questions data/easy/test_questions.jsonl",
    ),
    (
        "your own model and pictures, without baselines",
        "pumice eval runs/mine/model --questions q.jsonl --images photos --variants tuned",
    ),
    (
        "benchmarks, from their authors' files; again after a stop, it goes on",
        "pumice eval runs/mine --tasks pope,mme --data benchmarks --blind",
    ),
    ("a try of all that is there, 200 questions each", "pumice eval tiny --tasks all --limit 200"),
    (
        "a model behind a server",
        "pumice eval http://localhost:8000/v1 --tasks pope --data benchmarks --concurrency 32",
    ),
    (
        "answers that are there, with chance beside",
        "pumice eval llava-13b --tasks pope --data benchmarks --answers answers.jsonl",
    ),
    (
        "how much of it the training data had shown",
        "pumice eval runs/mine --tasks pope --data benchmarks --training mix.npz",
    ),
    (
        "benchmarks and dimensions of drawn pictures, with nothing downloaded",
        "pumice eval tiny --tasks all --dimensions all --data data/benchmarks",
    ),
    ("a benchmark of your own", "pumice eval runs/mine --tasks parts.yaml --blind"),
    ("which tasks there are, and what they need", "pumice eval --list --data benchmarks"),
)


def evaluate(
    context: typer.Context,
    model: options.Model = None,
    questions: options.Questions = None,
    images: options.Images = None,
    variants: options.Variants = None,
    tasks: options.Tasks = None,
    data: options.Data = None,
    listing: options.ListTasks = False,
    choices: options.SetChoice = None,
    blind: options.Blind = False,
    answers: options.Answers = None,
    missing: options.Missing = options.Unanswered.error,
    allow_bad: options.AllowBad = 0,
    judge: options.JudgeUrl = None,
    judge_model: options.JudgeModel = None,
    judge_key_variable: options.JudgeKeyVariable = None,
    judge_runs: options.JudgeRuns = None,
    judge_option: options.JudgeOption = None,
    both_orders: options.BothOrders = False,
    second_judge: options.SecondJudge = None,
    second_judge_key_variable: options.SecondJudgeKeyVariable = None,
    dimensions: options.Dimensions = None,
    sizes: options.Sizes = None,
    text_side: options.TextSide = None,
    endpoint: options.EndpointUrl = None,
    served: options.ServedName = None,
    concurrency: options.Concurrency = None,
    timeout: options.Timeout = None,
    retries: options.Retries = None,
    key_variable: options.KeyVariable = None,
    folder: options.Out = None,
    limit: options.Limit = None,
    batch_size: options.BatchSize = None,
    max_new_tokens: options.MaxNewTokens = None,
    seed: options.Seed = 0,
    template: options.Template = None,
    weights: WeightsOption = None,
    training: options.Training = None,
) -> None:
    """Measure a model: figures with intervals, and baselines that see nothing."""
    asking = Requests(concurrency, timeout, retries, key_variable)
    of_server = {"--endpoint": endpoint, "--model": served, **asking.options}
    of_tasks = {
        "--set": choices,
        "--blind": blind,
        "--answers": answers,
        "--missing": missing.value if missing is not options.Unanswered.error else None,
        "--allow-bad": allow_bad,
        "--judge": judge,
        "--judge-model": judge_model,
        "--judge-key-variable": judge_key_variable,
        "--judge-runs": judge_runs,
        "--judge-option": judge_option,
        "--both-orders": both_orders,
        "--second-judge": second_judge,
        "--second-judge-key-variable": second_judge_key_variable,
        "--training": training,
    }
    if listing:
        from pumice.cli.tasks_view import print_dimensions, print_tasks

        print_tasks(data)
        print_dimensions(data)
        return
    of_dimensions = {"--sizes": sizes, "--text-side": text_side}
    _one_thing(questions is not None, tasks is not None or dimensions is not None)
    if model is None:
        raise UsageError("no model is named", where="MODEL", remedy="give its folder or address, or tiny")
    if template is not None:
        from pumice.text.templates import check_template_name

        check_template_name(template)
    if questions is not None:
        _unused(of_tasks | of_server | of_dimensions, "with --questions")
        _own_questions(
            model, questions, images, variants, folder, limit,
            batch_size or 64, max_new_tokens or 64, seed, template, weights,
        )  # fmt: skip
        return
    _unused({"--images": images, "--variants": variants}, "with --tasks or --dimensions")
    if dimensions is None:
        _unused(of_dimensions, "without --dimensions")
    else:
        elsewhere = {"--endpoint": endpoint, "--model": served, "--answers": answers}
        _unused(elsewhere, "with --dimensions, which look into a model of ours")
        _of_ours(model, tasks)
    if tasks is None:
        _unused(of_tasks | of_server, "without --tasks")
    failed, opened = False, None
    if dimensions is not None:  # before hours go into tasks: what a dimension lacks is told now
        from pumice.cli.dimensions import evaluate_dimensions, open_dimensions

        opened = open_dimensions(
            model, dimensions, data,
            sizes=sizes, text_side=text_side, batch_size=batch_size, template=template,
            weights=weights,
        )  # fmt: skip
    if tasks is not None:
        from pumice.cli.judging import Judging
        from pumice.cli.tasks import Server, evaluate_tasks

        judging = Judging(
            judge, judge_model, replace(asking, key_variable=judge_key_variable), second_judge,
            second_judge_key_variable, judge_runs, both_orders, judge_option or (),
        )  # fmt: skip
        try:
            evaluate_tasks(
                model, tasks, data, choices or [],
                server=Server(endpoint, served, asking),
                answers=answers, judge=judging,
                out=folder, limit=limit, seed=seed, blind=blind,
                batch_size=batch_size, max_new_tokens=max_new_tokens, template=template,
                weights=weights, training=training or (), again=command_again(context),
                allow_bad=allow_bad, missing=missing.value,
                last=opened is None,
            )  # fmt: skip
        except typer.Exit:
            if opened is None:
                raise
            failed = True  # the dimensions are measured all the same
    if opened is not None:
        evaluate_dimensions(
            opened, model, out=folder, limit=limit, seed=seed,
            batch_size=batch_size, max_new_tokens=max_new_tokens, failed=failed,
        )  # fmt: skip


def _one_thing(own: bool, benchmarks: bool) -> None:
    """Questions of one's own, or benchmarks and dimensions: not both, and not neither.

    Raises:
        UsageError: it is otherwise.
    """
    if own == benchmarks:
        raise UsageError(
            "two things are to be asked" if own else "what the model is asked is not said",
            where="--questions, --tasks, --dimensions",
            remedy="give --questions FILE (your own), or --tasks LIST (benchmarks; --list shows them) and"
            " --dimensions LIST",
        )


def _of_ours(model: str, tasks: str | None) -> None:
    """Refuse dimensions of a model that nobody can look into.

    Raises:
        UsageError: the model is an address.
    """
    from pumice.cli.tasks import ADDRESSES
    from pumice.evaluate.dimensions import DIMENSIONS

    if not model.startswith(ADDRESSES):
        return
    asked = [name for name in DIMENSIONS if name not in (*INSIDE, *RECORDS)]
    raise UsageError(
        "dimensions are of a model that is loaded here, and a server shows none of its weights: "
        f"{_listed(INSIDE)} look into them, {_listed(RECORDS)} read the record of a run, "
        f"{_listed(asked)} ask it with their own files",
        where="--dimensions",
        remedy="give the model's folder or run for them; a server is asked benchmarks alone: "
        f"pumice eval {model} --tasks {tasks or 'LIST'}",
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])


def _unused(given: Mapping[str, Any], when: str) -> None:
    """Refuse options that would do nothing.

    Raises:
        UsageError: one was given.
    """
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} does nothing {when}", where=name, remedy="leave it out")


def _own_questions(
    model: str,
    questions: Path,
    images: Path | None,
    variants: str | None,
    folder: Path | None,
    limit: int | None,
    batch_size: int,
    max_new_tokens: int,
    seed: int,
    template: str | None,
    weights: Weights | None,
) -> None:
    """Accuracy by question type, with baselines that see nothing or another picture."""
    from pumice.cli.console import note
    from pumice.cli.measure import measure, open_questions, print_answers, print_scores
    from pumice.cli.models import find_model, label

    chosen = _variants(",".join(VARIANTS) if variants is None else variants)
    if images is not None and not images.is_dir():
        raise UsageError(f"there is no folder {str(images)!r}", where="--images", remedy="check the path")
    place = find_model(model)
    asked = open_questions(questions, images, limit, chosen, seed)
    folder = folder or Path("evals") / label(model) / questions.stem
    scores = measure(
        asked,
        folder,
        place,
        None,
        chosen,
        max_new_tokens=max_new_tokens,
        seed=seed,
        rows=batch_size,
        template=template,
        weights=weights,
    )
    print_scores(scores)
    print_answers(folder / f"predictions-{next(iter(scores['variants']))}.jsonl")
    note(f"\nEvery answer is in {folder}")


def _variants(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in VARIANTS:
            raise UsageError(
                f"there is no variant {name!r}", where="--variants", remedy=suggest(name, VARIANTS)
            )
    if not names:
        raise UsageError("no variant is named", where="--variants", remedy=suggest("", VARIANTS))
    return names
