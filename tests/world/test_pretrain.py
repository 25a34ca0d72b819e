"""The two embedded parts from nothing, at the smallest sizes."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, LlamaForCausalLM

from pumice.data.grounding import assign_regions
from pumice.errors import Interrupted, RunError, UsageError
from pumice.model.build import build_model
from pumice.train.checkpoint import list_states
from pumice.train.optim import set_rates
from pumice.train.seals import seal_record
from pumice.types import IGNORE_INDEX
from pumice.world import documents, pictures, pretrain_tower
from pumice.world import pretrain as module
from pumice.world.documents import Document, Writer
from pumice.world.pictures import Pool
from pumice.world.pretrain import LANGUAGE, TOWER, WORK, pretrain
from pumice.world.pretrain_lm import LanguagePlan, LanguageTrainer, build_llama
from pumice.world.pretrain_tower import TowerPlan, TowerTrainer
from pumice.world.pretraining import Trainer
from pumice.world.scene import Scene
from pumice.world.tokenize import load_tokenizer, train_caption_tokenizer, train_language_tokenizer

from .steps import rows_of, steps_of

SMALL = {"pictures": 8, "documents": 12, "workers": 1}


def plans() -> tuple[TowerPlan, LanguagePlan]:
    """Plans of three steps, with a state saved and reported after every one."""
    tower = TowerPlan(
        width=32, layers=2, heads=2, mlp=64, text_width=32, embed=32, batch=8, steps=3, save_every=1
    )
    language = LanguagePlan(
        width=32, layers=2, heads=2, mlp=64, rows=2, dense_rows=2, steps=3, dense_steps=1, save_every=1
    )
    return tower, language


@dataclass
class Said:
    """What ``report`` was told; it can stop the work as Ctrl-C would."""

    stop_at: tuple[str, int] | None = None
    rows: list[tuple[str, int, int]] = field(default_factory=list)

    def __call__(self, what: str, step: int, steps: int, figures: dict[str, float]) -> None:
        self.rows.append((what, step, steps))
        if (what, step) == self.stop_at:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Made:
    """A finished pretraining."""

    out: Path
    scores: dict[str, dict[str, float]]
    said: Said


def small_world() -> pytest.MonkeyPatch:
    """Chunks of few pictures, a small corpus for the tokenizer, and documents that are written once."""
    patch = pytest.MonkeyPatch()
    patch.setattr(pictures, "CHUNK", 40)
    real = documents.corpus
    patch.setattr(module, "corpus", lambda seed, count: real(seed, count // 20))
    drawn = module.picture_pool

    def fewer(*given: Any, count: int, **options: Any) -> Pool:
        return drawn(*given, count=min(count, 40), **options)

    patch.setattr(module, "picture_pool", fewer)
    written: dict[Any, list[Document]] = {}
    write = documents.make_documents

    def once(folder: Path, *rest: Any) -> list[Document]:
        """The same for every folder: their tokenizers are copies of one."""
        key = rest[:4]
        if key not in written:
            written[key] = write(folder, *rest)
        return written[key]

    patch.setattr(module, "make_documents", once)
    return patch


@pytest.fixture(scope="module", autouse=True)
def _small_world() -> Iterator[None]:
    patch = small_world()
    yield
    patch.undo()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Both parts; read only."""
    out, said = tmp_path_factory.mktemp("pretrain") / "parts", Said()
    tower, language = plans()
    scores = pretrain(out, report=said, tower_plan=tower, language_plan=language, **SMALL)
    return Made(out, scores, said)


NAMES = {TOWER: "tower", LANGUAGE: "language"}
DOING = {TOWER: "pretraining the tower", LANGUAGE: "pretraining the language model"}

KILLED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import torch
from pumice.train.checkpoint import list_states
from pumice.world.pretrain import WORK, pretrain
from tests.world.test_pretrain import DOING, NAMES, SMALL, plans, small_world
out, part = Path(sys.argv[1]), sys.argv[2]
def report(what, step, steps, figures):
    if (what, step) == (DOING[part], 2):
        while not list_states(out / WORK / NAMES[part] / "state")[-1].step:
            pass
        os.kill(os.getpid(), signal.SIGKILL)
