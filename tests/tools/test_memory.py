import platform

import pytest

COUNT = """
import resource, sys
import torch
from tools.machine import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
block = lambda: torch.empty(16 * 2**20).fill_(0)
for _ in range(20):
    block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def page_faults(tmp_path, as_user):
    """Runs ten allocations of 64 MB; whether memory is kept, and how many pages had to be cleared."""
    script = tmp_path / "count.py"
    script.write_text(COUNT)

    def run(argument, **environment):
        done = as_user(f"python {script} {argument}", PYTHONPATH=".", **environment)
        kept, faults = done.stdout.split()
        return kept, int(faults)

    return run


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again(page_faults):
    assert page_faults("leave")[1] > 10_000
    kept, faults = page_faults("keep")
    assert kept == "True" and faults < 1000


def test_what_the_user_has_chosen_stays(page_faults):
    assert page_faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"
