"""Answers about pictures in tiles and about videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaNextForConditionalGeneration

from pumice.errors import DataError, ImageError
from pumice.image import VideoSettings, image_layout
from pumice.infer import ChatSession, Generator, Request
from pumice.infer import pictures as pictures_module
from pumice.infer.engine import EngineRequest
from pumice.model.build import Tiles, build_model
from pumice.model.save import load_model, save_model
from pumice.types import Message, Video, text_message

NEW = 12
GRIDS = ((16, 32), (32, 16), (32, 32), (48, 16), (16, 48))
SIZES = ((20, 30), (48, 15), (16, 16), (40, 33), (90, 20), (31, 64))
VIDEO = VideoSettings(frames=3, aspect="pad", stride=1, pooling="average", newline="frame")


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    wide, high = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (high, wide, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of six shapes; read only."""
    folder = tmp_path_factory.mktemp("photos")
    for number, size in enumerate(SIZES):
        noise(size, number).save(folder / f"{number}.png")
    return [folder / f"{number}.png" for number in range(len(SIZES))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A folder of five frames; read only."""
    folder = tmp_path_factory.mktemp("clip")
    for number in range(5):
        noise((24, 18), 50 + number).save(folder / f"{number}.png")
    return Video(folder)


def made(tiny: Any, **changes: Any) -> Any:
    built = build_model(
        tiny.vision, tiny.language, template="tiny", tiles=Tiles(GRIDS, multi_image="same"), seed=3
    )
    built[0].config = replace(built[0].config, **changes)
    return built


@pytest.fixture(scope="module")
def saved(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("next") / "model"
    save_model(*made(tiny), folder, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def generator(saved: Path) -> Generator:
    return Generator(*load_model(saved))


def question(text: str, *images: Any, **options: Any) -> Request:
    message = text_message("user", text, images=range(len(images)))
    return Request(messages=(message,), images=images, **{"max_new_tokens": NEW, **options})


class Reference:
    """The same folder in plain transformers, its own processor included."""

    def __init__(self, folder: Path) -> None:
        self.model = LlavaNextForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.processor = AutoProcessor.from_pretrained(folder)

    def __call__(self, request: Request) -> tuple[int, list[int]]:
        """The length of the prompt, and what is said."""
        messages = []
        for message in request.messages:
            content: list[dict[str, Any]] = []
            for part in message.parts:
                text = getattr(part, "text", None)
                content.append({"type": "image"} if text is None else {"type": "text", "text": text})
            messages.append({"role": message.role, "content": content})
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        images = [Image.open(i) if isinstance(i, Path) else i for i in request.images] or None
        given = self.processor(images=images, text=text, return_tensors="pt", add_special_tokens=False)
        out = self.model.generate(**given, do_sample=False, max_new_tokens=request.max_new_tokens)
        length = given["input_ids"].shape[1]
        return length, out[0, length:].tolist()


@pytest.fixture(scope="module")
def reference(saved: Path) -> Reference:
    return Reference(saved)


def requests(files: list[Path]) -> list[Request]:
    shown = noise((37, 22), 9)
    alone = [question("What colour is it ?", file) for file in files]
    talk: tuple[Message, ...] = (
        text_message("user", "What ?", images=[0]),
        text_message("assistant", "It is a square ."),
        text_message("user", "How many ?", images=[1]),
    )
    return [
        *alone,
        question("Hello"),
        question("How many ?", files[0]),
        question("What ?", files[3], files[1]),
        question("a b", shown, max_new_tokens=5),
        question("It is", files[1], files[3], files[1]),
        Request(talk, (files[2], files[5]), max_new_tokens=NEW),
    ]


@pytest.mark.parametrize("max_rows", [1, 3, 64])
def test_greedy_equals_transformers(
    saved: Path, files: list[Path], reference: Reference, max_rows: int
) -> None:
    generator = Generator(*load_model(saved), max_rows=max_rows)
    asked = requests(files)
    for request, found in zip(asked, generator.generate(asked), strict=True):
        assert (found.prompt_tokens, list(found.token_ids)) == reference(request)


def test_the_tower_sees_a_bounded_number_of_tiles_at_once(
    saved: Path, generator: Generator, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests(files)
    wanted = generator.generate(asked)
    sizes: list[int] = []
    encode = generator.model.encode_tower
    monkeypatch.setattr(generator.model, "encode_tower", lambda x: (sizes.append(len(x)), encode(x))[1])
    monkeypatch.setattr(pictures_module, "TOWER_BATCH", 3)
    generator.engine.forget()
    assert generator.generate(asked) == wanted
    assert max(sizes) == 3


def test_one_picture_alone_and_beside_another_are_two_layouts(tiny: Any, files: list[Path]) -> None:
    """With ``pad`` it is tiled in one request and a square in the next, in one batch."""
    generator = Generator(*made(tiny, multi_image="pad"))
    alone, both = question("What ?", files[0]), question("What ?", files[0], files[1])
    single, double = generator.generate([alone, both])
    settings = generator.pictures.geometry.settings
    tiled = image_layout(SIZES[0], settings).tokens
    assert tiled > 5
    bare = generator.generate([question("What ?")])[0].prompt_tokens
    newline = 1  # behind each picture
    assert single.prompt_tokens == bare + tiled + newline
    assert double.prompt_tokens == bare + 2 * (5 + newline)
    assert generator.generate([both])[0] == double
    assert generator.generate([alone])[0] == single


def test_a_conversation_that_grows_to_two_pictures(tiny: Any, files: list[Path]) -> None:
    generator = Generator(*made(tiny, multi_image="pad"))
    session = ChatSession(generator, max_new_tokens=6)
    session.add_image(files[0])
    first = "".join(session.ask("What ?"))
    assert first == generator.generate([question("What ?", files[0], max_new_tokens=6)])[0].text
    session.add_image(files[1])
    second = "".join(session.ask("How many ?"))
    messages = (
        text_message("user", "What ?", images=[0]),
        text_message("assistant", first),
        text_message("user", "How many ?", images=[1]),
    )
    asked = Request(messages, (files[0], files[1]), max_new_tokens=6)
    assert generator.generate([asked])[0].text == second


class TestMarks:
    def test_tokens_around_a_picture_are_counted_and_laid(self, tiny: Any, files: list[Path]) -> None:
        model, tokenizer, processor = made(tiny)
        marked = replace(model.config, image_marks=(5, 6))
        plain = Generator(model, tokenizer, processor)
        bare = plain.generate([question("What ?", files[3])])[0]
        model.config = marked
        generator = Generator(model, tokenizer, processor)
        found = generator.generate([question("What ?", files[3])])[0]
        assert found.prompt_tokens == bare.prompt_tokens + 2
        (shown,) = generator.pictures.lay_out([files[3]])
        embeds = generator.pictures.embed([shown])[shown.key]
        table = model.lm.get_input_embeddings().weight
        assert torch.equal(embeds[0], table[5])
        assert torch.equal(embeds[-1], table[6])


class TestVideos:
    @pytest.fixture
    def sees(self, tiny: Any) -> Generator:
        return Generator(*made(tiny, video=VIDEO))

    def by_hand(self, generator: Generator, request: Request, clip: Video) -> list[int]:
        """Greedy, token by token, from embeddings that are put together here."""
        model, geometry = generator.model, generator.pictures.geometry
        frames = [Image.open(clip.path / f"{number}.png") for number in (0, 2, 4)]
        squares = geometry.processor.with_mode("pad")
        pixels = torch.from_numpy(np.stack([squares(frame) for frame in frames]))
        with torch.inference_mode():
            tokens = model.connector(model.encode_tower(pixels))
            newline = model.image_newline.expand(3, 1, -1)
            laid = torch.cat([tokens, newline], dim=1).flatten(0, 1)
            asked = generator.engine.prepare(EngineRequest(request.messages, images=request.images))
            ids = torch.from_numpy(asked.ids)[None]
            ((_, start, length),) = asked.spans
            assert length == len(laid) == 3 * 5
            embeds = model.lm.get_input_embeddings()(ids).clone()
            embeds[0, start : start + length] = laid
            said: list[int] = []
            for _ in range(NEW):
                size = embeds.shape[1]
                mask = torch.ones(1, size, size, dtype=torch.bool).tril()
                hidden = model.hidden(embeds, torch.arange(size)[None], mask)
                scores = model.logits(hidden[0, -1])
                scores[model.config.image_token_id] = -torch.inf
                said.append(int(scores[: len(generator.tokenizer)].argmax()))
                if said[-1] in generator.engine._stop_ids:
                    break
                embeds = torch.cat([embeds, model.lm.get_input_embeddings()(torch.tensor([said[-1:]]))], 1)
        return said

    def test_an_answer_about_a_video(self, sees: Generator, clip: Video, files: list[Path]) -> None:
        asked = question("What happens ?", clip)
        (found,) = sees.generate([asked])
        assert list(found.token_ids) == self.by_hand(sees, asked, clip)
        mixed = [question("What ?", files[0]), asked, question("What ?", clip, files[0]), question("Hello")]
        assert sees.generate(mixed)[1] == found
        assert [sees.generate([one])[0] for one in mixed] == sees.generate(mixed)

    def test_a_model_that_knows_none(self, generator: Generator, clip: Video) -> None:
        with pytest.raises(DataError, match="knows no video"):
            generator.generate([question("What ?", clip)])
        session = ChatSession(generator)
        with pytest.raises(DataError, match="knows no video"):
            session.add_image(clip)
        assert session._pending == []

    def test_a_video_that_is_not_there(self, sees: Generator, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match="gone"):
            sees.generate([question("What ?", Video(tmp_path / "gone"))])

    def test_a_model_of_squares_may_know_videos(self, tiny: Any, clip: Video) -> None:
        built = build_model(tiny.vision, tiny.language, template="tiny")
        built[0].config = replace(
            built[0].config, video=VIDEO
        )  # squares have no newline, so frames have none
        found = Generator(*built).generate([question("What ?", clip)])[0]
        bare = Generator(*built).generate([question("What ?")])[0]
        assert found.prompt_tokens == bare.prompt_tokens + 3 * 4 + 1
