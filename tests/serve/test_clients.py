"""Other people's clients, unmodified, against `pumice serve tiny`."""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import io
import json
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import PIL.ImageDraw
import pytest

from .real import Process, served

QUESTION = "What color is the star?"


def picture(color: str = "red") -> PIL.Image.Image:
    image = PIL.Image.new("RGB", (160, 120), "white")
    PIL.ImageDraw.Draw(image).ellipse((50, 30, 110, 90), fill=color)
    return image


def url(image: PIL.Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def question(image: PIL.Image.Image, text: str = QUESTION) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url(image)}}, {"type": "text", "text": text}]
    return [{"role": "user", "content": parts}]


@pytest.fixture(scope="module")
def server(tiny_server: Process) -> Process:
    return tiny_server


@pytest.fixture(scope="module")
def own() -> Any:
    """What the model answers without any server, greedy."""
    from pumice.cli.models import find_model, load_generator

    generator = load_generator(find_model("tiny"))
    return lambda image, text=QUESTION: generator.answer([(text, [image])], 12)[0]


def ask(server: Process, messages: Any, **more: Any) -> Any:
    body = {"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 12, **more}
    reply = httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_answers_are_those_of_the_model(server: Process, own: Any) -> None:
    for color in ("red", "blue"):
        reply = ask(server, question(picture(color)))
        assert reply["choices"][0]["message"]["content"] == own(picture(color))
    with_picture, without = reply["usage"], ask(server, [{"role": "user", "content": QUESTION}])["usage"]
    assert with_picture["prompt_tokens"] > without["prompt_tokens"]
    assert with_picture["total_tokens"] == with_picture["prompt_tokens"] + with_picture["completion_tokens"]


def test_our_own_client(server: Process, own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pumice.endpoint.attachment import attach
    from pumice.endpoint.client import Endpoint
    from pumice.endpoint.request import Request

    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint = Endpoint(server.url, "tiny", retries=0)
    assert endpoint.check() == ("tiny",)
    requests = [Request(QUESTION, (attach(picture(color)),), max_tokens=12) for color in ("red", "blue")]
    done = dict(endpoint.complete_all(requests))
    assert [done[number].text for number in range(2)] == [own(picture("red")), own(picture("blue"))]


def test_words_that_look_like_tokens_are_words(server: Process) -> None:
    """`<image>`, ends and role tags in a user's text: more tokens than one each, and no picture is missed."""
    for tag in ("<image>", "</s>", "<s>", "<unk>", "<pad>", "<|im_end|>"):
        plain = ask(server, [{"role": "user", "content": "a b"}])["usage"]["prompt_tokens"]
        tagged = ask(server, [{"role": "user", "content": f"a {tag} b"}])["usage"]["prompt_tokens"]
        assert tagged > plain + 1, tag


def test_an_answer_obeys_a_schema(server: Process) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"],
              "additionalProperties": False}  # fmt: skip
    form = {"type": "json_schema", "json_schema": {"name": "seen", "schema": schema, "strict": True}}
    reply = ask(server, question(picture()), response_format=form, max_tokens=60)
    assert json.loads(reply["choices"][0]["message"]["content"])["color"] in ("red", "blue")
    reply = ask(server, question(picture()), response_format={"type": "json_object"}, max_tokens=200)
    if reply["choices"][0]["finish_reason"] == "stop":
        assert isinstance(json.loads(reply["choices"][0]["message"]["content"]), dict)


def test_bad_schemas_and_settings_are_400(server: Process) -> None:
    base = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    schemas: list[Any] = [{"type": "nothing"}, {"$ref": "#"}, {"enum": []}]
    formats = [{"type": "json_schema", "json_schema": {"name": "a", "schema": one}} for one in schemas]
    for more in (*({"response_format": one} for one in formats), {"logit_bias": {"99999999": 1}}):
        reply = httpx2.post(f"{server.url}/v1/chat/completions", json={**base, **more}, timeout=60)
        assert reply.status_code == 400, reply.text
    if importlib.util.find_spec("llguidance"):  # letters count as written: escaped they would be 360,000
        wide = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": "é" * 60_000}}}
        ask(server, base["messages"], response_format=wide)
    for levels in (200, 980, 100_000):  # which are too many for json.dumps
        deep = '{"items":' * levels + "{}" + "}" * levels
        form = '{"type": "json_schema", "json_schema": {"name": "a", "schema": ' + deep + "}}"
        content = json.dumps(base)[:-1] + f', "response_format": {form}}}'
        reply = httpx2.post(f"{server.url}/v1/chat/completions", content=content, timeout=60)
        assert reply.status_code == 400, reply.text
    for temperature in (1e-9, 100):
        ask(server, base["messages"], temperature=temperature)


def test_logprobs_of_the_model(server: Process) -> None:
    reply = ask(server, question(picture()), logprobs=True, top_logprobs=3)
    told = reply["choices"][0]["logprobs"]["content"]
    assert len(told) == reply["usage"]["completion_tokens"]
    for one in told:
        assert one["top_logprobs"][0]["token"] == one["token"]  # greedy takes the likeliest
        assert one["logprob"] == one["top_logprobs"][0]["logprob"] <= 0


def test_a_seed_repeats_an_answer(server: Process) -> None:
    drawn = [
        ask(server, question(picture(), "Describe the image in detail."), temperature=1.5, seed=seed,
            max_tokens=40)["choices"][0]["message"]["content"]
        for seed in (1, 1, 2)
    ]  # fmt: skip
    assert drawn[0] == drawn[1] != drawn[2]


def test_32_at_once_each_get_their_own_answer(server: Process, own: Any) -> None:
    """As lmms-eval asks: OpenAI's client in 32 threads, the words first, then a PNG."""
    openai = pytest.importorskip("openai")
    images = [PIL.Image.new("RGB", (60 + k, 80), (8 * k, 255 - 8 * k, 40)) for k in range(32)]
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="EMPTY", max_retries=0, timeout=120)

    def one(image: PIL.Image.Image) -> str:
        shown = {"type": "image_url", "image_url": {"url": url(image)}}
        content = [{"type": "text", "text": "What is shown?"}, shown]
        reply = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": content}], max_tokens=12, temperature=0
        )
        return str(reply.choices[0].message.content)

    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(one, images))
    assert replies == [own(image, "What is shown?") for image in images]


