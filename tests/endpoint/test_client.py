"""endpoint/client.py against a server on this machine that misbehaves by script."""

from __future__ import annotations

import base64
import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import PIL.Image
import pytest

from pumice.endpoint.address import address_of
from pumice.endpoint.attachment import JPEG, PNG, attach
from pumice.endpoint.client import Endpoint
from pumice.endpoint.refusal import LONGEST
from pumice.endpoint.reply import Reply
from pumice.endpoint.request import Request
from pumice.errors import EndpointError, ImageError, UsageError

from ..evaluate.stand_in import Action, StandIn, cuts, fails, replies, says

KEY = "sk-very-secret"


class Waits(list[float]):
    """Stands for asyncio.sleep: waits nothing and writes down how long it should have."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def endpoint(server: StandIn, **settings: Any) -> Endpoint:
    return Endpoint(server.url, "judge-1", **{"wait": Waits(), "timeout": 10.0} | settings)


@pytest.mark.parametrize(
    ("first", "waits"),
    [
        (fails(429, "slow down", Retry_After="7"), (7, 8.75)),
        (fails(429, "slow down", Retry_After="0"), (0.5, 0.625)),
        (fails(429, "slow down", Retry_After="99999"), (LONGEST, LONGEST * 1.25)),
        (fails(429, "slow down", retry_after_ms="3000"), (3, 3.75)),
        (fails(503, "loading", Retry_After="Mon, 01 Jan 2001 00:00:00 GMT"), (0.5, 0.625)),
        (fails(503, "loading", Retry_After="soon"), (0.5, 0.625)),
        (fails(500, "oops"), (0.5, 0.625)),
        (fails(408, "late"), (0.5, 0.625)),
        (fails(409, "conflict"), (0.5, 0.625)),
        (cuts, (0.5, 0.625)),
        (replies(200, "<html>gateway</html>"), (0.5, 0.625)),
        (replies(200, "[" * 100_000), (0.5, 0.625)),
        (replies(500, '{"error":' * 100_000), (0.5, 0.625)),
        (replies(200, "zz", Content_Type="application/json; charset=hex"), (0.5, 0.625)),
        (fails(429, "no", Retry_After="Mon, 01 Jan 2001 00:00:00 +99999999999999999"), (0.5, 0.625)),
        (replies(200, {"choices": []}), (0.5, 0.625)),
        (replies(200, {"error": {"message": "upstream", "code": 502}}), (0.5, 0.625)),
    ],
)
def test_what_passes_is_asked_again(first: Action, waits: tuple[float, float]) -> None:
    with StandIn([first, "yes"]) as server:
        asked = endpoint(server)
        assert asked.complete(Request("?")).text == "yes"
    (waited,) = asked.wait  # type: ignore[misc]
    assert waits[0] <= waited <= waits[1]
    assert len(server.bodies) == 2


def test_a_reply_that_is_too_large_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumice.endpoint.client.LARGEST", 1000)
    with StandIn(["y" * 2000]) as server:
        with pytest.raises(EndpointError, match="larger than 1,000 bytes"):
            endpoint(server).complete(Request("?"))
        assert len(server.bodies) == 1


def test_waits_double_and_end() -> None:
    with StandIn([fails(500, "oops")]) as server:
        asked = endpoint(server, retries=3)
        with pytest.raises(EndpointError) as caught:
            asked.complete(Request("?"))
    assert [round(wait / base) for wait, base in zip(asked.wait, (0.5, 1, 2), strict=True)] == [1, 1, 1]  # type: ignore[call-overload]
    assert "500: oops" in caught.value.what
    assert "asked 4 times" in str(caught.value.where)


def test_a_server_that_loads_its_model_is_waited_for() -> None:
    busy = [{"message": "the model 'm' is being loaded; try again", "code": "model_loading"},
            {"message": "Loading model", "type": "unavailable_error"}]  # fmt: skip
    script: list[str | Action] = [replies(503, {"error": error}) for error in busy for _ in range(20)]
    with StandIn([*script, "yes"]) as server:
        asked = endpoint(server, retries=1)
        assert asked.complete(Request("?")).text == "yes", "forty times, where one other failure is allowed"
    assert all(2 <= wait <= 2.5 for wait in asked.wait)  # type: ignore[attr-defined]


def test_a_server_that_never_ends_loading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumice.endpoint.client.LOADING_WAIT", 10.0)
    with StandIn([fails(503, "Loading model")]) as server:
        with pytest.raises(EndpointError, match="Loading model"):
            endpoint(server, retries=1).complete(Request("?"))
        assert 5 < len(server.bodies) < 9


def test_a_reply_that_never_comes_is_given_up() -> None:
    script: list[str | Action] = []
    with StandIn(script) as server:
        script += [server.hangs, "yes"]
        assert endpoint(server, timeout=0.3).complete(Request("?")).text == "yes"


@pytest.mark.parametrize(
    ("refusal", "said", "remedy"),
    [
        (fails(401, f"bad key {KEY}"), "401: bad key ***", "the key in OPENAI_API_KEY"),
        (fails(400, "this model takes no image input"), "400", "a model that sees pictures"),
        (fails(400, "Unsupported value: 'temperature'"), "temperature", "--temperature none"),
        (fails(422, "x" * 2000), "422: " + "x" * 400 + "…", "mend"),
        (fails(429, "You exceeded your quota", "insufficient_quota"), "429", "limits"),
        (replies(307, "", Location="https://elsewhere/v1"), "moved to https://elsewhere/v1", "address"),
    ],
)
def test_what_stays_is_an_error_at_once(
    refusal: Action, said: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with StandIn([refusal]) as server, pytest.raises(EndpointError) as caught:
        endpoint(server).complete(Request("?"))
    assert len(server.bodies) == 1
    assert said in caught.value.what
    assert remedy in str(caught.value.remedy)
    assert server.url in str(caught.value.where)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("JUDGE_KEY", "no key was sent, for the environment variable JUDGE_KEY is not set"),
        ("", "no key was sent, for no variable was named"),
        ("SET", "the key in SET was sent"),
    ],
)
def test_401_says_which_variable_was_read_and_how_to_name_another(
    variable: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET", "sk-1")
    with StandIn([fails(401, "who are you")]) as server, pytest.raises(EndpointError, match="401") as caught:
        endpoint(server, key_variable=variable, key_option="--judge-key-variable").complete(Request("?"))
    assert said in str(caught.value.remedy)
    assert "--judge-key-variable VARIABLE" in str(caught.value.remedy)
    assert server.keys == ["Bearer sk-1" if variable == "SET" else None]


def test_a_model_without_a_name_leaves_no_hole_in_an_error() -> None:
    with StandIn([]) as server:
        gone = server.url
    with pytest.raises(EndpointError) as caught:
        Endpoint(gone, "", wait=Waits()).models()
    assert caught.value.where == f"{gone}/v1/models"


def test_an_unknown_model_names_the_nearest() -> None:
    with StandIn([fails(404, "no such model")], models=("judge-7b", "other")) as server:
        with pytest.raises(EndpointError, match="no such model") as caught:
            endpoint(server).complete(Request("?"))
        assert "did you mean 'judge-7b'?" in str(caught.value.remedy)
        with pytest.raises(EndpointError, match="no such model") as caught:
            endpoint(server).check()
        assert "did you mean 'judge-7b'?" in str(caught.value.remedy)


def test_check_takes_what_the_server_takes() -> None:
    with StandIn(["yes"], models=("judge-1", "other")) as server:
        assert endpoint(server).check() == ("judge-1", "other")
        assert server.bodies == []
    with StandIn(["yes"], models=fails(404, "no list")) as server:
        assert endpoint(server).check() == ()
    with StandIn(["yes"], models=("an alias",)) as server:
        endpoint(server).check()
        assert len(server.bodies) == 1


def test_check_does_not_wait_for_a_server_that_is_not_there() -> None:
    with StandIn([]) as server:
        gone = server.url
    waits = Waits()
    with pytest.raises(EndpointError, match="did not answer") as caught:
        Endpoint(gone, "judge-1", wait=waits).check()
    assert waits == []
    assert "start the server" in str(caught.value.remedy)


def test_many_at_once_but_no_more_and_taken_one_by_one() -> None:
    taken: list[int] = []
    gate = threading.Barrier(4)

    def answer(body: dict[str, Any]) -> str:
        gate.wait(10)
        return str(body["messages"][0]["content"])

    def requests() -> Iterator[Request]:
        for number in range(12):
            taken.append(number)
            yield Request(str(number))

    with StandIn(answer) as server:
        replies_ = endpoint(server, concurrency=4).complete_all(requests())
        first = next(replies_)
        assert len(taken) == 4
        found = dict([first, *replies_])
    assert {number: reply.text for number, reply in found.items()} == {n: str(n) for n in range(12)}
    assert server.busiest == 4


def test_a_failure_ends_it_but_loses_no_reply() -> None:
    gate = threading.Barrier(2)

    def answer(body: dict[str, Any]) -> str | Action:
        number = body["messages"][0]["content"]
        if number in "01":
            gate.wait(10)
        return fails(400, "bad") if number == "0" else "fine"

    found: list[int] = []

    def collect(asked: Endpoint) -> None:
        for number, _ in asked.complete_all(Request(str(n)) for n in range(1000)):
            found.append(number)

    with StandIn(answer) as server:
        with pytest.raises(EndpointError, match="bad"):
            collect(endpoint(server, concurrency=2))
        answered = [int(body["messages"][0]["content"]) for body in server.bodies]
    assert sorted(found) == sorted(answered)[1:]
    assert len(found) < 999


def test_leaving_cancels_what_is_in_flight() -> None:
    script: list[str | Action] = []
    with StandIn(script) as server:
        script += ["yes", server.hangs]
        replies_ = endpoint(server, concurrency=1, timeout=600.0).complete_all(Request("?") for _ in range(9))
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        assert next(replies_) == (0, Reply("yes", "stop", usage, "judge-1-exact"))
        replies_.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name == "endpoint"]


def test_ctrl_c_stops_at_once() -> None:
    program = """
