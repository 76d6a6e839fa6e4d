import torch

from sloter.slot_attention import SlotAttention
from tools.benchmark.transcription import Transcription


def test_the_module_and_what_it_is_compared_with_compute_the_same():
    torch.manual_seed(0)
    plain, ours = Transcription(6, 16, to_k_layers=2), SlotAttention(3, 2, 16, to_k_layers=2)
    ours.initial_slots.data = plain.initial_slots.data[0]
    ours.to_k.load_state_dict(plain.to_k.state_dict())
    ours.gru.load_state_dict({key.removesuffix("_l0"): value for key, value in plain.gru.state_dict().items()})
    values = torch.rand(2, 12, 16)
    evidence, attn = plain(values + 0.1, values)
    mine, maps, _ = ours(values + 0.1, values)
    torch.testing.assert_close(mine, evidence.view(2, 3, 2).sum(2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps.flatten(1, 2), attn, rtol=1e-4, atol=1e-5)
