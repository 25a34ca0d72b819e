"""`pumice judge`: have answers judged by a model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples
from pumice.cli.requests import Concurrency, KeyVariable, Requests, Retries, SecondKeyVariable, Timeout

if TYPE_CHECKING:
    from pumice.evaluate.judging import Judged

OPTIONS = {"llava-bench": "--reviews", "mm-vet": "--grades"}
"""Of ``pumice score``, for what is written; of MMBench that is answers again."""
PROMPTS = {"official": "the official prompt", "given": "a prompt of yours", "own": "our own prompt"}
EPILOG = examples(
    (
        "LLaVA-Bench, judged by a model on this machine",
        "pumice judge llava-bench --answers answers.jsonl --questions llava-bench/questions.jsonl "
        "--endpoint http://localhost:8000 --model JUDGE --out reviews.jsonl",
    ),
    (
        "MM-Vet in three runs, with the key in OPENAI_API_KEY",
        "pumice judge mm-vet --answers answers.jsonl --questions mm-vet/mm-vet.json "
        "--endpoint https://api.openai.com --model gpt-4-0613 --runs 3 --out grades.json",
    ),
    (
        "MMBench: answers that name no option by rule",
        "pumice judge mmbench --answers answers.jsonl --questions mmbench_dev_20230712.tsv "
        "--endpoint http://localhost:8000 --model JUDGE --out matched.jsonl",
    ),
    (
        "how far two judges agree",
        "pumice judge llava-bench --answers answers.jsonl --questions llava-bench/questions.jsonl "
        "--endpoint http://localhost:8000 --model ONE --second-model OTHER --out reviews.jsonl",
    ),
)


def judge(
    task: Annotated[str, typer.Argument(metavar="TASK", help="llava-bench, mm-vet, mmbench or mmbench-cn.")],
    answers: Annotated[
        Path, typer.Option(metavar="FILE", help="Answers, a row each: JSONL of question_id and text.")
    ],
    questions: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The benchmark's questions, with its other files beside."),
    ],
    endpoint: Annotated[str, typer.Option(metavar="URL", help="The judge's server.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The judge, as its server calls it; published figures are by gpt-4-0314 "
            "(llava-bench) and gpt-4-0613 (mm-vet).",
        ),
    ],
    file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the reviews or grades go, for pumice score.")
    ],
    key_variable: KeyVariable = None,
    runs: Annotated[int, typer.Option(min=1, help="How often everything is judged.")] = 1,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="llava-bench: judge each pair in both orders.")
    ] = False,
    second_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another judge of the same, for agreement.")
    ] = None,
    second_endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Its server.", show_default="the first one's")
    ] = None,
    second_key_variable: SecondKeyVariable = None,
    context: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="llava-bench: the pictures in words.", show_default="context.jsonl"
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="llava-bench: answers to compare with.", show_default="answers_gpt4.jsonl"
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="llava-bench: LLaVA's rules.", show_default="rule.json, else our own"
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="mm-vet: its prompt.", show_default="prompt.txt, else our own"),
    ] = None,
    temperature: Annotated[
        str, typer.Option(metavar="T", help="0 to 2; none leaves it to the server; task takes the script's.")
    ] = "task",
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="The longest reply, in tokens.", show_default="the script's"),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="NAME=VALUE",
            help="A further member of every request to the judge, such as reasoning_effort=low; may be given "
            "more than once.",
        ),
    ] = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="How often a reply that cannot be read is asked for.")
    ] = 5,
    concurrency: Concurrency = None,
    timeout: Timeout = None,
    retries: Retries = None,
    missing: Annotated[
        str, typer.Option(metavar="error|skip", help="Questions without an answer: stop, or leave them out.")
    ] = "error",
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replies so far; nothing in it is asked again.",
            show_default="judge-cache.jsonl beside --out",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Have answers judged by another model where no rule can score them."""
    from pumice.cli.console import hint
    from pumice.cli.judge_options import judge_options, temperature_of
    from pumice.cli.judging import second_judge
    from pumice.cli.progress import counting
    from pumice.errors import UsageError, suggest
    from pumice.evaluate.judging import Terms, judge_file
    from pumice.evaluate.judging.task import CACHE, check_wish, material_of
    from pumice.files import write_json

    if missing not in ("error", "skip"):
        remedy = suggest(missing, ("error", "skip"))
        raise UsageError(f"{missing!r} is no choice here", where="--missing", remedy=remedy)
    if second_model is None and (second_endpoint or second_key_variable):
        raise UsageError("the second judge has no name", where="--second-model", remedy="say which model")
    material = material_of(task, questions, context=context, reference=reference, rules=rules, prompt=prompt)
    more = judge_options(options or (), "--option")
    for name, value in (("temperature", more.temperature != "task"), ("max_tokens", more.max_tokens)):
        if value:
            own = f"--{name.replace('_', '-')}"
            raise UsageError(f"{name} has an option of its own", where="--option", remedy=f"say {own}")
    warmth = temperature_of(temperature, "--temperature")
    terms = Terms(runs, attempts, both_orders, warmth, max_tokens, more.extra)
    judges = [Requests(concurrency, timeout, retries, key_variable).endpoint(endpoint, model)]
    if second_model is not None:
        judges.append(
            second_judge(
                judges[0], second_endpoint or endpoint, second_model, second_key_variable,
                option="--second-key-variable",
            )
        )  # fmt: skip
    kept = cache or file.parent / CACHE
    check_wish(
        task,
        material,
        answers,
        judges[0],
        file,
        terms,
        second=judges[1] if second_model else None,
        cache=kept,
    )
    for one in judges:
        for warning in one.warnings:
            hint(warning)
        one.check()
    file.parent.mkdir(parents=True, exist_ok=True)
    with counting() as count:
        judged = judge_file(
            task, material, answers, judges[0], file, terms,
            second=judges[1] if len(judges) > 1 else None,
            cache=kept,
            missing="skip" if missing == "skip" else "error",
            progress=lambda name, done, total: count(name, done, total),
        )  # fmt: skip
    write_json(file.with_name(f"{file.stem}.judge.json"), judged.record)
    _tell(task, judged, questions)


