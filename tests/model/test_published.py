"""Sizes of published parts against the numbers of parameters that their authors tell."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from pumice.errors import CheckpointError
from pumice.model.published import published_config

TOLD = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Meta-Llama-3-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "google/gemma-2-2b-it": 2_614_341_888,
    "google/gemma-2-9b": 9_241_705_984,
    "google/gemma-2-27b": 27_227_128_320,
    "google/gemma-3-1b-it": 999_885_952,
    # The whole checkpoint, less its SigLIP tower of 416,866,032 and the projector (a norm and a matrix).
    "google/gemma-3-4b-it": 4_300_079_472 - 416_866_032 - 1152 * 2561,
    "google/gemma-3-12b-it": 12_187_325_040 - 416_866_032 - 1152 * 3841,
    "google/gemma-3-27b-it": 27_432_406_640 - 416_866_032 - 1152 * 5377,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
}


@pytest.mark.parametrize("name", TOLD)
def test_sizes_give_the_number_of_parameters_that_is_told(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(published_config(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == TOLD[name]


def test_an_unknown_size_says_that_config_and_tokenizer_are_enough() -> None:
    with pytest.raises(CheckpointError) as caught:
        published_config("Qwen/Qwen2.5-Math-7B")
    remedy = str(caught.value.remedy)
    assert "config.json" in remedy
    assert "no weights are needed" in remedy
    assert "Qwen/Qwen2.5-7B" in remedy, "the family"
    assert "gemma" not in remedy
