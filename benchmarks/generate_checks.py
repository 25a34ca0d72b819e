"""What the checks of `pumice generate` find of faults planted in right rows, and what they accuse wrongly.

    python benchmarks/generate_checks.py --scenes 60
    python benchmarks/generate_checks.py --published FOLDER

Rows come from the embedded world, whose teacher is right by construction, and from the scripted teacher; with
FOLDER (`caps_boxes_coco2014_val_80.jsonl` and `coco2014_val_gpt4_qa_30x3.jsonl`) also from the 90 published
rows, which a strong model wrote. One fault is planted in a turn, and the whole way through work and file is
walked. A fault is found when its turn is not in the file.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pumice.endpoint import Reply
from pumice.generate.carry_out import vocabulary_of
from pumice.generate.evidence import COLORS, Evidence
from pumice.generate.objects import NUMBERS
from pumice.generate.plan import Plan
from pumice.generate.prompt import scenes_words
from pumice.generate.protocol import KINDS
from pumice.generate.readers import open_scenes
from pumice.generate.scripted import write
from pumice.generate.spec import choose, objects_file, read_specs
from pumice.generate.work import Job, Outcome, Terms, work
from pumice.generate.write import DATA, REJECTED, write_rows
from pumice.world.samples import scene_text, teacher_for
from pumice.world.scene import make_scene

LISTED = (
    "zebra",
    "surfboard",
    "toaster",
    "umbrella",
    "fire hydrant",
    "elephant",
    "kite",
    "snowboard",
    "teddy bear",
)
FURTHER = ("windmill", "anvil", "lighthouse", "harp", "wheelbarrow", "scarecrow", "camel", "parachute")
UNLISTED = ("trampoline", "gramophone", "cactus", "typewriter", "igloo", "catapult", "hammock", "xylophone")
"""Things: of COCO's kinds, of the other kinds of objects.txt, and of none that stands there."""
FRESH = (
    "Reading what I was handed, {}",
    "{} The material says no more.",
    "The five sentences agree that {}",
    "Since only text is at hand here, {}",
    "{} That much can be gathered from the summary.",
    "By the numbers of its corners, {}",
)
"""Leaks in words that the check was not written by."""
LEAKS = (
    "Going by what was provided, {}",
    "{} No further detail is available in the input.",
    "The scene notes suggest this: {}",
    "As stated above, {}",
    "Per the object list, {}",
    "{} I do not have access to the image itself.",
    "The given list of objects has this: {}",
    "From the region labels one can tell: {}",
    "According to the captions, {}",
    "The bounding box shows this: {}",
    "As the description says, {}",
    "Based on the information given, {}",
    "From the notes it is clear that {}",
    "The annotations list this: {}",
    "{} This is mentioned in one of the sentences.",
    "I cannot see the picture, but {}",
    "As an AI language model I can say that {}",
    "The provided text tells us that {}",
    "{} The object is at [0.10, 0.20, 0.40, 0.60].",
    "In the given data, {}",
    "{} The rest is not specified.",
    "Judging by its coordinates, {}",
)
FOREIGN = {
    "de": "Auf dem Bild ist zu sehen, dass es ein ganz gewöhnlicher Tag ist und nichts Besonderes geschieht.",
    "fr": "Sur cette image on voit que c'est une journée ordinaire et qu'il ne se passe rien de particulier.",
    "es": "En la imagen se ve que es un día normal y que no pasa nada especial en este lugar.",
    "ja": "この写真にはごく普通の一日が写っていて特に変わったことは何も起きていません。",
}
REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I am unable to answer this question without seeing the image.",
    "Sorry, I cannot assist with this request.",
)
Turns = list[tuple[str, str]]
Fault = Callable[[Turns, "Source", Job, random.Random], "tuple[Turns, int] | None"]


