from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pumice
from pumice import processes
from pumice.processes import SPINS, own_process, runner, sleep_early, still_there


def _answer(number: int) -> tuple[int, bool]:
    return number, signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_only_the_parent_hears_ctrl_c(workers: int) -> None:
    with runner(workers) as run:
        results = list(run(_answer, range(9)))
    assert [number for number, _ in results] == list(range(9))
    deaf_here = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in a job in the background
    assert {deaf for _, deaf in results} == {workers > 1 or deaf_here}


def test_what_waits_is_not_done_after_a_stop(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("done")
    tasks = [str(folder / str(number)) for number in range(200)]
    with pytest.raises(KeyboardInterrupt):
        _stop_after_one(tasks)
    assert 1 <= len(list(folder.iterdir())) < 50


def _stop_after_one(tasks: list[str]) -> None:
    with runner(2) as run:
        for _ in run(_slow, tasks):
            raise KeyboardInterrupt


def _slow(path: str) -> None:
    import time
    from pathlib import Path

    time.sleep(0.01)
    Path(path).touch()


PARENT = """
import os, sys, time
sys.path.insert(0, {folder!r})
from pumice.processes import runner

def wait(number):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    with runner(2) as run:
        list(run(wait, [0, 1]))
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd_open on this system")
def test_others_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(folder=str(Path(pumice.__file__).parent.parent)))
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    ends = [os.pidfd_open(int(parent.stdout.readline())) for _ in range(2)]
    try:
        parent.kill()
        parent.wait()
        for end in ends:
            ready, _, _ = select.select([end], [], [], 30)
            assert ready, "it still runs"
    finally:
        parent.stdout.close()
        for end in ends:
            os.close(end)


def test_a_process_is_there_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = processes._began(child.pid)
    told = {**own_process(), "pid": child.pid, "began": began}
    try:
        assert still_there(told) is True
        assert still_there(json.loads(json.dumps(told))) is True
        # The number may be another's by now.
        assert began is None or still_there({**told, "began": began + 1}) is False
        assert still_there({**told, "host": "elsewhere"}) is None
        assert still_there({**told, "boot": "before"}) is None
        child.kill()
        # A parent that does not look: the process is over and has its number still.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert still_there(told) is (began is None)
    finally:
        child.communicate()
    assert still_there(told) is False


@pytest.mark.parametrize("pid", [None, 0, -1, "1"])
def test_no_group_of_processes_is_asked(pid: object) -> None:
    assert still_there({**own_process(), "pid": pid}) is None


AT_WORK = """
import atexit, threading
import torch
from pumice.processes import end

begun = threading.Event()
def work():
    numbers = torch.ones(500, 500)
    while True:
        begun.set()
        numbers @ numbers
threading.Thread(target=work, daemon=True).start()
begun.wait()
atexit.register(print, " and registered")
print("written", end="")
"""


def test_a_thread_at_work_does_not_turn_the_end_into_an_abort() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{AT_WORK}end(3)"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "written and registered\n", "")


def test_threads_sleep_early_unless_someone_chose() -> None:
    found: dict[str, str] = {"PATH": "x"}
    sleep_early(found)
    assert found == {"PATH": "x", "GOMP_SPINCOUNT": SPINS}
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        chosen = {name: "active"}
        sleep_early(chosen)
        assert chosen == {name: "active"}
