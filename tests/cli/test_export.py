"""`pumice export`: what it writes and says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ALONE = """
import sys
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
folder, picture, question = sys.argv[1:]
model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
processor = AutoProcessor.from_pretrained(folder)
content = [{"type": "image"}, {"type": "text", "text": "\\n" + question}]
prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
given = processor(images=Image.open(picture).convert("RGB"), text=prompt, return_tensors="pt",
                  add_special_tokens=False)
ids = model.generate(**given, max_new_tokens=6, do_sample=False)[0, given["input_ids"].shape[1]:]
assert "pumice" not in sys.modules
print(processor.decode(ids, skip_special_tokens=True).strip())
"""


def test_a_trained_model_answers_in_plain_transformers(
    pumice: Any, trained: Any, world: Path, tmp_path: Path
) -> None:
    result = pumice("export", trained.folder, tmp_path / "out")
    again = pumice("export", trained.folder, tmp_path / "out")
    assert again.code == 2
    assert "add --overwrite" in again.err
    assert result.code == 0, result.both
    assert "read back by Pumice: scores differ by at most 0 (float32)" in result.out
    assert "read back by transformers: by at most" in result.out
    picture = min((world / "images").iterdir())
    question = "What colour is the square?"
    words = [sys.executable, "-c", ALONE, str(tmp_path / "out"), str(picture), question]
    env = {**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = pumice("chat", trained.folder, "--image", picture, question, "--max-new-tokens", "6")
    assert done.stdout.strip() == answer.out.strip()


def test_the_originals_layout(pumice: Any, trained: Any, tmp_path: Path) -> None:
    result = pumice(
        "export", trained.folder / "model", tmp_path / "out", "--format", "llava", "--dtype", "bfloat16"
    )
    assert result.code == 0, result.both
    assert "(llava, bfloat16)" in result.out
    assert "mm_vision_tower" in result.out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == "llava_llama"
    back = pumice("export", tmp_path / "out", tmp_path / "hf", "--template", "tiny")
    assert back.code == 0, back.both


def test_unknown_format(pumice: Any, trained: Any, tmp_path: Path) -> None:
    result = pumice("export", trained.folder, tmp_path / "out", "--format", "lava")
    assert result.code == 2
    assert "did you mean 'llava'" in result.err
    assert not (tmp_path / "out").exists()


def test_nothing_there(pumice: Any, tmp_path: Path) -> None:
    result = pumice("export", "no/such", tmp_path / "out")
    assert result.code == 1
    assert "could not be fetched" in result.err
    assert "hf download no/such" in result.err