@dataclass
class Source:
    """Right rows.

    Attributes:
        name: what they are.
        groups: the jobs of each scene, with their turns.
        terms: how they are checked.
    """

    name: str
    groups: list[list[tuple[Job, Turns]]]
    terms: Terms


def free(job: Job) -> Job:
    """The same job, whatever its rows' length: that is a matter of taste here."""
    spec = job.spec
    return replace(job, spec=spec.model_copy(update={"words": (1, 1000), "turns": (1, 1000), "suffix": {}}))


def world(count: int) -> Source:
    """Scenes of the world, as its teacher writes about them, or the scripted one."""
    scenes = [scene_text(make_scene(7, index, "full")) for index in range(count)]
    specs = read_specs()
    kinds = choose(specs, "all")
    plan = Plan(scenes, tuple(specs[name] for name in kinds), kinds)
    teacher = teacher_for(scenes, 0)
    groups = []
    for group in plan.groups():
        turns: list[tuple[Job, Turns]] = []
        for job in group:
            if job.spec.name in KINDS:
                wrote = [(turn.question, turn.answer) for turn in teacher.write(job.scenes[0], job.spec.name)]
                turns.append((free(job), wrote))
            elif job.spec.name != "comparison":
                things = list(job.scenes[0].instances) if job.spec.form != "dialogue" else []
                text = write(job.spec, scenes_words(job.scenes, job.spec, things))
                turns.append((job, parsed(text)))
        groups.append([(job, wrote) for job, wrote in turns if wrote])
    return Source("world", groups, Terms(vocabulary_of(objects_file(None), scenes), attempts=1))


def published(folder: Path) -> Source:
    """The 90 rows about 30 pictures."""
    scenes = {one.id: one for one in open_scenes(folder / "caps_boxes_coco2014_val_80.jsonl")}
    specs = read_specs()
    names = {"conv": "conversation", "detail": "detail", "complex": "reasoning"}
    groups: dict[str, list[tuple[Job, Turns]]] = {}
    for line in (folder / "coco2014_val_gpt4_qa_30x3.jsonl").open():
        row = json.loads(line)
        job = free(Job(specs[names[row["type"]]], (scenes[row["id"]],)))
        groups.setdefault(row["id"], []).append((job, [(row["instruction"], row["output"])]))
    return Source(
        "published",
        list(groups.values()),
        Terms(vocabulary_of(objects_file(None), list(scenes.values())), attempts=1),
    )


def parsed(text: str) -> Turns:
    """A scripted reply as turns; of phrases, the number is the question."""
    pairs = re.findall(r"^Q: (.*)\nA: (.*)$", text, re.M) or re.findall(r"^(\d+): (.*)$", text, re.M)
    return [(question, answer) for question, answer in pairs]


def reply(job: Job, turns: Turns) -> Reply:
    """Turns as a teacher would send them."""
    if job.spec.form == "text":
        return Reply(turns[0][1], "stop")
    if job.spec.form == "dialogue":
        return Reply("\n".join(f"Q: {question}\nA: {answer}" for question, answer in turns), "stop")
    return Reply("\n".join(f"{number}: {phrase}" for number, phrase in turns), "stop")


def outcome(job: Job, said: Reply, terms: Terms) -> Outcome:
    """What comes of one reply."""
    doing = work(job, terms)
    try:
        next(doing)
        doing.send(said)
    except StopIteration as end:
        found: Outcome = end.value
        return found
    raise AssertionError("it asks once")


# Faults


def _with(turns: Turns, place: int, answer: str, question: str | None = None) -> tuple[Turns, int]:
    changed = list(turns)
    changed[place] = (turns[place][0] if question is None else question, answer)
    return changed, place


def _statement(turns: Turns, job: Job, rng: random.Random) -> int | None:
    """A turn that states something in a sentence."""
    if job.spec.grounding not in ("strict", "asserted"):
        return None
    fit = [n for n, (_, answer) in enumerate(turns) if len(answer.split()) > 4]
    return rng.choice(fit) if fit else None