torch.set_num_threads({threads})
small_world()
tower, language = plans()
pretrain(out, report=report, tower_plan=tower, language_plan=language, parts=(part,), **SMALL)
"""


def learnt(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Rows of a part's metrics, without the fields that the machine decides."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "memory")} for r in rows_of(folder, kind)]


def digests(out: Path, *names: str) -> dict[str, str]:
    names = names or (TOWER, LANGUAGE)
    files = {name: out / name / "model.safetensors" for name in names}
    return {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}


def test_transformers_loads_the_tower(made: Made, scenes: list[Scene]) -> None:
    from pumice.world.draw import draw

    folder = made.out / TOWER
    clip = CLIPModel.from_pretrained(folder)
    assert clip.config.vision_config.num_hidden_layers == 2
    processor, tokenizer = AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    picture = draw(scenes[300])
    pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
    own = pretrain_tower.pixels_to_input(np.array(picture)[None])
    torch.testing.assert_close(pixels, own, atol=1e-5, rtol=0)
    text = tokenizer(["a red star", "a blue ring"], padding=True, return_tensors="pt")
    with torch.no_grad():
        out = clip.float()(pixel_values=pixels, **text)
    assert out.logits_per_image.shape == (1, 2)
    assert out.logits_per_image.isfinite().all()


def test_transformers_loads_the_language_model(made: Made) -> None:
    folder = made.out / LANGUAGE
    lm, tokenizer = LlamaForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert lm.dtype == torch.float16
    assert lm.config.vocab_size == len(tokenizer)
    ids = tokenizer("What colour is the star?", return_tensors="pt")["input_ids"]
    assert ids[0, 0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == "What colour is the star?"
    with torch.no_grad():
        assert lm.float()(input_ids=ids).logits.isfinite().all()


def test_a_model_can_be_built_from_them(made: Made) -> None:
    model, _, processor = build_model(made.out / TOWER, made.out / LANGUAGE, template="tiny")
    assert model.config.image_seq_length == 64
    assert processor.image_size == 112


def test_training_moved_every_layer(made: Made) -> None:
    _, language = plans()
    tokenizer = load_tokenizer(made.out / LANGUAGE)
    fresh = build_llama(language, tokenizer).state_dict()
    saved = LlamaForCausalLM.from_pretrained(made.out / LANGUAGE, dtype=torch.float32).state_dict()
    assert fresh.keys() == saved.keys()
    # Three steps of the warmup move norms by less than float16 shows near 1.
    matrices = [name for name, tensor in fresh.items() if tensor.ndim > 1]
    assert [name for name in matrices if torch.equal(fresh[name].half().float(), saved[name])] == []


def test_cards_say_what_was_made(made: Made) -> None:
    for name, plan in zip((TOWER, LANGUAGE), plans(), strict=True):
        card = (made.out / name / "README.md").read_text("utf-8")
        assert digests(made.out)[name] in card
        assert f"steps {plan.steps}" in card
        assert "Nothing was downloaded" in card
        assert f"Trained for 0 minutes on {torch.get_num_threads()} threads" in card
        for what, value in made.scores[name].items():
            assert 0 <= value <= 1
            assert f"{what}" in card
            assert f"{value:.3f}" in card
    for name, option in ((TOWER, "--pictures 8"), (LANGUAGE, "--documents 12")):
        assert (
            f"`pumice world pretrain OUT --part {name} {option}`"
            in (made.out / name / "README.md").read_text()
        )
    assert {"color", "shape", "size", "character", "center", "place"} == made.scores[TOWER].keys()
    assert any(key.startswith("layout ") for key in made.scores[LANGUAGE])
    assert any(key.startswith("list ") for key in made.scores[LANGUAGE])


def test_progress_is_reported_and_nothing_half_written_is_left(made: Made) -> None:
    for what in ("pretraining the tower", "pretraining the language model"):
        assert [row[1:] for row in made.said.rows if row[0] == what] == [(1, 3), (2, 3), (3, 3)]
    assert {what for what, _, _ in made.said.rows} >= {"drawing pictures", "writing text"}
    assert sorted(path.name for path in made.out.iterdir()) == [TOWER, LANGUAGE, WORK]
    assert not [path for path in (made.out / WORK).rglob("*") if path.suffix in (".tmp", ".partial")]


def test_parts_that_are_there_are_refused_before_any_work(made: Made, tmp_path: Path) -> None:
    before, said = digests(made.out), Said()
    with pytest.raises(UsageError, match=f"{TOWER} is already there") as caught:
        pretrain(made.out, report=said, **SMALL)
    assert str(made.out / TOWER) in str(caught.value)
    assert said.rows == []
    assert digests(made.out) == before
    # The second part is in the way: the first is not made for nothing either.
    (tmp_path / LANGUAGE).mkdir()
    with pytest.raises(UsageError, match=f"{LANGUAGE} is already there"):
        pretrain(tmp_path, report=said, **SMALL)
    assert said.rows == []
    assert [path.name for path in tmp_path.iterdir()] == [LANGUAGE]


@pytest.mark.parametrize(
    ("way", "part"),
    [
        ("stopped", TOWER),
        ("stopped", LANGUAGE),
        ("killed", TOWER),
        pytest.param("killed", LANGUAGE, marks=pytest.mark.slow),  # its text is written anew in the process
    ],
)
def test_stopped_and_started_again_gives_the_same_weights(
    made: Made, tmp_path: Path, way: str, part: str
) -> None:
    """Asked to stop before step 3, or gone after step 2 with the state of step 1."""
    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK, ignore=shutil.ignore_patterns("tower", "language"))
    tower, language = plans()
    options: dict[str, Any] = {"tower_plan": tower, "language_plan": language, "parts": (part,), **SMALL}
    name, what = NAMES[part], DOING[part]
    if way == "stopped":
        said = Said()
        with pytest.raises(Interrupted, match=f"stopped after step 2 of 3 in stage '{name}'") as caught:
            pretrain(out, report=said, stop=lambda: (what, 2, 3) in said.rows, **options)
        assert "same command again" in str(caught.value)
    else:
        script = tmp_path / "killed.py"
        script.write_text(
            KILLED.format(root=str(Path(__file__).parents[2]), threads=torch.get_num_threads()), "utf-8"
        )
        done = subprocess.run(
            [sys.executable, str(script), str(out), part], capture_output=True, text=True, check=False
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (out / part).exists()
    states = list_states(out / WORK / name / "state")
    assert states[-1].step == (2 if way == "stopped" else 1)
    said = Said()
    scores = pretrain(out, report=said, **options)
    assert [step for doing, step, _ in said.rows if doing == what] == [2, 3][way == "stopped" :]
    assert scores[part] == made.scores[part]
    assert digests(out, part) == digests(made.out, part)
    for kind in ("train", "accuracy"):
        assert learnt(out / WORK / name, kind) == learnt(made.out / WORK / name, kind)
    left = list_states(out / WORK / name / "state")
    files = {path.suffix for state in left for path in state.folder.iterdir()}
    assert files == {".safetensors", ".json"}


# What the two trainers see.


@pytest.fixture(scope="module")
def tokenizer(made: Made) -> Any:
    return load_tokenizer(made.out / WORK / "language_tokenizer")


def test_any_text_can_be_spelt(tokenizer: Any) -> None:
    for text in ("What is this?", "Grün \u00e9\u4e2d\n\n  two  spaces", "<unk> is text"[5:], "AB12 Cd"):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_signs_are_read_character_by_character(tokenizer: Any) -> None:
    ids = tokenizer.encode(" A7KX", add_special_tokens=False)
    assert [tokenizer.decode([i]) for i in ids] == [" A", "7", "K", "X"]


def test_tokenizers_mark_their_ends() -> None:
    texts = ["a red star left of a blue ring"] * 3
    caption = train_caption_tokenizer(texts, 300)
    ids = caption("a red star")["input_ids"]
    assert (ids[0], ids[-1]) == (caption.bos_token_id, caption.eos_token_id)
    assert caption.pad_token_id == caption.eos_token_id
    language = train_language_tokenizer(texts, 300)
    assert language("a")["input_ids"][0] == language.bos_token_id
    assert language.convert_ids_to_tokens([0, 1, 2]) == ["<unk>", "<s>", "</s>"]


def test_a_layout_is_what_the_model_reads(tokenizer: Any, scenes: list[Scene]) -> None:
    """Without a layout's cells, the same text has other hidden states: they are read."""
    _, plan = plans()
    writer = Writer(tokenizer, plan)
    document = next(d for scene in scenes[200:] if (d := writer.mixed(scene)).kind == "layout")
    trainer = LanguageTrainer(plan, tokenizer, [document], [document])
    with torch.no_grad():
        hidden, target = trainer.hidden([document], np.random.default_rng(0))
        empty = replace(document, cells=document.cells._replace(words=np.full_like(document.cells.words, -1)))
        other, _ = trainer.hidden([empty], np.random.default_rng(0))
        moved = replace(document, cells=document.cells._replace(places=1 - document.cells.places))
        elsewhere, _ = trainer.hidden([moved], np.random.default_rng(0))
        _, targets = trainer.hidden([document, document], np.random.default_rng(0))
    assert hidden.shape == (document.encoded.supervised, plan.width)
    assert target.tolist() == document.encoded.labels[document.encoded.labels != IGNORE_INDEX].tolist()
    assert not torch.allclose(hidden, other, atol=1e-3)
    assert not torch.allclose(hidden, elsewhere, atol=1e-3)
    assert targets.tolist() == target.tolist() * 2


