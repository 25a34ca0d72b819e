"""generate/checks.py and grounding.py: good turns pass, each kind of bad one is named."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from pumice.generate.checks import Asked, turn_fault, unbalanced
from pumice.generate.evidence import Evidence
from pumice.generate.grounding import phrase_faults
from pumice.generate.language import is_in, word_count
from pumice.generate.objects import read_vocabulary, singular
from pumice.generate.protocol import Instance, SceneText
from pumice.generate.readers import open_scenes
from pumice.generate.spec import objects_file, read_specs

from .small import scene

SPECS = read_specs()
VOCABULARY = read_vocabulary(objects_file(None))


def fault(kind: str, question: str, answer: str, language: str = "en", **more: object) -> str:
    """The check that a turn fails, and why; empty where it passes."""
    found = turn_fault(question, answer, SPECS[kind], language, Evidence([scene(**more)], VOCABULARY))
    return "" if found is None else f"{found.check}: {found.reason}"


@pytest.mark.parametrize(
    ("kind", "question", "answer"),
    [
        ("conversation", "What animal is there?", "There is a brown dog next to the cars."),
        ("conversation", "How many vehicles can be seen?", "There are three cars on the street."),
        ("conversation", "Is there a cat?", "No, there is no cat, only a puppy."),
        (
            "reasoning",
            "Why does it wait?",
            "The dog sits beside a car, so " + "it may be waiting for a person, " * 4,
        ),
        ("short", "How many cars are there?", "3"),
        ("short", "How many red cars are there?", "1"),
        ("existence", "Is there a dog in the picture?", "yes"),
        ("existence", "Is there a bench on the street?", "no"),
        ("correction", "What color is the bus?", "There is no bus here. There are three cars."),
        ("correction", "What is on the man's hat?", "There is no man in the picture, only a dog and cars."),
    ],
)
def test_good_turns_pass(kind: str, question: str, answer: str) -> None:
    assert fault(kind, question, answer) == ""


@pytest.mark.parametrize(
    ("kind", "question", "answer", "why"),
    [
        ("conversation", "What else?", "", "format"),
        ("conversation", "What is <image>?", "It is a dog.", "format"),
        ("conversation", "What else?", "A cat sleeps on a car.", "grounding: it names cat"),
        ("conversation", "What is on the bench?", "A dog is on it.", "grounding: it names bench"),
        ("conversation", "How many?", "There are five cars in the picture.", "grounding: it counts 5"),
        ("conversation", "How many?", "There are two cars in the picture.", "grounding: it counts 2"),
        ("conversation", "What is there?", "The caption says that there is a dog.", "leak"),
        ("conversation", "What is there?", "According to the description, a dog sits there.", "leak"),
        ("conversation", "What color is it?", "The color is not mentioned in the text.", "leak"),
        (
            "conversation",
            "Where is it?",
            "The dog is at [0.45, 0.65, 0.55, 0.9].",
            "leak: it holds coordinates",
        ),
        ("conversation", "Was ist da?", "Da ist ein Hund, und er sitzt auf der Straße.", "language"),
        ("short", "What animal is there?", "It is a brown dog that sits there.", "length"),
        ("short", "How many cars are there?", "4", "grounding: it counts 4"),
        ("short", "How many cars are there?", "2", "grounding: it counts 2"),
        ("existence", "Is there a dog in the picture?", "no", "grounding: it says that dog is not"),
        ("existence", "Is there a bench?", "yes", "grounding: it says that bench is there"),
        ("existence", "Is there a bench?", "perhaps", "neither yes nor no"),
        ("correction", "What color is the dog?", "There is no dog in the picture.", "all that the question"),
        ("correction", "What color is the bus?", "The bus is red and it is large.", "does not say"),
        ("correction", "What color is the bus?", "There is no bus here. There is a bench.", "it names bench"),
    ],
)
def test_each_fault_is_named(kind: str, question: str, answer: str, why: str) -> None:
    assert why in fault(kind, question, answer)


def test_what_captions_themselves_say_is_no_leak() -> None:
    answer = "A sign with a caption hangs on the wall there."
    assert "leak" in fault("conversation", "What is it?", answer)
    assert fault("conversation", "What is it?", answer, captions=("A sign with a caption on a wall.",)) == ""


def test_crowds_are_not_counted() -> None:
    people = (Instance("person", (0.0, 0.0, 1.0, 1.0), True),)
    assert fault("short", "How many people are there?", "12", captions=("A crowd.",), instances=people) == ""


def test_text_must_stand_in_the_picture() -> None:
    texts = (Instance("MAPLE AVE", (0.1, 0.1, 0.5, 0.2)),)
    assert fault("ocr", "What does the sign say?", 'It reads "Maple Ave".', texts=texts) == ""
    assert "nowhere" in fault("ocr", "What does the sign say?", 'It reads "OAK ST".', texts=texts)
    assert "no text" in fault("ocr", "What is it?", "A sign", texts=texts)
    assert "gives the text away" in fault("ocr", "Does it say Maple Ave?", '"MAPLE AVE"', texts=texts)


def test_phrases_of_boxes() -> None:
    things = scene().instances
    good = {1: "the car on the left", 3: "the rightmost car", 4: "the dog in front of the cars"}
    assert phrase_faults(good, things, VOCABULARY, "en") == {}
    bad = {1: "the car on the right", 2: "a cat", 3: "a car", 4: "a car"}
    found = phrase_faults(bad, things, VOCABULARY, "en")
    assert "other side" in found[1]
    assert "does not name a car" in found[2]
    assert "same phrase" in found[3]
    assert "same phrase" in found[4]
    assert "coordinates" in phrase_faults({4: "the dog at 0.5"}, things, VOCABULARY, "de")[4]


def test_questions_are_asked_once() -> None:
    asked = Asked()
    assert asked.repeats("What color is the dog?") is None
    assert asked.repeats("What is the color of the dog?") == "What color is the dog?"
    assert asked.repeats("What color is the car?") is None
    assert asked.repeats("Is the dog left of the car?") is None
    assert asked.repeats("Is the car left of the dog?") is None


def test_as_many_yes_as_no() -> None:
    assert unbalanced([("a", "yes"), ("b", "yes"), ("c", "no")]) == [1]
    assert unbalanced([("a", "ja"), ("b", "nein")]) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The dog sits beside the car and waits.", "en"),
        ("Der Hund sitzt neben dem Auto und wartet auf seinen Herrn.", "de"),
        ("Le chien est assis à côté de la voiture et attend son maître.", "fr"),
        ("El perro está sentado junto al coche y espera a su dueño.", "es"),
        ("Il cane è seduto accanto alla macchina e aspetta il padrone.", "it"),
        ("O cão está sentado ao lado do carro e espera por seu dono.", "pt"),
        ("一只狗坐在汽车旁边等着主人。", "zh"),
        ("犬が車のそばに座って飼い主を待っています。", "ja"),
    ],
)
def test_languages_are_told_apart(text: str, language: str) -> None:
    others = {"en", "de", "fr", "es", "it", "pt", "zh", "ja"} - {language}
    assert is_in(text, language)
    assert [other for other in others if is_in(text, other)] == []
    assert is_in("Eiffel Tower", language) or language in ("zh", "ja")


def test_words_of_languages_without_spaces() -> None:
    assert word_count("一只狗坐着", "zh") == 3
    assert word_count("a dog sits", "en") == 3


def test_singulars() -> None:
    words = "dogs buses knives people glasses grass boxes berries bus children watches"
    assert [singular(word) for word in words.split()] == (
        ["dog", "bus", "knife", "people", "glasses", "grass", "box", "berry", "bus", "child", "watch"]
    )


@pytest.mark.skipif("PUMICE_REAL_DATA" not in os.environ, reason="PUMICE_REAL_DATA names no folder")
def test_few_false_alarms_on_what_a_strong_model_wrote() -> None:
    """90 published rows about 30 pictures: with their own scenes, and with another picture's."""
    folder = Path(os.environ["PUMICE_REAL_DATA"]) / "coco"
    scenes = {one.id: one for one in open_scenes(folder / "caps_boxes_coco2014_val_80.jsonl")}
    names = list(scenes)
    kinds = {"conv": "conversation", "detail": "detail", "complex": "reasoning"}
    rows = [json.loads(line) for line in (folder / "coco2014_val_gpt4_qa_30x3.jsonl").open()]

    def flagged(row: dict[str, str], about: SceneText) -> bool:
        spec = SPECS[kinds[row["type"]]]
        evidence = Evidence([about], VOCABULARY)
        return turn_fault(row["instruction"], row["output"], spec, "en", evidence) is not None

    own = sum(flagged(row, scenes[row["id"]]) for row in rows)
    other = sum(flagged(row, scenes[names[(names.index(row["id"]) + 17) % len(names)]]) for row in rows)
    assert len(rows) == 90
    assert own <= 6
    assert other >= 84


