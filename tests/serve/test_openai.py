"""OpenAI's calls against a real server: what comes back, whole and in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumice.errors import DataError, UsageError
from pumice.serve.backend import TokenScore, TooLong, Unable
from pumice.types import Image, Text

from .conftest import Live, Make, data_url, png, shown


def events(text: str) -> list[Any]:
    """The data of a stream; its end is checked and left out."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_chat_has_openais_form(live: Live) -> None:
    reply = live.chat("Hello").json()
    assert reply["object"] == "chat.completion"
    assert reply["id"].startswith("chatcmpl-")
    assert reply["model"] == "one"
    (choice,) = reply["choices"]
    assert choice["message"] == {"role": "assistant", "content": "You said Hello", "refusal": None}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "stop", None)
    assert reply["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 2,
        "total_tokens": 102,
        "prompt_tokens_details": {"cached_tokens": 7},
    }


def test_a_stream_has_the_role_first_and_the_usage_last(live: Live) -> None:
    reply = live.chat("Hello", stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *chunks, last = events(reply.text)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "You said Hello"
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 102
    assert {(c["id"], c["created"], c["object"]) for c in [*chunks, last]} == {
        (last["id"], last["created"], "chat.completion.chunk")
    }
    assert all(chunk["usage"] is None for chunk in chunks)


def test_without_include_usage_there_is_none(live: Live) -> None:
    assert all("usage" not in chunk for chunk in events(live.chat(stream=True).text))


def test_n_answers_count_their_prompt_once(live: Live) -> None:
    reply = live.chat("Hi", n=3).json()
    assert [c["message"]["content"] for c in reply["choices"]] == [f"You said Hi #{k}" for k in range(3)]
    assert reply["usage"]["prompt_tokens"] == 100
    assert reply["usage"]["completion_tokens"] == 9
    texts = {0: "", 1: "", 2: ""}
    for chunk in events(live.chat("Hi", n=3, stream=True).text):
        choice = chunk["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == {k: f"You said Hi #{k}" for k in range(3)}


def test_settings_reach_the_backend(live: Live) -> None:
    live.chat(
        temperature=0.5, top_p=0.9, top_k=5, seed=-1, max_completion_tokens=9, max_tokens=3, stop="END",
        presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.5, logit_bias={"7": -100},
        logprobs=True, top_logprobs=4,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}},
    )  # fmt: skip
    given = live.backend.asked[0].ask.settings
    assert (given.temperature, given.top_p, given.top_k, given.seed) == (0.5, 0.9, 5, 2**64 - 1)
    assert (given.max_new_tokens, given.stop) == (9, ("END",))
    assert (given.presence_penalty, given.frequency_penalty, given.repetition_penalty) == (1, -1, 1.5)
    assert (given.logit_bias, given.logprobs) == (((7, -100.0),), 4)
    assert given.shape == {"type": "json_schema", "schema": {"type": "array"}}


def test_what_is_null_or_unknown_is_as_if_it_were_not_there(live: Live) -> None:
    nulls = dict.fromkeys(("temperature", "top_p", "n", "stop", "seed", "stream", "logprobs", "max_tokens"))
    assert live.chat(**nulls, user="me", store=True, service_tier="auto").status_code == 200
    given = live.backend.asked[0].ask.settings
    assert (given.temperature, given.top_p, given.max_new_tokens, given.logprobs) == (1.0, 1.0, 1024, None)


def test_without_a_seed_each_request_draws_its_own(live: Live) -> None:
    live.chat(), live.chat()
    first, second = (one.ask.settings.seed for one in live.backend.asked)
    assert first != second


def test_long_answers_are_cut_to_the_servers_limit(make: Make) -> None:
    live = make(limits={"new_tokens": 50})
    live.chat(max_tokens=10**9)
    assert live.backend.asked[0].ask.settings.max_new_tokens == 50


