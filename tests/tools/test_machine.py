import pytest
import torch

from tools.machine import amp_dtype, autocast, set_numerics

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("known", "expected"), [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({}, None)]
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(monkeypatch, known, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert amp_dtype("auto", CPU) is expected


def test_the_precision_asked_for_is_the_one_of_products():
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
