"""Completion of command lines by a shell, as the shell asks for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = [
    "train.py", "test.py", "torchcam_vis.py", "demo.py", "studies/backbones.py", "studies/compare.py",
    *(f"studies/{name}/__main__.py" for name in ("benchmark", "chaos", "export", "field", "head_study")),
]  # fmt: skip


@pytest.fixture
def completed(tmp_path):
    """What may follow on a line, as the start of the script answers it."""
    pytest.importorskip("argcomplete", reason="the optional package argcomplete is not installed")

    def run(line: str) -> list[str]:
        words = line.split()
        start = 3 if words[1] == "-m" else 2
        environment = {
            **os.environ, "_ARGCOMPLETE": str(start), "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"),
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_COMP_WORDBREAKS": "\"'@><=;|&(:", "COMP_LINE": line,
            "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, *words[1:start]], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and not done.stdout, done.stderr
        return (tmp_path / "out").read_text().split("\n")

    return run


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("python train.py --pati", ["--patience"]),
        ("python test.py --predict", ["--predictions", "--predict"]),
        ("python train.py --sched ", ["step", "cosine"]),
        ("python train.py --vis ", ["true", "false"]),
        ("python train.py --lr ", [""]),
        ("python train.py @recipes/qui", ["@recipes/quickstart.txt"]),
        ("python train.py @recipes/quickstart.txt --dataset_dir doc", ["docs/"]),
        ("python torchcam_vis.py @LIC", ["@LICENSE"]),
        ("python -m studies.head_study --featu", ["--features_dir"]),
        ("python -m studies.benchmark --quick ", ["true", "false"]),
    ],
)
def test_flags_values_and_argument_files_are_completed(completed, line, expected):
    assert completed(line) == expected


def test_bash_completes_a_line(tmp_path):
    pytest.importorskip("argcomplete", reason="the optional package argcomplete is not installed")
    bash, activate = shutil.which("bash"), Path(sys.executable).with_name("activate-global-python-argcomplete")
    if not bash or not activate.exists():
        pytest.skip("there is no bash")
    (tmp_path / "ask.sh").write_text(f"""
        eval "$({activate} --dest=-)"
        python3() {{ "{sys.executable}" "$@"; }}
        COMP_WORDS=(python3 train.py --pati) COMP_LINE="python3 train.py --pati" COMP_POINT=23 COMP_TYPE=9
        _python_argcomplete_global python3
        echo "found: ${{COMPREPLY[*]}}"
    """)
    done = subprocess.run([bash, tmp_path / "ask.sh"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "found: --patience" in done.stdout, done.stderr


def test_a_script_that_cannot_complete_does_not_run(tmp_path):
    program = "import sys; sys.modules['argcomplete'] = None; import args; args.parse_args([]); print('runs')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "_ARGCOMPLETE": "2"}, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "train.py: error: completion needs argcomplete: pip install argcomplete\n"


def test_another_start_does_not_import_the_package(as_user):
    code = "import sys, args; args.parse_args([]); print('argcomplete' in sys.modules)"
    assert as_user(f'python -c "{code}"').stdout.strip() == "False"


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_says_that_it_can_be_asked(program):
    assert "PYTHON_ARGCOMPLETE_OK" in (ROOT / program).read_text()[:1024]
