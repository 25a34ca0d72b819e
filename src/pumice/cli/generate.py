"""`pumice generate`: instruction data from captions and boxes, written by a text-only teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumice.cli.help import examples
from pumice.cli.requests import Concurrency, KeyVariable, Requests, Retries, SecondKeyVariable, Timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pumice.endpoint import Endpoint
    from pumice.generate.budget import Budget
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
    concurrency: Concurrency = None,
    timeout: Timeout = None,
    retries: Retries = None,
    key_variable: KeyVariable = None,
    second_key_variable: SecondKeyVariable = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Make one of so many parts; with --ray, all of them.")
    ] = None,
    shard: Annotated[int | None, typer.Option(min=0, help="Which part, from 0.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Spread it over a Ray cluster: its address, auto, or local."
        ),
    ] = None,
    faults: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="scripted: the share of calls that go wrong."),
    ] = None,
) -> None:  # fmt: skip
    """Write instruction data about pictures that the teacher never sees."""
    from pumice.cli.generate_view import print_prompts, tell
    from pumice.errors import UsageError
    from pumice.generate.budget import Budget
    from pumice.generate.carry_out import carry_out_rules, vocabulary_of
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
    part = _part_of(shards, shard, ray, teacher)
    read = open_scenes(
        scenes, layout, instances=instances, image_column=image_column, caption_column=caption_column
    )[:limit]
    plan = Plan(read, tuple(specs[name] for name in chosen), chosen, languages, seed, *part)
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
        print_prompts(plan, terms, budget)
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
        tell(record, out)
        return
    endpoints = _endpoints(
        teacher, model, second, second_url, list(specs.values()), faults or 0.0,
        asking=Requests(concurrency, timeout, retries, key_variable), second_key=second_key_variable,
    )  # fmt: skip
    tell(_carry_out(plan, terms, endpoints, out, budget.part(plan.shards), ray, shards), out)


def _carry_out(
    plan: Plan,
    terms: Terms,
    endpoints: Sequence[Endpoint],
    folder: Path,
    budget: Budget,
    cluster: str | None,
    parts: int | None,
) -> dict[str, Any]:
    """Have it done here, or by a cluster."""
    from pumice.errors import Interrupted
    from pumice.generate.carry_out import carry_out
    from pumice.generate.scale_out import carry_out_everywhere

    try:
        with _progress() as progress:
            if cluster is None:
                return carry_out(plan, terms, endpoints, folder, budget=budget, progress=progress)
            return carry_out_everywhere(
                plan, terms, endpoints, folder, cluster, parts=parts, budget=budget, progress=progress
            )
    except KeyboardInterrupt as error:
        raise Interrupted(
            "stopped; every reply so far is kept",
            where=str(folder),
            remedy="run the same command again: it goes on from there, and asks nothing twice",
        ) from error


def _part_of(shards: int | None, shard: int | None, ray: str | None, teacher: str | None) -> tuple[int, int]:
    """Which part of how many is made here.

    Raises:
        UsageError: half of it is said, or there is no such part.
    """
    from pumice.errors import UsageError

    if ray is not None:
        if shard is not None:
            raise UsageError("a cluster makes all parts", where="--shard", remedy="leave it out")
        if teacher == WORLD:
            raise UsageError(
                "the world's teacher is done before a cluster has begun", where="--ray", remedy="leave it out"
            )
        return 0, 1
    if (shards is None) != (shard is None):
        missing = "--shards" if shards is None else "--shard"
        raise UsageError(
            "one part of how many, and which, go together", where=missing, remedy="--shards 4 --shard 0, say"
        )
    if shards is None or shard is None:
        return 0, 1
    if shard >= shards:
        raise UsageError(
            f"there is no part {shard} of {shards}", where="--shard", remedy=f"they are 0 to {shards - 1}"
        )
    return shard, shards


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
    asking: Requests,
    second_key: str | None,
) -> list[Endpoint]:
    """The teacher, and whoever reads a second time; both are looked for before anything is asked."""
    from pumice.cli.console import hint
    from pumice.cli.judging import second_judge
    from pumice.generate.scripted import scripted

    if teacher == SCRIPTED:
        return [scripted(specs, faults=faults, concurrency=asking.concurrency or 8)]
    assert model is not None
    found = [asking.endpoint(teacher, model)]
    if second is not None:
        option = "--second-key-variable"
        found.append(second_judge(found[0], second_url or teacher, second, second_key, option=option))
    for endpoint in found:
        for warning in endpoint.warnings:
            hint(f"Note: {warning}.")
        endpoint.check()
    return found


def _progress() -> Any:
    from pumice.cli.progress import counting

    return counting()
