"""OpenAI's responses against a real server, by OpenAI's own client wherever it can say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pumice.errors import UsageError
from pumice.serve.backend import TokenScore
from pumice.serve.filtering import Withheld
from pumice.types import Image, Text

from .conftest import Live, Make, data_url, png

openai = pytest.importorskip("openai")

URL = data_url(png())


@pytest.fixture
def client(live: Live) -> Any:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)


def shown(text: str = "What is it?", **more: Any) -> list[dict[str, Any]]:
    """Words and a picture."""
    picture = {"type": "input_image", "image_url": URL, "detail": "auto", **more}
    return [{"role": "user", "content": [{"type": "input_text", "text": text}, picture]}]


def test_a_response_is_one_that_the_client_understands(live: Live, client: Any) -> None:
    made = client.responses.create(
        model="one", input="Hello", temperature=0.5, max_output_tokens=9, metadata={"a": "b"}
    )
    assert made.output_text == "You said Hello"
    assert (made.status, made.error, made.incomplete_details) == ("completed", None, None)
    assert (made.temperature, made.max_output_tokens, made.metadata) == (0.5, 9, {"a": "b"})
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (100, 2, 102)
    assert made.usage.input_tokens_details.cached_tokens == 7
    assert not made.model_dump()["store"]
    given = live.backend.asked[0].ask.settings
    assert (given.temperature, given.max_new_tokens, given.top_p) == (0.5, 9, 1.0)
    type(made).model_validate(made.model_dump(), strict=False)


def test_pictures_and_instructions_are_part_of_the_conversation(live: Live, client: Any) -> None:
    client.responses.create(model="one", input=shown(), instructions="Be short.")
    system, user = live.backend.asked[0].ask.messages
    assert (system.role, system.text) == ("system", "Be short.")
    assert user.parts == (Image(0), Text("\n"), Text("What is it?"))
    assert live.backend.asked[0].ask.images[0].size == (8, 6)


def test_an_answer_sent_back_is_a_turn(live: Live, client: Any) -> None:
    first = client.responses.create(model="one", input="Hello")
    turns = [{"role": "user", "content": "Hello"}, *first.output, {"role": "user", "content": "And?"}]
    client.responses.create(model="one", input=turns)
    said = [(message.role, message.text) for message in live.backend.asked[-1].ask.messages]
    assert said == [("user", "Hello"), ("assistant", "You said Hello"), ("user", "And?")]
    no = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]}
    client.responses.create(model="one", input=[turns[0], no, turns[-1]])
    client.chat.completions.create(model="one", messages=[turns[0], no, turns[-1]])
    assert [one.ask.messages[1].text for one in live.backend.asked[-2:]] == ["I will not."] * 2


def test_the_clients_stream_ends_with_the_whole_response(client: Any) -> None:
    with client.responses.stream(model="one", input="Hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.type for event in events] == [
        *("response.created", "response.in_progress"),
        *("response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * 2,
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[5].snapshot == final.output_text == "You said Hello"
    assert final.usage.output_tokens == 2
    assert len({event.item_id for event in events[3:8]} | {final.output[0].id}) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("filter", "content_filter")]
)
def test_an_answer_that_was_cut_is_incomplete(make: Make, finish: str, reason: str, stream: bool) -> None:
    class Second:
        """Lets one piece pass."""

        pieces = 0

        def push(self, text: str) -> str:
            self.pieces += 1
            if self.pieces > 1:
                raise Withheld
            return text

        def finish(self) -> str:
            return ""

    live = make(make_filter=Second if finish == "filter" else None)
    if finish == "length":
        live.backend.reason = "length"
    client = openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0)
    made = client.responses.create(model="one", input="Hello", stream=stream)
    if stream:
        last = list(made)[-1]
        assert last.type == "response.incomplete"
        made = last.response
    assert (made.status, made.incomplete_details.reason) == ("incomplete", reason)
    assert made.output[0].status == "incomplete"
    assert made.output_text == ("You said " if finish == "filter" else "You said Hello")


def test_an_answer_of_a_shape(live: Live, client: Any) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Seen(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        color: str

    live.backend.script = lambda ask, index: ['{"color": ', '"red"}']
    made = client.responses.parse(model="one", input="Which?", text_format=Seen)
    assert made.output_parsed.color == "red"
    shape = live.backend.asked[0].ask.settings.shape
    assert shape is not None
    assert shape["schema"]["properties"]["color"]["type"] == "string"
    client.responses.create(model="one", input="Which?", text={"format": {"type": "json_object"}})
    assert live.backend.asked[1].ask.settings.shape == {"type": "json_object"}


def test_logprobs(live: Live, client: Any) -> None:
    live.backend.script = lambda ask, index: [TokenScore("red", -0.5, (("red", -0.5), ("x", float("-inf"))))]
    given = {"model": "one", "input": "a", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (told,) = client.responses.create(**given).output[0].content[0].logprobs
    assert (told.token, told.logprob, [one.logprob for one in told.top_logprobs]) == (
        "red",
        -0.5,
        [-0.5, -9999],
    )
    (delta,) = (e for e in client.responses.create(**given, stream=True) if e.type.endswith("text.delta"))
    assert delta.logprobs[0].logprob == -0.5


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"content": "a"}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": shown(image_url=None, file_id="file-1")}, "input[0].content[1].image_url"),
        ({"input": shown(image_url="http://127.0.0.1/a.png")}, "input[0].content[1].image_url"),
        ({"input": shown(detail="huge")}, "input[0].content[1].detail"),
    ],
)
def test_what_cannot_be_carried_out_names_its_member(live: Live, more: dict[str, Any], param: str) -> None:
    reply = live.client.post("/v1/responses", json={"model": "one", "input": "Hi", **more})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"].startswith(param)
    assert live.backend.asked == []


def test_a_picture_is_judged_as_in_a_chat(make: Make) -> None:
    live = make(limits={"images": 1, "pixels": 100})
    large = data_url(png(20, 20))
    for items, status, code in (
        (shown(image_url=large), 400, "image_too_large"),
        (shown(image_url=data_url(b"%PDF")), 422, "invalid_image"),
        ([*shown(), *shown()], 400, "too_many_images"),
        (shown(image_url="file:///etc/passwd"), 400, "image_urls_off"),
    ):
        reply = live.client.post("/v1/responses", json={"model": "one", "input": items})
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert live.service.budget.held == 0


def test_nothing_that_was_left_out_is_refused(live: Live, client: Any) -> None:
    client.responses.create(
        model="one", input="Hi", store=True, tools=[], tool_choice="auto", user="me", truncation="auto",
        reasoning={"effort": "low"}, include=["reasoning.encrypted_content"], previous_response_id=None,
    )  # fmt: skip
    assert len(live.backend.asked) == 1


def test_failures_are_told_before_and_after_the_first_word(live: Live, client: Any) -> None:
    live.backend.full = 2.2
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="one", input="Hi", stream=True)
    live.backend.full, live.backend.reason = None, "error"
    *_, last = client.responses.create(model="one", input="Hi", stream=True)
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "server_error"
    live.backend.refused = UsageError("the schema outgrew its library")
    *_, last = client.responses.create(model="one", input="Hi", stream=True)
    assert (last.response.error.code, last.response.error.message) == (
        "invalid_prompt",
        "the schema outgrew its library",
    )
    live.backend.refused = None
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="one", input="Hi")


def test_the_log_tells_of_a_response_and_of_its_words_if_asked(make: Make) -> None:
    for content in (False, True):
        live = make(log_content=content)
        for stream in (False, True):
            body = {"model": "one", "input": "A secret", "stream": stream}
            assert live.client.post("/v1/responses", json=body).status_code == 200
        live.stop()
        entries = [json.loads(line) for line in live.log.read_text().splitlines()]
        assert [(one["route"], one["finish"]) for one in entries] == [("/v1/responses", ["stop"])] * 2
        assert [one.get("answered") for one in entries] == [["You said A secret"] if content else None] * 2
        assert ("secret" in live.log.read_text()) == content