def test_curl(server: Process) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"model": "tiny", "messages": question(picture()), "stream": True, "max_tokens": 5})
    done = subprocess.run(
        ["curl", "-sSN", "--noproxy", "*", f"{server.url}/v1/chat/completions", "-d", "@-"],
        input=body, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_openai(server: Process, own: Any) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    given = {"model": "tiny", "messages": question(picture()), "temperature": 0, "max_tokens": 12}
    assert client.chat.completions.create(**given).choices[0].message.content == own(picture())
    stream = client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == own(picture())
    assert chunks[-1].usage.completion_tokens > 0
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "pumice"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.chat.completions.create(**{**given, "model": "gpt"})
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{**given, "messages": [{"role": "user", "content": "a " * 9000}]})
    assert caught.value.code == "context_length_exceeded"
    parsed = client.completions.create(model="tiny", prompt="The star is", max_tokens=4, temperature=0)
    assert parsed.object == "text_completion"


def test_openai_responses(server: Process, own: Any) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none")
    content = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": url(picture()), "detail": "auto"},
    ]
    given = {"model": "tiny", "input": [{"role": "user", "content": content}], "temperature": 0}
    made = client.responses.create(**given, max_output_tokens=12)
    assert made.output_text == own(picture())
    assert made.usage.input_tokens == ask(server, question(picture()))["usage"]["prompt_tokens"]
    with client.responses.stream(**given, max_output_tokens=12) as stream:
        assert stream.get_final_response().output_text == own(picture())
    if importlib.util.find_spec("llguidance"):
        schema = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]}
        form = {"type": "json_schema", "name": "seen", "schema": schema, "strict": True}
        made = client.responses.create(**given, max_output_tokens=60, text={"format": form})
        assert json.loads(made.output_text)["color"] in ("red", "blue")


def test_openai_async(server: Process, own: Any) -> None:
    openai = pytest.importorskip("openai")

    async def several() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            calls = [
                client.chat.completions.create(
                    model="tiny", messages=question(picture(color)), temperature=0, max_tokens=12
                )
                for color in ("red", "green")
            ]
            return [reply.choices[0].message.content for reply in await asyncio.gather(*calls)]

    assert asyncio.run(several()) == [own(picture("red")), own(picture("green"))]


def test_llama_index(server: Process, own: Any, tmp_path: Path) -> None:
    like = pytest.importorskip("llama_index.llms.openai_like")
    from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock  # type: ignore[import-not-found]

    picture().save(tmp_path / "a.png")
    given = {
        "model": "tiny",
        "api_base": f"{server.url}/v1",
        "api_key": "none",
        "max_tokens": 12,
        "temperature": 0,
    }
    llm = like.OpenAILike(**given, is_chat_model=True)
    for block in (ImageBlock(path=tmp_path / "a.png"), ImageBlock(image=(tmp_path / "a.png").read_bytes())):
        message = ChatMessage(role="user", blocks=[block, TextBlock(text=QUESTION)])
        assert llm.chat([message]).message.content == own(picture())
        assert list(llm.stream_chat([message]))[-1].message.content == own(picture())
    assert like.OpenAILike(**given).complete("The star is").text  # by /v1/completions, its default


def test_ollama(server: Process, own: Any, tmp_path: Path) -> None:
    ollama = pytest.importorskip("ollama")
    picture().save(tmp_path / "a.png")
    client = ollama.Client(host=server.url)
    options = {"temperature": 0, "num_predict": 12, "repeat_penalty": 1.0}
    message = {"role": "user", "content": QUESTION, "images": [str(tmp_path / "a.png")]}
    assert client.chat("tiny", [message], options=options).message.content == own(picture())
    pieces = list(client.chat("tiny", [message], options=options, stream=True))
    assert "".join(piece.message.content for piece in pieces) == own(picture())
    assert pieces[-1].done
    assert pieces[-1].eval_count > 0
    made = client.generate("tiny", QUESTION, images=[str(tmp_path / "a.png")], options=options)
    assert made.response == own(picture())
    assert [model.model for model in client.list().models] == ["tiny"]
    assert client.show("tiny").capabilities == ["completion", "vision"]
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("none", [message])
    assert caught.value.status_code == 404


def test_sigterm_ends_the_process(tmp_path: Path) -> None:
    with served(tmp_path, "tiny", "--quiet") as process:
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
        assert process.log.read_text() == ""