def test_the_language_models_loss_falls_on_what_it_repeats(
    tokenizer: Any, scenes: list[Scene], tmp_path: Path
) -> None:
    _, plan = plans()
    plan = replace(plan, steps=30, dense_steps=30, warmup=2, lr=0.01, noise=0.0)
    lists = [Writer(tokenizer, plan).listed(scene) for scene in scenes[200:202]]
    trainer = LanguageTrainer(plan, tokenizer, lists, lists)
    losses = [row["loss"] for row in steps_of(trainer, tmp_path)]
    assert losses[-1] < losses[0] / 2


def test_an_answer_counts_when_all_its_tokens_do(tokenizer: Any, scenes: list[Scene]) -> None:
    """Totals are those of the documents' questions; an untrained model is right about none."""
    _, plan = plans()
    writer = Writer(tokenizer, plan)
    documents = [writer.mixed(scene) for scene in scenes[200:220]]
    trainer = LanguageTrainer(plan, tokenizer, documents, documents)
    counts = trainer.answers(documents)
    wanted = sum(len(d.types) for d in documents if d.kind != "caption")
    assert sum(total for _, total in counts.values()) == wanted
    assert sum(right for right, _ in counts.values()) <= wanted * 0.05


def test_the_towers_losses_fall_on_what_it_repeats(made: Made, tmp_path: Path) -> None:
    plan, _ = plans()
    plan = replace(plan, steps=30, warmup=2, lr=3e-3, contrast_every=2)
    pool = pictures.picture_pool(
        made.out / WORK / "pictures",
        seed=11,
        level="full",
        split="train",
        count=40,
        grid=plan.grid,
        workers=1,
        progress=lambda done, total: None,
    )
    assert len(pool) == 40
    tokenizer = load_tokenizer(made.out / WORK / "caption_tokenizer")
    few = Pool(pool.pixels[:4], pool.classes[:4], pool.centers[:4], pool.places[:4], pool.captions[:4])
    trainer = TowerTrainer(plan, tokenizer, few)
    history = steps_of(trainer, tmp_path)
    assert history[-1]["words"] < history[0]["words"] * 0.8
    assert ["phrase" in row for row in history[:4]] == [True, False, True, False]
    assert all(0 <= value <= 1 for value in trainer.accuracy(few, 4).values())