def test_what_the_benchmark_plants_is_found() -> None:
    """Faults in right rows of the world: what is found of each, and what is accused wrongly."""
    path = Path(__file__).parent.parent.parent / "benchmarks" / "generate_checks.py"
    spec = importlib.util.spec_from_file_location("generate_checks", path)
    assert spec is not None
    assert spec.loader is not None
    planting = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = planting
    spec.loader.exec_module(planting)
    source = planting.world(5)
    least = dict.fromkeys(planting.FAULTS, 0.95) | {
        "a thing that is not there, on no list": 0.0,
        "left for right": 0.6,
        "a leak in other words": 0.0,
        "wrong letters": 0.5,  # an E in place of an F may be text of the picture, too
    }
    for name, _, planted, found, _ in planting.measure(source):
        assert planted, name
        assert found >= least[name] * planted, (name, planted, found)
    turns, accused = planting.false_alarms(source)
    assert turns > 100
    assert set(accused) <= {"repeated", "balance"}, accused


SCENE_OF_COLORS = SceneText(
    "1",
    "1.jpg",
    ("A brown dog sits on a white couch.", "A dog on a sofa next to a red cup."),
    (
        Instance("dog", (0.1, 0.3, 0.3, 0.6)),
        Instance("couch", (0.05, 0.4, 0.95, 0.95)),
        Instance("cup", (0.7, 0.1, 0.8, 0.2)),
    ),
)


