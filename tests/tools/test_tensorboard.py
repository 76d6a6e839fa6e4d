import errno
import importlib.util
import threading

import pytest

from tools import ToolError
from tools.tensorboard import EventFiles, check_tensorboard


def test_a_missing_tensorboard_is_reported(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="pip install tensorboard"):
        check_tensorboard()


def test_a_full_disk_is_one_line_once(tmp_path, monkeypatch, capfd):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # restored afterwards
    files = EventFiles(tmp_path, "run", first_epoch=0)

    def write(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    def fail(error):
        raise error

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", write)
    with pytest.raises(ToolError, match=r"tensorboard.run cannot be written \(No space left on device\)"):
        for epoch in range(100):
            files.add({"epoch": epoch, "loss": 1.0}, None)
    files.close()
    for error, printed in ((OSError(errno.ENOSPC, "full"), False), (ValueError("a bug"), True)):
        thread = threading.Thread(target=fail, args=(error,))
        thread.start()
        thread.join()
        assert ("Traceback" in capfd.readouterr().err) is printed
