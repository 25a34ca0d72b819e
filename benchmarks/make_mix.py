"""Write a LLaVA file as large as LLaVA-1.5's instruction mixture, with its lengths and without its words.

    python benchmarks/make_mix.py mix.json                  # 665,298 rows
    python benchmarks/make_mix.py mix.jsonl --rows 10000

Numbers of rows are the published ones. Of every source but one, questions and answers per row and words per
question and answer follow quantiles of 1,000 published rows; those rows hold none of ShareGPT, whose numbers
here are an assumption (conversations of at most 1,400 words: they were cut at 2,048 tokens). The words are a
list of common ones, drawn at random by a fixed seed, so that the same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Where the quantiles below were taken."""
Quantiles = tuple[int, int, int, int, int, int, int]

COMMON = (
    "the a of and in on is with to it are that this there by from for at one two three man woman child dog "
    "cat horse bird car truck bus train boat plane street road house tree table chair window door light sky "
    "water river lake field grass wall floor kitchen room city people person group hand head face shirt hat "
    "bag ball book phone screen clock plate food fruit bread glass bottle cup red blue green white black "
    "brown yellow small large old young open near behind under over left right front back standing sitting "
    "walking holding wearing looking playing eating made wooden metal round long short bright dark several "
    "many some other another while because where which what who how could would may also appears likely "
    "suggests image scene picture background overall various different together during around between"
)
WORDS = COMMON.split()


@dataclass(frozen=True)
class Kind:
    """One source: its rows in the mixture, its lengths, its pictures' folder and how many there are."""

    name: str
    rows: int
    pairs: Quantiles
    question: Quantiles
    answer: Quantiles
    folder: str = ""
    pictures: int = 0
    prompt: str = ""
    most_words: int = 2000


SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
ONE: Quantiles = (1, 1, 1, 1, 1, 1, 1)
COCO = ("coco/train2017", 118_287)
KINDS = (
    Kind("instruct", 102_800, ONE, (5, 9, 10, 13, 15, 18, 26), (52, 81, 94, 107, 124, 151, 263), *COCO),
    Kind(
        "dialogue",
        54_912,
        (3, 4, 4, 5, 5, 5, 5),
        (5, 7, 9, 10, 12, 15, 21),
        (6, 8, 12, 19, 35, 197, 360),
        *COCO,
    ),
    Kind(
        "sharegpt",
        40_688,
        (1, 1, 2, 3, 5, 8, 20),
        (3, 8, 12, 25, 60, 150, 600),
        (5, 40, 90, 160, 260, 350, 700),
        most_words=1400,
    ),
    Kind(
        "vqav2", 82_783, (3, 3, 3, 4, 6, 8, 29), (3, 4, 5, 6, 8, 9, 13), (1, 1, 1, 1, 1, 1, 5), *COCO, SHORT
    ),
    Kind(
        "gqa",
        72_140,
        (1, 2, 6, 11, 17, 30, 56),
        (3, 5, 6, 9, 12, 16, 26),
        (1, 1, 1, 1, 1, 1, 2),
        "gqa/images",
        72_140,
        SHORT,
    ),
    Kind("okvqa", 8_998, ONE, (8, 8, 8, 9, 12, 15, 18), (1, 1, 1, 1, 1, 2, 2), *COCO, SHORT),
    Kind(
        "ocrvqa",
        80_000,
        (3, 4, 5, 5, 5, 5, 5),
        (4, 6, 6, 7, 9, 9, 11),
        (1, 1, 1, 2, 4, 9, 28),
        "ocr_vqa/images",
        80_000,
        SHORT,
    ),
    Kind("aokvqa", 66_160, ONE, (6, 16, 18, 19, 22, 25, 28), ONE, *COCO, LETTER),
    Kind(
        "textcaps",
        21_953,
        ONE,
        (12, 14, 15, 18, 28, 45, 105),
        (9, 10, 10, 11, 13, 15, 17),
        "textvqa/train_images",
        21_953,
    ),
    Kind(
        "refcoco", 48_447, (1, 1, 6, 7, 8, 8, 10), (12, 12, 12, 13, 16, 19, 36), (1, 2, 4, 4, 4, 6, 21), *COCO
    ),
    Kind(
        "vg",
        86_417,
        (6, 9, 10, 10, 10, 10, 10),
        (12, 12, 12, 14, 17, 18, 24),
        (1, 4, 4, 4, 5, 6, 13),
        "vg/VG_100K",
        86_417,
    ),
)


def make_rows(rows: int, seed: int) -> Iterator[dict[str, Any]]:
    """The rows, sources mixed."""
    rng = np.random.default_rng(seed)
    share = np.array([kind.rows for kind in KINDS]) / sum(kind.rows for kind in KINDS)
    counts = np.floor(share * rows).astype(int)
    counts[0] += rows - counts.sum()
    order = rng.permutation(np.repeat(np.arange(len(KINDS)), counts))
    # One long text, of which each sentence is a piece: far quicker than a draw for each word.
    text = [WORDS[i] for i in rng.integers(0, len(WORDS), 200_000)]
    for number, index in enumerate(order.tolist()):
        yield make_row(KINDS[index], number, text, rng)


def make_row(kind: Kind, number: int, text: list[str], rng: np.random.Generator) -> dict[str, Any]:
    """One row of a source."""
    pairs = int(_draw(kind.pairs, 1, rng)[0])
    asked, answered = _draw(kind.question, pairs, rng), _draw(kind.answer, pairs, rng)
    turns: list[dict[str, str]] = []
    words = 0
    for index, (long, short) in enumerate(zip(asked.tolist(), answered.tolist(), strict=True)):
        words += long + short
        if index and words > kind.most_words:
            break
        question = _sentence(text, long, rng) + "?"
        if index == 0:
            lead = "<image>\n" if kind.pictures else ""
            question = lead + question + (f"\n{kind.prompt}" if kind.prompt else "")
        turns.append({"from": "human", "value": question})
        turns.append({"from": "gpt", "value": _sentence(text, short, rng)})
    row: dict[str, Any] = {"id": f"{kind.name}-{number}"}
    if kind.pictures:
        row["image"] = f"{kind.folder}/{int(rng.integers(kind.pictures)):012d}.jpg"
    row["conversations"] = turns
    return row


def _draw(quantiles: Quantiles, count: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return np.rint(np.interp(rng.random(count), LEVELS, quantiles)).astype(int)


def _sentence(text: list[str], words: int, rng: np.random.Generator) -> str:
    start = int(rng.integers(len(text) - words))
    return " ".join(text[start : start + words]).capitalize()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="ends in .json (one list, as the original) or .jsonl")
    parser.add_argument("--rows", type=int, default=sum(kind.rows for kind in KINDS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    as_list = arguments.out.suffix == ".json"
    with arguments.out.open("w", encoding="utf-8") as file:
        for number, row in enumerate(make_rows(arguments.rows, arguments.seed)):
            file.write(("[\n" if number == 0 else ",\n") if as_list else "")
            file.write(json.dumps(row) + ("" if as_list else "\n"))
        file.write("\n]\n" if as_list else "")
    print(f"{arguments.out}: {arguments.rows:,} rows, {arguments.out.stat().st_size / 2**20:,.0f} MB")


if __name__ == "__main__":
    main()
