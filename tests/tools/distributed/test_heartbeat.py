"""Heartbeats of two simulated processes in one process; the end of a process is only recorded."""

import threading
import time

import pytest
from torch.distributed import PrefixStore, TCPStore

from tools import ToolError
from tools.distributed.heartbeat import MAX_MISSED_BEATS, Heartbeat

BEAT = 0.02
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Ended(SystemExit):
    """Replaces the end of the process; in a thread it ends the thread silently."""


@pytest.fixture
def ends(monkeypatch):
    """Exit codes of the processes that ended, by rank."""
    codes = {}

    def end(self, code):
        codes.setdefault(self.rank, code)
        self._ending.release()  # for the other thread, which would have ended as well
        raise Ended(code)

    monkeypatch.setattr(Heartbeat, "_end", end)
    return codes


@pytest.fixture
def pair(ends):
    server = TCPStore("localhost", 0, is_master=True)
    stores = [PrefixStore("a", server), PrefixStore("a", TCPStore("localhost", server.port, is_master=False))]
    made = [None, None]

    def make(rank):
        made[rank] = Heartbeat(stores[rank], rank=rank, world_size=2, beat=BEAT, joining=10)

    together(make)
    yield made
    for heartbeat in made:
        heartbeat._stopping.set()
        heartbeat._thread.join(timeout=30)


def together(do):
    threads = [threading.Thread(target=do, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(BEAT)


def test_a_wait_may_be_longer_than_the_heartbeat_limit_if_the_other_lives(pair, ends):
    order = []

    def work(rank):
        if rank == 0:
            time.sleep(2 * MAX_MISSED_BEATS * BEAT)
            order.append("main")
            pair[0].open("drawn")
        else:
            pair[1].wait("drawn")
            order.append("other")
        pair[rank].barrier()
        pair[rank].leave()

    together(work)
    assert order == ["main", "other"] and not ends


def test_a_dead_process_is_named_and_ends_the_other(pair, ends, capsys):
    pair[1]._stopping.set()  # as if it were killed
    wait_for(lambda: ends)
    assert ends == {0: 1}
    line = capsys.readouterr().err
    assert "error: rank 1 of 2 (" in line
    assert line.endswith(") sent no heartbeat for 0.4 s: killed, out of memory, or its machine is down\n")


def test_the_death_of_rank_0_ends_the_others(pair, ends, capsys):
    pair[0]._stopping.set()
    wait_for(lambda: ends)
    assert ends == {1: 1} and "error: rank 0 of 2 (" in capsys.readouterr().err


def test_only_the_first_process_to_fail_prints_its_message(pair, ends, capsys):
    def fail(rank):
        with pytest.raises(Ended):
            pair[rank].fail(f"no such file, says {rank}", 2)

    together(fail)
    assert ends == {0: 2, 1: 2} and capsys.readouterr().err.count("no such file") == 1


def test_the_others_end_with_the_exit_code_of_the_failed_process(pair, ends, capsys):
    with pytest.raises(Ended):
        pair[1].fail("broken", 2)
    wait_for(lambda: 0 in ends)
    assert ends == {0: 2, 1: 2} and capsys.readouterr().err == "broken\n"


def test_after_a_lost_connection_the_dead_process_is_found_sooner(pair, ends, capsys):
    pair[0]._stopping.set()
    started = time.monotonic()
    with pytest.raises(Ended):
        pair[1].connection_lost("Connection closed by peer")
    assert ends == {1: 1} and time.monotonic() - started < MAX_MISSED_BEATS * BEAT + 5
    assert "rank 0 of 2 (" in capsys.readouterr().err


def test_processes_that_did_not_join_are_named():
    with pytest.raises(ToolError, match=r"of 3 processes rank 1, 2 did not join within 0\.1 s"):
        Heartbeat(TCPStore("localhost", 0, is_master=True), rank=0, world_size=3, joining=0.1)
