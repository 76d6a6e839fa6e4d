import importlib.metadata
import importlib.util
import socket
import sys

import pytest

from engine.demo.flags import build_parser, check_gradio, check_start
from engine.demo.listener import is_local, listening, url_of
from tools import ToolError
from tools.discovery import EXAMPLES


@pytest.fixture
def ends(capsys):
    """Function that starts with flags; it must end with one line and code 2, and returns the line."""

    def run(*words):
        with pytest.raises(SystemExit) as end:
            check_start(words)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line.removeprefix("demo.py: error: ")

    return run


@pytest.fixture
def gradio(monkeypatch):
    """Pretends that Gradio 6 is installed, whether it is or not."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "6.1.0")


def test_a_missing_gradio_is_one_line_with_the_command(ends, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert ends() == "the package gradio is not installed: pip install -r requirements-demo.txt"


def test_another_version_of_gradio_is_one_line_with_the_command(gradio, monkeypatch):
    check_gradio()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "5.49.1")
    with pytest.raises(ToolError, match=r"gradio 5\.49\.1 is installed, but the page needs version 6: pip install"):
        check_gradio()


def test_a_port_in_use_is_one_line(ends, gradio):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert ends("--port", str(port)) == (
            f"--host 127.0.0.1 --port {port}: another program uses it: give another --port, or 0 for any that is free"
        )


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "1.2.3.4.5"])  # the first is of no machine, for documentation
def test_an_address_that_is_not_of_this_machine_is_one_line(ends, gradio, host):
    line = ends("--host", host, "--port", "0")
    assert line.startswith(f"--host {host}") and line.endswith(
        "127.0.0.1 for itself alone, 0.0.0.0 for all that reach it"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--port", "65536"], "argument --port: 65536 is above 65535"), (["--examples", "x"], "'x' is not a whole number"),
     (["--max_upload", "0"], "0 is not a number above 0"), (["--opacity", "1"], "unrecognized arguments")],
)  # fmt: skip
def test_a_wrong_flag_is_one_line(ends, gradio, words, message):
    assert message in ends(*words)


def test_the_help_ends_with_examples_that_parse():
    parser = build_parser()
    text = parser.format_help()
    assert text.index("examples:") > text.index("--max_upload") and " \n" not in text
    for what, words in EXAMPLES["demo"]:
        assert what in text and f"python demo.py {words}".strip() in text
        parser.parse_args(words.split())


def test_only_this_machine_can_reach_the_page_by_default():
    assert build_parser().parse_args([]).host == "127.0.0.1"
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert is_local(listener) and url_of(listener) == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=5)
    with listening("0.0.0.0", 0) as listener:
        port = listener.getsockname()[1]
        assert not is_local(listener) and url_of(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
