"""Every command and Python block of docs/checkpoints.md runs, on tiny checkpoints of the names used there."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
TOWER = "clip-vit-large-patch14-336"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)


def helper(stem: str) -> Any:
    """A file beside the tests of ``model``, by its path."""
    name = f"pumice_test_{stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "model" / f"{stem}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the page takes for given, tiny and random."""
    import torch
    from transformers import CLIPImageProcessorPil, Dinov2Config, Dinov2Model

    from pumice.model import build_model, save_model

    parts, original = helper("parts"), helper("original")
    place = tmp_path_factory.mktemp("docs")
    tower = parts.make_vision(place / TOWER)
    language = parts.make_language(place / "vicuna-7b-v1.5", max_position_embeddings=1024)
    model, tokenizer, processor = build_model(tower, language, template="v1")
    save_model(model, tokenizer, processor, place / "llava-1.5-7b-hf", dtype="float32")
    named = f"openai/{TOWER}"
    original.write_full(place / "llava-v1.5-7b", model, parts.make_tokenizer(), named)
    original.write_adapter(place / "llava-v1.5-7b-lora", model, 290, named)
    original.write_projector(place / "llava-pretrain", model, 290, named)
    torch.manual_seed(0)
    dino = Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8, mlp_ratio=2
    )
    Dinov2Model(dino).save_pretrained(place / "dinov2-base")
    size = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=size).save_pretrained(place / "dinov2-base")
    Image.new("RGB", (40, 30), "teal").save(place / "photo.jpg")
    return place


@pytest.fixture(scope="module")
def ran(place: Path) -> Path:
    """All commands have run, in their order."""
    from typer.testing import CliRunner

    from pumice.cli import app

    before = Path.cwd()
    os.chdir(place)
    try:
        for line in (line for block in blocks("sh") for line in block.splitlines()):
            words = shlex.split(line)
            assert words[0] == "pumice", line
            result = CliRunner().invoke(app, words[1:])
            assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"
            if words[1] in ("export", "merge"):
                assert "read back by Pumice" in result.stdout
    finally:
        os.chdir(before)
    return place


def test_the_page_has_commands_and_code() -> None:
    assert len([line for block in blocks("sh") for line in block.splitlines()]) >= 5
    assert len(blocks("python")) >= 7


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_every_block_runs(ran: Path, number: int) -> None:
    code = blocks("python")[number]
    alone = "transformers import" in code
    if alone:
        code += "\nimport sys\nassert not any(name.startswith('pumice') for name in sys.modules)\n"
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ran, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"


def test_names_of_the_page_exist() -> None:
    """Links within the page lead somewhere, and the benchmark it names is there."""
    heads = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", PAGE)) <= heads
    for file in re.findall(r"benchmarks/\w+\.py", PAGE):
        assert (ROOT / file).is_file()
