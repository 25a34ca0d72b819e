"""The options of `pumice eval`, by what they are for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pumice.cli import requests

OWN, TASKS, SERVER = "Questions of your own", "Benchmark tasks", "A model behind a server"
DIMENSIONS = "Dimensions"

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A model's folder, a run's folder, a shipped model such as tiny, or the http address of an "
        "OpenAI-compatible server; with --answers, the name of whoever answered.",
        show_default=False,
    ),
]
Questions = Annotated[
    Path | None,
    typer.Option(
        "--questions",
        metavar="FILE",
        help="JSONL of questions with their answers (docs/data.md).",
        rich_help_panel=OWN,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="DIR",
        help="The folder that image names are relative to.",
        show_default="the folder of FILE",
        rich_help_panel=OWN,
    ),
]
Variants = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Who answers, with commas between; the first is measured, the others stand beside it: "
        "tuned, the model; blind, without the picture; wrong-image, with another one.",
        show_default="tuned,blind,wrong-image",
        rich_help_panel=OWN,
    ),
]
Tasks = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Benchmarks by name, with commas between, or all: those whose files are in DIR. A YAML file is "
        "a task of your own (docs/evaluation-tasks.md).",
        show_default=False,
        rich_help_panel=TASKS,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the official files lie, those of each task in DIR/NAME; or hub, to fetch them.",
        envvar="PUMICE_DATA",
        show_default=False,
        rich_help_panel=TASKS,
    ),
]
ListTasks = Annotated[
    bool,
    typer.Option(
        "--list",
        help="Show the tasks, what each needs and whether it is in DIR, and stop.",
        rich_help_panel=TASKS,
    ),
]
SetChoice = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="TASK.OPTION=VALUE",
        help="An option of a task (--list shows them); may be given more than once.",
        rich_help_panel=TASKS,
    ),
]
Blind = Annotated[
    bool,
    typer.Option(
        "--blind",
        help="Also ask everything with grey pictures: what is left is known without sight.",
        rich_help_panel=TASKS,
    ),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Ask nobody: these are the answers to the one task, JSONL of question_id and text.",
        rich_help_panel=TASKS,
    ),
]


class Unanswered(StrEnum):
    """What becomes of questions that a file of answers lacks."""

    error = "error"
    skip = "skip"
    wrong = "wrong"


Missing = Annotated[
    Unanswered,
    typer.Option(
        "--missing",
        help="With --answers, questions without an answer: stop, leave them out of the score, or count them "
        "as wrong.",
        rich_help_panel=TASKS,
    ),
]
AllowBad = Annotated[
    int,
    typer.Option(
        "--allow-bad",
        min=0,
        metavar="N",
        help="Leave out up to so many questions of each task whose pictures cannot be decoded, listed in "
        "refused.jsonl; more stop it.",
        rich_help_panel=TASKS,
    ),
]
Training = Annotated[
    list[Path] | None,
    typer.Option(
        "--training",
        metavar="FILE",
        help="Count pictures and questions that training data had, by its fingerprints (pumice data "
        "fingerprints); may be given more than once.",
        rich_help_panel=TASKS,
    ),
]
JudgeUrl = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="URL",
        help="The server of the judge, for llava-bench and mm-vet.",
        rich_help_panel=TASKS,
    ),
]
JudgeModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The judge's name on its server.", show_default=False, rich_help_panel=TASKS
    ),
]
JudgeKeyVariable = Annotated[
    str | None, requests.key_variable("the judge's server", option="--judge-key-variable", panel=TASKS)
]
JudgeRuns = Annotated[
    int | None,
    typer.Option(
        min=1, help="How often the judge judges everything.", show_default="1", rich_help_panel=TASKS
    ),
]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A member of every request to the judges, such as temperature=0.2, max_tokens=2000 or "
        "reasoning_effort=low; may be given more than once.",
        rich_help_panel=TASKS,
    ),
]
BothOrders = Annotated[
    bool,
    typer.Option(
        "--both-orders",
        help="Have llava-bench judged in both orders of the two answers: means, and what the place is worth.",
        rich_help_panel=TASKS,
    ),
]
SecondJudge = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[@URL]",
        help="Another judge of the same answers, on the same server or its own: how far the two agree.",
        rich_help_panel=TASKS,
    ),
]
SecondJudgeKeyVariable = Annotated[
    str | None,
    requests.key_variable(
        "the second judge's server", requests.OF_THE_FIRST, "--second-judge-key-variable", TASKS
    ),
]
Dimensions = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Sides of a model that no benchmark shows, with commas between: retrieval, instructions, "
        "reasoning, domain, fusion, efficiency, scaling; or all that can be measured here.",
        show_default=False,
        rich_help_panel=DIMENSIONS,
    ),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="For scaling: folders of runs of other sizes, with commas between.",
        show_default=False,
        rich_help_panel=DIMENSIONS,
    ),
]
TextSide = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="For retrieval: the checkpoint that the vision tower is of, with its text encoder.",
        show_default="that of the run, where it was not trained further",
        rich_help_panel=DIMENSIONS,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where scores and predictions go. What was answered there before is not asked again.",
        show_default="evals/MODEL, and /FILE or /limit-N behind it",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Ask fewer questions: the first so many of FILE, or so many of each task, drawn by chance with "
        "whole pictures.",
        show_default="all",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="The most questions answered at once.", show_default="64")
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(min=1, help="The longest answer, in tokens.", show_default="64, or each task's own"),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Decides which wrong pictures are shown, and what --limit draws.")
]
Template = Annotated[
    str | None,
    typer.Option(
        help="The conversation template by its exact name, such as v1, llama_2, chatml_direct or chat, "
        "the tokenizer's own (docs/templates.md has all).",
        show_default="the model's own",
    ),
]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="The server, where MODEL is the model's name on it.",
        rich_help_panel=SERVER,
    ),
]
ServedName = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="The model's name on the server, where MODEL is the address.",
        show_default="the only one that the server has",
        rich_help_panel=SERVER,
    ),
]
Concurrency = Annotated[int | None, requests.concurrency(SERVER)]
Timeout = Annotated[float | None, requests.timeout(SERVER)]
Retries = Annotated[int | None, requests.retries(SERVER)]
KeyVariable = Annotated[str | None, requests.key_variable(panel=SERVER)]
