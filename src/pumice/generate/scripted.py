"""A teacher that costs nothing: a server inside this process that writes by rule, and errs when told to.

It reads the same prompts as a model and answers in the same form, so everything between a request and a row
is what it would be with a real one: connections that break, servers that are busy, replies that are cut off.
What it writes is true to the scene and of no use to learn from.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx2

from pumice.endpoint.client import Endpoint
from pumice.generate.objects import NUMBERS
from pumice.generate.prompt import HEADINGS, OTHERS, SMALLER
from pumice.generate.spec import AGREEMENT, Spec

MODEL = "scripted"
URL = "http://scripted.invalid/v1"
FAULTS = ("busy", "broken", "late", "garbled", "malformed", "cut")
"""429, a connection that breaks, no reply in time, no JSON; a reply of no known form, one that is cut off."""
PASSING = FAULTS[:4]
"""Those that a second try mends; the others are what the same request always brings."""
_ABSENT = ("elephant", "surfboard", "fire hydrant", "zebra", "parking meter", "snowboard", "toaster", "kite")
_WORDS = {number: word for word, number in NUMBERS.items()} | {0: "no", 1: "one"}


def scripted(
    specs: Iterable[Spec],
    *,
    faults: float = 0.0,
    concurrency: int = 8,
    told: Callable[[bytes, str], None] | None = None,
) -> Endpoint:
    """The teacher.

    Args:
        specs: the kinds that it may be asked for; by their words it knows which one is meant.
        faults: the share of calls that go wrong, 0 to 1.
        concurrency: calls on their way at once.
        told: is told each call and what became of it: ``answered``, or one of ``PASSING``.
    """
    endpoint = Endpoint(URL, MODEL, "", concurrency, 60.0, retries=40, wait=_at_once)
    endpoint.transport = Script(specs, faults, told)
    return endpoint


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


class Script(httpx2.AsyncBaseTransport):
    """What stands in place of a connection to a server."""

    def __init__(
        self, specs: Iterable[Spec], faults: float, told: Callable[[bytes, str], None] | None
    ) -> None:
        self._specs = {spec.system.strip(): spec for spec in reversed(list(specs))}
        self._faults, self._told = faults, told
        self._times: Counter[bytes] = Counter()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one call."""
        if request.method == "GET":
            return httpx2.Response(200, json={"data": [{"id": MODEL}]})
        content = await request.aread()
        digest = hashlib.sha256(content).digest()
        self._times[digest] += 1
        fault = self._fault(digest, PASSING, self._times[digest])
        if self._told is not None:
            self._told(content, fault or "answered")
        if fault == "busy":
            return httpx2.Response(429, json={"error": {"message": "busy"}}, headers={"Retry-After": "0"})
        if fault == "broken":
            raise httpx2.RemoteProtocolError("the connection was closed before the reply was whole")
        if fault == "late":
            raise httpx2.ReadTimeout("nothing came")
        if fault == "garbled":
            return httpx2.Response(200, text="<html>bad gateway</html>")
        return httpx2.Response(200, json=self._reply(json.loads(content), digest))

    def _fault(self, digest: bytes, among: Sequence[str], times: int) -> str:
        """The fault of a call, drawn from its words and from how often they came."""
        if not self._faults:
            return ""
        drawn = hashlib.sha256(digest + f"{among[0]} {times}".encode()).digest()
        share = int.from_bytes(drawn[:6], "big") / 2**48
        return among[drawn[6] % len(among)] if share < self._faults else ""

    def _reply(self, body: dict[str, Any], digest: bytes) -> dict[str, Any]:
        messages = body["messages"]
        system = messages[0]["content"].split("\n\nWrite all questions, answers and phrases in")[0]
        text = write(self._specs[system], messages[-1]["content"], digest[0])
        fault = self._fault(digest, FAULTS[4:], 1)
        finish = "stop"
        if fault == "malformed":
            text = "Certainly! Here is what you asked for.\n" + text.replace("Q:", "").replace(":", ";")
        elif fault == "cut":
            text, finish = text[: len(text) // 2], "length"
        usage = {"prompt_tokens": len(json.dumps(messages)) // 4, "completion_tokens": len(text) // 4 + 1}
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        return {"model": MODEL, "choices": [choice], "usage": usage}


def write(spec: Spec, prompt: str, draw: int = 0) -> str:
    """A reply of the kind's form, made from the words of a prompt.

    Args:
        spec: the kind.
        prompt: the user's turn.
        draw: varies what is asked.
    """
    if spec.name == AGREEMENT:
        return "\n".join(f"{n}: yes" for n in re.findall(r"^(\d+)\. ", prompt.split("Written:", 1)[-1], re.M))
    notes = _Notes(prompt)
    if spec.form in ("describe", "locate"):
        return "\n".join(f"{n}: {phrase}" for n, phrase in notes.phrases())
    if spec.form == "text":
        said = notes.sentences[:1] if spec.words[1] <= 60 else notes.sentences + notes.counted()
        while len(" ".join(said).split()) < spec.words[0]:
            said = [*said, "There is nothing else that stands out, and the scene is an ordinary one."]
        return " ".join(said)
    turns = notes.turns(spec, draw)[: spec.turns[1]]
    return "\n".join(f"Q: {question}\nA: {answer}" for question, answer in turns)


class _Notes:
    """A prompt's scene, read back."""

    def __init__(self, prompt: str) -> None:
        parts: dict[str, list[str]] = {part: [] for part in HEADINGS}
        heading = ""
        names = {words: part for part, words in HEADINGS.items()}
        numbered = []
        for line in prompt.splitlines():
            if line in names:
                heading = names[line]
            elif heading and line.strip() and line != OTHERS:
                parts[heading].append(re.sub(r"^(- |\d+: )", "", line))
                if line[0].isdigit():
                    numbered.append(parts[heading][-1])
        boxed = re.compile(r"^\"?(.*?)\"? \[([\d., ]+)\]( \(many\))?$")
        found = {
            part: [match for line in parts[part] if (match := boxed.match(line))]
            for part in ("objects", "regions", "texts")
        }
        self.sentences = [_sentence(one) for one in parts["captions"] + parts["mentions"]]
        self.sentences += (
            [_sentence(match[1]) for match in found["regions"][:5]] if not self.sentences else []
        )
        lines = [match for line in numbered if (match := boxed.match(line))]
        self.things = [(match[1], _box(match[2])) for match in lines]
        self.rivals = [(match[1], _box(match[2])) for match in found["objects"]]
        self.counts = Counter(match[1] for match in found["objects"] if not match[3])
        for line in parts["objects"]:
            if line.startswith(SMALLER):
                for number, name in re.findall(r"(\d+) ([^,]+)", line):
                    self.counts[name] += int(number)
        for match in found["objects"]:
            if match[3]:
                self.counts.pop(match[1], None)
        self.texts = [match[1] for match in found["texts"]]
        self.all = prompt.lower()

    def counted(self) -> list[str]:
        """A sentence for each kind of thing, with its number."""
        return [
            f"There {'is' if count == 1 else 'are'} {_WORDS.get(count, str(count))} "
            f"{name if count == 1 else _plural(name)} in the picture."
            for name, count in self.counts.items()
        ]

    def absent(self, draw: int) -> list[str]:
        """Things that nobody speaks of."""
        turned = _ABSENT[draw % len(_ABSENT) :] + _ABSENT[: draw % len(_ABSENT)]
        return [name for name in turned if name.split()[-1] not in self.all]

    def phrases(self) -> list[tuple[int, str]]:
        """A phrase for each numbered thing."""
        ordinals = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
        out = []
        for number, (name, own) in enumerate(self.things, 1):
            like = sorted((box for other, box in self.rivals if other == name), key=_middle)
            place = ordinals[min(like.index(own), len(ordinals) - 1)]
            lead = f"the {place} {name} from the left side" if len(like) > 1 else f"the only {name}"
            out.append((number, lead))
        return out

    def turns(self, spec: Spec, draw: int) -> list[tuple[str, str]]:
        """Questions and answers."""
        first = self.sentences[0] if self.sentences else "It is an ordinary scene."
        if spec.grounding == "text":
            numbers = enumerate(self.texts, 1)
            return [
                (f"What does text number {n} of {len(self.texts)} say?", f'It says "{text}".')
                for n, text in numbers
            ]
        if spec.grounding == "absent":
            names = self.absent(draw)[:2]
            return [
                (f"What color is the {name}?", f"There is no {name} in the picture. {first}")
                for name in names
            ]
        if spec.grounding == "existence":
            there = [(f"Is there {_a(name)} in the picture?", "yes") for name in list(self.counts)[:2]]
            return there + [
                (f"Is there {_a(name)} in the picture?", "no") for name in self.absent(draw)[: len(there)]
            ]
        if spec.suffix:
            counts = [
                (f"How many {_plural(name)} are there?", str(count)) for name, count in self.counts.items()
            ]
            return [*counts, (f"Is {_a(self.absent(draw)[0])} to be seen?", "no")]
        if spec.pictures == 2:
            return [("What do the two pictures show?", f"Of the two pictures, one shows this: {first}")]
        if spec.turns[1] == 1:
            reason = " ".join(self.sentences[:3])
            answer = (
                f"{reason} So it is likely that things go on as they are, since nothing that can be seen "
            )
            answer += "speaks for a sudden change, and nobody seems to be in a hurry."
            return [("What may come next here, and why?", answer)]
        asked: tuple[str, ...] = (
            "What does the picture show?",
            "What else is worth a mention?",
            "How else can it be put?",
        )
        asked += ("What would one add at a second look?", "Which words sum it up?")
        return list(zip(asked, self.sentences, strict=False)) + [
            (f"How many {_plural(name)} can be counted?", said)
            for name, said in zip(self.counts, self.counted(), strict=True)
        ]


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _plural(name: str) -> str:
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es" if not name.endswith(("skis", "scissors")) else name
    special = {"person": "persons", "knife": "knives", "sheep": "sheep"}
    return special.get(name, f"{name}s")


def _middle(box: tuple[float, ...]) -> float:
    return box[0] + box[2]


def _box(text: str) -> tuple[float, ...]:
    return tuple(float(side) for side in text.split(","))
