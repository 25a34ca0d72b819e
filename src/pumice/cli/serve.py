"""`pumice serve`: models over HTTP, for programs that speak OpenAI's or Ollama's language."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pumice.cli.help import examples
from pumice.cli.models import WeightsOption
from pumice.errors import MissingExtraError, UsageError, suggest

if TYPE_CHECKING:
    from pumice.model.quantized.forms import Weights
    from pumice.serve.backend import Backend
    from pumice.serve.facts import Facts
    from pumice.serve.keys import Keys

KEY_VARIABLE = "PUMICE_API_KEY"
ENGINES = ("pumice", "vllm")
QUEUED_PROMPT = 2048
"""Tokens of a prompt that waits, on average: the queue is bounded by both."""
EPILOG = examples(
    ("the shipped model at http://127.0.0.1:8000/v1", "pumice serve tiny"),
    (
        "two models by name, let go when nobody asks for them",
        "pumice serve a=runs/a b=runs/b --unload-after 10",
    ),
    ("for other machines, behind keys", "pumice serve runs/tiny --host 0.0.0.0 --api-key-file keys.txt"),
    ("on vLLM: the command alone", "pumice serve runs/tiny --engine vllm --dry-run"),
)


def serve(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="A model's folder, a run's folder, a shipped model such as tiny, or hub:ORG/NAME; "
            "NAME=MODEL gives it the name that clients ask for.",
        ),
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen at; one that others reach needs an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    template: Annotated[
        str | None,
        typer.Option(
            help="The conversation template for all models, as for pumice chat.",
            show_default="each model's own",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"API keys, one a line: KEY, or NAME KEY. The variable {KEY_VARIABLE} may hold one, too.",
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option(min=0, help="Calls a minute for each key (or address); 0 is no limit.")
    ] = 0,
    allow_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further name that clients call this machine by; repeatable.",
        ),
    ] = None,
    allow_origins: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            metavar="ORIGIN",
            help="A site whose pages may call, such as https://chat.example.org; repeatable.",
        ),
    ] = None,
    fetch_images: Annotated[
        bool,
        typer.Option(
            "--fetch-images", help="Fetch pictures from public http and https addresses; off without it."
        ),
    ] = False,
    weights: WeightsOption = None,
    running: Annotated[int, typer.Option(min=1, help="The most answers that are computed at once.")] = 16,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Tokens of all prompts and answers that run, pictures included; their memory is reserved at "
            "the start.",
            show_default="by the model and the free memory",
        ),
    ] = None,
    picture_cache: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="MIB",
            help="Memory for what was computed of pictures, kept for the next question about them.",
        ),
    ] = 256,
    queue: Annotated[
        int, typer.Option(min=1, help="The most answers that wait; further ones are told to come back.")
    ] = 128,
    max_pixels: Annotated[int, typer.Option(min=1, help="The largest picture, width x height.")] = 40_000_000,
    max_images: Annotated[int, typer.Option(min=0, help="The most pictures in one request.")] = 16,
    max_body: Annotated[int, typer.Option(min=1, help="The largest request, in MiB.")] = 64,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="The longest answer that may be asked for, in tokens.")
    ] = 8192,
    engine: Annotated[
        str,
        typer.Option(
            help="What computes: pumice, or vllm, which must be installed and needs a GPU.",
            metavar="pumice|vllm",
        ),
    ] = "pumice",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --engine vllm: print its command and stop.")
    ] = False,
    unload_after: Annotated[
        float,
        typer.Option(
            min=0,
            help="Let go of a model that nobody asked for in so many minutes, and load models when they are "
            "first asked for; 0 loads all at the start and keeps them.",
        ),
    ] = 0.0,
    output_filter: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="A class of yours that all text of answers passes (docs/serving.md)."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the request log to a file.", show_default="standard error"),
    ] = None,
    log_content: Annotated[
        bool, typer.Option("--log-content", help="Write questions and answers into the log, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No request log on standard error.")] = False,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM or Ctrl-C, the longest wait for answers under way.")
    ] = 30.0,
) -> None:
    """Serve models over HTTP with OpenAI's and Ollama's calls, on this machine alone by default."""
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", where="--engine", remedy=suggest(engine, ENGINES))
    if engine == "vllm":
        _vllm(
            context,
            models,
            host,
            port,
            api_key_file,
            allow_origins,
            fetch_images,
            running,
            max_images,
            dry_run,
        )
        return
    if dry_run:
        raise UsageError("--dry-run is for --engine vllm", where="--dry-run", remedy="leave it out")
    try:
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "serving needs starlette and uvicorn", remedy="pip install 'pumice[serve]'"
        ) from error
    from pumice.serve.facts import read_facts
    from pumice.serve.fetch import Fetcher
    from pumice.serve.filtering import find_filter
    from pumice.serve.limits import Limits
    from pumice.serve.log import RequestLog
    from pumice.serve.models import Models
    from pumice.serve.run import bind, door_of, is_loopback
    from pumice.serve.run import serve as run
    from pumice.serve.service import Service

    if template is not None:
        from pumice.text.templates import check_template_name

        check_template_name(template)
    folders = named(models)
    keys = _keys(api_key_file)
    door = door_of(host, keys, tuple(allow_hosts or ()), tuple(allow_origins or ()))
    make_filter = None if output_filter is None else find_filter(output_filter)
    limits = Limits(
        pixels=max_pixels, images=max_images, body_bytes=max_body << 20, new_tokens=max_new_tokens, rate=rate
    )
    facts = {name: read_facts(name, folder) for name, folder in folders.items()}
    sock = bind(host, port)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")

    def load(fact: Facts) -> Backend:
        return _backend(fact, template, weights, running, tokens, queue, picture_cache << 20, len(facts))

    served = Models(facts, load, idle_seconds=60 * unload_after, at_start=not unload_after)
    service = Service(
        served,
        limits,
        RequestLog(log, content=log_content, quiet=quiet),
        fetcher=Fetcher(limits.image_bytes) if fetch_images else None,
        make_filter=make_filter,
    )
    from pumice.cli.console import note

    shown = "localhost" if is_loopback(host) else host
    address = f"http://{shown}:{sock.getsockname()[1]}"
    note(f"{', '.join(facts)} at {address}/v1 (Ollama's calls at {address}); loading")
    run(
        service,
        door,
        sock,
        drain_seconds=drain_seconds,
        ready=lambda: note(f"ready; chat at {address}/; Ctrl-C stops"),
        waits=lambda calls: note(
            f"stopping; {calls} under way, at most {drain_seconds:g} s; Ctrl-C again ends at once"
        ),
    )


def named(words: list[str]) -> dict[str, Path]:
    """The folders of models by the names that clients ask for.

    Raises:
        UsageError: a name that is none, or is given twice.
        CheckpointError: there is no such model.
    """
    from pumice.cli.models import find_model, label
    from pumice.serve.facts import NAME

    found: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        # A folder whose name holds "=" is not a name and a folder.
        if not equals or "/" in name:
            name, place = label(word), word
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of a model",
                where=word,
                remedy="write NAME=FOLDER, the name of letters, digits, dots, dashes and underscores",
            )
        if name in found:
            raise UsageError(
                f"two models are called {name!r}", where=word, remedy=f"write another name: OTHER={place}"
            )
        found[name] = find_model(place)
    return found


def _vllm(
    context: typer.Context, models: list[str], host: str, port: int, api_key_file: Path | None,
    allow_origins: list[str] | None, fetch_images: bool, running: int, images: int, dry_run: bool,
) -> None:  # fmt: skip
    from pumice.cli import serve_vllm
    from pumice.serve.run import door_of

    serve_vllm.refuse_others(context)
    keys = _keys(api_key_file)
    door = door_of(host, keys, (), tuple(allow_origins or ()))
    serve_vllm.start(
        named(models), host, port, door, serve_vllm.secrets_of(api_key_file, keys, KEY_VARIABLE),
        images=images, running=running, fetch_images=fetch_images, dry_run=dry_run,
    )  # fmt: skip


def _keys(path: Path | None) -> Keys:
    from pumice.serve.keys import Keys, key_of, read_keys

    keys = () if path is None else read_keys(path)
    secret = os.environ.get(KEY_VARIABLE)
    return Keys((*keys, *((key_of(KEY_VARIABLE, secret, f"the variable {KEY_VARIABLE}"),) if secret else ())))


def _backend(
    fact: Facts,
    template: str | None,
    weights: Weights | None,
    running: int,
    tokens: int | None,
    queue: int,
    features_bytes: int,
    models: int,
) -> Backend:
    """A model's engine, started; on a GPU where there is one.

    Raises:
        CheckpointError: the folder holds no model that fits.
        UsageError: the memory for its weights, or for ``tokens``, is not there.
    """
    import torch

    from pumice.infer.engine import Engine, Limits
    from pumice.infer.engine.room import check_weights, default_tokens
    from pumice.infer.weights import chosen_weights, load_to_answer, loaded_size
    from pumice.serve.engines import EngineBackend

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    chosen = chosen_weights(fact.folder, weights, device.type)
    check_weights(*loaded_size(fact.folder, chosen), device)
    made = load_to_answer(fact.folder, chosen, template=template, device=device.type)
    model, tokenizer, processor = made
    limits = Limits(
        running=running,
        tokens=default_tokens(model, running, models) if tokens is None else tokens,
        queue=queue,
        queue_tokens=queue * QUEUED_PROMPT,
        features_bytes=features_bytes,
    )
    engine = Engine(model, processor, tokenizer, limits=limits)
    engine.start()
    return EngineBackend(engine)