@pytest.mark.parametrize(
    ("question", "answer", "fault"),
    [
        ("What is there?", "There is a brown dog on a couch.", None),
        ("What is there?", "There is a black dog on a couch.", "calls the dog black"),
        ("What is there?", "The dog is black and sits on a couch.", "calls the dog black"),
        ("What color is the cup?", "It is red.", None),
        ("What color is the cup?", "It is brown.", "says brown"),
        ("Where is the cup?", "The cup is on the right.", None),
        ("Where is the cup?", "The cup is on the left side of the picture.", "its box is not"),
        ("Where is the cup?", "On the left side, there is a cup.", "its box is not"),
        ("Where is the cup?", "On the left side of the couch, there is a cup.", None),
        ("Where is the cup?", "left", "its box is not"),
        ("Where is the dog?", "The dog is to the left of the cup.", None),
        ("Where is the dog?", "The dog is to the right of the cup.", "boxes do not"),
        ("Where is the dog?", "The cup is above the dog.", None),
        ("Where is the dog?", "The cup is below the dog.", "boxes do not"),
        ("Where is the dog?", "The dog holds it in its left paw.", None),
        ("How many objects are there?", "There are three objects.", None),
        ("How many objects are there?", "There are five objects.", "counts 5 objects"),
        ("What is the number of dogs?", "There is one dog.", None),
        ("Is a dog there?", "I'm sorry, but I can't help with that.", "sorry"),
        (
            "What is there?",
            "A dog. Das ist ein ganz gewöhnlicher Tag, und es ist nichts zu sehen.",
            "Das ist",
        ),
    ],
)
def test_colors_places_and_numbers(question: str, answer: str, fault: str | None) -> None:
    found = turn_fault(question, answer, SPECS["conversation"], "en", Evidence([SCENE_OF_COLORS], VOCABULARY))
    assert (found is None) == (fault is None), found
    assert found is None or (fault is not None and fault in found.reason)


def test_a_guess_may_speak_of_other_colors_and_a_definite_number_may_not() -> None:
    spec, evidence = SPECS["reasoning"], Evidence([SCENE_OF_COLORS], VOCABULARY)
    lead = "The dog rests on the couch, and it looks at ease where it is, so it seems to feel at home. "
    lead += "It is calm. "
    assert turn_fault("Why?", f"{lead}Its owner could buy a green couch.", spec, "en", evidence) is None
    found = turn_fault("Why?", f"{lead}It may be that the three dogs like it.", spec, "en", evidence)
    assert found is not None
    assert "counts 3 dogs" in found.reason