def thing(names: Sequence[str]) -> Fault:
    """A thing that is not there: in a sentence more, in a phrase more, or in place of one that is there."""

    def plant(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
        place = _statement(turns, job, rng)
        evidence = Evidence(job.scenes, source.terms.vocabulary)
        said = " ".join(evidence.sentences).lower()
        fit = [
            name
            for name in names
            if name not in said and not any(evidence.has(named) for named in source.terms.vocabulary.of(name))
        ]
        if place is None or not fit:
            return None
        name, answer = rng.choice(fit), turns[place][1]
        way = rng.randrange(3)
        if way == 0:
            return _with(turns, place, f"{answer} There is also a {name} nearby.")
        if way == 1:
            return _with(turns, place, f"{answer.rstrip('.')}, with a {name} in the background.")
        there = [one for one in source.terms.vocabulary.of(answer) if evidence.has(one) and not one.guessed]
        if not there:
            return None
        old = rng.choice(there).word
        return _with(turns, place, re.sub(rf"\b{re.escape(old)}\b", name, answer, flags=re.I))

    return plant


def count(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """A number of things that is too large or too small."""
    words = {word: number for word, number in NUMBERS.items() if number <= 12}
    fit = [
        (n, found)
        for n, (question, answer) in enumerate(turns)
        for found in re.finditer(r"[a-z]+|\d+", answer, re.I)
        if (found[0].lower() in words or found[0] in "23456789")
        and (source.terms.vocabulary.of(answer[found.start() :][:40]) or question.startswith("How many"))
    ]
    if not fit or job.spec.grounding not in ("strict", "asserted"):
        return None
    place, found = rng.choice(fit)
    number = words.get(found[0].lower()) or int(found[0])
    other = rng.choice([one for one in range(2, 13) if one != number])
    new = str(other) if found[0].isdigit() else next(word for word, value in words.items() if value == other)
    answer = turns[place][1]
    return _with(turns, place, f"{answer[: found.start()]}{new}{answer[found.end() :]}")


def color(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """A color that nobody speaks of."""
    fit = [
        (n, found)
        for n, (_, answer) in enumerate(turns)
        for found in re.finditer(rf"\b({'|'.join(sorted(COLORS))})\b", answer, re.I)
    ]
    known = " ".join(Evidence(job.scenes, source.terms.vocabulary).sentences).lower()
    known += " ".join(one.category for scene in job.scenes for one in scene.instances)
    others = [one for one in ("purple", "pink", "green", "orange", "brown", "black") if one not in known]
    if not fit or not others or job.spec.grounding not in ("strict", "asserted"):
        return None
    place, found = rng.choice(fit)
    answer = turns[place][1]
    return _with(turns, place, f"{answer[: found.start()]}{rng.choice(others)}{answer[found.end() :]}")


def side(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """Left in place of right."""
    fit = [
        n
        for n, (_, answer) in enumerate(turns)
        if len(set(re.findall(r"\b(left|right)\b", answer.lower())))
        == 1  # both turned may be as true as before
    ]
    if not fit or job.spec.name == "reasoning":
        return None
    place = rng.choice(fit)
    turned = re.sub(
        r"\b(left|right)\b",
        lambda m: {"left": "right", "right": "left"}[m[0].lower()],
        turns[place][1],
        flags=re.I,
    )
    return _with(turns, place, turned)


def yes_and_no(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """Yes in place of no, and the other way round."""
    fit = [n for n, (_, answer) in enumerate(turns) if re.fullmatch(r"(yes|no)\.?", answer, re.I)]
    if not fit or job.spec.name not in ("existence", "short"):
        return None
    place = rng.choice(fit)
    return _with(turns, place, "no" if turns[place][1].lower().startswith("yes") else "yes")


def there(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """A correction of what is there."""
    names = [one.category for one in job.scenes[0].instances]
    if job.spec.name != "correction" or not names:
        return None
    name = rng.choice(names)
    return _with(turns, 0, f"There is no {name} in the picture.", f"Where is the {name}?")


def leak(ways: Sequence[str]) -> Fault:
    """Words of notes, captions, coordinates, or of not seeing."""

    def plant(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
        place = _statement(turns, job, rng)
        if place is None:
            return None
        answer, lead = turns[place][1], rng.choice(ways)
        said = answer if lead.startswith("{") else answer[:1].lower() + answer[1:]
        return _with(turns, place, lead.format(said))

    return plant


def language(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """An answer in another language."""
    place = _statement(turns, job, rng)
    return None if place is None else _with(turns, place, rng.choice(sorted(FOREIGN.values())))


def language_in_part(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """A sentence in another language behind a right answer."""
    place = _statement(turns, job, rng)
    if place is None:
        return None
    return _with(turns, place, f"{turns[place][1]} {rng.choice(sorted(FOREIGN.values()))}")


def again(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """A question that was asked before, word for word or in other words."""
    if job.spec.form != "dialogue" or job.spec.pictures > 1 or not turns or job.spec.name == "ocr":
        return None
    question, answer = rng.choice(turns)
    ways = [
        lambda q: q,
        lambda q: q[:-1] + " in this picture?" if q.endswith("?") and "picture" not in q else q.lower(),
        lambda q: "Tell me: " + q[:1].lower() + q[1:],
        lambda q: q.replace("What color is", "Which color has").replace("How many", "What is the number of"),
        lambda q: "Can you tell " + q[:1].lower() + q[1:],
    ]
    return [*turns, (rng.choice(ways)(question), answer)], len(turns)


def refusal(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """The teacher will not."""
    place = _statement(turns, job, rng)
    return None if place is None else _with(turns, place, rng.choice(REFUSALS))


def letters(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """Text with a letter that is another one."""
    if job.spec.name != "ocr":
        return None
    place = rng.randrange(len(turns))
    answer = turns[place][1]
    quoted = re.search(r'"(.+)"', answer)
    if quoted is None:
        return None
    at = quoted.start(1) + rng.randrange(len(quoted[1]))
    new = rng.choice([one for one in "ABCDEFGH234567" if one != answer[at].upper()])
    return _with(turns, place, f"{answer[:at]}{new}{answer[at + 1 :]}")


def swapped(turns: Turns, source: Source, job: Job, rng: random.Random) -> tuple[Turns, int] | None:
    """The phrase of another box."""
    if job.spec.form not in ("describe", "locate") or len(turns) < 2:
        return None
    one, other = rng.sample(range(len(turns)), 2)
    changed, _ = _with(turns, one, turns[other][1])
    return _with(changed, other, turns[one][1])[0], one


FAULTS: dict[str, tuple[str, Fault]] = {
    "a thing that is not there, of COCO's kinds": ("grounding", thing(LISTED)),
    "a thing that is not there, of further kinds": ("grounding", thing(FURTHER)),
    "a thing that is not there, on no list": ("grounding", thing(UNLISTED)),
    "a wrong number": ("grounding", count),
    "a wrong color": ("grounding", color),
    "left for right": ("grounding", side),
    "yes for no": ("grounding", yes_and_no),
    "a correction of what is there": ("grounding", there),
    "wrong letters": ("grounding", letters),
    "the phrase of another box": ("grounding", swapped),
    "a leak": ("leak", leak(LEAKS)),
    "a leak in other words": ("leak", leak(FRESH)),
    "another language": ("language", language),
    "a sentence in another language": ("language", language_in_part),
    "a repeated question": ("repeated", again),
    "a refusal": ("refused", refusal),
}


def walked(source: Source, planted: dict[str, Turns]) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """The answers in the file by row, and all rejected rows, where some jobs have other turns."""
    told = {job.id: planted.get(job.id, turns) for group in source.groups for job, turns in group}
    groups = ([job for job, _ in group] for group in source.groups)
    with tempfile.TemporaryDirectory() as place:
        write_rows(
            groups,
            len(source.groups),
            lambda job: outcome(job, reply(job, told[job.id]), source.terms),
            Path(place),
        )
        rows = json.loads((Path(place) / DATA).read_text())
        rejected = [json.loads(line) for line in (Path(place) / REJECTED).open()]
    kept = {}
    for row in rows:
        values = [turn["value"] for turn in row["conversations"]]
        pairs = zip(values[::2], values[1::2], strict=True)
        kept[row["id"]] = [f"{q.replace('<image>', '').strip()}\n{a.rstrip('.').lower()}" for q, a in pairs]
    return kept, rejected


def survived(job: Job, turn: tuple[str, str], kept: dict[str, list[str]]) -> int:
    """How often a planted turn is in the file."""
    question, answer = turn
    rows = kept.get(job.id, [])
    if job.spec.form == "dialogue":
        return rows.count(f"{question}\n{answer.rstrip('.').lower()}")
    if job.spec.form == "text":
        return sum(row.endswith(f"\n{answer.rstrip('.').lower()}") for row in rows)
    box = job.scenes[0]
    from pumice.generate.work import llava_box, numbered

    where = llava_box(numbered(job)[int(question) - 1], box)
    phrase = answer.rstrip(".").lower()
    return sum(where is not None and where in row and phrase in row.lower() for row in rows)


def measure(
    source: Source, seed: int = 0, shown: str = ""
) -> Iterator[tuple[str, str, int, int, Counter[str]]]:
    """Of each fault: its check, how often it was planted, how often found, and by which checks."""
    for name, (check, plant) in FAULTS.items():
        rng = random.Random(f"{seed} {name}")
        planted: dict[str, Turns] = {}
        places: list[tuple[Job, tuple[str, str]]] = []
        for group in source.groups:
            for job, turns in group:
                made = plant(turns, source, job, rng)
                if made is not None and (made[0][made[1]] not in turns or check == "repeated"):
                    planted[job.id] = made[0]
                    places.append((job, made[0][made[1]]))
        kept, rejected = walked(source, planted)
        by: Counter[str] = Counter()
        found = 0
        for job, turn in places:
            # A repeated turn that is word for word another one is found when one of the two is gone.
            gone = not survived(job, turn, kept) or survived(job, turn, kept) < planted[job.id].count(turn)
            found += gone
            if not gone and shown and shown in name:
                known = " / ".join(job.scenes[0].captions[:2])
                print(f"  past: {job.id}: {turn[0]} -> {turn[1]}   [{known}]")
            if gone:
                by.update({row["check"] for row in rejected if row["id"] == job.id})
        yield name, check, len(places), found, by


def false_alarms(source: Source) -> tuple[int, Counter[str]]:
    """How many right turns there are, and how many of them each check rejects."""
    _, rejected = walked(source, {})
    turns = sum(len(turns) for group in source.groups for _, turns in group)
    return turns, Counter(row["check"] for row in rejected)


def main() -> None:
    """Print both tables for each source."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--published", type=Path)
    parser.add_argument("--show", help="print what got past, of this fault")
    given = parser.parse_args()
    sources = [world(given.scenes)]
    if given.published:
        sources.append(published(given.published))
    for source in sources:
        print(f"\n| fault ({source.name}) | planted | found |\n|---|---|---|")
        for name, _, total, found, _ in measure(source, shown=given.show or ""):
            if total:
                print(f"| {name} | {total:,} | {100 * found / total:.0f}% |")
        turns, accused = false_alarms(source)
        told = ", ".join(f"{check} {number}" for check, number in sorted(accused.items())) or "none"
        print(f"\nOf {turns:,} right turns rejected: {told}")


if __name__ == "__main__":
    main()
