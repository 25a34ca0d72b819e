"""evaluate/served.py: tasks asked of a server on this machine."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from pumice.endpoint.client import Endpoint
from pumice.errors import EndpointError
from pumice.evaluate.predictor import MEAN_GREY
from pumice.evaluate.samples import Sample, Stored
from pumice.evaluate.served import HOPELESS, EndpointAnswerer

from .small_task import load, write_task
from .stand_in import StandIn, fails


def picture_of(body: dict[str, Any]) -> PIL.Image.Image:
    url = body["messages"][0]["content"][0]["image_url"]["url"]
    return PIL.Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def text_of(body: dict[str, Any]) -> str:
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def test_prompts_pictures_and_limits_reach_the_server(tmp_path: Path) -> None:
    samples = load(write_task(tmp_path), {}).samples
    with StandIn(text_of) as server:
        who = EndpointAnswerer(Endpoint(server.url, "judge-1", concurrency=3))
        who.ready()
        said = dict(who.answers(samples, 7, blind=False))
    assert {place: one.text for place, one in said.items()} == {n: s.text for n, s in enumerate(samples)}
    assert {body["max_tokens"] for body in server.bodies} == {7}
    assert {body["temperature"] for body in server.bodies} == {0}
    assert who.model == {"kind": "endpoint", "name": "judge-1", "digest": ""}
    # Three are under way at once, so calls come in any order: each question still goes with its own picture.
    asked = sorted((picture_of(body).size, text_of(body)) for body in server.bodies)
    assert asked == sorted(((32 + n // 2, 24), sample.text) for n, sample in enumerate(samples))


def test_blind_sends_grey_of_the_same_size_and_stored_pictures_are_sent(tmp_path: Path) -> None:
    write_task(tmp_path)
    stored = Stored("row 1", lambda: (tmp_path / "1.png").read_bytes())
    samples = [Sample("a", "?", (stored,), {}), Sample("b", "no picture", (), {})]
    with StandIn(text_of) as server:
        who = EndpointAnswerer(Endpoint(server.url, "judge-1", concurrency=1))
        list(who.answers(samples, 7, blind=False))
        list(who.answers(samples, 7, blind=True))
    seen, _, grey, _ = server.bodies
    assert picture_of(seen).size == picture_of(grey).size == (33, 24)
    assert tuple(np.asarray(picture_of(grey).convert("RGB"))[0, 0]) == MEAN_GREY
    assert tuple(np.asarray(picture_of(seen).convert("RGB"))[0, 0]) == (0, 0, 255)


def test_a_question_that_is_refused_does_not_stop_the_others(tmp_path: Path) -> None:
    samples = load(write_task(tmp_path), {}).samples

    def answers(body: dict[str, Any]) -> Any:
        return fails(400, "the prompt is too long") if "red" in text_of(body) else "Yes"

    with StandIn(answers) as server:
        said = dict(EndpointAnswerer(Endpoint(server.url, "judge-1")).answers(samples, 7, blind=False))
    assert len(said) == len(samples)
    refused = [samples[place].text for place, one in said.items() if one.problem]
    assert refused
    assert all("red" in text for text in refused)
    assert all(one.text == ("" if one.problem else "Yes") for one in said.values())


def test_a_server_that_refuses_everything_is_an_error(tmp_path: Path) -> None:
    samples = load(write_task(tmp_path), {}).samples
    with StandIn(lambda body: fails(400, "this model takes no images")) as server:
        who = EndpointAnswerer(Endpoint(server.url, "judge-1"))
        with pytest.raises(EndpointError, match="no images"):
            list(who.answers(samples, 7, blind=False))
        many = [Sample(str(n), "?", (), {}) for n in range(200)]
        before = len(server.bodies)
        with pytest.raises(EndpointError, match="no images"):
            list(who.answers(many, 7, blind=False))
    assert len(server.bodies) - before <= HOPELESS + who.endpoint.concurrency, "it was asked on and on"


def test_an_answer_that_a_filter_took_says_so() -> None:
    blocked = fails(400, "blocked", "content_filter")
    with StandIn(lambda body: blocked if text_of(body) == "bad" else "Yes") as server:
        who = EndpointAnswerer(Endpoint(server.url, "judge-1"))
        samples = [Sample("a", "bad", (), {}), Sample("b", "good", (), {})]
        said = dict(who.answers(samples, 7, blind=False))
    assert (said[0].text, "filter" in said[0].problem) == ("", True)
    assert (said[1].text, said[1].problem) == ("Yes", "")
