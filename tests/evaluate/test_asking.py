"""evaluate/asking.py: every question once, whatever happens in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pumice.errors import Interrupted, RunError
from pumice.evaluate.answers import AnswersFile, Said
from pumice.evaluate.asking import Answerer, ask, record_of, some_of
from pumice.evaluate.results import ANSWERS
from pumice.evaluate.samples import Sample

from .small_task import Telling, load, truly, write_task


def file_of(tmp_path: Path, answerer: Answerer, pictures: int = 4) -> AnswersFile:
    data = write_task(tmp_path / "data", pictures)
    samples = load(data, {}).samples
    made = record_of("pope", samples, data, answerer, max_new_tokens=4, choices={}, limit=None)
    return AnswersFile(tmp_path / "out", made, samples)


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    class Tires(Telling):
        def answers(
            self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
        ) -> Iterator[tuple[int, Said]]:
            for number, found in enumerate(super().answers(samples, max_new_tokens, blind=blind)):
                if number == 3:
                    raise KeyboardInterrupt
                yield found

    seen: list[tuple[str, int, int]] = []
    with pytest.raises(Interrupted, match="after 3 of 8"):
        ask("pope", file_of(tmp_path, Tires(truly)), Tires(truly), lambda *told: seen.append(told))
    assert seen == [("pope", done, 8) for done in range(4)]
    second = Telling(truly)
    file = file_of(tmp_path, second)
    ask("pope", file, second)
    assert sorted(name for name, _ in second.asked) == ["q0", "q1", "q2", "q3", "q4"]
    assert [file.text(sample) for sample in file.samples.values()] == ["yes", "no"] * 4
    third = Telling(truly)
    ask("pope", file_of(tmp_path, third), third)
    assert not third.asked


def test_an_answerer_that_leaves_questions_out_is_found_out(tmp_path: Path) -> None:
    class Leaves(Telling):
        def answers(
            self, samples: Sequence[Sample], max_new_tokens: int, *, blind: bool
        ) -> Iterator[tuple[int, Said]]:
            yield 0, Said("yes")

    with pytest.raises(RunError, match="7 of 8 questions were not answered"):
        ask("pope", file_of(tmp_path, Leaves(truly)), Leaves(truly))


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from evaluate.test_asking import file_of
from evaluate.small_task import Telling
from pumice.evaluate.asking import ask

heard, stop = Path({heard!r}), int(sys.argv[1])
count = 0

def rule(sample):
    # What is said is written down at once. The one that would follow is waited for until the kill.
    global count
    if count == stop:
        print("waiting", flush=True)
        sys.stdin.read()
    count += 1
    with heard.open("a") as file:
        file.write(sample.id + "\\n")
    return sample.truth

answerer = Telling(rule)
ask("pope", file_of(Path({folder!r}), answerer, 20), answerer)
"""


def test_a_killed_run_goes_on_and_nothing_is_asked_twice(tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    code = CHILD.format(tests=str(Path(__file__).parents[1]), heard=str(heard), folder=str(tmp_path))
    for stop in (7, 13):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(stop)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"waiting\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        child.stdout.close()
        child.stdin.close()
    # The kill may fall into the middle of a row as well.
    with (tmp_path / "out" / ANSWERS).open("ab") as stream:
        stream.write(b'{"question_id": 1')
    subprocess.run([sys.executable, "-c", code, "-1"], check=True)
    asked = heard.read_text().split()
    assert len(asked) == 40
    assert len(set(asked)) == 40, "each question was put once"
    last = Telling(truly)
    file = file_of(tmp_path, last, 20)
    ask("pope", file, last)
    assert not last.asked
    assert all(file.text(sample) == sample.truth for sample in file.samples.values())


def test_a_limit_keeps_pictures_and_orders_together_and_grows(tmp_path: Path) -> None:
    samples = load(write_task(tmp_path, 30), {}).samples
    few, more = some_of(samples, 10, seed=1), some_of(samples, 20, seed=1)
    assert len(few) == 10
    assert {s.id for s in few} < {s.id for s in more}
    for part in (few, more):
        counts: dict[Path, int] = {}
        for sample in part:
            assert isinstance(sample.images[0], Path)
            counts[sample.images[0]] = counts.get(sample.images[0], 0) + 1
        assert set(counts.values()) == {2}, "both questions to each picture"
        assert [int(s.id[1:]) for s in part] == sorted(int(s.id[1:]) for s in part), "in their order"
    assert some_of(samples, 10, seed=2) != few
    assert some_of(samples, 1) == some_of(samples, 2)
    assert some_of(samples, None) == some_of(samples, 99) == samples
    rounds = tuple(Sample(f"{i}#{r}", "?", (), {"question_id": i}) for i in range(6) for r in range(3))
    assert sorted(s.id.split("#")[1] for s in some_of(rounds, 3)) == ["0", "1", "2"]