def test_logprobs(live: Live) -> None:
    live.backend.script = lambda ask, index: [
        TokenScore("ré", -0.5, (("ré", -0.5), ("x", float("-inf")))),
        TokenScore("d", -1.0),
    ]
    reply = live.chat(logprobs=True, top_logprobs=2).json()
    first, second = reply["choices"][0]["logprobs"]["content"]
    assert (first["token"], first["logprob"], first["bytes"]) == ("ré", -0.5, [114, 195, 169])
    assert [one["logprob"] for one in first["top_logprobs"]] == [-0.5, -9999.0]
    assert second["top_logprobs"] == []
    body = {"model": "one", "prompt": "a", "logprobs": 2}
    told = live.client.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
    assert told["tokens"] == ["ré", "d"]
    assert told["text_offset"] == [0, 2]
    assert told["top_logprobs"][0] == {"ré": -0.5, "x": -9999.0}


def test_pictures_come_before_words_that_all_stand_before_them(live: Live) -> None:
    live.chat(shown(data_url(png()), "What?"))
    (message,) = live.backend.asked[0].ask.messages
    assert message.parts == (Image(0), Text("\n"), Text("What?"))


def test_pictures_between_words_stay_there(live: Live) -> None:
    picture = {"type": "image_url", "image_url": {"url": data_url(png()), "detail": "low"}}
    words = [{"type": "text", "text": text} for text in ("First:", "second:", "which?")]
    content = [words[0], picture, words[1], picture, words[2]]
    reply = live.chat([{"role": "user", "content": content}]).json()
    (message,) = live.backend.asked[0].ask.messages
    assert message.parts == (
        *(Text("First:"), Text("\n"), Image(0), Text("\n")),
        *(Text("second:"), Text("\n"), Image(1), Text("\n"), Text("which?")),
    )
    assert reply["usage"]["prompt_tokens"] == 102


def test_roles(live: Live) -> None:
    turns = [("developer", "Be short."), ("system", "Be kind."), ("user", "a"), ("user", "b"),
             ("assistant", "c"), ("user", [{"type": "text", "text": "d"}])]  # fmt: skip
    assert live.chat([{"role": role, "content": text} for role, text in turns]).status_code == 200
    messages = live.backend.asked[0].ask.messages
    said = [(message.role, message.text) for message in messages]
    assert said == [("system", "Be short.\nBe kind."), ("user", "a\nb"), ("assistant", "c"), ("user", "d")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": shown({"detail": "low"})}, "messages[0].content[1].image_url"),
        ({"messages": shown({"url": "data:,", "detail": "huge"})}, "messages[0].content[1].image_url.detail"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, "messages[1]"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"chat_template": "{{ 7 * 7 }}"}, "chat_template"),
    ],
)
def test_a_bad_request_names_its_member(live: Live, body: dict[str, Any], param: str) -> None:
    whole = {"model": "one", "messages": [{"role": "user", "content": "Hello"}], **body}
    reply = live.client.post("/v1/chat/completions", json=whole)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith(param)
    assert live.backend.asked == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"a":' + b"9" * 9000 + b"}"]
)
def test_what_is_no_json_object_is_400(live: Live, body: bytes) -> None:
    reply = live.client.post("/v1/chat/completions", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json"


def test_half_a_surrogate_pair_is_no_500(live: Live) -> None:
    body = b'{"model": "one", "messages": [{"role": "user", "content": "\\ud800"}]}'
    reply = live.client.post("/v1/chat/completions", content=body)
    assert reply.status_code == 200
    assert reply.json()["choices"][0]["message"]["content"] == "You said \ud800"


def test_models(make: Make) -> None:
    live = make("one", "other.model")
    listed = live.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["one", "other.model"]
    assert live.client.get("/v1/models/other.model").json() == listed["data"][1]
    assert listed["data"][0]["max_model_len"] == 2048
    missing = live.client.get("/v1/models/..%2f..%2fetc%2fpasswd")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


def test_each_model_answers_under_its_name(make: Make) -> None:
    live = make("one", "two")
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    live.client.post("/v1/chat/completions", json={**body, "model": "two"})
    assert [len(one.asked) for one in live.backends.values()] == [0, 1]
    wrong = live.client.post("/v1/chat/completions", json={**body, "model": "tow"})
    assert wrong.status_code == 404
    assert "did you mean 'two'" in wrong.json()["error"]["message"]
    assert live.client.post("/v1/chat/completions", json=body).status_code == 404  # which of the two?


def test_completions(live: Live) -> None:
    body = {"model": "one", "prompt": ["a", "b"], "n": 2, "max_tokens": 5}
    reply = live.client.post("/v1/completions", json=body).json()
    assert reply["object"] == "text_completion"
    assert [(c["index"], c["text"]) for c in reply["choices"]] == [
        (0, "more of a"), (1, "more of a"), (2, "more of b"), (3, "more of b")
    ]  # fmt: skip
    assert reply["usage"]["prompt_tokens"] == 200
    streamed = live.client.post("/v1/completions", json={"model": "one", "prompt": "a", "stream": True}).text
    assert "".join(chunk["choices"][0]["text"] for chunk in events(streamed)) == "more of a"


@pytest.mark.parametrize("prompt", [[], [1, 2], [[1, 2]], "", ["a", 3], None])
def test_prompts_are_texts(live: Live, prompt: Any) -> None:
    reply = live.client.post("/v1/completions", json={"model": "one", "prompt": prompt})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].startswith("prompt")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (
            TooLong("the prompt has 9000 tokens, but the model's context is 2048"),
            400,
            "context_length_exceeded",
        ),
        (Unable("no schemas here", "response_format"), 400, "unsupported_value"),
        (DataError("the roles do not alternate", where="message 1 (user)"), 400, "invalid_value"),
        (RuntimeError("bad thing at /home/me/model 0x7f3a12345678"), 500, "internal_error"),
        (DataError("image file /home/me/a.png is damaged"), 400, "invalid_value"),
    ],
)
def test_errors_before_the_first_token_have_a_status(
    live: Live, error: Exception, status: int, code: str, stream: bool
) -> None:
    live.backend.error = error
    reply = live.chat(stream=stream)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code
    assert "0x7f" not in reply.text
    assert "home" not in reply.text


