"""The compiled kernel: built once for a CPU's instructions, kept in the user's cache, called without a copy.

``kernel.cpp`` is compiled when weights in few bits (or bfloat16) are first computed with on a CPU. Without a
compiler, or where it fails, ``find_kernel`` gives None and torch computes (``linear.py``).
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger("pumice.kernel")

SOURCE = Path(__file__).with_name("kernel.cpp")
PARTS = (SOURCE, SOURCE.with_name("crew.h"))
COMPILERS = ("g++", "clang++", "c++")
FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-w")
_AVX512 = (
    *("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni", "-mfma"),
    "-mprefer-vector-width=512",
)
LONGEST_BUILD = 300.0
"""Seconds after which a compiler is given up; it takes 2 to 15."""
PATHS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "avx512bf16": (
        ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_vnni", "avx512_bf16", "fma3"),
        (*_AVX512, "-mavx512bf16"),
    ),
    "avx512": (
        ("avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_vnni", "fma3"),
        _AVX512,
    ),
    "avx2": (("avx2", "fma3"), ("-mavx2", "-mfma")),
    "portable": ((), ()),
}
"""The ways through the kernel, best first: what a CPU must have, and the compiler's flags."""


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("kind", ctypes.c_int64),
        ("outs", ctypes.c_int64),
        ("ins", ctypes.c_int64),
        ("tiles", ctypes.c_int64),
        ("groups", ctypes.c_int64),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("qkv", _Matrix),
        ("out", _Matrix),
        ("gate_up", _Matrix),
        ("down", _Matrix),
        ("norm1", ctypes.c_void_p),
        ("norm2", ctypes.c_void_p),
        ("eps1", ctypes.c_double),
        ("eps2", ctypes.c_double),
        ("scaling", ctypes.c_double),
        ("width", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("head_dim", ctypes.c_int64),
        ("hidden", ctypes.c_int64),
    )


