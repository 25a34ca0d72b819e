"""Pictures known again, and what their files tell."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageEnhance

from pumice.data import open_table
from pumice.data.fingerprints import build_index
from pumice.data.mixture import Source
from pumice.trust.audit import Wishes, choose, open_material, run_audit
from pumice.trust.audit.against import others
from pumice.trust.audit.likeness import CUTS, hash_picture, likeness, near_pairs
from pumice.trust.audit.look import view_of
from pumice.trust.audit.metadata import told
from pumice.trust.audit.prints import CLOSEST, Candidates

from ...data.test_fingerprints import photo
from . import data

SIZE = (320, 240)


def cut(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda image: image.resize((160, 120)),
    "square": lambda image: image.resize((224, 224)),
    "jpeg": lambda image: jpeg(image, 60),
    "lighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "cropped": lambda image: cut(image, 0.04, 0.04, 0.04, 0.04),
    "one side": lambda image: cut(image, 0.07, 0.0, 0.02, 0.01),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "all": lambda image: jpeg(
        ImageEnhance.Brightness(cut(image, 0.01, 0.03, 0.04, 0.0)).enhance(0.9).resize((200, 150)), 70
    ),
}


def audited(folder: Path, names: list[str], check: str, **wishes: Any) -> list[dict[str, Any]]:
    rows = [data.row(name, ("What?", "A thing."), image=name) for name in names]
    file = data.write(folder / "talk.json", rows)
    (folder / "out").mkdir(exist_ok=True)
    material = open_material([Source("talk", file, folder)])
    run_audit(material, choose([check]), Wishes(**wishes), out=folder / "out", notes=None, workers=1)
    return [json.loads(line) for line in (folder / "out" / "findings.jsonl").read_text().splitlines()]


def test_copies_are_found_and_others_are_not(tmp_path: Path) -> None:
    names = []
    for seed in range(24):
        names.append(f"{seed}.png")
        photo(seed, SIZE).save(tmp_path / names[-1])
    wanted = {}
    for number, edit in enumerate(EDITS):
        for seed in (number, number + 10):
            names.append(f"{seed} {edit}.png")
            EDITS[edit](photo(seed, SIZE)).save(tmp_path / names[-1])
            wanted[names[-1]] = f"{seed}.png"
    names.append("same.png")
    (tmp_path / "same.png").write_bytes((tmp_path / "23.png").read_bytes())
    found = audited(tmp_path, names, "duplicate-pictures")
    exact = [(one["id"], Path(one["details"]["same_as"]).name) for one in found if one["kind"] == "exact"]
    assert exact == [("same.png", "23.png")]
    near = {one["id"]: Path(one["details"]["same_as"]).name for one in found if one["kind"] == "near"}
    assert near == wanted
    assert all(one["score"] > 0.8 for one in found)


def test_pictures_that_differ_in_one_thing_are_not_copies() -> None:
    base = photo(3, SIZE)
    other = base.copy()
    other.paste((250, 20, 20), (40, 40, 110, 100))
    hashes, thumbs = zip(*(hash_picture(image) for image in (base, other)), strict=True)
    assert min(int(one ^ hashes[0][0]).bit_count() for one in hashes[1]) < 20
    alike = likeness(thumbs[0][None], thumbs[1][None], np.zeros(1, np.int64))
    assert not alike.copies[0]
    assert likeness(thumbs[0][None], thumbs[0][None], np.zeros(1, np.int64)).copies[0]


def test_near_hashes_are_found_as_by_looking_at_all() -> None:
    draw = np.random.default_rng(1)
    known = draw.integers(0, 2**63, 3000, dtype=np.uint64)
    asked = known[:400].copy()
    for place in range(400):
        for bit in draw.choice(64, place % 14, replace=False):
            asked[place] ^= np.uint64(1) << np.uint64(bit)
    found = {
        (one, other)
        for left, right, _ in near_pairs(asked, known)
        for one, other in zip(left.tolist(), right.tolist(), strict=True)
    }
    for place in range(400):
        bits = np.bitwise_count(known ^ asked[place])
        close = set(np.flatnonzero(bits <= 11).tolist())
        assert {other for one, other in found if one == place} >= close
        assert all(bits[other] <= 12 for one, other in found if one == place)
    assert len(hash_picture(photo(1))[0]) == len(CUTS)


def test_of_many_that_are_alike_the_nearest_are_compared() -> None:
    draw = np.random.default_rng(2)
    hashes = np.full((600, len(CUTS)), 0x0F0F_3C3C_5A5A_9696, np.uint64)
    for _ in range(4):  # any two differ in some 8 bits: as X-rays do
        hashes ^= np.uint64(1) << draw.integers(0, 64, hashes.shape).astype(np.uint64)
    hashes[599, 0] = hashes[5, 3]  # a crop of picture 5
    near = Candidates()
    near.gather(hashes[:, 0], hashes, turned=False, within=True)
    pairs = near.pairs()
    assert pairs[5, 599] == (0, 3, True)
    assert len(pairs) <= 600 * CLOSEST
    for number in range(0, 600, 50):
        bits = np.bitwise_count(hashes[number, 0] ^ hashes).min(axis=1)
        bits[number] = 99
        own = [told[0] for pair, told in pairs.items() if number in pair]
        assert sorted(own)[:CLOSEST] <= sorted(bits.tolist())[:CLOSEST]
    apart = Candidates()
    apart.gather(
        hashes[:3, 0], draw.integers(0, 2**63, hashes.shape, dtype=np.uint64), turned=False, within=False
    )
    assert apart.pairs() == {}


def exif(**tags: Any) -> bytes:
    block = Image.Exif()
    for name, value in tags.items():
        if name == "gps":
            block.get_ifd(ExifTags.IFD.GPSInfo).update(value)
        else:
            block[ExifTags.Base[name]] = value
    return block.tobytes()


GPS = {1: "N", 2: (51.0, 30.0, 26.5), 3: "W", 4: (0.0, 7.0, 39.0)}


@pytest.mark.parametrize(
    ("tags", "kinds"),
    [
        ({}, []),
        ({"gps": GPS}, ["position"]),
        ({"gps": {**GPS, 2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)}}, []),
        ({"Artist": "Jane Miller", "DateTime": "2021:03:04 10:00:00"}, ["person", "date"]),
        ({"CameraOwnerName": "Jane", "BodySerialNumber": "A1234567"}, ["person", "serial"]),
        ({"ImageDescription": "Jane at home"}, ["comment"]),
        ({"DateTime": "0000:00:00 00:00:00", "Make": "Maker"}, []),
    ],
)
@pytest.mark.parametrize("ending", ["JPEG", "PNG", "WEBP"])
def test_what_files_tell_is_found(
    tags: dict[str, Any], kinds: list[str], ending: str, tmp_path: Path
) -> None:
    path = tmp_path / "a"
    photo(1).save(path, ending, **({"exif": exif(**tags)} if tags else {}))
    found = list(told(view_of(0, path, decode=True, side=64)))
    assert [kind for kind, _ in found] == kinds
    assert "Miller" not in str(found)
    if kinds == ["position"]:
        assert found[0][1] == "it was taken near 51.5, -0.1 (latitude, longitude)"


@pytest.mark.parametrize(("shown", "edited"), [(1, False), (2, True)])
def test_a_thumbnail_that_survived_an_edit_is_found(tmp_path: Path, shown: int, edited: bool) -> None:
    buffer = io.BytesIO()
    photo(shown, (160, 120)).save(buffer, "JPEG")
    small = buffer.getvalue()
    # A TIFF header, a directory without entries, and a second one that points at the JPEG behind it.
    head = b"II*\0\x08\0\0\0" + b"\0\0" + (14).to_bytes(4, "little")
    entries = [(0x0103, 3, 1, 6), (0x0201, 4, 1, 14 + 2 + 3 * 12 + 4), (0x0202, 4, 1, len(small))]
    second = len(entries).to_bytes(2, "little") + b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + n.to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, n, value in entries
    )
    photo(1, SIZE).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + head + second + bytes(4) + small)
    found = audited(tmp_path, ["a.jpg"], "metadata")
    assert [one["kind"] for one in found] == (["thumbnail"] if edited else [])


@pytest.mark.parametrize("prints", [False, True], ids=["data", "fingerprints"])
def test_what_a_benchmark_has_is_found(tmp_path: Path, prints: bool) -> None:
    own, bench = tmp_path / "own", tmp_path / "bench"
    for folder in (own, bench):
        folder.mkdir()
    for seed in range(4):
        photo(seed, SIZE).save(own / f"{seed}.png")
    (bench / "x.png").write_bytes((own / "0.png").read_bytes())
    jpeg(photo(1, SIZE), 85).save(bench / "y.png")
    photo(9, SIZE).save(bench / "z.png")
    short = "\nAnswer the question using a single word or phrase."
    long = "Who was it that wrote the long book of the sea?"
    rows = [
        data.row("a", ("Is it red?", "Yes"), image="0.png"),
        data.row("b", ("Is it old?", "Yes"), image="0.png"),
        data.row("c", ("Is it old?", "Yes"), image="1.png"),
        data.row("d", ("Is it old?", "Yes"), image="2.png"),
        data.row("e", (long, "Nobody")),
        data.row("f", ("Is it red?", "No")),
    ]
    other = [
        data.row("1", ("is it RED?" + short, "Yes"), image="x.png"),
        data.row("2", ("Is it old?" + short, "Yes"), image="y.png"),
        data.row("3", ("Is it old?", "Yes"), image="z.png"),
        data.row("4", (long, "Somebody"), ("Is it red?", "No")),
    ]
    source = Source("bench", data.write(bench / "bench.json", other), bench)
    if prints:
        index = build_index([open_table(source.file, bench, "bench")], workers=1)
        index.save(tmp_path / "bench.npz")
        source = Source("bench", tmp_path / "bench.npz")
    with others([source], notes=None, cache_folder=None, workers=1) as held:
        material = open_material([Source("talk", data.write(own / "talk.json", rows), own)])
        (own / "out").mkdir()
        run_audit(material, choose(["against"]), Wishes(against=held), out=own / "out", notes=None, workers=1)
    found = [json.loads(line) for line in (own / "out" / "findings.jsonl").read_text().splitlines()]
    assert [(one["kind"], one["id"]) for one in found] == [
        ("picture", "a"), ("question", "a"), ("picture", "c"), ("question", "c"), ("text", "e"),
    ]  # fmt: skip
    assert found[0]["what"] == ("bench has a copy of it" if prints else "bench has it, byte by byte")
    assert found[2]["what"] == "bench has a copy of it"
    assert [one["severity"] for one in found[:2]] == ["warning", "serious"]
