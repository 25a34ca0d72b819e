"""Loading by name and path, the small block, overrides, variables, paths; and what errors say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pumice.errors import RecipeError
from pumice.recipes import Change, dump_recipe, load_recipe, recipe_names, recipe_text, variables_in

TEXT = """\
name: mine
description: For tests.
model:
  vision: embedded:clip-tiny
  language: parts/lm
  template: v1
data:
  captions:
    file: ${data}/align.json
    images: ${data}/images
  talk: {file: talk.json}
stages:
  - name: align
    kind: align
    sources: [captions]
    lr: {connector: 1e-3}
    epochs: 1
    row_length: 128
    rows_per_step: 4
  - name: instruct
    kind: instruct
    sources: [talk]
    lr:
      connector: 1e-4
      language: 2e-5
    epochs: 2
    row_length: 128
    tokens_per_step: 512
small:
  data:
    captions: {limit: 10}
  stages:
    align: {steps: 2}
"""
DATA = {"data": "world"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, with the recipe above in a folder beside it."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text(TEXT, "utf-8")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write(here: Path, old: str, new: str) -> str:
    """The recipe with one passage changed; its path from the working directory."""
    assert TEXT.count(old) >= 1
    (here / "recipes" / "changed.yaml").write_text(TEXT.replace(old, new, 1), "utf-8")
    return "../recipes/changed.yaml"


def refusal(name: str, *overrides: str, small: bool = False, variables: dict[str, str] = DATA) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides, small=small, variables=variables)
    return caught.value


MINE = "../recipes/mine.yaml"


# Shipped recipes


@pytest.mark.parametrize("name", recipe_names())
@pytest.mark.parametrize("small", [False, True])
def test_shipped_recipes_load_and_say_what_they_cost(name: str, small: bool) -> None:
    recipe = load_recipe(name, small=small)
    assert recipe.name == name
    assert recipe.description
    for field in ("command", "hardware", "time", "expected"):
        assert bool(getattr(recipe, field)) is not small, f"{field} is of the full size"
    assert recipe_text(name).startswith("#")


@pytest.mark.parametrize("name", [name for name in recipe_names() if not name.startswith("tiny")])
def test_the_head_of_a_published_recipe_says_what_its_keys_say(name: str) -> None:
    recipe, text = load_recipe(name), recipe_text(name)
    head = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    for field in ("hardware", "time", "expected", "source"):
        assert f" {field}: " in head, field
    assert recipe.command in head
    assert f"pumice train {name} --small" in head
    assert recipe.source
    numbers = re.findall(r"\d+\.\d", recipe.expected)
    assert all(number in head for number in numbers), "head and key give the same scores"
    small = load_recipe(name, small=True)
    assert all("hub:" not in str(part) for part in small.model.model_dump().values())
    assert all(source.file.startswith("${world}") for source in small.data.values())
    assert not small.published


def test_pictures_and_words_of_the_published_recipes() -> None:
    """What decides pixels and prompts; rates and batches stand in the test below."""
    found = {}
    for name in recipe_names():
        if name.startswith("tiny"):
            continue
        recipe = load_recipe(name)
        model, image = recipe.model, recipe.model.image
        found[name] = (
            model.vision or model.checkpoint,
            model.connector,
            model.select_layer,
            model.template,
            image and image.aspect,
            {stage.name: (stage.template, stage.aspect) for stage in recipe.stages},
        )
    clip, clip_336 = "hub:openai/clip-vit-large-patch14", "hub:openai/clip-vit-large-patch14-336"
    align = {"align": ("plain", "crop")}
    both = {**align, "instruct": (None, None)}
    for size in ("7b", "13b"):
        for kind in ("", "-lora", "-qlora"):
            expected = (clip_336, "mlp2x_gelu", -2, "v1", "pad", both)
            assert found[f"llava-1.5-{size}{kind}"] == expected
    assert found["llava-1.0-13b"][:3] == (clip, "linear", -2)
    assert found["scienceqa"][:3] == (clip, "linear", -2)
    assert found["llava-next-7b"] == (clip_336, "mlp2x_gelu", -2, "v1", "anyres", both)
    video = load_recipe("llava-next-video").model
    assert found["llava-next-video"][0] == video.checkpoint, "which brings its tiles"
    assert found["llava-siglip2-qwen3"][:3] == ("hub:google/siglip2-so400m-patch14-384", "mlp2x_gelu", -2)
    grids = load_recipe("llava-next-7b").model.image
    assert grids is not None
    assert grids.grids == ("1x2", "2x1", "2x2", "3x1", "1x3")
    assert video.video is not None


def test_settings_of_the_published_recipes() -> None:
    """The table of docs/recipes.md, number by number."""
    found = {}
    for name in recipe_names():
        if not name.startswith("tiny"):
            for stage in load_recipe(name).stages:
                rates = (stage.lr.connector, stage.lr.language, stage.lr.vision)
                found[f"{name} {stage.name}"] = (rates, stage.samples_per_step, stage.epochs)
                usual = ("linear", 0.1, 0.0) if stage.kind == "prefer" else ("cosine", 0.03, 0.0)
                assert (stage.schedule, stage.warmup, stage.weight_decay) == usual
                assert stage.precision == "bf16"
                assert stage.activation_checkpointing
    both = {f"llava-1.5-{size}{kind}" for size in ("7b", "13b") for kind in ("", "-lora", "-qlora")}
    for name in both:
        assert found.pop(f"{name} align") == ((1e-3, None, None), 256, 1)
        language = 2e-4 if "lora" in name else 2e-5
        assert found.pop(f"{name} instruct") == ((2e-5, language, None), 128, 1)
    assert found == {
        "llava-1.0-13b align": ((2e-3, None, None), 128, 1),
        "llava-1.0-13b instruct": ((2e-5, 2e-5, None), 32, 3),
        "scienceqa align": ((2e-3, None, None), 128, 1),
        "scienceqa instruct": ((2e-5, 2e-5, None), 128, 12),
        "llava-1.5-task task": ((2e-5, 2e-5, None), 128, 1),
        "llava-next-7b align": ((1e-3, None, None), 256, 1),
        "llava-next-7b instruct": ((1e-5, 1e-5, 2e-6), 128, 1),
        "llava-next-video video": ((1e-5, 1e-5, 2e-6), 128, 1),
        "llava-next-dpo prefer": ((5e-7, 5e-7, 5e-7), 128, 3),
        "llava-siglip2-qwen3 align": ((1e-3, None, None), 256, 1),
        "llava-siglip2-qwen3 instruct": ((1e-5, 1e-5, None), 128, 1),
        "llava-med align": ((2e-3, None, None), 128, 1),
        "llava-med instruct": ((2e-5, 2e-5, None), 128, 3),
    }
    preference = load_recipe("llava-next-dpo").stage("prefer").preference
    assert preference is not None
    assert (preference.beta, preference.dpo, preference.sft) == (0.1, 1.0, 0.0)
    lora = load_recipe("llava-1.5-13b-lora").stage("instruct").lora
    assert lora is not None
    assert (lora.rank, lora.alpha, lora.dropout, lora.quantize, lora.targets) == (128, 256, 0.05, None, ())
    nf4 = load_recipe("llava-1.5-7b-qlora").stage("instruct").lora
    assert nf4 is not None
    assert (nf4.rank, nf4.quantize, nf4.double_quantization) == (128, "nf4", True)


@pytest.mark.parametrize("name", ["llava-1.5-7b", "llava-1.5-13b"])
def test_sizes_of_published_runs_are_not_inherited(name: str, here: Path) -> None:
    assert set(load_recipe(name).published) == {"align", "instruct"}
    (here / "work" / "own.yaml").write_text(f"base: {name}\nname: own\n", "utf-8")
    own = load_recipe("own.yaml")
    assert own.published == {}
    assert own.expected == ""
    assert not load_recipe(f"{name}-lora").published


def test_a_small_block_may_speak_for_itself(here: Path) -> None:
    text = TEXT.replace("description: For tests.", "time: a week\nhardware: many").replace(
        "small:\n", "small:\n  time: a minute\n"
    )
    (here / "work" / "s.yaml").write_text(text, "utf-8")
    small = load_recipe("s.yaml", small=True)
    assert (small.time, small.hardware) == ("a minute", "")
    assert load_recipe("s.yaml").hardware == "many"


def test_paths_of_further_towers_start_at_the_recipe(here: Path) -> None:
    name = write(here, "  template: v1\n", "  template: v1\n  more_vision: [parts/dino, random:clip]\n")
    recipe = load_recipe(name)
    assert recipe.model.more_vision == (str(here / "recipes" / "parts" / "dino"), "random:clip")
    typed = load_recipe(name, ["model.more_vision=[parts/dino]"])
    assert typed.model.more_vision == (str(here / "work" / "parts" / "dino"),)


def test_own_tasks_start_at_the_recipe_and_names_of_benchmarks_stay(here: Path) -> None:
    block = "evaluation: {tasks: [pope, parts.yaml, sub/mine], data: benchmarks, variants: [tuned]}\n"
    name = write(here, "small:\n", block + "small:\n")
    asked = load_recipe(name, variables=DATA).evaluation
    assert asked is not None
    beside = here / "recipes"
    assert asked.tasks == ("pope", str(beside / "parts.yaml"), str(beside / "sub" / "mine"))
    own = ["evaluation.tasks=[parts.yaml]", "evaluation.data=null"]
    typed = load_recipe(name, own, variables=DATA).evaluation
    assert typed is not None
    assert (typed.tasks, typed.data) == ((str(here / "work" / "parts.yaml"),), None)


def test_which_variables_a_recipe_holds() -> None:
    assert variables_in(load_recipe("llava-1.5-7b")) == {"data"}
    assert variables_in(load_recipe("llava-1.5-7b", small=True)) == {"world"}
    assert variables_in(load_recipe("tiny", small=True)) == {"data"}


def test_errors_name_a_change_as_it_was_typed(here: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(MINE, [Change("sed=1", "--set sed=1")])
    assert (caught.value.where or "").startswith("--set sed=1")


def test_a_recipes_name_may_hold_a_version(here: Path) -> None:
    assert load_recipe(write(here, "name: mine", "name: mine-1.5")).name == "mine-1.5"
    assert "cannot be a name" in refusal(write(here, "name: mine", "name: a/b")).what
    assert "cannot be a name" in refusal(write(here, "name: instruct", "name: a.b")).what


def test_tiny_joins_the_embedded_parts(here: Path) -> None:
    recipe = load_recipe("tiny", variables={"data": "w"})
    assert (recipe.model.vision, recipe.model.language) == ("embedded:clip-tiny", "embedded:lm-tiny")
    assert [stage.name for stage in recipe.stages] == ["align", "instruct"]
    assert recipe.stages[0].template == "plain"
    assert recipe.stages[1].trainable == ("connector", "language")
    assert recipe.evaluation is not None
    assert recipe.evaluation.questions == str(here / "work" / "w" / "test_questions.jsonl")


def test_a_file_that_is_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("base: tiny\n")
    assert refusal("mine").remedy == "write mine.yaml for the file here"


def test_unknown_name() -> None:
    error = refusal("tinny")
    assert error.what == "there is no recipe 'tinny'"
    assert "did you mean 'tiny'?" in (error.remedy or "")
    assert ".yaml" in (error.remedy or "")


def test_file_that_is_not_there(here: Path) -> None:
    error = refusal("nowhere.yaml")
    assert "No such file" in error.what
    assert error.where == "nowhere.yaml"


def test_file_that_is_not_text(here: Path) -> None:
    (here / "work" / "x.yml").write_bytes(b"name: \xff\n")
    assert "not UTF-8" in refusal("x.yml").what


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]"])
def test_file_that_is_no_block(here: Path, text: str) -> None:
    (here / "work" / "x.yml").write_text(text, "utf-8")
    assert refusal("x.yml").what == "a recipe is a block of keys"


# Paths and variables


def test_paths_start_at_the_file_and_variables_where_they_were_typed(here: Path) -> None:
    recipe = load_recipe(MINE, ["data.talk.images=pics"], variables=DATA)
    assert recipe.model.vision == "embedded:clip-tiny"
    assert recipe.model.language == str(here / "recipes" / "parts" / "lm")
    assert recipe.data["talk"].file == str(here / "recipes" / "talk.json")
    assert recipe.data["talk"].images == str(here / "work" / "pics")
    assert recipe.data["captions"].file == str(here / "work" / "world" / "align.json")


def test_the_folder_of_features_is_a_path(here: Path) -> None:
    stage = "stages.align.features"
    found = load_recipe(MINE, [f"{stage}.keep=disk", f"{stage}.folder=fast"], variables=DATA)
    assert found.stage("align").features.folder == str(here / "work" / "fast")
    near = "    kind: align\n    features: {keep: disk, folder: near}\n"
    found = load_recipe(write(here, "    kind: align\n", near), variables=DATA)
    assert found.stage("align").features.folder == str(here / "recipes" / "near")


def test_absolute_paths_stay(here: Path) -> None:
    path = write(here, "talk.json", str(here / "elsewhere.json"))
    assert load_recipe(path, variables=DATA).data["talk"].file == str(here / "elsewhere.json")


def test_a_whole_block_set_by_an_override_starts_where_it_was_typed(here: Path) -> None:
    recipe = load_recipe(MINE, ["data.talk={file: t.json}"], variables=DATA)
    assert recipe.data["talk"].file == str(here / "work" / "t.json")


def test_missing_variable_names_the_option(here: Path) -> None:
    error = refusal(MINE, variables={})
    assert error.what == "${data} has no value"
    assert error.where == f"{MINE}, line 9, key data.captions.file"
    assert error.remedy == "add --data FOLDER"


def test_undeclared_variable(here: Path) -> None:
    error = refusal(write(here, "${data}/align", "${dat}/align"))
    assert error.what == "there is no variable ${dat}"
    assert "did you mean 'data'?" in (error.remedy or "")


def test_variable_that_would_do_nothing(here: Path) -> None:
    path = write(here, "    file: ${data}/align.json\n    images: ${data}/images\n", "    file: a.json\n")
    assert "--data FOLDER would do nothing" in refusal(path).what


def test_without_variables_a_recipe_can_be_shown(here: Path) -> None:
    assert load_recipe(MINE).data["captions"].file == "${data}/align.json"


def test_dump_loads_back_equal_from_anywhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for small in (False, True):
        recipe = load_recipe(MINE, ["name=no", "description='1e-3'"], small=small, variables=DATA)
        assert recipe.name == "no"
        copy = here / "recipe.yaml"
        copy.write_text(dump_recipe(recipe), "utf-8")
        monkeypatch.chdir(here)
        again = load_recipe(copy)
        monkeypatch.chdir(here / "work")
        assert again == recipe
        assert dump_recipe(again) == dump_recipe(recipe)


# The small block


def test_small_changes_what_it_names_only(here: Path) -> None:
    large, small = (load_recipe(MINE, small=flag, variables=DATA) for flag in (False, True))
    assert large.stage("align").epochs == 1
    assert (small.stage("align").epochs, small.stage("align").steps) == (None, 2)
    assert small.data["captions"].limit == 10
    assert small.stage("instruct") == large.stage("instruct")
    assert small.data["captions"].file == large.data["captions"].file


def test_overrides_come_after_small(here: Path) -> None:
    recipe = load_recipe(MINE, ["stages.align.epochs=3"], small=True, variables=DATA)
    assert (recipe.stage("align").epochs, recipe.stage("align").steps) == (3, None)


def test_small_is_checked_though_unused(here: Path) -> None:
    error = refusal(write(here, "captions: {limit: 10}", "captions: {limt: 10}"))
    assert error.what == "there is no key 'data.captions.limt'"
    assert error.where == "../recipes/changed.yaml, line 31 (the small block), key data.captions.limt"
    error = refusal(write(here, "    align: {steps: 2}", "    algin: {steps: 2}"))
    assert error.what == "there is no stage 'algin'"
    assert "line 33" in (error.where or "")
    error = refusal(write(here, TEXT[TEXT.index("small:") :], "small: 3\n"))
    assert error.what == "the small block must be a block of keys"


def test_no_small_mode(here: Path) -> None:
    path = write(here, TEXT[TEXT.index("small:") :], "")
    assert refusal(path, small=True).what == "this recipe has no small mode"


# Errors in the file


def test_wrong_key_names_the_nearest(here: Path) -> None:
    path = write(here, "      language: 2e-5", "      langauge: 2e-5\n      language: 2e-5")
    assert str(refusal(path)) == (
        "there is no key 'stages.instruct.lr.langauge'\n"
        "  where: ../recipes/changed.yaml, line 25, key stages.instruct.lr.langauge\n"
        "  to do: did you mean 'language'? Choices: connector, language, vision"
    )


def test_wrong_key_at_the_top(here: Path) -> None:
    error = refusal(write(here, "description:", "descripton:"))
    assert error.where == "../recipes/changed.yaml, line 2, key descripton"
    assert "did you mean 'description'?" in (error.remedy or "")
    assert "small" in (error.remedy or "")


def test_both_epochs_and_steps(here: Path) -> None:
    error = refusal(write(here, "    epochs: 1\n", "    epochs: 1\n    steps: 7\n"))
    assert error.what == "both epochs and steps are set"
    assert error.where == "../recipes/changed.yaml, line 18, key stages.align.steps"
    assert error.remedy == "keep one of epochs and steps"


def test_neither_points_at_the_stage(here: Path) -> None:
    error = refusal(write(here, "    epochs: 2\n", ""))
    assert error.what == "neither epochs nor steps is set"
    assert error.where == "../recipes/changed.yaml, line 20, key stages.instruct"


@pytest.mark.parametrize(
    ("old", "new", "what", "where", "remedy"),
    [
        (
            "row_length: 128",
            "row_length: '128'",
            "a whole number belongs here, not the text '128'",
            "line 18, key stages.align.row_length",
            "without quotes",
        ),
        (
            "row_length: 128",
            "row_length: 12.5",
            "a whole number belongs here, not 12.5",
            "line 18, key stages.align.row_length",
            "such as 12",
        ),
        (
            "row_length: 128",
            "row_length: 0",
            "this must be greater than or equal to 1; it is 0",
            "line 18, key stages.align.row_length",
            "a whole number",
        ),
        (
            "template: v1",
            "template: 1",
            "text, or null belongs here, not 1",
            "line 6, key model.template",
            "quotes",
        ),
        (
            "template: v1",
            "connector: linear",
            "the key 'model.template' is missing",
            "line 3, key model.template",
            "it takes text",
        ),
        (
            "sources: [captions]",
            "sources: captions",
            "a list of words belongs here, not the text 'captions'",
            "line 15, key stages.align.sources",
            "a list of words",
        ),
        (
            "sources: [captions]",
            "sources: [captions, 3]",
            "text belongs here, not 3",
            "line 15, key stages.align.sources.1",
            "quotes",
        ),
        (
            "sources: [captions]",
            "sources: []",
            "a list of words belongs here, not a list of 0",
            "line 15, key stages.align.sources",
            "how many",
        ),
        (
            "sources: [captions]",
            "sources: [caption]",
            "there is no source 'caption' under data",
            "line 15, key stages.align.sources.0",
            "did you mean 'captions'?",
        ),
        (
            "lr: {connector: 1e-3}",
            "lr: 1e-3",
            "a block of keys belongs here, not 0.001",
            "line 16, key stages.align.lr",
            "write lr: {connector: 0.001}",
        ),
        (
            "kind: align",
            "kind: aling",
            "'aling' is none of the choices",
            "line 14, key stages.align.kind",
            "did you mean 'align'?",
        ),
        (
            "kind: align\n",
            "kind: align\n    betas: [0.9]\n",
            "a list of 2 numbers belongs here, not a list of 1",
            "line 15, key stages.align.betas",
            "how many",
        ),
        (
            "kind: align\n",
            "kind: align\n    betas: [0.9, 0.9, 1]\n",
            "a list of 2 numbers belongs here, not a list of 3",
            "line 15, key stages.align.betas",
            "how many",
        ),
        (
            "kind: align\n",
            "kind: align\n    trainable: [conector]\n",
            "'conector' is none of the choices",
            "line 15, key stages.align.trainable.0",
            "did you mean 'connector'?",
        ),
        (
            "kind: align\n",
            "kind: align\n    branch_turns: yes\n",
            "true or false belongs here, not the text 'yes'",
            "line 15, key stages.align.branch_turns",
            "true or false",
        ),
        (
            "  template: v1",
            "  template: v1\n  connector: mlp2",
            "there is no connector 'mlp2'",
            "line 7, key model.connector",
            "did you mean 'mlp2x_gelu'?",
        ),
        (
            "name: mine",
            "name: my model",
            "'my model' cannot be a name",
            "line 1, key name",
            "letters, digits",
        ),
        (
            "name: mine",
            "name: mine\nname: yours",
            "the key 'name' stands twice, on lines 1 and 2",
            "line 2, key name",
            "keep one",
        ),
    ],
)
def test_what_errors_say(here: Path, old: str, new: str, what: str, where: str, remedy: str) -> None:
    error = refusal(write(here, old, new))
    assert error.what == what
    assert error.where == f"../recipes/changed.yaml, {where}"
    assert remedy in (error.remedy or "")


def test_several_errors_are_all_told(here: Path) -> None:
    text = str(
        refusal(
            write(
                here,
                "    row_length: 128\n    rows_per_step: 4",
                "    row_lenght: 128\n    keep: none\n    rows_per_step: 4",
            )
        )
    )
    assert text.startswith("2 things are wrong in this recipe\n")
    assert "did you mean 'row_length'?" in text
    assert "key stages.align.keep" in text


# Overrides


def test_overrides_read_yaml(here: Path) -> None:
    recipe = load_recipe(
        MINE,
        [
            "stages.align.lr.connector=1e-2",
            "stages.instruct.trainable=[connector]",
            "stages.instruct.lr.language=null",
            "stages.instruct.validation={source: captions, every: 5}",
            "stages.align.sources=[talk]",
            "stages.align.grounding.weight=0.5",
            "description='a: b'",
            "seed=3",
            "seed=4",
        ],
        variables=DATA,
    )
    assert recipe.stage("align").lr.connector == 0.01
    assert recipe.stage("instruct").trainable == ("connector",)
    assert recipe.stage("instruct").validation is not None
    assert recipe.stage("align").grounding is not None
    assert recipe.description == "a: b"
    assert recipe.seed == 4


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("stages.align.steps=9", ("epochs", "steps"), (None, 9)),
        ("stages.instruct.rows_per_step=2", ("tokens_per_step", "rows_per_step"), (None, 2)),
    ],
)
def test_an_override_of_one_of_a_pair_replaces_the_other(
    here: Path, override: str, field: tuple[str, str], value: tuple[int | None, int]
) -> None:
    stage = load_recipe(MINE, [override], variables=DATA).stage(override.split(".")[1])
    assert (getattr(stage, field[0]), getattr(stage, field[1])) == value


def test_overriding_both_of_a_pair_is_refused(here: Path) -> None:
    error = refusal(MINE, "stages.align.steps=9", "stages.align.epochs=1")
    assert error.what == "both epochs and steps are set"
    assert error.where == "stages.align.steps=9, key stages.align.steps"


@pytest.mark.parametrize(
    ("override", "what", "remedy"),
    [
        (
            "stages.align.lr.connector=fast",
            "a number, or null belongs here, not the text 'fast'",
            "as a number",
        ),
        (
            "stages.align.lr.conector=1",
            "there is no key 'stages.align.lr.conector'",
            "did you mean 'connector'?",
        ),
        ("stages.algin.keep=1", "there is no stage 'algin'", "did you mean 'align'?"),
        ("lr=1", "there is no key 'lr'", "stages.NAME.lr.connector or"),
        ("model.aspect=crop", "there is no key 'model.aspect'", "did you mean model.image.aspect or"),
        ("modle.connector=linear", "there is no key 'modle'", "did you mean 'model'?"),
        (
            "stages.align.validaton.every=1",
            "there is no key 'stages.align.validaton'",
            "did you mean 'validation'?",
        ),
        ("seed.x=1", "seed is a value, not a block of keys", "seed=VALUE"),
        ("seed=", "a whole number belongs here, not null", "a whole number"),
        ("seed=1.5", "a whole number belongs here, not 1.5", "such as 2"),
        ("seed=[1", "this is not YAML: expected ',' or ']', but got '<stream end>'", "quotes"),
        ("seed", "'seed' is not of the form KEY=VALUE", "stages.align"),
        ("=1", "'=1' is not of the form KEY=VALUE", "stages.align"),
        ("a..b=1", "'a..b=1' is not of the form KEY=VALUE", "stages.align"),
        ("small.seed=1", "small is a block of the recipe file only", "the key itself"),
        ("model.connector=lin", "there is no connector 'lin'", "did you mean 'linear'?"),
    ],
)
def test_what_errors_of_overrides_say(here: Path, override: str, what: str, remedy: str) -> None:
    error = refusal(MINE, override)
    assert error.what == what
    assert (error.where or "").startswith(override)
    assert remedy in (error.remedy or "")


def test_later_overrides_meet_what_earlier_ones_left(here: Path) -> None:
    assert refusal(MINE, "stages.align.steps=1", "stages=3").what == "a list of blocks belongs here, not 3"
    assert refusal(MINE, "stages.align=3", "stages.align.keep=3").what == "there is no stage 'align'"
