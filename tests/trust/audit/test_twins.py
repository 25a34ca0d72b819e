"""Rows held against each other: copies, near copies, contradictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pumice.data.mixture import Source
from pumice.trust.audit import Wishes, choose, open_material, run_audit
from pumice.trust.audit.words import alike, jaccard, shingles, signature

from . import data

WORDS = [
    "river",
    "stone",
    "light",
    "bird",
    "cloud",
    "house",
    "green",
    "small",
    "under",
    "over",
    "beside",
    "walks",
    "sees",
    "holds",
    "bright",
    "old",
]


def audited(folder: Path, rows: Sequence[dict[str, Any]], check: str) -> list[dict[str, Any]]:
    file = data.write(folder / "talk.json", rows)
    (folder / "out").mkdir(exist_ok=True)
    material = open_material([Source("talk", file, folder)])
    run_audit(material, choose([check]), Wishes(), out=folder / "out", notes=None, workers=1)
    return [json.loads(line) for line in (folder / "out" / "findings.jsonl").read_text().splitlines()]


def text(seed: int, count: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def test_copies_of_rows_are_found_whatever_their_ids_case_and_punctuation(tmp_path: Path) -> None:
    long = text(1, 60)
    edited = " ".join([*long.split()[:30], "suddenly", *long.split()[30:]])
    rows = [
        data.row("a", ("What is it?", "A red bus."), image="1.jpg"),
        data.row("b", ("What is it?", "A red bus."), image="2.jpg"),
        data.row("c", ("what is it", " a red  bus"), image="1.jpg"),
        data.row("d", ("Tell me.", long)),
        data.row("e", ("Tell me.", edited)),
        data.row("f", ("Tell me.", text(2, 60))),
        data.row("g", ("Tell me.", long), image="3.jpg"),
        data.row("h", ("Say more.", long), image="4.jpg"),
        data.row("i", ("Is it?", "Yes.")),
        data.row("j", ("Is it?", "No.")),
    ]
    found = audited(tmp_path, rows, "duplicate-rows")
    assert [(one["kind"], one["id"], one["details"]["same_as"][1]) for one in found] == [
        ("exact", "c", 0), ("near", "e", 3), ("same-answer", "h", 6),
    ]  # fmt: skip
    assert 0.8 <= found[1]["score"] < 1


def test_near_copies_among_thousands_are_found_without_looking_at_all_pairs() -> None:
    draw = np.random.default_rng(5)
    vocabulary = np.array([f"w{n}" for n in range(3000)])
    texts = [list(draw.choice(vocabulary, 80)) for _ in range(1000)]
    for number in range(0, 300):  # 300 rows with three words of 80 changed: 0.8 alike at least
        other = list(texts[number])
        for place in draw.choice(80, 3, replace=False):
            other[place] = "changed"
        texts.append(other)
    own = [shingles(" ".join(words)) for words in texts]
    signatures = np.stack([signature(one) for one in own])
    pairs: set[tuple[int, int]] = set()
    for low, high in alike(signatures, np.zeros(len(own), np.uint64), 0.65):
        pairs |= set(zip(low.tolist(), high.tolist(), strict=True))
    assert len(pairs) < 400, "next to nothing else is compared"
    wanted = {(n, 1000 + n) for n in range(300) if jaccard(own[n], own[1000 + n]) >= 0.8}
    assert len(wanted) > 60
    assert len(wanted & pairs) >= 0.99 * len(wanted)
    apart = np.arange(len(own), dtype=np.uint64)
    assert not [pair for low, _ in alike(signatures, apart, 0.65) for pair in low]


def test_contradictions_are_told_with_what_others_say(tmp_path: Path) -> None:
    short = "\nAnswer the question using a single word or phrase."
    rows = [
        data.row("a", ("Is the bus red?" + short, "Yes"), ("What color is it?", "Red"), image="1.jpg"),
        data.row("b", ("Is the bus red?", "no."), ("What color is it?", "Blue"), image="1.jpg"),
        data.row("c", ("Is the bus red?", "No"), image="2.jpg"),
        data.row("d", ("What is there?", "two dogs"), image="2.jpg"),
        data.row("e", ("What is there?", "dog"), ("How many?", "2"), image="2.jpg"),
        data.row("f", ("What is there?", "cats"), ("How many?", "two"), image="2.jpg"),
        data.row("g", ("Describe it briefly.", "A bus"), image="2.jpg"),
        data.row("h", ("Describe it briefly.", "A tree"), image="2.jpg"),
        data.row("i", ("What time is it?", "Noon"), image="3.jpg"),
        data.row("j", ("What time is it?", "Noon"), image="3.jpg"),
        data.row("k", ("What time is it?", "Midnight"), image="3.jpg"),
    ]
    found = audited(tmp_path, rows, "contradictions")
    told = [(one["kind"], one["id"]) for one in found]
    assert told == [
        ("yes-no", "a"), ("yes-no", "b"), ("answers", "d"), ("answers", "e"), ("answers", "f"),
        ("answers", "k"),
    ]  # fmt: skip
    assert found[-2]["details"]["answers"] == [["2 dogs", 1], ["dog", 1], ["cats", 1]]
    assert found[-1]["what"] == "'what time is it' is answered 'midnight' (1), elsewhere 'noon' (2)"


def test_what_findings_quote_holds_no_personal_data(tmp_path: Path) -> None:
    mails = [f"jane.miller{n}@uni-x.de" for n in range(2)]
    rows = [data.row(f"r{n}", ("Where to write?", mail), image="1.jpg") for n, mail in enumerate(mails)]
    rows.append(data.row("s", ("Why?", " ".join(["word"] * 40 + ["jane.miller@uni-x.de or", "so,"]))))
    rows += [data.row(f"t{n}", ("Who?", f"{mails[0]} " * 8)) for n in range(2)]
    found = audited(tmp_path, rows, "contradictions")
    assert [one["id"] for one in found] == ["r0", "r1"], "they differ, though they are masked alike"
    found += audited(tmp_path, rows, "quality")
    assert {"loop", "cut-off"} <= {one["kind"] for one in found}
    assert "miller" not in str(found)