def test_every_phrase_is_where_its_classes_say() -> None:
    """The number of a phrase is worked out from its classes; it must be its place in the list."""
    from pumice.world.scene import COLOURS, SHAPES, SIGN, SIZES

    phrases = pretrain_tower.all_phrases()
    for s, size in enumerate(SIZES):
        for c, colour in enumerate(COLOURS):
            for h, shape in enumerate(SHAPES):
                number = (s * len(COLOURS) + c) * len(SHAPES) + h
                assert phrases[number] == f"{size} {colour} {shape}"
    assert phrases[len(SIZES) * len(COLOURS) * len(SHAPES)] == SIGN


def test_the_phrase_at_a_centre_is_the_objects(scenes: list[Scene]) -> None:
    """A sign's centre may belong to one of its characters; its phrase is the sign's all the same."""
    phrases, of_characters = pretrain_tower.all_phrases(), 0
    for scene in scenes[200:]:
        classes, centers, _ = pictures.patch_classes(scene, 8)
        numbers = np.full(64, -1)
        numbers[centers] = pretrain_tower.phrase_numbers(classes[centers])
        _, places = assign_regions([thing.box for thing in scene.things], 8)
        for thing, place in zip(scene.things, places, strict=True):
            assert phrases[numbers[place]] == thing.category
            of_characters += bool(classes[place][2] < 0)
        assert centers.sum() == len(scene.things)
    assert of_characters > 10


