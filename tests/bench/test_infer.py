"""Benchmarks of answering: what is compared with what, and every side's whole way with a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pumice.bench import infer, together
from pumice.bench.asked import question
from pumice.bench.infer import NAMES, Settings, bench_answers
from pumice.bench.llama import BLOCK_BYTES, read_bytes, write_gguf
from pumice.bench.material import LLAVA_1B, MINI, make_model
from pumice.bench.pipe import Side
from pumice.bench.together import Settings as Many
from pumice.bench.together import _quantile, bench_together
from pumice.bench.weights import load_as, weight_bytes
from pumice.errors import RunError, UsageError
from pumice.processes import SPINS

QUICK = Settings(tokens=3, rounds=1, threads=1, megabytes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("answers")
    make_model(place, MINI, dtype="bfloat16")
    return place


class Scripted:
    """Sides that take turns; ours is three times as fast, and ten times with the same picture."""

    asked: ClassVar[list[tuple[str, Any]]] = []

    def __init__(
        self, title: str, module: str, spec: dict[str, Any], *words: str, variables: dict[str, str]
    ) -> None:
        self.kind, self.weights = spec["kind"], spec.get("weights")
        assert words == (self.kind,)
        # Ours waits as the command lets it, others as they do by themselves.
        assert variables.get("GOMP_SPINCOUNT") == (SPINS if self.kind == "pumice" else None)

    def open(self) -> None:
        pass

    def __exit__(self, *given: object) -> None:
        pass

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((self.kind, what.get("seed")))
        if self.kind == "memory":
            return {"bandwidth": 20e9}
        ours = self.kind == "pumice"
        busy = 10 if what["seed"] == 0 else 1  # what warms up counts nowhere
        found = {"prompt": 600, "first": (1.0 if ours else 3.0) * busy, **({"again": 0.3} if ours else {})}
        return {
            **found,
            "rate": 6.0 if ours else 2.0,
            "peak_bytes": 5,
            **({"weight_bytes": 10**9} if ours else {}),
        }


def test_ratios_are_those_of_the_sides_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "Side", Scripted)
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    Scripted.asked.clear()
    names = ["pumice bfloat16", "transformers bfloat16"]
    ours, theirs = bench_answers(Path(), MINI, names, Settings(rounds=2), lambda *given: None).lines
    assert (ours.first_ratio, ours.again_ratio) == pytest.approx((1 / 3, 0.1))
    assert ours.rate_ratio == pytest.approx(3.0)
    assert ours.limit == pytest.approx(6.0 * 1e9 / 20e9)
    assert (theirs.again, theirs.rate_ratio, theirs.limit) == (None, None, None)
    turns = [("memory", None), ("pumice", 0), ("transformers", 0)]
    assert Scripted.asked[:3] == turns
    assert [kind for kind, _ in Scripted.asked] == [kind for kind, _ in turns] * 3


def test_an_unknown_side_lists_all() -> None:
    with pytest.raises(UsageError, match="did you mean 'pumice bfloat16'"):
        bench_answers(Path(), MINI, ["pumice bfloat"], QUICK, lambda *given: None)
    assert set(infer.DEFAULT) | set(infer.GOALS) - {"pumice int8", "pumice int4"} <= set(NAMES)


def test_what_is_not_installed_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "Side", Scripted)
    monkeypatch.setattr(infer, "find_spec", lambda name: None)
    names = ["transformers bfloat16", "llama.cpp q8_0"]
    _, left = bench_answers(Path(), MINI, names, QUICK, lambda *given: None).lines
    assert left.skipped == "llama-cpp-python and gguf not installed"


def test_a_side_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("input()\nraise SystemExit('there is no checkpoint')\n")
    variables = {"PYTHONPATH": str(tmp_path)}
    with pytest.raises(RunError, match="ours failed: there is no checkpoint"):
        Side("ours", "broken", {}, variables=variables).__enter__()


def test_a_side_that_says_much_is_not_held_up(tmp_path: Path) -> None:
    """Warnings of a library fill a pipe that nobody reads."""
    (tmp_path / "talkative.py").write_text(
        "import sys\n"
        "for line in sys.stdin:\n"
        "    sys.stderr.write('a warning ' * 100_000)\n"
        "    print('{}', flush=True)\n"
    )
    with Side("talkative", "talkative", {}, variables={"PYTHONPATH": str(tmp_path)}) as side:
        assert side.ask({}) == {}


def test_no_two_questions_are_alike() -> None:
    first, again, other = question(1, 4), question(1, 4), question(2, 4)
    assert first.picture is not None
    assert other.picture is not None
    assert again.picture is not None
    assert first.text == again.text != other.text
    assert first.picture.tobytes() == again.picture.tobytes() != other.picture.tobytes()
    assert question(1, 4, picture=False).request().images == ()


def test_a_token_reads_all_but_the_table_of_words(folder: Path) -> None:
    model, _, _ = load_as(folder / "model", "float32")
    words = MINI.vocabulary * MINI.width * 4
    total = sum(one.numel() * one.element_size() for one in model.lm.parameters())
    assert weight_bytes(model) == pytest.approx(total - words, abs=200)  # and a few frequencies


def test_the_large_size_has_the_parameters_that_it_says() -> None:
    narrow = LLAVA_1B.width // LLAVA_1B.heads * (LLAVA_1B.kv_heads or 0)
    layer = 2 * LLAVA_1B.width * (LLAVA_1B.width + narrow) + 3 * LLAVA_1B.width * LLAVA_1B.mlp
    total = LLAVA_1B.layers * layer + 2 * LLAVA_1B.width * LLAVA_1B.vocabulary
    assert total / 1e9 == pytest.approx(1.1, abs=0.01)


@pytest.mark.skipif(find_spec("gguf") is None, reason="needs the package gguf")
@pytest.mark.parametrize("kind", list(BLOCK_BYTES))
def test_a_file_of_llama_cpp_holds_the_shapes(kind: str, tmp_path: Path) -> None:
    import gguf

    file = write_gguf(tmp_path / "m.gguf", MINI, kind)
    tensors = {one.name: one for one in gguf.GGUFReader(file).tensors}
    assert len(tensors) == 3 + 9 * MINI.layers
    assert list(tensors["blk.1.ffn_down.weight"].shape) == [MINI.mlp, MINI.width]
    assert list(tensors["blk.0.attn_k.weight"].shape) == [MINI.width, MINI.width // 2]
    assert tensors["output.weight"].n_bytes == MINI.vocabulary * MINI.width // 32 * BLOCK_BYTES[kind]
    assert 0 < read_bytes(file, MINI, kind) < file.stat().st_size


@pytest.mark.slow
def test_every_side_goes_its_whole_way(folder: Path) -> None:
    names = ["pumice float32", "pumice bfloat16", "transformers bfloat16", "llama.cpp q8_0"]
    figures = bench_answers(folder, MINI, names, QUICK, lambda *given: None)
    for line in figures.lines:
        if line.skipped is None:
            assert line.rate > 0
            assert line.first > 0
            assert line.peak_bytes > 10**8
    assert figures.lines[0].prompt == figures.lines[2].prompt == 16 + 24 + 26


def test_together_and_alone_lose_nothing(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    settings = Many(weights="float32", requests=3, alone=2, tokens=4, rounds=2, threads=1)
    kept: list[list[Any]] = []
    expected: list[tuple[float, float]] = []
    loads = bench_together(
        folder / "model", ["mixed", "text"], settings, lambda *given: told.append(given),
        expect=lambda *given: expected.append(given), keep=kept.append,
    )  # fmt: skip
    assert [*kept[0], *kept[1]] == loads
    ((one, whole),) = expected
    assert whole == pytest.approx(2 * 2 * 5 * one)
    assert [(one.kind, one.way, one.requests, one.lost) for one in loads] == [
        ("mixed", "one", 2, 0),
        ("mixed", "together", 3, 0),
        ("text", "one", 2, 0),
        ("text", "together", 3, 0),
    ]
    alone, together = loads[:2]
    assert together.ratio == pytest.approx(together.rate / alone.rate)
    assert together.token_rate == pytest.approx(4 * together.rate)
    assert together.first_p50 <= together.first_p95
    assert told[-1] == ("measured", 8, 8)
    assert {one.rounds for one in loads} == {2}


def test_no_round_begins_that_would_end_too_late(folder: Path) -> None:
    settings = Many(weights="float32", requests=2, alone=1, tokens=2, rounds=50, threads=1, seconds=0.0)
    told: list[tuple[str, int, int]] = []
    loads = bench_together(folder / "model", ["text"], settings, lambda *given: told.append(given))
    assert [one.rounds for one in loads] == [1, 1]
    assert told[-1] == ("measured", 100, 100)


def test_a_kind_whose_requests_are_all_lost_has_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = together._Round(1.0, (), 0, 2)
    monkeypatch.setattr(together, "_ask", lambda *_, **__: nothing)
    settings = Many(requests=2, alone=2, rounds=1)
    measuring = together._Measuring(object(), ["text"], settings, lambda *_: None)  # type: ignore[arg-type]
    loads = measuring.run(lambda *_: None, lambda _: None)
    assert [(one.lost, one.rate, one.ratio) for one in loads] == [(2, 0.0, None)] * 2


def test_quantiles_are_reached_by_so_many() -> None:
    assert _quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.0
    assert _quantile([float(n) for n in range(1, 17)], 0.95) == 16.0
    assert _quantile([], 0.95) == float("inf")


@pytest.mark.slow
def test_the_script_for_gpus_goes_its_whole_way_in_small(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu_infer.py"
    out = tmp_path / "figures.json"
    options = ["--small", "--batch", "3", "--tokens", "3", "--rounds", "1", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(script), *options], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(out.read_text("utf-8"))
    assert told["ratio"] == pytest.approx(told["together"] / told["transformers"])
    assert 0 < told["of_limit"] < 1
