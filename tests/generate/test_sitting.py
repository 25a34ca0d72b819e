"""generate/sitting.py and carry_out.py: killed, refused and limited generations, and what is left of them."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pumice.endpoint import Endpoint, Request
from pumice.errors import EndpointError, RunError
from pumice.generate.budget import Budget, Meter
from pumice.generate.carry_out import carry_out, carry_out_rules, estimate
from pumice.generate.protocol import Instance, SceneText, Turn
from pumice.generate.scripted import FAULTS, scripted
from pumice.generate.spec import read_specs
from pumice.generate.work import llava_box
from pumice.image.boxes import map_box
from pumice.image.process import ImageProcessor
from pumice.types import Rights

from ..evaluate.stand_in import Body, StandIn, fails
from .small import files_of, plan, scene, terms

SPECS = list(read_specs().values())
ASKED = (("dog", "yes"), ("bench", "no"), ("car", "yes"), ("bus", "no"))

KILLED = """
import hashlib, os, signal, sys
from collections import Counter
from pathlib import Path
from pumice.data.lines import to_line
from pumice.endpoint.cache import Cache
from pumice.generate import carry_out, write
from tests.generate.test_sitting import generation
folder, log, (kind, most) = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split()
counts = Counter()
def event(what, torn=None):
    counts.update([what, "any"])
    if counts[kind] == int(most):
        if torn:
            torn()
        os.kill(os.getpid(), signal.SIGKILL)
def told(content, fate):
    with log.open("ab") as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + b" " + fate.encode() + b"\\n")
    event("call")
put, record = Cache.put, carry_out.write_json
def put_half(self, key, reply, **notes):
    def torn():
        self.claim().write(b'{"job": "s0-cap')
        self.claim().flush()
    event("reply", torn)
    put(self, key, reply, **notes)
def line_of(row):
    event("row")
    return to_line(row)
def write_record(path, value):
    event("record", lambda: path.with_name(path.name + ".partial").write_text("{"))
    record(path, value)
    event("record")
