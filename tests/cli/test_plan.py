"""`pumice plan`: what it finds is what training does, and nothing of it is left out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pumice.forecast import machine

PUBLISHED = """\
name: published
model:
  vision: hub:openai/clip-vit-large-patch14-336
  language: hub:lmsys/vicuna-{size}-v1.5
  template: v1
  image: {{aspect: pad}}
data:
  captions: {{file: "${{data}}/captions.json", images: "${{data}}"}}
  mix: {{file: "${{data}}/mix.json", images: "${{data}}"}}
stages:
  - name: align
    kind: align
    sources: [captions]
    template: plain
    aspect: crop
    lr: {{connector: 1e-3}}
    epochs: 1
    samples_per_step: 256
    too_long: cut
    activation_checkpointing: true
  - name: instruct
    kind: instruct
    sources: [mix]
    lr: {{connector: 2e-5, language: 2e-5}}
    epochs: 1
    samples_per_step: 128
    too_long: cut
    activation_checkpointing: true
published:
  align: {{samples: 558128, images: 558128, text_tokens: 32, hardware: a100-80g, devices: 8,
          sharding: grads, hours: {align}}}
  instruct: {{samples: 665298, images: 624610, text_tokens: 370, hardware: {card}, devices: 8,
             sharding: full, hours: {instruct}}}
