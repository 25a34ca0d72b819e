"""benchmarks/openai_stand_in.py: a real model behind it answers as it does without it."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from pumice.errors import EndpointError
from pumice.evaluate.attachment import attach
from pumice.evaluate.endpoint import Endpoint, Request

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "openai_stand_in.py"
SHOWN = PIL.Image.new("RGB", (40, 30), (200, 30, 90))


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("openai_stand_in", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> Any:
    from pumice.cli.models import find_model, load_generator

    return load_generator(find_model("tiny"))


@pytest.fixture(scope="module")
def endpoint(script: Any, generator: Any) -> Iterator[Endpoint]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        server = script.server_of(script.Service(generator, "tiny"), 0)
        with server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            yield Endpoint(f"http://127.0.0.1:{server.server_address[1]}", "tiny", retries=0)
            server.shutdown()


def test_answers_are_those_of_the_model(endpoint: Endpoint, generator: Any) -> None:
    assert endpoint.check() == ("tiny",)
    questions = ["What is in the picture?", "Is there a star?", "How many shapes are there?"]
    requests = [Request(text, (attach(SHOWN),), max_tokens=12) for text in questions]
    served = dict(endpoint.complete_all(requests))
    own = generator.answer([(text, [SHOWN]) for text in questions], max_new_tokens=12)
    assert [served[number].text for number in range(3)] == own
    assert served[0].finish_reason in ("stop", "length")
    assert served[0].usage["total_tokens"] > served[0].usage["completion_tokens"] > 0


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request("?", extra={"stream": True}), "stream"),
        (Request("?", extra={"n": 2}), "n is not known"),
        (Request("?", extra={"temperature": -1}), "temperature"),
        (Request("?", extra={"messages": []}), "no list of turns"),
        (Request("?", extra={"messages": [{"role": "user", "content": [{"type": "audio"}]}]}), "audio"),
        (
            Request("?", extra={"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "http://elsewhere/x.png"}}]}]}),
            "no data: address",
        ),
        (
            Request("?", extra={"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}),
            "cannot be read",
        ),
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_an_error(endpoint: Endpoint, request_: Request, said: str) -> None:
    with pytest.raises(EndpointError, match="the server said 400") as caught:
        endpoint.complete(request_)
    assert said in caught.value.what


def test_another_model_is_not_there(endpoint: Endpoint) -> None:
    with pytest.raises(EndpointError) as caught:
        Endpoint(endpoint.url, "tinny").check()
    assert "did you mean 'tiny'?" in str(caught.value.remedy)
