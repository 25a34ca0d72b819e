"""Rows that show videos: every form, tables, checks before a run, conversion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pil

from pumice.data import check_images, open_table, preflight, read_samples
from pumice.data.convert import convert
from pumice.data.draft import Clip
from pumice.data.extents import CACHE_FILE
from pumice.data.forms import FORMS, form_of
from pumice.data.samples import whole
from pumice.errors import DataError, ImageError
from pumice.image.settings import VideoSettings
from pumice.image.video import VideoInfo
from pumice.types import Image, Message, Origin, Sample, Text, Video

from .parts import encoded

SAID = {"from": "gpt", "value": "A dog."}


def asked(text: str) -> dict[str, str]:
    return {"from": "human", "value": text}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder of four frames, an animation of three, and a picture."""
    root = tmp_path / "clips"
    (root / "walk").mkdir(parents=True)
    for number in range(4):
        Pil.new("RGB", (8, 6), (number, 0, 0)).save(root / "walk" / f"{number}.png")
    frames = [Pil.new("RGB", (8, 6), (0, 80 * number, 0)) for number in range(3)]
    frames[0].save(root / "run.gif", save_all=True, append_images=frames[1:], duration=200)
    Pil.new("RGB", (9, 5)).save(root / "a.png")
    return root


def write(folder: Path, rows: list[Any], name: str = "rows.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


class TestForms:
    @pytest.mark.parametrize("mark", ["<image>", "<video>"])
    @pytest.mark.parametrize("value", ["walk", ["walk"]])
    def test_llava(self, mark: str, value: Any) -> None:
        row = {"id": "x", "video": value, "conversations": [asked(f"What is it?\n{mark}"), SAID]}
        assert form_of(row, "here").name == "llava"
        draft = FORMS["llava"].parse(row, 0, "here", None)
        assert draft.images == (Clip("walk"),)
        assert draft.messages[0].parts == (Image(0), Text("\n"), Text("What is it?"))

    def test_as_llava_video_178k_writes_it(self) -> None:
        row = {
            "id": "v_1",
            "conversations": [asked("<image>\nWhat is it?"), SAID],
            "data_source": "0_30_s_academic_v0_1",
            "video": "academic_source/walk.mp4",
        }
        draft = FORMS["llava"].parse(row, 0, "here", None)
        assert (draft.images, draft.rights.dataset) == (
            (Clip("academic_source/walk.mp4"),),
            "0_30_s_academic_v0_1",
        )

    @pytest.mark.parametrize(("key", "value"), [("videos", ["walk", "run.gif"]), ("video", "walk")])
    def test_sharegpt(self, key: str, value: Any) -> None:
        count = len(value) if isinstance(value, list) else 1
        row = {key: value, "system": "Be brief.", "conversations": [asked("See <video>" * count), SAID]}
        assert form_of(row, "here").name == "sharegpt"
        draft = FORMS["sharegpt"].parse(row, 0, "here", None)
        assert len(draft.images) == count
        assert draft.messages[1].parts[:2] == (Text("See "), Image(0))

    def test_messages_may_show_both(self) -> None:
        content = [
            {"type": "video", "video": "walk"},
            {"type": "image", "image": "a.png"},
            {"type": "text", "text": "Is <video> here?"},
        ]
        row = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "Yes."}]}
        draft = FORMS["messages"].parse(row, 0, "here", None)
        assert draft.images == (Clip("walk"), "a.png")
        assert draft.messages[0].parts[-1] == Text("Is <video> here?")

    def test_the_word_is_text_where_there_is_no_video(self) -> None:
        row = {"conversations": [asked("What does <video> mean?"), SAID]}
        assert FORMS["llava"].parse(row, 0, "here", None).messages[0].text == "What does <video> mean?"

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"video": "walk", "image": "a.png"}, "both image and video"),
            ({"video": 3}, "video is a number"),
            ({"video": "../walk"}, "video '../walk' leaves the image folder"),
            ({"video": ["a", "b"]}, "1 <image> placeholder(s) for 2 video(s)"),
            (
                {"video": "walk", "conversations": [asked("<video>"), {"from": "gpt", "value": "<video>"}]},
                "turn 1 holds <video>",
            ),
        ],
    )
    def test_refusals(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError) as caught:
            FORMS["llava"].parse({"conversations": [asked("<video>\nWhat?"), SAID], **row}, 0, "here", None)
        assert message in caught.value.what
        assert caught.value.remedy

    @pytest.mark.parametrize("form", ["llava", "sharegpt", "messages"])
    def test_what_is_written_reads_back(self, form: str) -> None:
        parts = (Image(0), Text("\n"), Text("What is it?"))
        messages = (Message("user", parts), Message("assistant", (Text("A dog."),)))
        sample = Sample("1", messages, (Video(Path("walk")),), "s", Origin("f", 0))
        row = FORMS[form].write(sample, ["walk"])
        draft = FORMS[form].parse(json.loads(json.dumps(row)), 0, "here", None)
        assert (draft.messages, draft.images) == (messages, (Clip("walk"),))

    def test_what_one_kind_a_row_cannot_say_is_refused(self) -> None:
        parts = (Image(0), Image(1), Text("<video>"))
        messages = (Message("user", parts), Message("assistant", (Text("A dog."),)))
        both = Sample("1", messages, (Video(Path("walk")), Path("a.png")), "s", Origin("f", 0))
        with pytest.raises(DataError, match="pictures and videos"):
            FORMS["llava"].write(both, ["walk", "a.png"])
        with pytest.raises(DataError, match="holds <video>"):
            FORMS["llava"].write(replace(both, images=(both.images[0],) * 2), ["walk", "walk"])
        assert FORMS["messages"].parse(
            FORMS["messages"].write(both, ["walk", "a.png"]), 0, "here", None
        ).images == (Clip("walk"), "a.png")


