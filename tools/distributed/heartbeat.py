"""Heartbeats between the processes of a run: they detect a dead process, and allow waiting hours for a live one.

A collective that waits for a dead process fails at once with gloo, but only after its timeout with NCCL, and that
timeout must be long, as one process may save for minutes while the others wait. Therefore a thread of each process
regularly increases a counter in the store of the process group; a process whose counter stops is dead. Waiting for a
process that may draw or download for hours also uses the store, and lasts as long as it lives.
"""

import os
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from torch.distributed import Store

from tools import ToolError
from tools.ending import end_workers, exit_now

BEAT_SECONDS = 2.0  # between two heartbeats
# Beats of an observer without a beat of a process after which that process is dead: 40 s, longer than a call blocks the
# interpreter. Counted in beats, not seconds, since a sleeping machine or a suspended job is not dead.
MAX_MISSED_BEATS = 20
MAX_MISSED_BEATS_AFTER_LOSS = 3  # after a lost connection, when only the dead process must be found
CAUSES = "killed, out of memory, or its machine is down"


class Heartbeat:
    """Heartbeat of this process, and its view of those of the others.

    Args:
        store: store of the process group; no other attempt may use the same keys.
        rank: rank of this process.
        world_size: number of processes.
        beat: seconds between two heartbeats.
        joining: timeout in seconds for all processes to join.

    Raises:
        ToolError: a process did not join.
    """

    def __init__(
        self, store: Store, *, rank: int, world_size: int, beat: float = BEAT_SECONDS, joining: float = 300
    ) -> None:
        self.rank, self.world_size, self.beat = rank, world_size, beat
        # A client of a store serves one call at a time, and that of the main thread may be waiting.
        self._store, self._thread_store = store, store.clone()
        self._count = self._barriers = 0
        self._lost = False
        self._stopping, self._ending = threading.Event(), threading.Lock()
        self._seen: dict[int, tuple[bytes, int]] = {}  # rank -> last heartbeat, own beats since it came
        self._send()
        names = [f"beat/{other}" for other in range(world_size)]
        try:
            store.wait(names, timedelta(seconds=joining))
        except RuntimeError as error:
            missing = ", ".join(str(other) for other, name in enumerate(names) if not store.check([name]))
            raise ToolError(f"of {world_size} processes rank {missing} did not join within {joining:g} s") from error
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()

    def barrier(self) -> None:
        """Wait until all processes call it, without a time limit while all live."""
        self._barriers += 1
        key = f"barrier/{self._barriers}"
        if self._store.add(key, 1) == self.world_size:
            self.open(key)
        self.wait(key)

    def open(self, key: str) -> None:
        """Release the processes that :meth:`wait` for a key."""
        self._store.set(f"{key}/open", "")

    def wait(self, key: str) -> None:
        """Wait until another process opens the key, without a time limit while all live."""
        pause = 0.005
        while not self._store.check([f"{key}/open"]):  # polling, so that signals are handled meanwhile
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def fail(self, text: str, code: int) -> NoReturn:
        """End this process and all others; only the first one to fail prints its text."""
        self._ending.acquire()  # held forever: if the other thread ends the process already, this one waits
        mine = f"{self.rank} {code}"
        try:
            first = self._thread_store.compare_set("failure", "", mine).decode() == mine
        except RuntimeError:  # the store died with the process that kept it: one process per machine prints
            first = self.rank == 1 or os.environ.get("LOCAL_RANK") == "0"
        if first:
            print(text, file=sys.stderr, flush=True)
        self._depart_and_end(code)

    def connection_lost(self, reason: str) -> NoReturn:
        """End after a failed collective; the message is that of the failed process or, if it is dead, names it."""
        self._lost = True
        # The watching thread ends the process as soon as it knows.
        time.sleep((2 * MAX_MISSED_BEATS_AFTER_LOSS + 1) * self.beat)
        self.fail(_error(f"rank {self.rank} of {self.world_size} lost the connection to the others: {reason}"), 1)

    def leave(self) -> None:
        """Wait until all processes are done, and leave the group."""
        self.barrier()
        self._stopping.set()
        self._depart()
        self._thread.join(timeout=2 * self.beat + 1)

    def _watch(self) -> None:
        while not self._stopping.wait(self.beat):
            try:
                self._send()
                if self._thread_store.check(["failure"]):
                    self._follow(self._thread_store.get("failure").decode())
                dead = self._dead_process()
            except RuntimeError:
                dead = f"rank 0 of {self.world_size}, which keeps the store, does not answer"
            if dead and not self._stopping.is_set():
                self.fail(_error(f"{dead}: {CAUSES}"), 1)

    def _follow(self, failure: str) -> NoReturn:
        """End with the exit code of a process that failed and printed why."""
        self._ending.acquire()
        self._depart_and_end(int(failure.split()[1]))

    def _send(self) -> None:
        self._count += 1
        self._thread_store.set(f"beat/{self.rank}", f"{self._count} {socket.gethostname()}, process {os.getpid()}")

    def _dead_process(self) -> str | None:
        """Description of the first dead process; None if all live.

        Rank 0 watches all processes; the others watch rank 0 or, after a lost connection, all.
        """
        everybody = self.rank == 0 or self._lost
        limit = MAX_MISSED_BEATS_AFTER_LOSS if self._lost else MAX_MISSED_BEATS
        for other in range(self.world_size if everybody else 1):
            beat = self._thread_store.get(f"beat/{other}")
            before, missed = self._seen.get(other, (b"", 0))
            missed = missed + 1 if beat == before else 0
            self._seen[other] = beat, missed
            if other != self.rank and missed >= limit:
                sender = beat.decode().partition(" ")[2]
                return f"rank {other} of {self.world_size} ({sender}) sent no heartbeat for {limit * self.beat:g} s"
        return None

    def _depart(self) -> None:
        """Report the departure; rank 0, which keeps the store, waits for the others, which may still read it."""
        try:
            if self._thread_store.add("departed", 1) == self.world_size:
                self._thread_store.set("departed/open", "")
            if self.rank == 0:
                self._thread_store.wait(["departed/open"], timedelta(seconds=3 * self.beat))
        except RuntimeError:
            pass  # the store or another process is dead

    def _depart_and_end(self, code: int) -> NoReturn:
        """Leave the group and end, even if the store does not answer."""
        last_resort = threading.Timer(4 * self.beat, self._end, (code,))
        last_resort.daemon = True
        last_resort.start()
        self._depart()
        last_resort.cancel()
        self._end(code)

    def _end(self, code: int) -> NoReturn:
        # At once, since the main thread may be in a collective that never ends; no file is left half written, since
        # files are written elsewhere and moved into place.
        end_workers()
        exit_now(code)


def _error(message: str) -> str:
    return f"{Path(sys.argv[0]).name}: error: {message}"
