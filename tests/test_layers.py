"""The house's floors: imports go down only, and what starts fast stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pumice

SOURCE = Path(pumice.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("types", "errors", "files", "processes", "heap", "words", "markdown"),
    ("licences", "lineage"),
    ("recipes", "cost"),
    ("text", "image"),
    ("data", "model"),
    ("train", "infer", "score", "endpoint"),
    ("serve", "evaluate", "generate", "export", "forecast", "trust", "bench"),
    ("report", "world"),
    ("cli",),
)
"""Lowest first. A package imports from lower floors and from itself, never from a sibling."""

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
WITHOUT_TORCH = (
    "types",
    "errors",
    "files",
    "processes",
    "heap",
    "words",
    "markdown",
    "licences",
    "lineage",
    "recipes",
    "cost",
    "text",
    "image",
    "data",
    "score",
    "serve",
    "endpoint",
    "generate",
    "trust.audit",
    "trust.plant",
    "trust.lineage",
    "trust.personal",
    "trust.dicom",
    "evaluate.judging",
    "evaluate.samples",
    "evaluate.tasks",
)
HEAVY = ("torch", "transformers")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the package but its root, by dotted name without ``pumice.``, parsed."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text("utf-8"), str(path))


def targets(node: ast.stmt | ast.expr, name: str, is_package: bool) -> list[str]:
    """The modules that an import statement names, relative ones resolved."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if not node.level:
        base = node.module or ""
    else:
        parts = ["pumice", *name.split(".")]
        keep = len(parts) - node.level + (1 if is_package else 0)
        base = ".".join([*parts[:keep], *([node.module] if node.module else [])])
    # `from pumice import text` names a package; `from pumice.text import render` is of pumice.text.
    return [f"{base}.{alias.name}" for alias in node.names] if base == "pumice" else [base]


def imports(tree: ast.Module, name: str, *, lazy: bool) -> Iterator[tuple[str, int]]:
    """Modules imported, and the lines; without ``lazy`` only what importing this module imports."""
    is_package = (SOURCE / Path(*name.split(".")) / "__init__.py").exists()

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if not lazy:
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    continue
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                    yield from (found for other in child.orelse for found in walk_one(other))
                    continue
            yield from walk_one(child)

    def walk_one(child: ast.AST) -> Iterator[tuple[str, int]]:
        if isinstance(child, ast.Import | ast.ImportFrom):
            for target in targets(child, name, is_package):
                yield target, child.lineno
        yield from walk(child)

    yield from walk(tree)


def is_light(name: str) -> bool:
    """Whether a module is one of ``WITHOUT_TORCH``, or inside one."""
    return any(name == light or name.startswith(f"{light}.") for light in WITHOUT_TORCH)


def package_of(module: str) -> str | None:
    """``pumice.text.render`` -> ``text``; None for anything outside and for the root itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "pumice" and len(parts) > 1 else None


MODULES = dict(modules())
NAMES = sorted(name for name in MODULES if name not in ("__init__", "__main__"))


def test_every_package_has_a_floor() -> None:
    assert {name.split(".")[0] for name in NAMES} <= set(FLOOR), "give the new package a floor above"


@pytest.mark.parametrize("name", NAMES)
def test_imports_go_down(name: str) -> None:
    own = name.split(".")[0]
    wrong = []
    for target, line in imports(MODULES[name], name, lazy=True):
        other = package_of(target)
        if other is None or other == own or other == "__version__":
            continue
        if other not in FLOOR or FLOOR[other] >= FLOOR[own]:
            wrong.append(f"line {line}: {own} (floor {FLOOR[own]}) imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", [name for name in NAMES if name.split(".")[0] not in ("world", "cli")])
def test_only_the_command_line_knows_the_embedded_world(name: str) -> None:
    found = [
        line for target, line in imports(MODULES[name], name, lazy=True) if package_of(target) == "world"
    ]
    assert not found, f"{name} imports world on lines {found}"


@pytest.mark.parametrize("name", [name for name in NAMES if is_light(name)])
def test_light_packages_import_no_torch(name: str) -> None:
    found = [
        f"line {line}: {target}"
        for target, line in imports(MODULES[name], name, lazy=False)
        if target.split(".")[0] in HEAVY
    ]
    assert not found, f"{name}: {found}; import it where it is used, or under TYPE_CHECKING"


def _loaded(code: str) -> list[str]:
    program = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


def test_light_packages_load_no_torch() -> None:
    """The same at run time, where an import of an import counts too."""
    names = [name for name in NAMES if is_light(name)]
    assert _loaded("import pumice\n" + "\n".join(f"import pumice.{name}" for name in names)) == []


def test_help_starts_without_torch() -> None:
    code = (
        "sys.argv = ['pumice', '--help']\n"
        "from pumice.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    )
    assert _loaded(code) == []


@pytest.mark.parametrize(
    ("code", "lazy", "expected"),
    [
        ("from pumice import text, model", True, ["pumice.text", "pumice.model"]),
        ("def f():\n    import torch", False, []),
        ("def f():\n    import torch", True, ["torch"]),
        ("if TYPE_CHECKING:\n    import torch\nelse:\n    import numpy", False, ["numpy"]),
        ("class A:\n    import torch.nn", False, ["torch.nn"]),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None", False, ["torch"]),
        ("from .templates import x\nfrom ..model import y", True, ["pumice.text.templates", "pumice.model"]),
    ],
)
def test_the_walk_sees_every_way_to_import(code: str, lazy: bool, expected: list[str]) -> None:
    assert [target for target, _ in imports(ast.parse(code), "text.render", lazy=lazy)] == expected