def test_a_place_is_right_when_it_is_near_the_things_own(made: Made) -> None:
    plan, _ = plans()
    with np.load(next((made.out / WORK / "pictures").glob("*.npz"))) as chunk:
        held = [chunk[name][:1] for name in ("pixels", "classes", "centers", "places")]
    few = Pool(*held, [["x"] * 5])
    trainer = TowerTrainer(plan, load_tokenizer(made.out / WORK / "caption_tokenizer"), few)
    things = torch.from_numpy(few.places[few.centers])
    with torch.no_grad():
        trainer.heads.place.weight.zero_()
        for offset, near in ((0.0, 1), (pretrain_tower.PLACE_NEAR * 1.1, 0)):
            trainer.heads.place.bias.copy_(things[0] + torch.tensor([offset, 0.0]))
            wanted = (things - trainer.heads.place.bias).abs().amax(dim=-1) < pretrain_tower.PLACE_NEAR
            assert bool(wanted[0]) == bool(near)
            found = trainer.accuracy(few, 1)["place"]
            assert found == pytest.approx(wanted.float().mean().item())


def test_small_errors_of_a_place_count_and_background_counts_less(made: Made) -> None:
    plan, _ = plans()
    with np.load(next((made.out / WORK / "pictures").glob("*.npz"))) as chunk:
        few = Pool(*(chunk[name][:2] for name in ("pixels", "classes", "centers", "places")), [["x"] * 5] * 2)
    trainer = TowerTrainer(plan, load_tokenizer(made.out / WORK / "caption_tokenizer"), few)
    rows, truth = np.arange(2), torch.from_numpy(few.places)
    shown = torch.from_numpy(few.shown(rows))
    assert 0 < int(shown.sum()) < shown.numel()
    losses = []
    for where in (shown, ~shown):
        wrong = truth + 0.01 * where[..., None]
        losses.append(float(trainer._place_loss(wrong, rows)) / int(where.sum()))
    assert losses[0] == pytest.approx(5 * losses[1], rel=1e-3)
    assert float(trainer._place_loss(truth + 0.01, rows)) == pytest.approx(0.02, rel=1e-3)


# States.


def test_stopped_between_parts_names_the_one_that_is_left(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK)
    tower, language = plans()
    real = module.make_documents
    monkeypatch.setattr(module, "make_documents", lambda *given: given[-1](12, 12) or real(*given))
    said = Said(("writing text", 12))
    with pytest.raises(Interrupted, match="stopped while writing text") as caught:
        pretrain(out, report=said, tower_plan=tower, language_plan=language, **SMALL)
    assert (out / TOWER).is_dir()
    assert f"again with --part {LANGUAGE}:" in str(caught.value)


