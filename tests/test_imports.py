"""Imports run one way: leaves import nothing of the project, engine imports tools alone, nobody imports a script."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sloter", "dataset", "engine", "tools")
SCRIPTS = ("train", "test", "torchcam_vis", "args")
ALLOWED = {
    "sloter": {"sloter"},
    "dataset": {"dataset"},
    "tools": {"tools"},
    "engine": {"engine", "tools"},
    "args": set(),
    "script": {"args", *PACKAGES},
}
FILES = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
FILES += [ROOT / f"{name}.py" for name in SCRIPTS if (ROOT / f"{name}.py").is_file()]


def imported(file: Path) -> set[str]:
    """Top-level names of the project that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names.add(str(node.module).split(".")[0])
    return names & {*PACKAGES, *SCRIPTS}


def is_program(file: Path) -> bool:
    main = file.with_name("__main__.py")
    return '__name__ == "__main__"' in (main if main.is_file() else file).read_text()


def may_import(file: Path) -> set[str]:
    if file.parent == ROOT:
        return ALLOWED[file.stem if file.stem == "args" else "script"]
    # A program that is run as a module may import everything, like a script; so may its parts.
    if is_program(file):
        return ALLOWED["script"]
    return ALLOWED[file.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_run_one_way(file):
    assert imported(file) <= may_import(file)


def test_programs_are_imported_by_nothing():
    programs = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in FILES
                if f.parent != ROOT and is_program(f)}  # fmt: skip
    assert "tools.benchmark.data" in programs
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in programs:
                # The parts of a program know each other.
                assert is_program(file) and file.parent == programs[node.module].parent, file


def test_the_reader_of_imports_sees_them(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("def f():\n    from engine.train import train_one_epoch\n    import dataset.mnist\n")
    assert imported(file) == {"engine", "dataset"}


def test_the_light_modules_stay_light(as_user):
    done = as_user('python -c \'import args, sys; args.build_parser("train"); print("torch" in sys.modules)\'')
    assert done.stdout.strip() == "False", done.stderr
