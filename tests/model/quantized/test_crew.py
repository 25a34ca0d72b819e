"""Threads of the kernel: how many there are, who calls and from which process changes no number."""

from __future__ import annotations

import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from pumice.model.quantized.kernel import find_kernel
from pumice.model.quantized.linear import QuantizedLinear

pytestmark = pytest.mark.skipif(find_kernel() is None, reason="there is no compiler")


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def layer(form: Any) -> QuantizedLinear:
    return QuantizedLinear.of(torch.randn(330, 96) * 0.1, torch.randn(330), form, find_kernel())


@pytest.mark.parametrize("form", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("rows", [1, 200])
def test_the_number_of_threads_changes_nothing(threads: Any, form: Any, rows: int) -> None:
    linear, input_TI = layer(form), torch.randn(rows, 96)
    threads(1)
    wanted_TO = linear(input_TI)
    for count in (2, 3, 2, 9):  # more and fewer than before, than cores, than pieces of work
        threads(count)
        assert all(torch.equal(linear(input_TI), wanted_TO) for _ in range(5)), count


def test_callers_at_the_same_time_get_each_its_own_numbers(threads: Any) -> None:
    """One has the threads, the others compute alone."""
    linear = layer("int4")
    inputs = [torch.randn(rows, 96) for rows in (1, 2, 9, 64)]
    threads(1)
    wanted = [linear(one) for one in inputs]
    threads(3)

    def ask(caller: int) -> bool:
        return all(torch.equal(linear(inputs[n % 4]), wanted[n % 4]) for n in range(caller, caller + 200))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(4)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_has_threads_of_its_own(threads: Any) -> None:
    linear, input_TI = layer("int8"), torch.randn(5, 96)
    threads(3)
    wanted_TO = linear(input_TI)
    with warnings.catch_warnings():
        # Python warns of threads that are lost: that is meant.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1  # also where it fails: the child must not go on with the tests
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            code = 0 if torch.equal(linear(input_TI), wanted_TO) else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert torch.equal(linear(input_TI), wanted_TO)
