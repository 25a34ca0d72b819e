"""The first losses of both embedded parts: what data, model, losses, clipping, rates and AdamW give together.

A change of any of them that is meant changes these numbers; one that is not meant must not. Products are
taken in bfloat16, which processors round in their own ways: hence the tolerance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pumice.world import pictures
from pumice.world.documents import Writer, corpus
from pumice.world.pictures import Pool
from pumice.world.pretrain_lm import LanguagePlan, LanguageTrainer
from pumice.world.pretrain_tower import TowerPlan, TowerTrainer
from pumice.world.scene import make_scene
from pumice.world.tokenize import train_caption_tokenizer, train_language_tokenizer

from .steps import steps_of

TOWER = TowerPlan(
    width=32, layers=2, heads=2, mlp=64, text_width=32, embed=32, batch=8, steps=6, warmup=2, contrast_every=2
)
LANGUAGE = LanguagePlan(
    width=32, layers=2, heads=2, mlp=64, rows=2, dense_rows=2, steps=6, dense_steps=3, warmup=2
)

LOSSES = {
    "words": [11.1085892, 10.3175726, 9.5748939, 9.1895752, 9.1411524, 9.8312569],
    "place": [1.4195393, 1.3736477, 0.7395847, 0.5428433, 0.6654613, 0.6273282],
    "caption": [2.6022420, 2.1339188, 2.1362796],
    "phrase": [3.3714468, 3.3593163, 3.0682478],
}
TEXT = [6.5864139, 6.3256469, 5.9406896, 5.8479195, 6.1970034, 5.5490012]
TOKENS = [454, 383, 454, 113, 405, 100]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    patch = pytest.MonkeyPatch()
    patch.setattr(pictures, "CHUNK", 40)
    pool = pictures.picture_pool(
        tmp_path_factory.mktemp("pictures"),
        seed=11,
        level="full",
        split="train",
        count=40,
        grid=TOWER.grid,
        workers=1,
        progress=lambda done, total: None,
    )
    patch.undo()
    return pool


def test_the_towers_first_losses(pool: Pool, tmp_path: Path) -> None:
    tokenizer = train_caption_tokenizer((c for captions in pool.captions for c in captions), 512)
    trainer = TowerTrainer(TOWER, tokenizer, pool)
    rows = steps_of(trainer, tmp_path)
    for name, wanted in LOSSES.items():
        assert [row[name] for row in rows if name in row] == pytest.approx(wanted, rel=5e-3), name
    assert {row["pictures"] for row in rows} == {8}


def test_the_language_models_first_losses(tmp_path: Path) -> None:
    tokenizer = train_language_tokenizer(corpus(5, 150), LANGUAGE.vocabulary)
    scenes = [make_scene(7, index, "full") for index in range(12)]
    writer = Writer(tokenizer, LANGUAGE)
    lists, mixed = [writer.listed(s) for s in scenes], [writer.mixed(s) for s in scenes]
    trainer = LanguageTrainer(LANGUAGE, tokenizer, lists, mixed)
    rows = steps_of(trainer, tmp_path)
    assert [row["loss"] for row in rows] == pytest.approx(TEXT, rel=5e-3)
    assert [row["tokens"] for row in rows] == TOKENS