def test_an_error_after_the_first_token_is_an_event(live: Live) -> None:
    live.backend.reason = "error"
    reply = live.chat(stream=True)
    assert reply.status_code == 200
    last = [line for line in reply.text.split("\n\n") if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert live.chat().status_code == 500


def test_failures_name_the_member_of_their_call(live: Live) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
        "/v1/completions": {"prompt": "a"},
        "/v1/responses": {"input": "a"},
    }
    form = "response_format.json_schema"
    for error, *params in (
        (TooLong("too long"), "messages", "prompt", "input"),
        (UsageError("no text obeys it", where="json_schema"), form, form, "text.format.schema"),
        (Unable("no schemas here", "response_format"), *["response_format"] * 2, "text.format"),
    ):
        live.backend.error = error
        for (path, body), param in zip(bodies.items(), params, strict=True):
            for stream in (False, True):
                reply = live.client.post(path, json={"model": "one", "stream": stream, **body})
                assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    live.backend.error = None
    live.backend.reason, live.backend.refused = "error", UsageError("it grew", where="json_schema")
    for (path, body), param in zip(bodies.items(), (form, form, "text.format.schema"), strict=True):
        reply = live.client.post(path, json={"model": "one", **body})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    last = [line for line in live.chat(stream=True).text.split("\n\n") if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["param"] == form


def test_what_turns_out_to_be_impossible_is_said(live: Live) -> None:
    live.backend.reason, live.backend.refused = "error", UsageError("the schema outgrew its library")
    reply = live.chat()
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "the schema outgrew its library")
    last = [line for line in live.chat(stream=True).text.split("\n\n") if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "invalid_request_error"


def test_a_full_queue_is_429_with_a_time(live: Live) -> None:
    live.backend.full = 2.2
    reply = live.chat(stream=True)
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "3")
    assert reply.json()["error"]["type"] == "rate_limit_error"


def test_a_silent_stream_is_pinged(make: Make) -> None:
    live = make(ping_seconds=0.02)
    live.backend.hold = True
    with live.client.stream("POST", "/v1/chat/completions",
                            json={"model": "one", "stream": True,
                                  "messages": [{"role": "user", "content": "Hi"}]}) as reply:  # fmt: skip
        text = ""
        for piece in reply.iter_text():
            text += piece
            if text.startswith(": "):
                live.backend.release()
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in events(text)) == "You said Hi"
