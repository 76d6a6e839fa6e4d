import json
import os
import subprocess
import sys
import threading
import time

import pytest

from tools import ToolError, folder_lock, run_log
from tools.folder_lock import Lock, held, updating


def write_lock(path, **changes):
    holder = Lock(path).own | {"token": "other"} | changes
    path.write_text(json.dumps(holder))
    return holder


def test_a_living_holder_is_named_and_its_lock_stays(tmp_path):
    with held(str(tmp_path), "run"):
        with pytest.raises(ToolError, match=rf"in use by process {os.getpid()} on .* \(run.lock\): wait for it, stop"):
            Lock(tmp_path / "run.lock").acquire()
        with held(str(tmp_path), "run_negative"):  # runs of other names share the folder
            assert {p.name for p in tmp_path.iterdir()} == {"run.lock", "run_negative.lock"}
    assert not list(tmp_path.iterdir())


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), held(str(tmp_path), "run"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_killed_process_loses_its_lock_at_once(tmp_path):
    code = f"""
import sys
from tools.folder_lock import held
with held({str(tmp_path)!r}, "run"):
    print(1, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert process.stdout.readline() == b"1\n"
    with pytest.raises(ToolError, match=f"process {process.pid} on"):
        Lock(tmp_path / "run.lock").acquire()
    process.kill()
    while folder_lock._process(process.pid) not in ("", "ended"):
        time.sleep(0.01)
    with held(str(tmp_path), "run") as lock:  # a zombie until it is waited for
        assert lock.is_own()
    process.communicate()


def test_a_later_process_of_the_same_id_is_not_the_holder(tmp_path):
    write_lock(tmp_path / "run.lock", pid=os.getpid(), process="1")
    with held(str(tmp_path), "run") as lock:
        assert lock.is_own()


def test_a_holder_on_another_machine_is_dead_without_renewal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(folder_lock, "STALE_SECONDS", 0.3)
    write_lock(tmp_path / "run.lock", host="node2")
    with held(str(tmp_path), "run") as lock:
        assert lock.is_own()
    assert "waiting up to 0 s to see whether process" in capsys.readouterr().out


def test_windows_sends_no_signal_and_judges_by_renewal(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "CAN_ASK", False)
    monkeypatch.setattr(folder_lock.os, "kill", lambda *sent: pytest.fail(f"sent {sent}"))
    monkeypatch.setattr(folder_lock, "STALE_SECONDS", 0.3)
    write_lock(tmp_path / "run.lock", pid=2**22 + 1)
    with held(str(tmp_path), "run") as lock:
        assert lock.is_own()
    monkeypatch.setattr(folder_lock, "POLL_SECONDS", 0)
    monkeypatch.setattr(folder_lock, "STALE_SECONDS", 100.0)
    write_lock(tmp_path / "run.lock")
    monkeypatch.setattr(folder_lock.time, "sleep", lambda s: os.utime(tmp_path / "run.lock"))
    with pytest.raises(ToolError, match="is in use by"):
        Lock(tmp_path / "run.lock").acquire()


def test_a_holder_on_another_machine_that_renews_its_lock_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "POLL_SECONDS", 0)
    write_lock(tmp_path / "run.lock", host="node2")
    monkeypatch.setattr(folder_lock.time, "sleep", lambda s: os.utime(tmp_path / "run.lock"))
    with pytest.raises(ToolError, match="on node2"):
        Lock(tmp_path / "run.lock").acquire()


def test_a_holder_renews_its_lock_and_notices_a_takeover(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "RENEWAL_SECONDS", 0.01)
    with held(str(tmp_path), "run") as lock:
        os.utime(lock.path, (1, 1))
        end = time.monotonic() + 10
        while lock.path.stat().st_mtime == 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert lock.path.stat().st_mtime > 1
        lock.check()
        lock.path.unlink()
        lock.check()
        write_lock(lock.path)
        with pytest.raises(ToolError, match="was taken over by process"):
            lock.check()
    assert (tmp_path / "run.lock").is_file()  # of the other process


@pytest.mark.timeout(20)
def test_a_lock_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "run.lock")
    with pytest.raises(ToolError, match="is a pipe"):
        Lock(tmp_path / "run.lock").acquire()


def test_an_update_does_not_wait_for_a_dead_program(tmp_path, monkeypatch):
    write_lock(tmp_path / "a.lock", pid=2**31 - 1)
    with updating(tmp_path / "a"):
        assert (tmp_path / "a.lock").is_file()
    assert not list(tmp_path.iterdir())


def test_simultaneous_updates_lose_nothing(tmp_path, monkeypatch):
    path, read = tmp_path / "log.jsonl", run_log.read_records

    def slowly(file):
        records = read(file)
        time.sleep(0.02)  # between reading and rewriting, where the other program would write
        return records

    monkeypatch.setattr(run_log, "read_records", slowly)

    def write(run):
        for epoch in range(5):
            run_log.RunLog(path, run, first_epoch=epoch).add({"epoch": epoch})

    writers = [threading.Thread(target=write, args=run) for run in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted((r["run"], r["epoch"]) for r in read(path)) == [(run, epoch) for run in "ab" for epoch in range(5)]
