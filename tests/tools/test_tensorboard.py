import importlib.util

import pytest

from tools import ToolError
from tools.tensorboard import check_tensorboard


def test_a_missing_tensorboard_is_reported(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="pip install tensorboard"):
        check_tensorboard()
