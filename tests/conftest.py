"""Fixtures of several tests: the scripts as a user runs them, trained runs, real data, small pictures."""

import contextlib
import importlib.util
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

# The programs that the tests start share the cores with tests that run at the same time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
# A small, fast run on real digits: two classes, 800 of them, a tiny backbone, a 4x4 grid.
TINY = (
    "--dataset MNIST5k --num_classes 2 --model test_resnet --pre_trained false --out_stage 2 --img_size 32 "
    "--attention qknorm --slots_per_class 1 --num_workers 0 --device cpu --lr 2e-3"
)


@pytest.fixture(autouse=True, scope="session")
def _no_records_of_the_user(tmp_path_factory):
    """Records of checked pictures are kept apart from those of the user."""
    os.environ["SCOUTER_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Scripts:
    """Runs the scripts in this process."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, script: str, *flags: str) -> tuple[int, str, str]:
        """Run a script with flags; returns its exit code, output and errors."""
        argv = [word for flag in flags for word in shlex.split(str(flag))]
        self.monkeypatch.setattr(sys, "argv", [f"{script}.py", *argv])
        spec = importlib.util.spec_from_file_location(f"script_{script}", ROOT / f"{script}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        errors = {name: getattr(module, name) for name in ("ModelError", "DataError", "TrainingError")
                  if hasattr(module, name)}  # fmt: skip
        self.capsys.readouterr()
        try:
            code = module.run_script(module.main, f"{script}.py", tuple(errors.values()))
        except SystemExit as exit_:
            code = exit_.code
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err


@pytest.fixture(scope="session")
def tiny():
    """Flags of a small, fast run."""
    return TINY


@pytest.fixture(scope="session")
def tiny_module():
    """The same flags, for fixtures of a whole module."""
    return TINY


@pytest.fixture
def scripts(monkeypatch, capsys):
    return Scripts(monkeypatch, capsys)


class Output:
    """What ``capsys`` gives to a test, for fixtures that serve more than one."""

    def __init__(self):
        self.streams = io.StringIO(), io.StringIO()

    def readouterr(self):
        texts = [stream.getvalue() for stream in self.streams]
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        return SimpleNamespace(out=texts[0], err=texts[1])


@pytest.fixture(scope="module")
def module_scripts():
    """``scripts`` for fixtures that serve a whole module: a run that fails raises there and then.

    Returns the output.
    """
    output = Output()

    def run(script: str, *flags: str) -> str:
        out_stream, err_stream = output.streams
        with (
            pytest.MonkeyPatch.context() as monkeypatch,
            contextlib.redirect_stdout(out_stream),
            contextlib.redirect_stderr(err_stream),
        ):
            code, out, err = Scripts(monkeypatch, output)(script, *flags)
        assert code == 0, err
        return out

    return run


@pytest.fixture
def fails(scripts):
    """Runs a script that must end with one error line, exit code 2 and no traceback; returns the line."""

    def run(script: str, *flags: str) -> str:
        code, _, err = scripts(script, *flags)
        assert code == 2, err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.strip() and ": note: " not in line]
        assert len(lines) == 1, err
        assert lines[0].startswith(f"{script}.py: error: ")
        return lines[0]

    return run


@pytest.fixture(scope="session")
def as_user():
    """Runs a command line in a new process from the project's folder, with one thread unless the caller says more."""

    def run(command: str, *, timeout: float = 300, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
        words = [sys.executable if word == "python" else word for word in shlex.split(command)]
        env = {"OMP_NUM_THREADS": "1", **os.environ, **environment}  # tiny models on busy cores: three times as fast
        return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env)

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, as_user):
    """Folder of the small run after two epochs."""
    folder = tmp_path_factory.mktemp("tiny")
    done = as_user(f"python train.py {TINY} --epochs 2 --output_dir {folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def records():
    """Reads the records of a log.jsonl."""
    return lambda folder: [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real datasets; if it is there, no test that uses it may be skipped."""
    folder = Path(os.environ.get("SCOUTER_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set SCOUTER_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def golden():
    """Numbers that the published module computes with random weights."""
    with np.load(ROOT / "tests" / "golden" / "xslot_paper.npz") as content:
        return dict(content)


def write_picture(path: Path, *, size: tuple[int, int] = (40, 30), colour: tuple[int, int, int] = (200, 30, 30)):
    """Write a picture with a coloured corner, so that resizing and flipping are visible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2, : size[0] // 2] = colour
    Image.fromarray(pixels).save(path)


@pytest.fixture
def picture_writer():
    return write_picture


@pytest.fixture(scope="session")
def chromium():
    """Chromium without a window, driven by playwright; skips the test unless both are installed."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="the browser test needs playwright: pip install -r requirements-browser.txt"
    )
    names = (os.environ.get("CHROME", ""), "chromium", "chromium-browser", "google-chrome")
    binary = next((found for name in names if name and (found := shutil.which(name))), None)
    if binary is None:
        pytest.skip("the browser test needs Chromium: apt-get install chromium, or CHROME, its path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=binary, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Tab:
    """Opens pages, and collects what the browser complains about and which addresses it asks for."""

    def __init__(self, browser):
        self.browser, self.contexts, self.complaints, self.urls = browser, [], [], []

    def __call__(self, url, *, width=1400, height=900, mode="light", motion="no-preference"):
        context = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=mode, reduced_motion=motion, accept_downloads=True
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)  # milliseconds; the cores may be busy
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.urls.append(request.url))
        page.goto(url)
        return page

    def close(self):
        for context in self.contexts:
            context.close()


@pytest.fixture
def tab(chromium):
    """Function that opens a page; after the test the browser must have no complaints."""
    tab = Tab(chromium)
    yield tab
    tab.close()
    assert tab.complaints == []


@pytest.fixture(scope="module")
def module_tab(chromium):
    """The same for a page that serves a whole module, whose tests must look at ``complaints`` themselves."""
    tab = Tab(chromium)
    yield tab
    tab.close()
