"""What a task and training data have in common."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pumice.data.fingerprints import Fingerprint, Index
from pumice.data.lookup import NEAR, Lookup
from pumice.errors import ImageError
from pumice.evaluate.overlap import overlap, verdict
from pumice.evaluate.results import Overlap
from pumice.evaluate.samples import Picture, Sample, Stored

from ..data.test_fingerprints import index_of, photo, row


def png(picture: PIL.Image.Image, ending: str = "PNG") -> bytes:
    file = io.BytesIO()
    picture.save(file, ending)
    return file.getvalue()


def ask(id: str, text: str, *images: Picture) -> Sample:
    return Sample(id, f"{text}\nAnswer the question using a single word or phrase.", images, {})


@pytest.fixture
def index(tmp_path: Path) -> Index:
    photo(1).save(tmp_path / "a.png")
    photo(2).save(tmp_path / "b.png")
    return index_of(
        tmp_path, [row("a.png", "Is it red?", "Is it old?"), row("b.png", "Is it red?"), row(None, "Who?")]
    )


def test_pictures_and_questions_are_counted(tmp_path: Path, index: Index) -> None:
    (tmp_path / "same.bmp").write_bytes(png(photo(1), "BMP"))
    same = tmp_path / "same.bmp"
    near = Stored("near", lambda: png(photo(2).resize((100, 80)), "JPEG"))
    other = Stored("other", lambda: png(photo(3)))
    said: list[tuple[str, int, int]] = []
    samples = [
        ask("1", "Is it red?", same),  # the same picture and question
        ask("2", "Is it new?", same),
        ask("3", "Is it red?", near),  # near, the same question
        ask("4", "Is it old?", near),  # asked of another picture
        ask("5", "IS IT OLD", other),
        ask("6", "Who?"),
    ]
    found = overlap(samples, [index], lambda *told: said.append(told))
    assert found == {
        "pictures": 3, "pictures_same": 1, "pictures_near": 1,
        "questions": 6, "questions_same": 5, "questions_with_picture": 2,
        "questions_with_same_picture": 1, "examples": ["1", "3"],
        "training": index.head["sources"],
    }  # fmt: skip
    assert said[-1] == ("pictures held against training", 3, 3)


def test_several_indexes_count_together(tmp_path: Path, index: Index) -> None:
    (tmp_path / "more").mkdir()
    photo(3).save(tmp_path / "more" / "c.png")
    second = index_of(tmp_path / "more", [row("c.png", "Is it new?")])
    samples = [
        ask("1", "Is it red?", tmp_path / "a.png"),
        ask("2", "Is it new?", tmp_path / "more" / "c.png"),
    ]
    found = overlap(samples, [index, second])
    assert (found["pictures_same"], found["pictures_near"], found["questions_with_picture"]) == (2, 0, 2)
    assert len(found["training"]) == 2


def test_plain_pictures_are_the_same_or_nothing(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (40, 30), "white").save(tmp_path / "white.png")
    index = index_of(tmp_path, [row("white.png", "Is it red?")])
    PIL.Image.new("RGB", (40, 30), "black").save(tmp_path / "black.png")
    found = overlap([ask("1", "Is it red?", tmp_path / "black.png")], [index])
    assert (found["pictures_same"], found["pictures_near"]) == (0, 0)
    found = overlap([ask("1", "Is it red?", tmp_path / "white.png")], [index])
    assert (found["pictures_same"], found["questions_with_picture"]) == (1, 1)


def test_the_search_in_bands_finds_what_looking_at_all_finds() -> None:
    draw = np.random.default_rng(5)
    count = 3000
    base = draw.integers(0, 2**64, (20, 2), dtype=np.uint64)
    hashes = base[draw.integers(0, 20, count)]
    for _ in range(7):  # up to seven bits of each hash are another
        flip = np.uint64(1) << draw.integers(0, 64, hashes.shape).astype(np.uint64)
        hashes = hashes ^ np.where(draw.random(hashes.shape) < 0.6, flip, np.uint64(0))
    index = Index(
        pixels=np.arange(count * 16, dtype=np.uint64).astype(np.uint8).reshape(count, 16),
        across=hashes[:, 0].copy(),
        down=hashes[:, 1].copy(),
        start=np.zeros(count + 1, np.int64),
        asked=np.zeros(0, np.uint64),
        text_only=np.zeros(0, np.uint64),
        head={"sources": []},
    )
    lookup = Lookup(index)
    hits = 0
    for across, down in base.tolist():
        expected = {
            place
            for place, (a, d) in enumerate(hashes.tolist())
            if (a ^ across).bit_count() <= NEAR and (d ^ down).bit_count() <= NEAR
        }
        found = lookup.find(Fingerprint(b"other than any..", across, down))
        assert set(found.near) == expected
        hits += len(expected)
    assert 100 < hits < count


def test_nothing_in_common(tmp_path: Path) -> None:
    index = index_of(tmp_path, [row(None, "Who?")])
    photo(1).save(tmp_path / "a.png")
    found = overlap([ask("1", "Is it red?", tmp_path / "a.png")], [index])
    assert [found[key] for key in ("pictures_same", "pictures_near", "questions_same")] == [0, 0, 0]  # type: ignore[literal-required]


def test_a_picture_that_cannot_be_read_is_named(index: Index) -> None:
    with pytest.raises(ImageError, match="broken"):
        overlap([ask("1", "Is it red?", Stored("broken", lambda: b"no picture"))], [index])


@pytest.mark.parametrize(
    ("counts", "word", "share"),
    [
        ({"questions_with_picture": 30, "questions_with_same_picture": 12}, "seen", "6.0%"),
        ({"questions_with_picture": 30, "pictures_near": 20}, "alike", "15.0%"),
        ({"pictures_same": 25, "questions_same": 90}, "pictures", "25.0%"),
        ({"questions_same": 180, "pictures_near": 3}, "words", "90.0%"),
        ({"pictures_near": 3}, "alike", "3.0%"),
        ({}, "none", ""),
    ],
)
def test_the_verdict_says_what_overlaps_and_what_that_means(
    counts: dict[str, int], word: str, share: str
) -> None:
    found = Overlap(
        pictures=100, pictures_same=0, pictures_near=0, questions=200, questions_same=0,
        questions_with_picture=0, questions_with_same_picture=0, examples=[], training=[],
    )  # fmt: skip
    said = verdict({**found, **counts})  # type: ignore[typeddict-item]
    assert said.startswith(f"{word}: ")
    assert share in said


def test_a_near_picture_is_not_the_same(tmp_path: Path, index: Index) -> None:
    near = Stored("near", lambda: png(photo(2).resize((100, 80)), "JPEG"))
    found = overlap([ask("3", "Is it red?", near)], [index])
    assert (found["questions_with_picture"], found["questions_with_same_picture"]) == (1, 0)
    assert verdict(found).startswith("alike: 100.0%")
