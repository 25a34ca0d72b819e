"""Stages that prefer one answer to another, against DPO written out by hand on sequences of their own."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pumice.errors import DataError, Interrupted, RunError
from pumice.recipes.schema import Preference
from pumice.text.render import render
from pumice.train.preference import Pairs, References, load_references, save_references
from pumice.train.reference import REFERENCE, read_references
from pumice.train.stage import accumulate
from pumice.types import IGNORE_INDEX, Message, Text

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.1}


@pytest.fixture(scope="module")
def trained(toy: Any, parts: Any, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy's stage, with nothing in its way; read only."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    toy.run(toy.make_recipe(data, toy.prefer()), folder, parts)
    return folder


def alone(bench: Any, index: int, answer: str) -> float:
    """The log probability of an answer, by plain transformers on a sequence that holds it alone."""
    sample, model = bench.data.samples[index], bench.model
    messages = (*sample.messages[:-1], Message("assistant", (Text(answer),)))
    views = bench.context.pictures.views(sample.images)
    encoded = render(
        messages,
        bench.data.tokenizer,
        bench.data.template,
        image_lengths=[view.layout.tokens for view in views],
        image_token_id=model.config.image_token_id,
    )
    ids_1T, labels_T = torch.from_numpy(encoded.input_ids)[None], torch.from_numpy(encoded.labels)
    with torch.no_grad():
        embeds_1TD = model.lm.get_input_embeddings()(ids_1T).clone()
        if views:
            shown = model.lay_out(
                bench.context.pictures.features(model, views), [view.layout for view in views]
            )
            embeds_1TD[0, encoded.input_ids == model.config.image_token_id] = torch.cat(shown)
        logits_TV = model.lm(inputs_embeds=embeds_1TD).logits[0].float()
    # As TRL sums them: shift by one, gather, mask.
    wanted_T = labels_T[1:].clamp(min=0)
    found_T = logits_TV[:-1].log_softmax(-1).gather(1, wanted_T[:, None])[:, 0]
    return float((found_T * (labels_T[1:] != IGNORE_INDEX)).sum())


def test_the_loss_falls_and_the_margin_rises(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    recipe = toy.make_recipe(data, toy.prefer(steps=24))
    toy.run(recipe, tmp_path / "run", parts)
    rows = toy.metrics(tmp_path / "run", "prefer")
    steps = [row for row in rows if row["kind"] == "train"]
    held_out = [row for row in rows if row["kind"] == "validation"]
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-6)
    assert held_out[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for end, begin in ((steps[-1], steps[0]), (held_out[-1], held_out[0])):
        assert end["loss"] < begin["loss"] - 0.25
        assert end["margin"] > begin["margin"] + 0.5
        assert end["accuracy"] == 1.0
        assert end["chosen"] - end["rejected"] > begin["chosen"] - begin["rejected"] + 5
    assert held_out[0]["pairs"] == 3


def test_branches_of_packed_rows_are_sequences_of_their_own(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """Both answers of every pair, several pairs a row, with and without a picture."""
    bench = toy.bench(data, parts, tmp_path, toy.prefer(steps=None, epochs=1))
    references = bench.data.references
    assert max(len(row) for step in bench.run.plan.steps for row in step) > 1
    assert {bool(sample.images) for sample in bench.data.samples} == {True, False}
    for index, sample in enumerate(bench.data.samples):
        for side, answer in enumerate((sample.messages[-1].text, sample.rejected)):
            found = references.logps[index, side]
            assert found == pytest.approx(alone(bench, index, answer), abs=1e-5 * abs(found))


def test_the_loss_is_dpos_written_out_by_hand(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """TRL: -logsigmoid(beta * (log ratio of the policy - that of the reference)), a mean over pairs."""
    options = {"beta": 0.3, "dpo": 0.7, "sft": 0.2, "label_smoothing": 0.1}
    bench = toy.bench(data, parts, tmp_path, toy.prefer(preference=options))
    before = {index: reference(bench, index) for index in bench.run.plan.samples(0)}
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in bench.model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    losses, chosen, tokens = [], 0.0, 0
    for index in bench.run.plan.samples(0):
        sample = bench.data.samples[index]
        c, r = alone(bench, index, sample.messages[-1].text), alone(bench, index, sample.rejected)
        ref_c, ref_r = before[index]
        margin = torch.tensor(0.3 * ((c - r) - (ref_c - ref_r)))
        logsigmoid = torch.nn.functional.logsigmoid
        losses.append(float(-0.9 * logsigmoid(margin) - 0.1 * logsigmoid(-margin)))
        chosen += c
        tokens += int(bench.data.references.tokens[index, 0])
    found = accumulate(bench.model, bench.run, 0)
    assert abs(float(np.mean(losses)) - math.log(2)) > 0.02, "the weights have moved"
    assert found["dpo"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["sft"] == pytest.approx(-chosen / tokens, rel=1e-5)
    assert found["loss"] == pytest.approx(0.7 * np.mean(losses) - 0.2 * chosen / tokens, rel=1e-5)


def reference(bench: Any, index: int) -> tuple[float, float]:
    chosen, rejected = bench.data.references.logps[index]
    return float(chosen), float(rejected)


def test_the_kinds_of_loss() -> None:
    logps, known = torch.tensor([[-4.0, -9.0], [-6.0, -5.0]]), torch.tensor([[-5.0, -8.0], [-5.0, -5.0]])
    pairs = Pairs(logps, known, torch.tensor([[2, 4], [5, 1]]))
    margins = [0.1 * (1 + 1), 0.1 * (-1 - 0)]
    assert pairs.margins(Preference()).tolist() == pytest.approx(margins)
    sigmoid = [math.log(1 + math.exp(-margin)) for margin in margins]
    assert pairs.losses(Preference()).tolist() == pytest.approx(sigmoid)
    per_token = [1 / 2 + 1 / 4, -1 / 5 - 0]
    ipo = [(gain - 1 / (2 * 0.5)) ** 2 for gain in per_token]
    assert pairs.losses(Preference(loss="ipo", beta=0.5)).tolist() == pytest.approx(ipo)
    _, told = pairs.share(Preference(), 4, 7)
    assert told["accuracy"] == 1 / 4
    assert told["chosen"] == -10 / 4


def test_pairs_that_are_neither_ahead_nor_behind_count_half() -> None:
    """Before the first step the model is its reference: nothing is ahead, and nothing behind."""
    logps = torch.tensor([[-4.0, -9.0], [-6.0, -5.0]])
    _, told = Pairs(logps, logps, torch.tensor([[2, 4], [5, 1]])).share(Preference(), 2, 7)
    assert (told["margin"], told["accuracy"]) == (0.0, 0.5)


def test_ipo_learns_too(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    stage = toy.prefer(steps=12, preference={"loss": "ipo", "beta": 0.5}, validation=None)
    toy.run(toy.make_recipe(data, stage), tmp_path / "run", parts)
    rows = toy.metrics(tmp_path / "run", "prefer")
    assert rows[0]["loss"] == pytest.approx(1.0, abs=1e-4)
    assert rows[-1]["loss"] < 0.7


def test_its_own_loss_alone_is_that_of_an_instruct_stage(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    """All chosen answers in one step: the same loss and the same gradients, the other branch unseen."""
    found = []
    for number, stage in enumerate(
        (
            toy.prefer(preference={"dpo": 0.0, "sft": 1.0}, rows_per_step=8),
            toy.prefer(kind="instruct", rows_per_step=8),
        )
    ):
        bench = toy.bench(data, parts, tmp_path / str(number), stage)
        assert len(bench.run.plan.samples(0)) == len(bench.data.samples)
        loss = accumulate(bench.model, bench.run, 0)["loss"]
        found.append((loss, {n: p.grad for n, p in bench.model.named_parameters() if p.requires_grad}))
    (preferred, gradients), (instructed, others) = found
    assert preferred == pytest.approx(instructed, rel=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-4, atol=1e-6, msg=name)


def test_accumulation_changes_nothing(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    found = []
    for number in (1, 2, 4):
        stage = toy.prefer(rows_per_step=4, row_length=96, accumulation=number, preference={"sft": 0.5})
        bench = toy.bench(data, parts, tmp_path / str(number), stage)
        with torch.no_grad():
            next(iter(bench.model.connector.parameters())).add_(0.05)
        losses = accumulate(bench.model, bench.run, 0)
        del losses["places"]  # each part pads its own
        found.append((losses, {n: p.grad for n, p in bench.model.named_parameters() if p.requires_grad}))
    (losses, gradients), *others = found
    assert losses["margin"] != 0
    for other_losses, other_gradients in others:
        assert other_losses == pytest.approx(losses, rel=1e-4, abs=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def same_run(toy: Any, folder: Path, other: Path) -> None:
    model = Path("stages/prefer/model")
    assert toy.weights(folder / model) == toy.weights(other / model)
    assert toy.metrics(folder, "prefer") == toy.metrics(other, "prefer")
    place = Path("stages/prefer") / REFERENCE
    assert (folder / place).read_bytes() == (other / place).read_bytes()


def test_killed_and_resumed_is_bit_identical(
    toy: Any, parts: Any, data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    words = [sys.executable, toy.__file__, folder, parts.vision.parent, data, "prefer", "3"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    toy.run(toy.make_recipe(data, toy.prefer()), folder, parts, resume=True)
    same_run(toy, folder, trained)


@pytest.mark.parametrize("lost", ["kept", "damaged", "gone"])
def test_a_resumed_run_has_the_reference_it_began_with(
    toy: Any, parts: Any, data: Path, trained: Path, tmp_path: Path, lost: str
) -> None:
    """The model has moved by then; where the file is lost, it is computed before the state is loaded."""
    folder = tmp_path / "run"
    stopped(toy, toy.make_recipe(data, toy.prefer()), folder, parts)
    path = folder / "stages" / "prefer" / REFERENCE
    if lost == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    elif lost == "gone":
        path.unlink()
    toy.run(toy.make_recipe(data, toy.prefer()), folder, parts, resume=True)
    same_run(toy, folder, trained)


def stopped(toy: Any, recipe: Any, folder: Path, parts: Any, after: int = 4) -> None:
    calls = iter(range(99))
    with pytest.raises(Interrupted):
        toy.run(recipe, folder, parts, stop=lambda: next(calls) == after)


def test_a_reference_of_another_plan_is_refused(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    recipe, folder = toy.make_recipe(data, toy.prefer()), tmp_path / "run"
    stopped(toy, recipe, folder, parts)
    path = folder / "stages" / "prefer" / REFERENCE
    sizes = {"train": 11, "validation": 3}
    plan = json.loads((path.parent / "plan.json").read_text("utf-8"))
    parts_now = load_references(path, sizes, plan["digest"])
    assert parts_now is not None
    save_references(path, parts_now, "another")
    with pytest.raises(RunError, match="under another plan") as caught:
        toy.run(recipe, folder, parts, resume=True)
    assert caught.value.where == str(path)


def test_references_of_another_size_are_refused(tmp_path: Path) -> None:
    save_references(tmp_path / "r", {"train": References.empty(3)}, "plan")
    found = load_references(tmp_path / "r", {"train": 3}, "plan")
    assert found is not None
    assert not found["train"].known(1)
    with pytest.raises(RunError, match="under another plan"):
        load_references(tmp_path / "r", {"train": 4}, "plan")


def test_only_what_the_plan_shows_is_read(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.prefer(steps=1, rows_per_step=1))
    shown = set(bench.run.plan.samples(0))
    assert 0 < len(shown) < len(bench.data.samples)
    assert {i for i in range(len(bench.data.samples)) if bench.data.references.known(i)} == shown


def test_a_row_without_a_worse_answer_is_named(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rejected answer") as caught:
        toy.run(toy.make_recipe(data, toy.prefer(sources=["instruct"])), tmp_path / "run", parts)
    assert f"{data / 'instruct.json'}, row 0" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_stages_learn_the_better_answer_of_pairs(
    toy: Any, parts: Any, data: Path, tmp_path: Path
) -> None:
    bench = toy.bench(data, parts, tmp_path, toy.prefer(kind="instruct"))
    sample = bench.data.samples[0]
    plain = bench.data.encode(dataclasses.replace(sample, rejected=None, id="other"))
    assert bench.data.encode(sample).input_ids.tolist() == plain.input_ids.tolist()


def test_low_rank_additions_prefer_and_resume(toy: Any, parts: Any, data: Path, tmp_path: Path) -> None:
    """The reference is the model without what the additions learn; dropout does not touch it."""
    recipe = toy.make_recipe(data, toy.prefer(lora=LORA, steps=8, lr={"connector": 0.003, "language": 0.01}))
    toy.run(recipe, tmp_path / "whole", parts)
    rows = toy.metrics(tmp_path / "whole", "prefer")
    held_out = [row for row in rows if row["kind"] == "validation"]
    assert held_out[0]["margin"] == pytest.approx(0, abs=1e-6)
    assert held_out[-1]["loss"] < held_out[0]["loss"] - 0.02
    plain = toy.bench(data, parts, tmp_path / "plain", toy.prefer(steps=8)).data.references
    file = load_file(tmp_path / "whole/stages/prefer" / REFERENCE)
    np.testing.assert_allclose(file["train/logps"].numpy(), plain.logps, rtol=1e-5)
    stopped(toy, recipe, tmp_path / "run", parts, after=5)
    toy.run(recipe, tmp_path / "run", parts, resume=True)
    same_run(toy, tmp_path / "run", tmp_path / "whole")


def test_the_reference_is_read_once(
    toy: Any, parts: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = toy.prefer()
    bench = toy.bench(data, parts, tmp_path, stage)
    before = bench.data.references
    monkeypatch.setattr("pumice.train.reference.stage_losses", None)  # whoever asks the model fails
    ready = type("Ready", (), {"plan": bench.run.plan, "data": bench.data, "lengths": bench.run.lengths})
    read_references(
        bench.model,
        ready,
        bench.validator,
        bench.context,
        tmp_path / REFERENCE,
        lambda *told: None,  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(bench.data.references.logps, before.logps)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"activation_checkpointing": True},
        {"lora": {**LORA, "quantize": "nf4"}},
        {"accumulation": 2, "rows_per_step": 4},
        {
            "trainable": ["connector", "language", "vision"],
            "lr": {"connector": 0.003, "language": 0.001, "vision": 0.001},
        },
    ],
)
def test_the_first_margin_is_0_in_every_way_of_training(
    toy: Any, parts: Any, data: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """The reference is read in the batches, the precision and the weights that training begins with."""
    if "lora" in changes:
        pytest.importorskip("bitsandbytes")
        changes = {**changes, "lora": {**changes["lora"], "dropout": 0.0}}
    toy.run(toy.make_recipe(data, toy.prefer(**changes)), tmp_path / "run", parts)
    rows = [row for row in toy.metrics(tmp_path / "run", "prefer") if row["kind"] == "train"]
    assert rows[0]["margin"] == pytest.approx(0, abs=1e-6)
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert rows[-1]["margin"] > 0.02
