"""How much memory loading takes: the peak of a process that does nothing else, as a share of the weights.

    python benchmarks/load_memory.py              # 7B-shaped, cut to 3 layers: 2.4 GB of bfloat16
    python benchmarks/load_memory.py --layers 32  # whole: 14 GB

The checkpoint is made of files with holes: it takes no room on the disk. Resident memory before the
load (the libraries) is subtracted. Loading a whole model must stay within 1.15 times its weights.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.15
VISION = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 336,
    "projection_dim": 768,
}


def text_config(layers: int, width: int = 4096) -> dict[str, object]:
    """Vicuna 7B's configuration with so many layers."""
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": width * 43 // 16,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 128,
        "num_key_value_heads": width // 128,
        "vocab_size": 32064,
        "max_position_embeddings": 4096,
    }


def shapes(layers: int, width: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint by its key, as transformers itself names and sizes them."""
    import torch
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import AutoConfig

    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(AutoConfig.for_model(**text_config(layers, width)))
        tower = AutoModel.from_config(AutoConfig.for_model(**VISION))
    found = {f"language_model.{key}": tuple(value.shape) for key, value in lm.state_dict().items()}
    for key, value in tower.state_dict().items():
        found[f"vision_tower.vision_model.{key.removeprefix('vision_model.')}"] = tuple(value.shape)
    for number, inside in (("1", 1024), ("2", width)):
        found[f"multi_modal_projector.linear_{number}.weight"] = (width, inside)
        found[f"multi_modal_projector.linear_{number}.bias"] = (width,)
    return found


def write_zeros(file: Path, tensors: dict[str, tuple[int, ...]]) -> int:
    """A safetensors file of zeros in bfloat16, without writing them; returns the bytes of its tensors."""
    header, at = {}, 0
    for key, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[key] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + at)
    return at


def make_checkpoint(folder: Path, layers: int, width: int = 4096, shard_bytes: int = 5 * 10**9) -> int:
    """A LLaVA checkpoint in transformers' layout, its weights zeros; returns their bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens(["<image>", "<pad>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    config = {
        "model_type": "llava",
        "text_config": text_config(layers, width),
        "vision_config": VISION,
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "projector_hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config))
    size = {"height": 336, "width": 336}
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": 336},
        "crop_size": size,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for key, shape in shapes(layers, width).items():
        if filled and filled + 2 * math.prod(shape) > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][key] = shape
        filled += 2 * math.prod(shape)
    weight_map, total = {}, 0
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        total += write_zeros(folder / name, shard)
        weight_map |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return total


CHILD = """
import json, resource, sys, time
import pumice, pumice.model
import torch
from transformers import AutoModelForCausalLM, CLIPVisionModel, LlamaForCausalLM, PreTrainedTokenizerFast
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
model = pumice.load(sys.argv[1], dtype=sys.argv[2], template="v1").model
seconds = time.monotonic() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
weights = sum(p.nbytes for p in {id(p): p for p in model.parameters()}.values())
print(json.dumps({"before": before * 1024, "peak": peak * 1024, "weights": weights, "seconds": seconds}))
"""


def measure(folder: Path, dtype: str) -> dict[str, float]:
    """Load in a process of its own: resident bytes before and at the peak, bytes of weights, seconds."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), dtype], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the load failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=3, help="layers of the language model; 32 is 7B")
    parser.add_argument("--dtype", default="bfloat16", help="of the weights in memory")
    parser.add_argument("--folder", default=None, help="where to make the checkpoint; it is removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        start = time.monotonic()
        stored = make_checkpoint(Path(name), options.layers)
        made = time.monotonic() - start
        print(f"checkpoint: {stored / 1e9:.2f} GB of bfloat16, {options.layers} layers, made in {made:.0f} s")
        found = measure(Path(name), options.dtype)
    share = (found["peak"] - found["before"]) / found["weights"]
    print(f"libraries alone: {found['before'] / 1e9:.2f} GB")
    print(f"weights in memory: {found['weights'] / 1e9:.2f} GB ({options.dtype})")
    seconds = found["seconds"]
    print(f"peak of loading: {found['peak'] / 1e9:.2f} GB, {share:.3f} times the weights; {seconds:.1f} s")
    if share > LIMIT:
        raise SystemExit(f"more than {LIMIT} times the weights")


if __name__ == "__main__":
    main()
