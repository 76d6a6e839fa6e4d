"""Imports run one way: scripts and studies, then args, then engine, then sloter, dataset and tools."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sloter", "dataset", "engine", "tools", "studies")
SCRIPTS = tuple(sorted(file.stem for file in ROOT.glob("*.py")))
LIBRARY = {"sloter", "dataset", "engine", "tools"}
# What each package, args.py and the scripts may import of the project.
ALLOWED = {
    "sloter": {"sloter"},
    "dataset": {"dataset"},
    "tools": {"tools"},
    "engine": LIBRARY,
    "args": {"engine", "sloter", "tools"},
    "studies": {"args", "studies", *LIBRARY},
    "script": {"args", *LIBRARY},
}
FILES = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
FILES += [ROOT / f"{name}.py" for name in SCRIPTS]


def modules(file: Path) -> set[str]:
    """Modules that a file imports, also those of ``from package import module``."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def imported(file: Path) -> set[str]:
    """Top-level names of the project that a file imports."""
    return {name.partition(".")[0] for name in modules(file)} & {*PACKAGES, *SCRIPTS}


def kind(file: Path) -> str:
    if file.parent == ROOT:
        return "args" if file.stem == "args" else "script"
    return file.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_run_one_way(file):
    assert imported(file) <= ALLOWED[kind(file)]


def test_no_module_imports_itself_through_others():
    """Imports have no cycle, within a package either."""
    names = {".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f for f in FILES}
    graph = {
        name: {other for other in modules(file) if other in names and other != name} for name, file in names.items()
    }
    # A package that imports its own parts is one with them.
    done, path = set(), []

    def visit(name: str) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        path.append(name)
        for other in graph[name] - {name.rpartition(".")[0]}:
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_the_modules_at_the_top_are_found():
    assert {"args", "demo", "hubconf", "test", "torchcam_vis", "train"} <= set(SCRIPTS)


def test_the_reader_of_imports_sees_them(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from engine.train import train_one_epoch\n    import dataset.mnist\n")
    assert imported(file) == {"engine", "dataset"}


@pytest.mark.parametrize(
    "module",
    ["args", "engine.demo.flags", "studies.benchmark.flags", "studies.export.flags", "studies.head_study.flags"],
)
def test_the_flags_are_read_without_torch(as_user, module):
    done = as_user(f'python -c \'import {module}, sys; print("torch" in sys.modules, "numpy" in sys.modules)\'')
    assert done.stdout.strip() == "False False", done.stderr