Cache.put, write.to_line, carry_out.write_json = put_half, line_of, write_record
generation(folder, told)
print(counts["any"])
"""


def generation(folder: Path, told: Any = None, faults: float = 0.3) -> dict[str, Any]:
    """Six scenes, seven kinds, with a second pass, by a teacher that errs."""
    scenes = [scene(n) for n in range(6)]
    teacher = scripted(SPECS, faults=faults, concurrency=4, told=told)
    kinds = "conversation,detail,short,correction,region,grounding,comparison"
    return carry_out(plan(scenes, kinds), terms(scenes, agree=True), [teacher], folder)


def test_killed_at_any_moment_and_resumed_is_the_same_file(tmp_path: Path) -> None:
    fates: Counter[str] = Counter()
    whole = generation(tmp_path / "whole", lambda content, fate: fates.update([fate]))
    assert set(fates) == {"answered", *FAULTS[:4]}
    checks = {check for kind in whole["kinds"].values() for check in kind["rejected"]}
    assert {"format", "cut"} <= checks

    folder, log = tmp_path / "killed", tmp_path / "calls"
    # In turn: while a reply is written down, while rows are, while the record is.
    for moment in ("reply 60", "row 40", "record 1"):
        assert killed_at(moment, folder, log) == -signal.SIGKILL, moment
    calls = log.read_text().splitlines()

    def told(content: bytes, fate: str) -> None:
        calls.append(f"{hashlib.sha256(content).hexdigest()} {fate}")

    generation(folder, told)
    _same(folder, tmp_path / "whole", calls, kills=2)
    before = len(calls)
    generation(folder, told)
    assert len(calls) == before, "a finished generation asks nothing"


def killed_at(moment: str, folder: Path, log: Path) -> int:
    """Run a generation that is killed at the nth event of a kind; its exit code, or the number of events."""
    root = Path(__file__).parent.parent.parent
    words = [sys.executable, "-c", KILLED, str(folder), str(log), moment]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode or int(done.stdout)


def _same(folder: Path, whole: Path, calls: list[str], kills: int) -> None:
    """The files are those of an undisturbed run; what was asked twice was on its way when a kill came."""
    assert files_of(folder) == files_of(whole)
    record, other = (json.loads((one / "generation.json").read_text()) for one in (folder, whole))
    assert {name for name in record if record[name] != other[name]} <= {"requests"}
    assert not list(folder.glob("*.partial"))
    answered = Counter(call for call in calls if call.endswith("answered"))
    assert sum(answered.values()) - len(answered) <= kills * 4


@pytest.mark.slow
def test_killed_at_random_moments_it_is_still_the_same_file(tmp_path: Path) -> None:
    whole, folder, log = tmp_path / "whole", tmp_path / "killed", tmp_path / "calls"
    generation(whole)
    total = killed_at("any 0", tmp_path / "counted", tmp_path / "counted-calls")
    rng = random.Random(7)
    kills = sum(killed_at(f"any {rng.randrange(1, total // 2)}", folder, log) < 0 for _ in range(12))
    assert kills >= 6
    calls = log.read_text().splitlines()
    generation(folder, lambda content, fate: calls.append(f"{hashlib.sha256(content).hexdigest()} {fate}"))
    _same(folder, whole, calls, kills)


def test_what_two_kinds_ask_is_asked_once(tmp_path: Path) -> None:
    asked: list[bytes] = []
    scenes = [scene(n) for n in range(3)]
    carry_out(
        plan(scenes, "region,grounding"),
        terms(scenes),
        [scripted(SPECS, told=lambda content, fate: asked.append(content))],
        tmp_path,
    )
    rows = json.loads((tmp_path / "data.json").read_text())
    assert len(rows) == 6
    assert len(asked) == len(set(asked)) == 3
    region, where = rows[0]["conversations"], rows[1]["conversations"]
    assert region[0]["value"].startswith(
        "<image>\nPlease provide a short description for this region: [0.1, 0.3,"
    )
    assert where[1]["value"] == "[0.1, 0.3, 0.3, 0.6]"


def test_phrases_of_people_need_no_teacher(tmp_path: Path) -> None:
    regions = (Instance("a dog with a stick.", (0.25, 0.25, 0.75, 0.75)),)
    whose = Rights("CC-BY-2.0", "Ada")
    scenes = [SceneText("1", "1.jpg", (), (), regions=regions, size=(200, 100), rights=whose)]
    record = carry_out(plan(scenes, "region,grounding"), terms(scenes), [scripted(SPECS)], tmp_path)
    assert record["requests"]["replies"] == 0
    rows = json.loads((tmp_path / "data.json").read_text())
    # Of a picture twice as wide as high, padded to a square.
    assert rows[0]["conversations"][0]["value"].endswith(": [0.25, 0.38, 0.75, 0.62].")
    assert rows[0]["conversations"][1]["value"] == "A dog with a stick."
    assert (rows[0]["license"], rows[1]["attribution"]) == ("CC-BY-2.0", "Ada")
    assert rows[1]["conversations"][1]["value"] == "[0.25, 0.38, 0.75, 0.62]"


def test_a_budget_is_never_passed_and_can_be_raised(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(8)]
    free = tmp_path / "free"
    carry_out(plan(scenes), terms(scenes), [scripted(SPECS)], free)
    costs = []
    for most in (0.01, 0.03, None):
        budget = Budget(max_cost=most, price_in=1.0, price_out=4.0)
        record = carry_out(plan(scenes), terms(scenes), [scripted(SPECS)], tmp_path / "paid", budget=budget)
        costs.append(record["cost"])
        assert record["complete"] == (most is None)
        assert record["spent"] == (most is not None)
        assert most is None or 0 < record["cost"] <= most
    assert costs == sorted(costs)
    assert files_of(tmp_path / "paid") == files_of(free)


def test_the_number_of_calls_is_never_passed(tmp_path: Path) -> None:
    calls: list[str] = []
    scenes = [scene(n) for n in range(8)]
    teacher = scripted(SPECS, faults=0.4, told=lambda content, fate: calls.append(fate))
    record = carry_out(plan(scenes), terms(scenes), [teacher], tmp_path, budget=Budget(max_requests=25))
    assert len(calls) == 25
    assert record["spent"]
    assert not record["complete"]


def test_rates_are_kept() -> None:
    import asyncio

    now, waits = [100.0], []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    meter = Meter(Budget(per_minute=60, tokens_per_minute=600), clock=lambda: now[0], wait=wait)
    for _ in range(3):
        asyncio.run(meter.admit(b"x" * 80))  # about 20 tokens, so two seconds of 600 a minute
    assert waits == pytest.approx([2.0, 4.0])


def test_a_request_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(3)]
    good = scripted(SPECS)

    def answer(body: Body) -> Any:
        if "street b" in body["messages"][-1]["content"]:
            return fails(400, "too long for this model")
        request = Request(body["messages"][-1]["content"], system=body["messages"][0]["content"])
        return good.complete(request).text

    with StandIn(answer) as server:
        teacher = Endpoint(server.url, "judge-1", "")
        record = carry_out(plan(scenes, "caption"), terms(scenes), [teacher], tmp_path)
    assert record["refused"] == {"s1-caption": "the server said 400: too long for this model"}
    assert not record["complete"]
    assert [row["id"] for row in json.loads((tmp_path / "data.json").read_text())] == [
        "s0-caption",
        "s2-caption",
    ]


def test_a_key_that_is_refused_stops_at_once(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(40)]
    with StandIn(lambda body: fails(401, "no")) as server:
        teacher = Endpoint(server.url, "judge-1", "", concurrency=2)
        with pytest.raises(EndpointError, match="401"):
            carry_out(plan(scenes, "caption"), terms(scenes), [teacher], tmp_path)
    assert len(server.bodies) <= 2


def test_a_second_teacher_reads_what_the_first_wrote(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(2)]

    def read(body: Body) -> str:
        written = body["messages"][-1]["content"]
        assert "Written:" in written
        return "1: yes" if "street a" in written else "1: no, nobody says so"

    with StandIn(read, models=("reader",)) as server:
        second = Endpoint(server.url, "reader", "")
        record = carry_out(
            plan(scenes, "caption"),
            terms(scenes, agree=True, second=True),
            [scripted(SPECS), second],
            tmp_path,
        )
    assert [row["id"] for row in json.loads((tmp_path / "data.json").read_text())] == ["s0-caption"]
    (row,) = map(json.loads, (tmp_path / "rejected.jsonl").read_text().splitlines())
    assert (row["check"], row["reason"]) == ("agreement", "nobody says so")
    assert [one["model"] for one in record["teachers"]] == ["scripted", "reader"]


def test_two_processes_do_not_write_into_one_folder(tmp_path: Path) -> None:
    from pumice.endpoint import Cache

    scenes = [scene()]
    with Cache(tmp_path / "replies.jsonl") as other:
        other.claim()
        with pytest.raises(RunError, match="generating"):
            carry_out(plan(scenes, "caption"), terms(scenes), [scripted(SPECS)], tmp_path)


def test_a_teacher_of_rules_is_checked_too(tmp_path: Path) -> None:
    class Rules:
        name = "rules"

        def write(self, scene: SceneText, kind: str) -> list[Turn]:
            return [Turn("What is there?", "A dog.", kind), Turn("What else is there?", "A zebra.", kind)]

    scenes = [scene()]
    record = carry_out_rules(plan(scenes, "conversation,ocr"), terms(scenes), Rules(), tmp_path)
    assert record["kinds"]["conversation"]["rejected"] == {"grounding": 1}
    (row,) = json.loads((tmp_path / "data.json").read_text())
    assert [turn["value"] for turn in row["conversations"]] == ["<image>\nWhat is there?", "A dog."]


def test_what_was_asked_before_leaves_yes_and_no_in_balance(tmp_path: Path) -> None:
    """A repeated question goes, and one of the other answer with it."""
    scenes = [scene()]
    two = "\n".join(f"Q: Is there a {name}?\nA: {said}" for name, said in ASKED)

    def answer(body: Body) -> str:
        if "as many are answered" in body["messages"][0]["content"]:
            return "Q: Is there a dog in the picture?\nA: yes"
        return two

    with StandIn(answer) as server:
        teacher = Endpoint(server.url, "judge-1", "", concurrency=1)
        carry_out(plan(scenes, "short,existence"), terms(scenes), [teacher], tmp_path)
    short, existence = json.loads((tmp_path / "data.json").read_text())
    assert short["type"] == "short"
    answers = [turn["value"] for turn in existence["conversations"][1::2]]
    assert sorted(answers) == ["No", "Yes"]


def test_the_estimate_counts_what_is_asked(tmp_path: Path) -> None:
    scenes = [scene(n) for n in range(8)]
    about = estimate(plan(scenes), terms(scenes, agree=True), Budget())
    record = carry_out(plan(scenes), terms(scenes, agree=True), [scripted(SPECS)], tmp_path)
    assert about.requests == record["requests"]["replies"]
    assert about.tokens_in == pytest.approx(record["tokens"]["prompt_tokens"], rel=0.2)


def test_other_languages_are_asked_for_and_checked(tmp_path: Path) -> None:
    scenes = [scene()]
    asked: list[str] = []

    def answer(body: Body) -> str:
        asked.append(body["messages"][0]["content"])
        german = "in German" in asked[-1]
        return "Ein Hund sitzt neben den Autos auf der Straße." if german else "A dog sits beside the cars."

    with StandIn(answer) as server:
        teacher = Endpoint(server.url, "judge-1", "", concurrency=1)
        carry_out(plan(scenes, "caption", ("en", "de")), terms(scenes), [teacher], tmp_path)
    rows = json.loads((tmp_path / "data.json").read_text())
    assert [(row["id"], row["language"]) for row in rows] == [
        ("s0-caption-en", "en"),
        ("s0-caption-de", "de"),
    ]
    assert rows[1]["conversations"][0]["value"] == "<image>\nBeschreibe das Bild in einem Satz."


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (500, 500)])
def test_boxes_of_rows_are_where_the_reader_puts_them_in_the_padded_square(size: tuple[int, int]) -> None:
    """As LLaVA-1.5 has them, and as its pictures are padded: both by other code."""
    padded = ImageProcessor(336, (0.0,) * 3, (1.0,) * 3, mode="pad")
    for box in ((0.1, 0.3, 0.4, 0.6), (0.0, 0.0, 1.0, 1.0), (0.45, 0.65, 0.55, 0.9)):
        said = llava_box(Instance("dog", box), SceneText("1", "1.jpg", (), (), size=size))
        assert said is not None
        assert json.loads(said) == pytest.approx(map_box(box, size, padded), abs=0.0051)
    squashed = llava_box(Instance("dog", (0.1, 0.3, 0.4, 0.6)), SceneText("1", "1.jpg", (), ()))
    assert json.loads(squashed or "") == [0.1, 0.3, 0.4, 0.6], "without a size: for squash"
