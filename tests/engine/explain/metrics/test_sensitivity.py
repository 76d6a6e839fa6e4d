import torch
from captum.metrics import sensitivity_max

from engine.explain.metrics.sensitivity import max_sensitivity


def test_sensitivity_agrees_with_captum_on_the_same_changes():
    weight = torch.randn(3, 5, 5, generator=torch.manual_seed(1))

    def explainer(images, targets):
        return ((images * weight).sum(1, keepdim=True) ** 2).expand(-1, targets.shape[1], -1, -1)

    images, classes = torch.randn(2, 3, 5, 5), torch.tensor([0, 1])
    ours = max_sensitivity(explainer, images, classes, samples=6, radius=0.1, seed=5)
    generator = torch.Generator().manual_seed(5)
    changes = torch.stack([(torch.rand(3, 5, 5, generator=generator) * 2 - 1) * 0.1 for _ in range(6)])

    def explain(inputs):  # captum passes a tuple of one
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return (explainer(images, torch.zeros(len(images), 1, dtype=torch.long)),)

    def perturb(inputs, radius):  # each picture as often as there are changes
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        return images + changes.repeat(len(images) // 6, 1, 1, 1)

    theirs = sensitivity_max(explain, images, perturb_func=perturb, n_perturb_samples=6)
    torch.testing.assert_close(ours, theirs)


def test_sensitivity_by_hand():
    images, classes = torch.ones(1, 1, 4, 4), torch.tensor([0])
    constant = max_sensitivity(lambda x, t: torch.ones(len(x), 1, 2, 2), images, classes)
    nothing = max_sensitivity(lambda x, t: torch.zeros(len(x), 1, 2, 2), images, classes)
    linear = max_sensitivity(lambda x, t: x, images, classes, radius=0.1)
    answers = iter([torch.zeros(1, 1, 2, 2), *10 * [torch.ones(1, 1, 2, 2)]])
    assert max_sensitivity(lambda x, t: next(answers), images, classes).item() == 2  # not infinite
    assert constant.item() == nothing.item() == 0 and 0.03 < linear.item() <= 0.1