class _Pass(ctypes.Structure):
    _fields_ = (
        ("input", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("is_bf16", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("singles", ctypes.c_int64),
        ("cos", ctypes.c_void_p),
        ("sin", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("counts", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("memory", ctypes.c_int64),
        ("keys_bf16", ctypes.c_int64),
        ("query", ctypes.c_void_p),
        ("attended", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("stage", ctypes.c_int64),
    )


Matrix, Layer, Pass = _Matrix, _Layer, _Pass
KINDS = {"bf16": 0, "int8": 1, "int4": 2}
"""What ``kernel.cpp`` calls the forms of weights."""


class Kernel:
    """A compiled ``kernel.cpp``.

    Attributes:
        path: the way through it, a name of ``PATHS``.
    """

    def __init__(self, path: str, library: Path) -> None:
        self.path = path
        lib = ctypes.CDLL(str(library))  # its calls let go of the interpreter
        self._linear, self._layer, self._pages = lib.pumice_linear, lib.pumice_layer, lib.pumice_large_pages
        number, place = ctypes.c_int64, ctypes.c_void_p
        self._linear.argtypes = (ctypes.POINTER(_Matrix), place, number, number, place, number, number)
        self._layer.argtypes = (ctypes.POINTER(_Layer), ctypes.POINTER(_Pass))
        self._pages.argtypes = (place, number)
        self._pages.restype = None

    def linear(self, matrix: Any, input_TI: Tensor, outs: int) -> Tensor:
        """Outputs [T, outs] of inputs [T, I], float32 or bfloat16, contiguous, on the CPU; of the same type.

        Raises:
            MemoryError: there is no memory for what the call holds.
        """
        rows = input_TI.shape[0]
        output_TO = input_TI.new_empty(rows, outs)
        bf16 = int(input_TI.dtype == torch.bfloat16)
        if rows and self._linear(
            matrix, input_TI.data_ptr(), bf16, rows, output_TO.data_ptr(), bf16, torch.get_num_threads()
        ):
            raise MemoryError("no memory for a product of weights")
        return output_TO

    def layer(self, layer: Any, given: Any) -> None:
        """Compute a layer, or a part of one (``stage``); MemoryError where there is no memory."""
        if self._layer(layer, given):
            raise MemoryError("no memory for a layer")

    def empty(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """A tensor in large pages, where the system has them."""
        made = torch.empty(*shape, dtype=dtype)
        self._pages(made.data_ptr(), made.numel() * made.element_size())
        return made


_LOCK = threading.Lock()
_FOUND: dict[str, Kernel | None] = {}


def find_kernel(path: str | None = None) -> Kernel | None:
    """The kernel for this CPU, compiled if it was not yet; None where it cannot be.

    Args:
        path: a name of ``PATHS``; the best that the CPU has where None.
    """
    name = path or best_path()
    with _LOCK:
        if name not in _FOUND:
            _FOUND[name] = _load(name)
        return _FOUND[name]


def paths_here() -> list[str]:
    """The ways through the kernel that this CPU has, best first."""
    known = getattr(torch.cpu, "get_capabilities", None)
    has = known() if known is not None else {}
    return [name for name, (needed, _) in PATHS.items() if all(has.get(one) for one in needed)]


def best_path() -> str:
    """The best way through the kernel on this CPU."""
    return paths_here()[0]


def _load(path: str) -> Kernel | None:
    try:
        kept = _kept(path)
        if kept is not None:
            return kept
        with tempfile.TemporaryDirectory(prefix="pumice-kernel-") as folder:
            library = Path(folder) / f"{path}.so"
            build(path, library)
            return Kernel(path, library)  # what is loaded stays when its file goes
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        logger.warning(
            "weights are computed with torch alone, which is slow: the kernel cannot be compiled (%s); "
            "install g++ or clang++",
            _said(error),
        )
        return None


def _kept(path: str) -> Kernel | None:
    """The kernel of the user's cache, made anew where it cannot be loaded; None where none can be kept."""
    try:
        folder = cache_folder()
        library = folder / f"{fingerprint(path)}.so"
        if _own(library):
            with contextlib.suppress(OSError, AttributeError):  # cut short, or on a disk that runs nothing
                return Kernel(path, library)
        _make_folder(folder)
        if not os.access(folder, os.W_OK):
            raise OSError(f"{folder} cannot be written")
    except (OSError, RuntimeError) as error:  # RuntimeError: nothing says where the user's home is
        _tell_unkept(error)
        return None
    build(path, library)
    try:
        return Kernel(path, library)
    except OSError as error:
        _tell_unkept(error)
        return None


def _tell_unkept(error: Exception) -> None:
    logger.warning(
        "the kernel is compiled anew at each start: it cannot be kept (%s); "
        "let the variable XDG_CACHE_HOME name a folder of yours",
        _said(error),
    )


def _said(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def cache_folder() -> Path:
    """Where compiled kernels are kept: of the user alone.

    Raises:
        RuntimeError: nothing says where the user's home is.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".cache"
    return base / "pumice" / "kernels"


def fingerprint(path: str) -> str:
    """Names what was compiled: the source, the flags, the path, and for which machines (homes are shared)."""
    source = (part.read_text("utf-8") for part in PARTS)
    text = "\n".join((*source, *FLAGS, *PATHS[path][1], sys.platform, platform.machine()))
    return f"{path}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def build(path: str, library: Path, compilers: Sequence[str] = COMPILERS) -> None:
    """Compile the kernel into a file that appears whole or not at all.

    Raises:
        OSError: there is no compiler, or the folder cannot be written.
        subprocess.SubprocessError: the compiler failed, or took too long.
    """
    found = [place for name in compilers if (place := shutil.which(name)) is not None]
    if not found:
        raise OSError(f"there is no compiler: {', '.join(compilers)}")
    _sweep(library.parent)
    problems: list[str] = []
    for compiler in found:
        handle, name = tempfile.mkstemp(dir=library.parent, prefix=f"{library.stem}.", suffix=".partial")
        os.close(handle)
        try:
            command = [compiler, *FLAGS, *PATHS[path][1], str(SOURCE), "-o", name]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LONGEST_BUILD, check=False, errors="replace"
            )
            if done.returncode == 0:
                os.chmod(name, 0o700)
                _settle(name)
                os.replace(name, library)
                return
            problems.append(f"{Path(compiler).name}: {(done.stderr.strip().splitlines() or ['?'])[0]}")
        finally:
            Path(name).unlink(missing_ok=True)
    raise subprocess.SubprocessError("; ".join(problems))


def _sweep(folder: Path) -> None:
    """Remove what builds that were killed have left: what is older than any build may take."""
    for left in folder.glob("*.partial"):
        with contextlib.suppress(OSError):  # another process was quicker
            if time.time() - left.stat().st_mtime > 2 * LONGEST_BUILD:
                left.unlink()


def _settle(file: str) -> None:
    """Bring a file to the disk: a name that is there before its bytes is half a library after a power cut."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_folder(folder: Path) -> None:
    """The folder, of this user alone; OSError where another could write into it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _private(folder.stat()):
        raise OSError(f"others may write into {folder}")


def _own(library: Path) -> bool:
    """Whether a kernel lies there that none but this user can have written."""
    try:
        return _private(library.parent.stat()) and _private(library.lstat())
    except OSError:
        return False


def _private(found: os.stat_result) -> bool:
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.getuid() and not found.st_mode & others and not stat.S_ISLNK(found.st_mode)