@pytest.mark.parametrize("part", [TOWER, LANGUAGE])
def test_a_state_of_another_plan_is_refused(made: Made, tmp_path: Path, part: str) -> None:
    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK)
    tower, language = plans()
    options: dict[str, Any] = {
        "tower_plan": replace(tower, steps=5),
        "language_plan": replace(language, steps=5),
        **SMALL,
    }
    with pytest.raises(RunError, match=r"(?m)another pretraining: steps 3, not 5$") as caught:
        pretrain(out, report=Said(), parts=(part,), **options)
    assert caught.value.remedy == "delete the folder or use another"
    assert not (out / part).exists()
    folder = Path(str(caught.value.where))
    file = folder / "settings.json"
    held = json.loads(file.read_text("utf-8"))
    del held["lr"]
    file.write_text(json.dumps(held), "utf-8")
    with pytest.raises(RunError, match=r"(?m)lr None, not .*; steps 3, not 5$"):
        pretrain(out, report=Said(), parts=(part,), **options)
    file.unlink()  # the state itself says so, too
    with pytest.raises(RunError, match="saved under another plan"):
        pretrain(out, report=Said(), parts=(part,), **options)
    shutil.rmtree(folder)
    pretrain(out, report=Said(), parts=(part,), **options)
    assert [state.step for state in list_states(folder / "state")] == [4, 5]


def test_a_damaged_state_gives_way_to_the_one_before(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK)
    newest = list_states(out / WORK / "language" / "state")[-1]
    (newest.folder / "state.safetensors").write_bytes(b"noise")
    _, language = plans()
    said = Said()
    pretrain(out, report=said, parts=(LANGUAGE,), language_plan=language, **SMALL)
    assert [step for what, step, _ in said.rows if what == DOING[LANGUAGE]] == [2, 3]
    assert digests(out, LANGUAGE) == digests(made.out, LANGUAGE)


@pytest.mark.parametrize("part", [TOWER, LANGUAGE])
def test_a_step_that_cannot_be_taken_says_what_it_drew(
    made: Made, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*given: Any) -> dict[str, float]:
        return {"loss": float("nan"), "pictures": 1, "tokens": 1}

    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK, ignore=shutil.ignore_patterns("tower", "language"))
    tower, language = plans()
    monkeypatch.setattr(TowerTrainer if part == TOWER else LanguageTrainer, "gradients", wrong)
    with pytest.raises(RunError, match=f"the loss is nan .* at step 1 of stage '{NAMES[part]}'") as caught:
        pretrain(out, report=Said(), parts=(part,), tower_plan=tower, language_plan=language, **SMALL)
    assert {TOWER: "picture ", LANGUAGE: " in row 0"}[part] in str(caught.value.where)


def test_time_adds_up_over_starts(made: Made, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    shutil.copytree(made.out / WORK, out / WORK)
    record = list_states(out / WORK / "tower" / "state")[-1].folder / "state.json"
    held = json.loads(record.read_text("utf-8"))
    assert held["seconds"] > 0
    held["seconds"] = 600.0
    record.write_text(json.dumps({**held, "seal": seal_record(held)}), "utf-8")
    tower, _ = plans()
    pretrain(out, report=Said(), parts=(TOWER,), tower_plan=tower, **SMALL)
    assert "Trained for 10 minutes on" in (out / TOWER / "README.md").read_text("utf-8")


def test_the_learning_rate_rises_and_falls() -> None:
    class Still(Trainer):
        NAME, UNIT, FIGURES, FLOOR = "x", "rows", (), 0.1

        def gradients(self, step: int) -> dict[str, float]:
            raise AssertionError

        def drawn(self, step: int) -> list[str]:
            raise AssertionError

    plan = replace(TowerPlan(), lr=2.0, warmup=4, steps=14)
    still = Still(plan, {}, {"m": torch.nn.Linear(1, 1)})
    rates = [set_rates(still.optimizer, still.factor(step))["x"] for step in (0, 1, 3, 4, 9, 14)]
    assert rates == pytest.approx([0.5, 1.0, 2.0, 2.0, 1.1, 0.2])
