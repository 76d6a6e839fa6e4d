from pathlib import Path

import pytest
from matplotlib.figure import Figure

pytest.importorskip("gradio")

from engine.demo import actions


def test_files_of_figures_are_deleted_after_a_while(monkeypatch, tmp_path):
    now = 0.0
    monkeypatch.setattr(actions.time, "monotonic", lambda: now)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(actions.Actions, "_note", "of a test")
    controls = actions.Actions(None, [])
    first = Path(controls._saved(Figure(), "a.png"))
    now = actions.SECONDS - 1.0
    second = Path(controls._saved(Figure(), "a.png"))
    assert first.is_file() and second.is_file() and first != second
    now = actions.SECONDS + 1.0
    third = Path(controls._saved(Figure(), "a.png"))
    assert not first.parent.exists() and second.is_file() and third.is_file()
