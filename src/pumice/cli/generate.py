"""`pumice generate`: instruction data from captions and boxes, written by a text-only teacher."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.endpoint import Endpoint
    from pumice.generate.budget import Budget
    from pumice.generate.compare import Form
    from pumice.generate.plan import Plan
    from pumice.generate.spec import Spec
    from pumice.generate.work import Terms

WORLD, SCRIPTED = "world", "scripted"
EPILOG = examples(
    (
        "what would be asked, and what it would cost",
        "pumice generate scenes.jsonl --kinds all --dry-run --price-in 0.15 --price-out 0.6",
    ),
    (
        "a model on this machine (vLLM, Ollama, llama.cpp)",
        "pumice generate scenes.jsonl --teacher http://localhost:8000 --model NAME --out generated",
    ),
    (
        "a hosted one, for 5 at most, its answers read a second time",
        "pumice generate scenes.jsonl --teacher https://api.openai.com --model NAME --price-in 0.15 "
        "--price-out 0.6 --max-cost 5 --agree --out generated",
    ),
    (
        "a rehearsal without a model",
        "pumice generate scenes.jsonl --teacher scripted --faults 0.1 --out rehearsal",
    ),
)
PROMPTS_EPILOG = examples(
    ("write the prompts, edit them, use them", "pumice generate prompts my-prompts"),
    ("then", "pumice generate scenes.jsonl --prompts my-prompts --dry-run"),
)
COMPARE_EPILOG = examples(
    ("length and form of two files", "pumice generate compare generated/data.json reference.jsonl")
)


def generate(
    scenes: Annotated[
        Path,
        typer.Argument(metavar="SCENES", help="Captions, boxes: JSONL, COCO, Visual Genome, figures, CSV."),
    ],
    teacher: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The teacher's server; scripted and world write by rule."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The teacher, as its server calls it.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where everything goes; the same folder goes on.")
    ] = Path("generated"),
    kinds: Annotated[
        str,
        typer.Option(metavar="LIST", help="all, or names with commas; short=0.5 is for half of the scenes."),
    ] = "conversation,detail,reasoning",
    language: Annotated[
        str, typer.Option(metavar="LIST", help="en,de: each kind is written in each.")
    ] = "en",
    prompts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Prompts of your own: pumice generate prompts DIR.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="NAME", help="scenes, coco, vg, figures or csv.",
            show_default="told from the file",
        ),
    ] = None,
    instances: Annotated[
        Path | None, typer.Option(metavar="FILE", help="COCO's boxes, where SCENES has its captions.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a CSV.")] = None,
    caption_column: Annotated[str | None, typer.Option(metavar="NAME", help="Of a CSV.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many scenes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn: fixed questions, shares.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the prompts and about what they cost; ask nobody.")
    ] = False,
    agree: Annotated[
        bool, typer.Option("--agree", help="Have every answer read a second time; keep what is borne out.")
    ] = False,
    second: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another model for that.", show_default="the teacher")
    ] = None,
    second_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Its server.", show_default="the teacher's")
    ] = None,
    attempts: Annotated[
        int, typer.Option(min=1, help="How often a reply that gives nothing to keep is asked for.")
    ] = 3,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Of the whole folder, in the money of the prices.")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(min=1, help="Of the whole folder; repeated calls count.")
    ] = None,
    price_in: Annotated[float, typer.Option(min=0, help="Of a million tokens sent.")] = 0.0,
    price_out: Annotated[float, typer.Option(min=0, help="Of a million tokens received.")] = 0.0,
    per_minute: Annotated[
        float | None, typer.Option(min=0.01, help="Calls a minute that the server allows.")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(min=1, help="Tokens a minute that the server allows.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 16,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for one reply.")] = 180.0,
    key_variable: Annotated[
        str, typer.Option(metavar="VARIABLE", help="The environment variable with the server's key.")
    ] = "OPENAI_API_KEY",
    second_key_variable: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE", help="That with the second one's.",
            show_default="the first one's on the same host and port, else no key",
        ),
    ] = None,
    faults: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="scripted: the share of calls that go wrong."),
    ] = None,
) -> None:  # fmt: skip
    """Write instruction data about pictures that the teacher never sees."""
    from pumice.cli.console import out as console
    from pumice.errors import Interrupted, UsageError
    from pumice.generate.budget import Budget
    from pumice.generate.carry_out import carry_out, carry_out_rules, vocabulary_of
    from pumice.generate.plan import Plan
    from pumice.generate.readers import open_scenes
    from pumice.generate.spec import AGREEMENT, check_languages, choose, objects_file, read_specs
    from pumice.generate.work import Terms

    specs = read_specs(prompts)
    chosen = choose(specs, kinds)
    languages = tuple(dict.fromkeys(word.strip() for word in language.split(",") if word.strip()))
    check_languages(specs, chosen, languages or ("",))
    budget = Budget(max_cost, max_requests, price_in, price_out, per_minute, tokens_per_minute)
    _check_options(budget, teacher, model, faults, second, second_url, second_key_variable, agree)
    read = open_scenes(
        scenes, layout, instances=instances, image_column=image_column, caption_column=caption_column
    )[:limit]
    plan = Plan(read, tuple(specs[name] for name in chosen), chosen, languages, seed)
    terms = Terms(
        vocabulary_of(objects_file(prompts), read), seed, attempts, specs[AGREEMENT] if agree else None,
        second is not None,
    )  # fmt: skip
    if not any(True for _ in plan.jobs()):
        raise UsageError(
            "the scenes have nothing of what these kinds are made from",
            where=f"--kinds {kinds}",
            remedy="ask for other kinds: region and grounding need boxes, ocr boxes of text",
        )
    if dry_run:
        _dry_run(plan, terms, budget)
        return
    if teacher is None:
        raise UsageError(
            "nobody is named who writes",
            where="--teacher",
            remedy="name a server, --teacher http://localhost:8000 --model NAME; or look first: --dry-run",
        )
    if teacher == WORLD:
        from pumice.world.samples import teacher_for

        with _progress() as progress:
            record = carry_out_rules(plan, terms, teacher_for(read, seed), out, progress=progress)
        _tell(record, out, console)
        return
    endpoints = _endpoints(
        teacher, model, second, second_url, list(specs.values()), faults or 0.0,
        keys=(key_variable, second_key_variable), concurrency=concurrency, timeout=timeout,
    )  # fmt: skip
    try:
        with _progress() as progress:
            record = carry_out(plan, terms, endpoints, out, budget=budget, progress=progress)
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped; every reply so far is kept",
            where=str(out),
            remedy="run the same command again: it goes on from there, and asks nothing twice",
        ) from error
    _tell(record, out, console)


def prompts(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder; files that are there stay.")],
) -> None:
    """Write the prompts of all kinds, and the list of things, into a folder, to be edited."""
    from pumice.cli.console import commands, out
    from pumice.files import write_text
    from pumice.generate.spec import SHIPPED

    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(SHIPPED.iterdir()):
        if path.suffix not in (".yaml", ".txt"):
            continue
        place = folder / path.name
        if place.exists():
            out.print(f"{place}: is there, and stays", soft_wrap=True, markup=False)
            continue
        write_text(place, path.read_text("utf-8"))
        out.print(f"{place}", soft_wrap=True, markup=False)
    commands(("see what they ask", f"pumice generate SCENES --prompts {folder} --dry-run"))


def compare(
    ours: Annotated[Path, typer.Argument(metavar="FILE", help="LLaVA JSON with a type in each row.")],
    other: Annotated[
        Path,
        typer.Argument(metavar="OTHER", help="Another, or JSONL of instruction, output and type."),
    ],
) -> None:
    """Compare length and form of two files of instruction data, kind by kind."""
    from rich.table import Table

    from pumice.cli.console import print_table
    from pumice.generate.compare import read_forms

    table = Table()
    for head in ("kind", "file", "rows", "turns a row", "question", "answer", "10%-50%-90%", "sentences",
                 "paragraphs", "questions differ", "answers begin"):  # fmt: skip
        table.add_column(head)
    forms = read_forms(ours), read_forms(other)
    for kind in sorted({*forms[0], *forms[1]}):
        for path, found in zip((ours, other), forms, strict=True):
            if kind in found:
                table.add_row(kind, path.name, *_form(found[kind]))
    print_table(table)


def _form(form: Form) -> list[str]:
    return [
        f"{form.rows:,}",
        f"{form.turns:.1f}",
        f"{form.question:.1f} words",
        f"{form.answer:.1f} words",
        "-".join(f"{one:.0f}" for one in form.spread),
        f"{form.sentences:.1f}",
        f"{form.paragraphs:.1f}",
        f"{100 * form.different:.0f}%",
        f"{form.begins[0]} ({100 * form.begins[1]:.0f}%)",
    ]


def _check_options(
    budget: Budget,
    teacher: str | None,
    model: str | None,
    faults: float | None,
    second: str | None,
    second_url: str | None,
    second_key_variable: str | None,
    agree: bool,
) -> None:
    """Refuse options that would do nothing."""
    from pumice.errors import UsageError

    if budget.max_cost is not None and not (budget.price_in or budget.price_out):
        raise UsageError(
            "without prices nothing has a cost", where="--max-cost", remedy="add --price-in and --price-out"
        )
    if faults is not None and teacher != SCRIPTED:
        raise UsageError(
            "only the scripted teacher errs when told to", where="--faults", remedy="leave it out"
        )
    if second is not None and not agree:
        raise UsageError("nobody reads a second time", where="--second", remedy="add --agree")
    if second is None and (second_url or second_key_variable):
        where = "--second-url" if second_url else "--second-key-variable"
        raise UsageError("the second model has no name", where=where, remedy="say which: --second NAME")
    if teacher in (WORLD, SCRIPTED) and (model or second):
        where = "--model" if model else "--second"
        raise UsageError(f"{teacher} is no server", where=where, remedy="leave it out")
    if teacher == WORLD and agree:
        raise UsageError("the world's teacher reads nothing", where="--agree", remedy="leave it out")
    if teacher not in (None, WORLD, SCRIPTED) and model is None:
        raise UsageError("the teacher's model is missing", where="--model", remedy="say which: --model NAME")


def _endpoints(
    teacher: str,
    model: str | None,
    second: str | None,
    second_url: str | None,
    specs: Sequence[Spec],
    faults: float,
    *,
    keys: tuple[str, str | None],
    concurrency: int,
    timeout: float,
) -> list[Endpoint]:
    """The teacher, and whoever reads a second time; both are looked for before anything is asked."""
    from pumice.cli.console import hint
    from pumice.cli.judging import second_judge
    from pumice.endpoint import Endpoint
    from pumice.generate.scripted import scripted

    if teacher == SCRIPTED:
        return [scripted(specs, faults=faults, concurrency=concurrency)]
    assert model is not None
    found = [Endpoint(teacher, model, keys[0], concurrency, timeout)]
    if second is not None:
        option = "--second-key-variable"
        found.append(second_judge(found[0], second_url or teacher, second, keys[1], option=option))
    for endpoint in found:
        for warning in endpoint.warnings:
            hint(f"Note: {warning}.")
        endpoint.check()
    return found


def _progress() -> Any:
    from pumice.cli.progress import counting

    return counting()


def _dry_run(plan: Plan, terms: Terms, budget: Budget) -> None:
    """All prompts, what is the same for all of a kind once, and about what they take."""
    from pumice.cli.console import visible
    from pumice.generate.carry_out import estimate, first_requests

    told: set[tuple[str, str]] = set()
    for job, request in first_requests(plan, terms):
        if (job.spec.name, job.language) not in told:
            told.add((job.spec.name, job.language))
            typer.echo(f"===== {job.spec.name} ({job.language}): {job.spec.about}\n")
            typer.echo(f"--- system\n{visible(request.system)}\n")
            for asked, answered in request.examples:
                typer.echo(f"--- example, user\n{visible(asked)}\n")
                typer.echo(f"--- example, assistant\n{visible(answered)}\n")
        typer.echo(f"--- {job.id}\n{visible(request.text)}\n")
    about = estimate(plan, terms, budget)
    for name, count in plan.passed_over().items():
        if count:
            typer.echo(f"{name}: {count:,} scenes have nothing of what it is made from")
    typer.echo(
        f"{len(plan.scenes):,} scenes, {about.requests:,} requests; about {about.tokens_in:,} tokens sent "
        f"and {about.tokens_out:,} received"
    )
    if budget.price_in or budget.price_out:
        typer.echo(f"about {about.cost:.4g} by the prices given; what must be asked again comes on top")
    else:
        typer.echo("for a cost, say --price-in and --price-out, of a million tokens each")


def _tell(record: dict[str, Any], folder: Path, console: Any) -> None:
    """What was written, what was not, and what to do next."""
    from rich.table import Table

    from pumice.cli.console import commands, hint, note, print_table, visible
    from pumice.errors import RunError
    from pumice.generate.write import DATA, REJECTED
    from pumice.report.generation import write_generation_page

    table = Table()
    for head in ("kind", "rows", "answers", "words an answer", "rejected"):
        table.add_column(head)
    for name, kind in record["kinds"].items():
        mean = kind["words"] / kind["turns"] if kind["turns"] else math.nan
        why = ", ".join(f"{count:,} {check}" for check, count in kind["rejected"].items())
        table.add_row(
            name, f"{kind['rows']:,}", f"{kind['turns']:,}", f"{mean:.1f}" if kind["turns"] else "", why
        )
    print_table(table)
    tokens = record["tokens"]
    if record["requests"]["replies"]:
        cost = f", cost {record['cost']:.4g}" if record["cost"] else ""
        console.print(
            f"{record['requests']['replies']:,} replies, {record['requests']['this_sitting']:,} calls "
            f"in this sitting; {tokens['prompt_tokens']:,} tokens sent, "
            f"{tokens['completion_tokens']:,} received{cost}",
            soft_wrap=True, markup=False,
        )  # fmt: skip
    for id, words in list(record["refused"].items())[:5]:
        hint(f"refused: {id}: {visible(words)}")
    page = write_generation_page(folder)
    note(f"The page: {page}\nWhat was rejected, and why: {folder / REJECTED}")
    pending = sum(kind["pending"] for kind in record["kinds"].values())
    if pending:
        what = "the budget is spent" if record["spent"] else "the server refused some of it"
        raise RunError(
            f"{what}, and {pending:,} jobs lack a reply; {folder / DATA} holds the others",
            where=str(folder),
            remedy="raise --max-cost or --max-requests and run the same command: nothing is asked twice"
            if record["spent"]
            else "look at the server's words above, then run the same command",
        )
    commands(("see that it can be trained on", f"pumice data check {folder / DATA} --images PHOTOS"))