def _tell(task: str, judged: Judged, questions: Path) -> None:
    """What was done, what a reader must know, and the command that scores it."""
    from pumice.cli.console import commands, hint, out, visible

    record = judged.record
    lines = [_line(record)]
    if record["second"] is not None:
        lines += [_line(record["second"]), _agreement(record["agreement"])]
    if record.get("position_bias"):
        lines.append(_bias(record["position_bias"]))
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
    for text in record["notes"]:
        hint(visible(text))
    option = OPTIONS.get(task, "--answers")
    named = " ".join(f"{option} {path}" for path in judged.files)
    commands(("score it", f"pumice score {task} {named} --questions {questions}"))


def _line(record: dict[str, Any]) -> str:
    unread = f", {record['unparsed']:,} not readable" if record["unparsed"] else ""
    unread += f", {record['none']:,} that choose no option" if record.get("none") else ""
    return (
        f"{record['model']} ({record['host']}): {record['judgements']:,} judgements{unread}; "
        f"{record['requests']:,} requests, {record['reused']:,} replies were there; "
        f"{PROMPTS[record['prompt']]}"
    )


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _agreement(found: Any) -> str:
    names = {
        "pearson": "Pearson", "spearman": "Spearman", "difference": "mean difference", "shift": "shift",
        "order": "order kept", "kappa": "kappa",
    }  # fmt: skip
    said = ", ".join(f"{word} {_figure(found[name])}" for name, word in names.items())
    return f"agreement over {found['n']:,} questions: {said}"


def _bias(found: dict[str, Any]) -> str:
    return (
        f"place: standing first is worth {_figure(found['points'])} points; relative score "
        f"{_figure(found['reference_first'])} with the reference first, "
        f"{_figure(found['reference_second'])} with it second"
    )