"""
HOURS = {"7b": (3.5, 10.0, "a100-40g"), "13b": (5.5, 20.0, "a100-80g")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    monkeypatch.setattr(machine, "SIDE", {"cpu": 64, "cuda": 64})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_file(ending: str = ".json") -> Path:
    """Where the only plan of this folder went, or what stands beside it."""
    [file] = [path for path in Path("runs/plans").glob("*.json") if not path.name.endswith(".steps.json")]
    return file.with_name(file.stem + ending)


def published(folder: Path, size: str = "7b") -> Path:
    align, instruct, card = HOURS[size]
    path = folder / f"published-{size}.yaml"
    path.write_text(PUBLISHED.format(size=size, align=align, instruct=instruct, card=card))
    return path


def talk(count: int, **keys: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"t{number}",
            "image": f"{number}.png",
            "conversations": [
                {"from": "human", "value": f"<image>\nWhat is number {number}?"},
                {"from": "gpt", "value": "A number. " * (1 + number % 3)},
            ],
            **keys,
        }
        for number in range(count)
    ]


def test_the_plan_is_the_one_that_training_makes(
    pumice: Any, recipe: Path, world: Path, trained: Any, here: Path
) -> None:
    result = pumice("plan", recipe, "--data", world, "--out", "p/plan.json", "--devices", 1)
    assert result.code == 0, result.both
    told = json.loads(Path("p/plan.json").read_text("utf-8"))
    record = json.loads((trained.folder / "run.json").read_text("utf-8"))
    for stage in told["stages"]:
        run = json.loads((trained.folder / "stages" / stage["name"] / "plan.json").read_text("utf-8"))
        steps = json.loads(Path("p", stage["steps_file"]).read_text("utf-8"))
        assert steps == run
        assert stage["digest"] == run["digest"]
        assert stage["steps"] == len(run["steps"])
        assert stage["tokens"]["all"] >= sum(run["tokens"]) / stage["epochs"]
        done = next(row for row in record["stages"] if row["name"] == stage["name"])["features"]
        for key in ("keep", "dtype", "views", "bytes"):
            assert stage["features"].get(key) == done.get(key)
        lines = (trained.folder / "stages" / stage["name"] / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if row["kind"] == "train"]
        flops = stage["cost"]["flops"]
        before = flops["vision"] if stage["features"]["keep"] != "none" else 0.0
        assert flops["all"] - before == pytest.approx(sum(row["flops"] for row in rows), rel=1e-6)
    rows = json.loads((trained.folder / "mixture.json").read_text("utf-8"))
    ours = [{"stage": stage["name"], **row} for stage in told["stages"] for row in stage["sources"]]
    assert ours == rows
    assert told["stages"][1]["validation"][0]["source"] == "val"
    assert "supervised" in result.out
    assert "█" in result.out
    assert told["estimated_tokens"] is False


def test_what_was_measured_of_this_machine_is_said(
    pumice: Any, recipe: Path, world: Path, here: Path
) -> None:
    result = pumice("plan", recipe, "--data", world, "--stage", "instruct", "--hardware", "this")
    assert result.code == 0, result.both
    assert "not planned: align" in result.out
    assert "matrix products" in result.out
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    cost = stage["cost"]
    assert cost["seconds"] == pytest.approx(cost["flops"]["all"] / (cost["peak"] * cost["share_of_peak"]))
    assert cost["hardware"] == "this"


@pytest.mark.parametrize("size", ["7b", "13b"])
def test_published_runs_are_predicted_within_a_quarter(pumice: Any, here: Path, size: str) -> None:
    words = ["--hardware", "a100-80g", "--devices", 8, "--published-size"]
    result = pumice("plan", published(here, size), *words)
    assert result.code == 0, result.both
    assert "no data was given" in result.out
    told = json.loads(plan_file().read_text("utf-8"))
    for stage, hours in zip(told["stages"], HOURS[size], strict=False):
        found = stage["published"]
        assert found["published_hours"] == hours
        assert abs(found["hours"] / hours - 1) < 0.25
        assert found["difference"] == pytest.approx(found["hours"] / hours - 1)
        assert found["fits"]
        assert f"{found['hours']:.2f} h" in result.out
        assert f"{hours:g} h" in result.out


def test_other_hardware_is_not_held_against_the_published_hours(pumice: Any, here: Path) -> None:
    result = pumice("plan", published(here), "--hardware", "h100", "--devices", 64, "--published-size")
    assert result.code == 0, result.both
    told = json.loads(plan_file().read_text("utf-8"))["stages"][1]["published"]
    assert told["difference"] is None
    assert "published on 8 x NVIDIA A100 40 GB" in result.out


def test_a_data_file_stands_for_the_last_stages_sources(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(30))))
    result = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images")
    assert result.code == 0, result.both
    assert "talk.jsonl stands for the sources of stage instruct" in result.out
    assert "not planned: align" in result.out
    assert "token counts are an estimate" in result.out
    assert "pictures were not looked at" in result.out
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["name"] == "instruct"
    assert (stage["samples"], stage["images"], stage["tokens"]["image"]) == (30, 30, 30 * 576)
    assert (stage["cost"]["hardware"], stage["cost"]["devices"]) == ("a100-40g", 8)
    assert stage["cost"]["sharding"] == "full"
    other = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", "--stage", "align")
    assert "not planned: instruct" in other.out


def test_tiles_count_as_a_picture_of_the_assumed_size(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(3))))
    words = ["--set", "model.image.aspect=anyres", "--set", "stages.instruct.row_length=4096"]
    result = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", *words)
    assert result.code == 0, result.both
    assert "one of 640 x 480 pixels (--assume-size)" in result.out
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["tokens"]["image"] == 3 * 2340, "docs: 640x480 is 2340 tokens in LLaVA-NeXT"
    assert stage["tower_inputs"] == 3 * 5
    words += ["--assume-size", "1000x1000"]
    pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", *words)
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["tokens"]["image"] == 3 * 2928


def test_features_on_disk_are_told_in_bytes_and_time(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(300))))
    words = ["plan", published(here), "--data", "talk.jsonl", "--no-images", "--hardware", "a100-80g"]
    words += ["--set", "stages.instruct.features.keep=disk"]
    result = pumice(*words, "--set", "stages.instruct.features.dtype=fp8")
    assert result.code == 0, result.both
    assert "300 pictures, 178 MB on disk (of 20 GB) in fp8; made in" in " ".join(result.out.split())
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert 0 < stage["features"]["bytes"] - 300 * 576 * (1024 + 4) < 20_000
    small = pumice(*words, "--set", "stages.instruct.features.budget_gb=0.4")
    assert small.code != 0
    assert "300 pictures take 0.708 GB on disk in fp32, and the budget is 0.4 GB" in small.both
    assert "dtype=bf16 (0.354 GB)" in small.both
    assert plan_file().exists()
    [again] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert again["cost"]["flops"]["vision"] == stage["cost"]["flops"]["vision"]
    none = pumice(*words[:-1], "stages.instruct.features.keep=none", "--set", "stages.instruct.epochs=3")
    assert none.code == 0, none.both
    assert "made in" not in none.out
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["cost"]["flops"]["vision"] == pytest.approx(3 * again["cost"]["flops"]["vision"])


def broken(count: int = 12) -> list[dict[str, Any]]:
    """Two empty answers, one unknown key."""
    rows = talk(count)
    rows[3]["conversations"][1]["value"] = ""
    rows[5]["conversations"][1]["value"] = " "
    rows[8]["iamge"] = "x"
    return rows


@pytest.mark.parametrize(("devices", "keep"), [(1, "memory"), (2, "none")])
def test_several_devices_keep_no_features_in_memory(
    pumice: Any, recipe: Path, world: Path, here: Path, devices: int, keep: str
) -> None:
    words = ["--stage", "align", "--hardware", "a100-80g", "--devices", devices, "stages.align.epochs=3"]
    words.append("stages.align.steps=null")
    result = pumice("plan", recipe, "--data", world, *words)
    assert result.code == 0, result.both
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["features"]["keep"] == keep


def test_bad_rows_are_all_listed_and_stop_the_plan(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, broken())))
    result = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images")
    assert result.code == 1
    assert "3 of 12 rows of talk cannot be used" in result.err
    assert "3 rows cannot be used:" in result.out
    assert f"9 rows, 3 bad ({plan_file('.refused.jsonl').name})" in result.out, (
        "none was allowed, so none is left out"
    )
    assert "1: unknown key 'iamge'" in result.out, "a lone reason is told word for word"
    assert "row talk 8" in result.out
    found = [json.loads(line) for line in plan_file(".refused.jsonl").read_text("utf-8").splitlines()]
    assert [row["row"] for row in found] == [3, 5, 8]
    told = json.loads(plan_file().read_text("utf-8"))
    assert told["refused_file"] == plan_file(".refused.jsonl").name
    assert told["stages"][0]["refused"] == 3
    assert told["stages"][0]["samples"] == 9


@pytest.mark.parametrize(("allowed", "code"), [(2, 1), (3, 0)])
def test_so_many_bad_rows_may_be_left_out(pumice: Any, here: Path, allowed: int, code: int) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, broken())))
    words = ["--data", "talk.jsonl", "--no-images", "--allow-bad", allowed]
    result = pumice("plan", published(here), *words)
    assert result.code == code
    said = "left out as bad" if allowed == 3 else "bad"
    assert f"9 rows, 3 {said} ({plan_file('.refused.jsonl').name})" in result.out
    pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", "--allow-bad", 3)
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(12))))
    pumice("plan", published(here), "--data", "talk.jsonl", "--no-images")
    assert not plan_file(".refused.jsonl").exists(), "a list of an earlier plan does not stay"


def test_own_data_that_the_small_block_replaces_is_told(pumice: Any, here: Path) -> None:
    (here / "mine.yaml").write_text(
        "base: llava-1.5-task\nname: mine\ndata: {train: {file: mine/train.json, images: mine}}\n"
    )
    result = pumice("plan", "mine.yaml", "--small")
    assert "--small: data.train.file is ${world}/" in result.out, result.both
    assert ", not mine/train.json" in result.out
    assert "(headers only; --decode reads every pixel)" in result.out
    assert "--small: data" not in pumice("plan", "llava-1.5-task", "--small", "--decode").out


def test_seventy_billion_on_eight_devices_do_not_fit_and_it_is_said_what_would(
    pumice: Any, here: Path
) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(200))))
    words = ["--data", "talk.jsonl", "--no-images", "--hardware", "h100", "--sharding", "full"]
    words += ["--set", "model.language=hub:meta-llama/Llama-2-70b-hf"]
    result = pumice("plan", published(here), *words, "--devices", 8)
    assert result.code == 0, result.both
    assert "does not fit" in result.out
    assert "it fits with --devices 32" in result.out
    assert "QLoRA" in result.out
    assert "does not fit" not in pumice("plan", published(here), *words, "--devices", 64, "--split", 64).out
    many = pumice("plan", published(here), *words, "--devices", 512)
    assert "have nothing to do" in many.out


@pytest.mark.parametrize("ranks", [pytest.param(True, marks=pytest.mark.slow), False])
def test_more_devices_that_are_proposed_need_what_planning_them_says(
    pumice: Any, here: Path, ranks: bool
) -> None:
    """Each device then takes fewer rows; a proposal that kept them would name too many bytes."""
    words = ["llava-1.5-7b", "--stage", "instruct", "--hardware", "a100-40g", "--json"]
    words += ["--ranks"] if ranks else ["--published-size"]

    def told(*more: str) -> dict[str, Any]:
        (stage,) = json.loads(pumice("plan", *words, *more).out)["stages"]
        return dict(stage["ranks"] if ranks else stage["published"])

    asked = told("--devices", "4")
    (proposal,) = (one for one in asked["would_fit"] if one["words"].startswith("--devices"))
    planned = told(*proposal["words"].replace(", ", " ").split())
    assert planned["fits"]
    assert planned["rows_at_once"] < asked["rows_at_once"]
    most = planned["all"] if ranks else planned["memory"]["all"]
    assert most == pytest.approx(proposal["bytes"], rel=1e-9)


def test_lora_is_accounted(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(20))))

    def cost(*words: str) -> dict[str, Any]:
        options = ["--data", "talk.jsonl", "--no-images", "--hardware", "a100-80g", "--devices", 1]
        result = pumice("plan", published(here), *options, *words)
        assert result.code == 0, result.both
        [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
        found: dict[str, Any] = stage["cost"]
        return found

    whole = cost()
    low = cost("--set", "stages.instruct.lora={}")
    lower = cost("--set", "stages.instruct.lora={quantize: nf4}")
    assert not whole["fits"]
    assert lower["fits"]
    assert low["memory"]["optimizer"] < whole["memory"]["optimizer"] / 10
    assert lower["memory"]["weights"] < low["memory"]["weights"] / 2
    assert low["flops"]["additions"] > 0


def test_json_is_all_that_is_printed(pumice: Any, here: Path) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, talk(5))))
    result = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", "--json")
    assert json.loads(result.out) == json.loads(plan_file().read_text("utf-8"))


def test_the_second_time_nothing_is_read(pumice: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, broken())))
    first = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", "--allow-bad", 3)
    before = plan_file().read_text("utf-8")
    monkeypatch.setattr("pumice.data.index._build", None)
    again = pumice("plan", published(here), "--data", "talk.jsonl", "--no-images", "--allow-bad", 3)
    assert (first.code, again.code) == (0, 0)
    assert plan_file().read_text("utf-8") == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hardware", "h101"], "h100"),
        (["--data", "nowhere"], "there is no 'nowhere'"),
        (["--data", ".", "--images", "."], "belongs to a data file"),
        (["--images", "."], "add --data FILE"),
        (["--published-size", "--stage", "alin"], "'align'"),
        (["--published-size", "--assume-size", "big"], "640x480"),
        (["--no-images", "--decode"], "looks at no picture"),
        ([], "--data"),
    ],
)
def test_what_cannot_be_planned_is_said(pumice: Any, here: Path, words: list[str], said: str) -> None:
    result = pumice("plan", published(here), *words)
    assert result.code in (1, 2)
    assert said in result.err


def test_a_recipe_without_published_sizes_says_so(pumice: Any, recipe: Path, here: Path) -> None:
    result = pumice("plan", recipe, "--published-size")
    assert result.code == 2
    assert "tells no published sizes" in result.err
    assert "llava-1.5-13b, llava-1.5-7b have one" in result.err
    doc = (Path(__file__).parents[2] / "docs" / "plan.md").read_text("utf-8")
    assert "`llava-1.5-7b` and `llava-1.5-13b` have one" in doc


def test_the_real_rows_of_the_mixture_are_planned(pumice: Any, here: Path) -> None:
    folder = os.environ.get("PUMICE_REAL_DATA")
    if not folder:
        pytest.skip("PUMICE_REAL_DATA does not name the folder of real data")
    file = Path(folder) / "mix" / "llava_v1_5_mix1k.jsonl"
    result = pumice("plan", published(here), "--data", file, "--no-images")
    assert result.code == 0, result.both
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert (stage["samples"], stage["images"], stage["refused"]) == (1000, 1000, 0)
    assert stage["steps"] == 8
    assert stage["packing"]["filled"] > stage["packing"]["one_sample_a_row"]


def test_videos_that_are_not_looked_at_count_as_many_frames_as_are_sampled(pumice: Any, here: Path) -> None:
    turns = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "Nothing."}]
    rows = [{"id": "v", "video": "v.mp4", "conversations": turns}, *talk(2)]
    Path("talk.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["--data", "talk.jsonl", "--no-images", "--set", "model.video={frames: 4, newline: none}"]
    result = pumice("plan", published(here), *words)
    assert result.code == 0, result.both
    [stage] = json.loads(plan_file().read_text("utf-8"))["stages"]
    assert stage["tower_inputs"] == 4 + 2
    assert stage["tokens"]["image"] == 4 * 144 + 2 * 576


def test_ranks_need_no_data(pumice: Any, here: Path) -> None:
    result = pumice("plan", "llava-1.5-7b", "--devices", 64, "--ranks", "--stage", "instruct")
    assert result.code == 0, result.both
    told = json.loads(plan_file().read_text("utf-8"))["stages"][0]["ranks"]
    assert (told["devices"], told["per_node"], told["split"], told["copies"]) == (64, 8, 8, 8)
    assert told["assumed"]
    assert told["copy"]["optimizer"] == 2 * told["copy"]["gradients"]
    assert "weights split over 8, 8 copies" in result.out
    assert f"{told['first']['weights'] / 1e9:.3f}" in result.out
    assert "it fits" in result.out
    wrong = pumice("plan", "llava-1.5-7b", "--devices", 12, "--ranks")
    assert wrong.code != 0
    assert "--per-node" in wrong.both


def test_ranks_of_data_that_was_read_hold_its_rows(
    pumice: Any, recipe: Path, world: Path, here: Path
) -> None:
    result = pumice(
        "plan",
        recipe,
        "--data",
        world,
        "--hardware",
        "h100",
        "--devices",
        2,
        "--ranks",
        "--stage",
        "instruct",
    )
    assert result.code == 0, result.both
    stage = json.loads(plan_file().read_text("utf-8"))["stages"][0]
    assert not stage["ranks"]["assumed"]
    assert stage["ranks"]["rows_at_once"] == stage["cost"]["rows_at_once"]
    assert stage["cost"]["sharding"] == "full"
