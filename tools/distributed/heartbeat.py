"""The other processes of a run: who is alive, who failed and why, and waiting for each other however long it takes.

A collective that waits for a dead process ends at once with gloo and after its timeout with NCCL, and that timeout has
to be long, as one process may save for minutes while the others wait. So life is told apart from work: a thread of
each process counts up a number in the store through which the processes met, and whoever's number stands still is gone.
Where one process may draw or download for hours, the others wait through the store too, as long as it lives.
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
from tools.ending import end_workers, leave

BEAT = 2.0  # seconds between two signs of life
# So many rounds of one's own without a sign of another mean that it is gone: 40 s, long enough for a call that keeps
# the interpreter to itself. Rounds, not seconds, since a machine that sleeps, or a job that is suspended, is not dead.
PATIENCE = 20
HURRY = 3  # rounds, once a connection broke and the question is only who it was


class Peers:
    """The processes of a run, as one of them sees them.

    Args:
        store: through which they met, with nothing else of other attempts under the same keys.
        rank: of this process.
        world_size: their number.
        beat: seconds between two signs of life.
        joining: seconds in which all have to come.

    Raises:
        ToolError: not all came.
    """

    def __init__(self, store: Store, *, rank: int, world_size: int, beat: float = BEAT, joining: float = 300) -> None:
        self.rank, self.world_size, self.beat = rank, world_size, beat
        # A client of a store serves one call at a time, and that of the main thread may be waiting.
        self._store, self._watched = store, store.clone()
        self._count = self._barriers = 0
        self._hurry = False
        self._stopping, self._ending = threading.Event(), threading.Lock()
        self._seen: dict[int, tuple[bytes, int]] = {}  # rank -> its last sign of life, rounds for which it is the same
        self._show_life()
        names = [f"beat/{other}" for other in range(world_size)]
        try:
            store.wait(names, timedelta(seconds=joining))
        except RuntimeError as error:
            missing = ", ".join(str(other) for other, name in enumerate(names) if not store.check([name]))
            raise ToolError(f"of {world_size} processes rank {missing} did not come in {joining:.0f} s") from error
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def barrier(self) -> None:
        """Wait for all, for as long as they live."""
        self._barriers += 1
        key = f"barrier/{self._barriers}"
        if self._store.add(key, 1) == self.world_size:
            self.open(key)
        self.wait(key)

    def open(self, key: str) -> None:
        """Let those go on that :meth:`wait` for a key."""
        self._store.set(f"{key}/open", "")

    def wait(self, key: str) -> None:
        """Wait until a key is opened, for as long as the others live."""
        pause = 0.005
        while not self._store.check([f"{key}/open"]):  # asked again and again, so that signals are heard
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def fail(self, text: str, code: int) -> NoReturn:
        """End this process and with it all others; what the first one says is all that is shown."""
        self._ending.acquire()  # the other thread may be here already: it ends the process, this one waits for that
        mine = f"{self.rank} {code}"
        try:
            first = self._watched.compare_set("failure", "", mine).decode() == mine
        except RuntimeError:  # the store is gone with the process that kept it: one a machine speaks
            first = self.rank == 1 or os.environ.get("LOCAL_RANK") == "0"
        if first:
            print(text, file=sys.stderr, flush=True)
        self._depart_and_end(code)

    def lost(self, reason: str) -> NoReturn:
        """End after a collective failed: whoever failed first says why, or, if it cannot, it is found and named."""
        self._hurry = True
        time.sleep((2 * HURRY + 1) * self.beat)  # the watching thread ends the process as soon as it knows
        self.fail(_error(f"rank {self.rank} of {self.world_size} lost the connection to the others: {reason}"), 1)

    def leave(self) -> None:
        """Wait until all are done and part from them."""
        self.barrier()
        self._stopping.set()
        self._depart()
        self._thread.join(timeout=2 * self.beat + 1)

    def _watch(self) -> None:
        while not self._stopping.wait(self.beat):
            try:
                self._show_life()
                if self._watched.check(["failure"]):
                    self._follow(self._watched.get("failure").decode())
                gone = self._silent()
            except RuntimeError:
                gone = "rank 0 and the store that it kept"
            if gone and not self._stopping.is_set():
                self.fail(_error(f"{gone} went without a word: killed, out of memory, or its machine is down"), 1)

    def _follow(self, failure: str) -> NoReturn:
        """End as another process did, which has said why."""
        self._ending.acquire()
        self._depart_and_end(int(failure.split()[1]))

    def _show_life(self) -> None:
        self._count += 1
        self._watched.set(f"beat/{self.rank}", f"{self._count} {socket.gethostname()}, process {os.getpid()}")

    def _silent(self) -> str | None:
        """The first process without signs of life. Rank 0 looks at all, the others, if not in a hurry, at rank 0."""
        everybody = self.rank == 0 or self._hurry
        for other in range(self.world_size if everybody else 1):
            sign = self._watched.get(f"beat/{other}")
            before, rounds = self._seen.get(other, (b"", 0))
            rounds = rounds + 1 if sign == before else 0
            self._seen[other] = sign, rounds
            if other != self.rank and rounds >= (HURRY if self._hurry else PATIENCE):
                return f"rank {other} of {self.world_size} ({sign.decode().partition(' ')[2]})"
        return None

    def _depart(self) -> None:
        """The process that keeps the store goes last, so that the others can still read in it."""
        try:
            if self._watched.add("departed", 1) == self.world_size:
                self._watched.set("departed/open", "")
            if self.rank == 0:
                self._watched.wait(["departed/open"], timedelta(seconds=3 * self.beat))
        except RuntimeError:
            pass  # it is gone already, or somebody else is

    def _depart_and_end(self, code: int) -> NoReturn:
        """Part from the others and end, also where the store does not answer."""
        last_resort = threading.Timer(4 * self.beat, self._end, (code,))
        last_resort.daemon = True
        last_resort.start()
        self._depart()
        last_resort.cancel()
        self._end(code)

    def _end(self, code: int) -> NoReturn:
        # At once: the main thread may be in a collective that never ends, and nothing that is written can be half done,
        # since files are put in their place whole.
        end_workers()
        leave(code)


def _error(message: str) -> str:
    return f"{Path(sys.argv[0]).name}: error: {message}"
