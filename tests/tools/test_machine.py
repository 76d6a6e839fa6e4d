import platform

import pytest
import torch

from tools import ToolError
from tools.machine import amp_dtype, autocast, compiles, has_bfloat16, pick_device, set_numerics

CPU = torch.device("cpu")
COUNT_PAGE_FAULTS = """
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


@pytest.mark.parametrize(
    ("known", "expected"), [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({}, None)]
)
def test_auto_is_bfloat16_if_the_processor_multiplies_it(monkeypatch, known, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert amp_dtype("auto", CPU) is expected


@pytest.mark.parametrize("supported", [True, False])
def test_versions_of_torch_without_a_list_of_capabilities_are_asked_otherwise(monkeypatch, supported):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported, raising=False)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert has_bfloat16(CPU) is supported


@pytest.mark.parametrize(("known", "notes"), [({"avx512_bf16": True}, 0), ({}, 1)])
def test_emulated_bfloat16_is_taken_with_a_note(monkeypatch, caplog, known, notes):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert amp_dtype("bf16", CPU) is torch.bfloat16
    assert [record.once for record in caplog.records] == [True] * notes
    assert "no bfloat16 units" in caplog.text or not notes


def test_models_are_compiled_on_a_gpu_only(caplog):
    gpu = torch.device("cuda")  # a name, which needs no GPU
    assert compiles(True, gpu) and not compiles(False, gpu) and not compiles(False, CPU) and not caplog.records
    assert not compiles(True, CPU)
    assert "--compile true: not used on a CPU" in caplog.text and caplog.records[0].once


def test_products_have_the_chosen_precision():
    factor = torch.ones(2, 2)
    for name, expected in (("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with autocast(CPU, amp_dtype(name, CPU)):
            assert (factor @ factor).dtype == expected


def test_an_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="unknown precision 'int8': choose one of auto, off, bf16, fp16"):
        amp_dtype("int8", CPU)


def test_deterministic_is_switched_on_and_off():
    set_numerics(CPU, tf32=False, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    set_numerics(CPU, tf32=False, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", ["cuda:77", "meta", "nothing"])
def test_a_device_that_is_not_available_is_reported(name):
    with pytest.raises(ToolError, match=rf"--device {name}: not available \(.+\); leave the flag out"):
        pick_device(name)


@pytest.fixture
def page_faults(tmp_path, as_user):
    """Function that allocates 64 MB ten times; returns whether memory is kept, and the number of cleared pages."""
    script = tmp_path / "count.py"
    script.write_text(COUNT_PAGE_FAULTS)

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


def test_an_allocator_that_the_user_configured_is_kept(page_faults):
    assert page_faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"