ROWS = [
    {"id": "0", "video": "walk", "conversations": [asked("<image>\nWhat?"), SAID]},
    {"id": "1", "image": "a.png", "conversations": [asked("<image>\nWhat?"), SAID]},
    {"id": "2", "video": "run.gif", "conversations": [asked("<video>\nWhat?"), SAID]},
]


class TestTables:
    def test_a_table_tells_videos_from_pictures_also_from_the_cache(
        self, tmp_path: Path, clips: Path
    ) -> None:
        path = write(tmp_path, ROWS)
        wanted = [(Video(clips / "walk"),), (clips / "a.png",), (Video(clips / "run.gif"),)]
        for _ in range(2):
            table = open_table(path, clips, "s", cache_folder=tmp_path / "cache")
            assert [sample.images for sample in table] == wanted
            assert [table.images(row) for row in range(3)] == wanted

    def test_one_name_as_picture_and_as_video_are_two_things(self, tmp_path: Path, clips: Path) -> None:
        rows = [{**ROWS[0], "video": "run.gif"}, {**ROWS[1], "image": "run.gif"}]
        table = open_table(write(tmp_path, rows), clips, "s")
        assert table.pictures == 2
        assert [sample.images for sample in table] == [(Video(clips / "run.gif"),), (clips / "run.gif",)]
        as_picture = {"id": "0", "image": "run.gif", "conversations": ROWS[0]["conversations"]}
        other = open_table(write(tmp_path, [as_picture], "other.json"), clips, "s")
        assert bytes(other.columns.digest[0]) != bytes(table.columns.digest[0])

    def test_a_video_that_is_not_there(self, tmp_path: Path, clips: Path) -> None:
        path = write(tmp_path, [{**ROWS[0], "video": "gone.mp4"}])
        with pytest.raises(ImageError, match=r"video file .*gone.mp4 does not exist"):
            read_samples(path, clips)
        with pytest.raises(DataError, match=r"names video 'gone.mp4' but no image folder"):
            read_samples(path, None)


