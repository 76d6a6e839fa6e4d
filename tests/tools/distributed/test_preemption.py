import os
import signal

import pytest
import torch

from tools.distributed.preemption import StopRequest

CPU = torch.device("cpu")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_recorded(number):
    with StopRequest(CPU) as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop() and stop.signal == number.name


def test_a_signal_is_known_after_the_run_that_it_did_not_stop():
    stop = StopRequest(CPU)
    with stop:
        pass
    assert not stop.anywhere()
    with stop:  # the next run of a sweep
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.anywhere()


def test_previous_signal_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises(KeyError), StopRequest(CPU):
        assert signal.getsignal(signal.SIGTERM) != before[0]
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_all_processes_stop_after_the_same_step_if_one_gets_a_signal(as_user, tmp_path):
    program = tmp_path / "stop.py"
    program.write_text(
        "import os, signal, time, torch, torch.distributed as dist\n"
        "from tools.distributed.preemption import StopRequest\n"
        "dist.init_process_group('gloo')\n"
        "with StopRequest(torch.device('cpu')) as stop:\n"
        "    for step in range(10_000):\n"
        "        if dist.get_rank() == 1 and step == 30:\n"
        "            os.kill(os.getpid(), signal.SIGUSR1)\n"
        "        time.sleep(0.002 * (1 + dist.get_rank()))\n"
        "        dist.all_reduce(torch.ones(1))\n"
        "        if stop():\n"
        "            break\n"
        "os.write(1, f'[{step} {stop.signal}]\\n'.encode())  # at once: two processes write\n"
        "dist.destroy_process_group()\n"
    )
    done = as_user(f"python -m torch.distributed.run --nproc_per_node=2 {program}", PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    first, second = sorted(line for line in done.stdout.splitlines() if line.startswith("["))
    step = int(first[1:].split()[0])
    # the processes exchange signals about once a second, in which there are at most 250 steps
    assert 30 <= step < 1500 and first == f"[{step} SIGUSR1]" and second == f"[{step} a signal to another process]"