import signal, sys
from pumice.endpoint.client import Endpoint
from pumice.endpoint.request import Request
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits deafness
print("asking", flush=True)
for _ in Endpoint(sys.argv[1], "m", timeout=600).complete_all([Request("?")] * 20): pass
"""
    script: list[str | Action] = []
    with StandIn(script) as server:
        script += [server.hangs]
        command = [sys.executable, "-c", program, server.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert server.arrived.acquire(timeout=60)
            process.send_signal(2)
            said = process.communicate(timeout=20)[1]
        assert "KeyboardInterrupt" in said
        assert process.returncode != 0


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    picture = attach(PIL.Image.new("RGB", (3, 2), "red"))
    request = Request("What?", (picture,), "Be brief.", 5, 0.2, 7, {"top_p": 0.5})
    with StandIn(["red"]) as server:
        endpoint(server, key_variable="MY_KEY").complete(request)
    (body,) = server.bodies
    assert server.keys == [f"Bearer {KEY}"]
    assert server.paths == ["/v1/chat/completions"]
    assert body == {
        "model": "judge-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": picture.url()}},
                    {"type": "text", "text": "What?"},
                ],
            },
        ],
        "max_tokens": 5,
        "temperature": 0.2,
        "seed": 7,
        "top_p": 0.5,
    }
    assert Request("What?", temperature=None).body("m") == {
        "model": "m", "messages": [{"role": "user", "content": "What?"}],
    }  # fmt: skip


def test_the_newer_name_of_the_longest_answer_is_found_once() -> None:
    def answer(body: dict[str, Any]) -> str | Action:
        if "max_tokens" in body:
            return fails(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return str(body["max_completion_tokens"])

    with StandIn(answer) as server:
        asked = endpoint(server)
        assert [asked.complete(Request("?", max_tokens=9)).text for _ in range(2)] == ["9", "9"]
    assert len(server.bodies) == 3


def test_a_filtered_request_has_an_empty_reply() -> None:
    with StandIn([fails(400, "The prompt was filtered", "content_filter")]) as server:
        assert endpoint(server).complete(Request("?")) == Reply("", "content_filter")


def test_a_server_without_seeds_gets_none() -> None:
    def answer(body: dict[str, Any]) -> str | Action:
        return fails(422, "extra inputs are not permitted: seed") if "seed" in body else "fine"

    with StandIn(answer) as server:
        assert endpoint(server).complete(Request("?", seed=3)).text == "fine"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": None, "refusal": "I can't."}, "I can't."),
        ({"content": [{"type": "text", "text": "a"}, {"text": None}, {"type": "text", "text": "b"}]}, "ab"),
        ({}, ""),
    ],
)
def test_replies_of_other_forms(message: dict[str, Any], text: str) -> None:
    with StandIn([says("", choices=[{"message": message}], usage=None, model=None)]) as server:
        assert endpoint(server).complete(Request("?")) == Reply(text)


def test_the_key_is_nowhere(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with StandIn([fails(400, f"no: {KEY}")]) as server, caplog.at_level(logging.DEBUG):
        asked = endpoint(server)
        with pytest.raises(EndpointError) as caught:
            asked.complete(Request("?"))
    assert server.keys == [f"Bearer {KEY}"]
    assert KEY not in caplog.text + repr(asked) + str(caught.value) + repr(vars(asked))


@pytest.mark.parametrize(
    ("url", "call"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1/x"),
        ("http://localhost:8000/", "http://localhost:8000/v1/x"),
        ("https://h/v1/", "https://h/v1/x"),
        ("https://h/v1/chat/completions", "https://h/v1/x"),
        ("https://h/chat/completions", "https://h/x"),
        ("https://h/v1beta/openai/", "https://h/v1beta/openai/x"),
        ("https://h/api", "https://h/api/v1/x"),
        ("https://h/v1?api-version=3", "https://h/v1/x?api-version=3"),
        ("http://[::1]:80/v1", "http://[::1]/v1/x"),
    ],
)
def test_addresses(url: str, call: str) -> None:
    assert address_of(url).call("/x") == call


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h", "https://", "http://me:secret@h/v1", "judge"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint(url, "m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://10.0.0.1:8000", True),
        ("http://judge.example/v1", True),
        ("http://127.0.0.1:1", False),
        ("http://localhost", False),
        ("http://[::1]/v1", False),
        ("https://judge.example", False),
    ],
)
def test_a_key_in_the_open_is_warned_of(url: str, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Endpoint(url, "m").warnings == ()
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert bool(Endpoint(url, "m").warnings) is warned


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Endpoint("http://localhost", "m", **settings)


def written(image: PIL.Image.Image, kind: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def test_pictures_go_as_they_are_or_as_png(tmp_path: Path) -> None:
    image = PIL.Image.new("RGB", (4, 2), (10, 200, 30))
    jpeg, png, webp = (written(image, kind) for kind in ("JPEG", "PNG", "WEBP"))
    assert (attach(jpeg).media_type, attach(jpeg).data) == (JPEG, jpeg)
    assert (attach(png).media_type, attach(png).data) == (PNG, png)
    assert base64.b64decode(attach(png).url().removeprefix("data:image/png;base64,")) == png
    (tmp_path / "x.webp").write_bytes(webp)
    (tmp_path / "x.jpg").write_bytes(jpeg)
    assert attach(tmp_path / "x.jpg").data == jpeg
    for other in (attach(webp), attach(tmp_path / "x.webp"), attach(image)):
        assert other.media_type == PNG
        assert PIL.Image.open(io.BytesIO(other.data)).size == (4, 2)
    exif = PIL.Image.Exif()
    exif[274] = 6
    turned = attach(written(image, "JPEG", exif=exif))
    assert turned.media_type == PNG
    assert PIL.Image.open(io.BytesIO(turned.data)).size == (2, 4)


def test_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"row 3"):
        attach(b"no picture", "row 3")
    with pytest.raises(ImageError, match="does not exist"):
        attach(tmp_path / "none.png")
    with pytest.raises(ImageError, match=r"row 3 is no JPEG"):  # bytes are asked no more formats than files
        attach(written(PIL.Image.new("RGB", (4, 2)), "PPM"), "row 3")


def test_examples_stand_as_earlier_turns() -> None:
    body = Request("New?", system="Be brief.", examples=(("Old?", "Old."),)).body("m")
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "Old?"),
        ("assistant", "Old."),
        ("user", "New?"),
    ]


def test_nothing_just_now_waits_for_the_next_reply() -> None:
    """What is asked may depend on what was said: the second request is made of the first reply."""
    said: list[str] = []

    def requests() -> Iterator[Request | None]:
        yield Request("one")
        while not said:
            yield None
        yield Request(f"after {said[0]}")

    with StandIn(lambda body: body["messages"][-1]["content"].upper()) as server:
        for number, reply in endpoint(server).complete_all(requests()):
            assert number == len(said)
            said.append(reply.text)
    assert said == ["ONE", "AFTER ONE"]


def test_every_call_is_admitted_and_a_refused_one_is_not_sent() -> None:
    admitted: list[bytes] = []

    async def admit(content: bytes) -> None:
        if len(admitted) == 2:
            raise UsageError("no more")
        admitted.append(content)

    with StandIn([fails(500, "oops"), says("yes")]) as server:
        asked = endpoint(server, admit=admit)
        assert asked.complete(Request("one")).text == "yes"
        with pytest.raises(UsageError, match="no more"):
            asked.complete(Request("two"))
    assert len(server.bodies) == len(admitted) == 2


def test_a_transport_stands_for_the_network() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"choices": [{"message": {"content": request.url.path}}]})

    asked = Endpoint("http://nowhere.invalid", "m", transport=httpx2.MockTransport(answer))
    assert asked.complete(Request("?")).text == "/v1/chat/completions"