class TestChecks:
    def test_frames_are_counted_and_not_decoded(
        self, tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        samples = read_samples(write(tmp_path, ROWS), clips)
        monkeypatch.setattr("pumice.image.video.read_frames", lambda *_, **__: pytest.fail("decoded"))
        sizes, _ = check_images(samples)
        walk, run = sizes[samples[0].images[0]], sizes[samples[2].images[0]]
        assert isinstance(walk, VideoInfo)
        assert isinstance(run, VideoInfo)
        assert (walk.kind, walk.frames, walk.rate) == ("folder", 4, None)
        assert (run.kind, run.frames, run.rate) == ("animation", 3, 5.0)
        assert sizes[samples[1].images[0]] == (9, 5)

    def test_the_renderer_is_given_them_and_its_counts_are_kept(self, tmp_path: Path, clips: Path) -> None:
        samples = whole(open_table(write(tmp_path, ROWS), clips, "s"))
        seen: list[Any] = []

        def encode(sample: Sample, extents: Any) -> Any:
            seen.append(extents[0])
            (extent,) = extents
            return encoded(extent.frames if isinstance(extent, VideoInfo) else 7)

        for _ in range(2):
            found = preflight(samples, encode, cache_folder=tmp_path / "c", settings="s")
            assert found.lengths.tolist() == [4, 7, 3]
        assert len(seen) == 3
        Pil.new("RGB", (8, 6)).save(clips / "walk" / "9.png")
        assert preflight(samples, encode, cache_folder=tmp_path / "c", settings="s").lengths.tolist() == [
            5,
            7,
            3,
        ]

    def test_decoding_finds_a_damaged_frame_that_is_taken(self, tmp_path: Path, clips: Path) -> None:
        samples = read_samples(write(tmp_path, ROWS), clips)
        (clips / "walk" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
        check_images(samples)
        with pytest.raises(ImageError, match=r"2\.png"):
            check_images(samples, decode=True)
        check_images(samples, decode=True, video=VideoSettings(frames=2))  # the first and the last

    def test_what_is_known_counts_while_the_files_are_the_same(self, tmp_path: Path, clips: Path) -> None:
        samples = read_samples(write(tmp_path, ROWS), clips)
        two = VideoSettings(frames=2)
        sizes, cached = check_images(samples, cache_folder=tmp_path)
        assert cached == 0
        assert check_images(samples, cache_folder=tmp_path) == (sizes, 3)
        assert check_images(samples, decode=True, video=two, cache_folder=tmp_path)[1] == 0
        assert check_images(samples, decode=True, video=two, cache_folder=tmp_path)[1] == 3
        # Other frames were not looked at, so only the picture is known as well as is asked.
        assert check_images(samples, decode=True, cache_folder=tmp_path)[1] == 1
        assert check_images(samples, decode=True, video=two, cache_folder=tmp_path)[1] == 3
        Pil.new("RGB", (8, 7)).save(clips / "walk" / "1.png")
        assert check_images(samples, cache_folder=tmp_path)[1] == 2
        file = tmp_path / CACHE_FILE
        kept = json.loads(file.read_text())
        kept["videos"] = {name: entry[:-1] for name, entry in kept["videos"].items()}
        file.write_text(json.dumps(kept))
        assert check_images(samples, cache_folder=tmp_path)[1] == 1


class TestConversion:
    def test_forms_of_json_keep_them(self, tmp_path: Path, clips: Path) -> None:
        path = write(tmp_path, ROWS)
        wanted = [replace(sample, origin=Origin("", 0)) for sample in read_samples(path, clips, "s")]
        for to in ("messages", "sharegpt", "llava"):
            out = tmp_path / f"{to}.json"
            convert(path, out, to)
            found = [replace(sample, origin=Origin("", 0)) for sample in read_samples(out, clips, "s")]
            assert found == wanted
            path = out

    @pytest.mark.parametrize(("to", "out"), [("webdataset", "out"), ("parquet", "out.parquet")])
    def test_containers_refuse_them(self, tmp_path: Path, clips: Path, to: str, out: str) -> None:
        if to == "parquet":
            pytest.importorskip("pyarrow")
        with pytest.raises(DataError, match=f"{to} holds pictures alone") as caught:
            convert(write(tmp_path, ROWS), tmp_path / out, to, image_root=clips)
        assert "rows.json, row 0" in str(caught.value)
        assert not (tmp_path / out).exists()
