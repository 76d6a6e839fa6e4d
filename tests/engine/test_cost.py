import torch

from engine.cost import cost_table, multiply_adds, parameters


def test_costs_equal_those_counted_by_hand():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.Flatten(), torch.nn.Linear(128, 5)
    )
    image = torch.zeros(1, 3, 4, 4)
    convolution, linear = 16 * 8 * 27, 128 * 5
    assert multiply_adds(model, image) == convolution + linear
    model[0].requires_grad_(False)
    assert parameters(model) == (645, 861)
    table = cost_table(model, {"0.weight"}, model[0], image).splitlines()
    assert table[1].split() == ["backbone", "0", "216", "3,456"]
    assert table[2].split() == ["head", "645", "645", "640"]
    assert table[3].split() == ["whole", "645", "861", "4,096"]
