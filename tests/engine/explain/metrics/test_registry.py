"""Properties of all metrics."""

import torch

from engine.explain.metrics.infidelity import infidelity
from engine.explain.metrics.insertion_deletion import insertion_deletion
from engine.explain.metrics.sensitivity import max_sensitivity


def test_scores_do_not_depend_on_the_other_pictures_of_the_batch(network):
    model, images = network().eval(), torch.randn(3, 3, 16, 16)
    maps, classes = torch.rand(3, 16, 16), torch.tensor([0, 1, 2])

    def scores(rows):
        i, m, c = images[rows], maps[rows], classes[rows]
        return torch.stack([
            *(a[:, 0] for a in insertion_deletion(model, i, m, c[:, None], steps=10)), infidelity(model, i, m, c),
            max_sensitivity(lambda x, t: x.mean(1, keepdim=True).abs(), i, c),
        ])  # fmt: skip

    torch.testing.assert_close(scores(slice(None))[:, 1:2], scores(slice(1, 2)))
