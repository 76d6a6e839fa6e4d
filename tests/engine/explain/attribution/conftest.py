"""Toy classifiers with known explanations, and a record of everything that a call must leave unchanged."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.explain.attribution.registry import MethodSettings, SplitModel


class Pooled(nn.Module):
    """Model whose features are means over 4x4 pixels and whose head is global average pooling and one linear layer."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.fc = nn.Linear(channels, classes)

    def forward_features(self, images):
        return self.pool(images)

    def forward_head(self, feature_map):
        return self.fc(feature_map.mean((2, 3)))


class Corner(nn.Module):
    """Model whose logit of class 0 is the texture in the top left quarter, and of class 2 twice that; class 1 has 0."""

    def __init__(self):
        super().__init__()
        kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]).expand(2, 3, 3, 3) / 12
        self.conv = nn.Conv2d(3, 2, 3, padding=1, bias=False)
        self.conv.weight.data.copy_(kernel * torch.tensor([1.0, -1]).view(2, 1, 1, 1))
        self.act = nn.ReLU(inplace=True)
        self.gain = nn.Parameter(torch.tensor(3.0))

    def forward_features(self, images):
        return F.avg_pool2d(self.act(self.conv(images)), 4)

    def forward_head(self, feature_map):
        h, w = feature_map.shape[2] // 2, feature_map.shape[3] // 2
        score = self.gain * feature_map[:, :, :h, :w].sum(1).mean((1, 2))
        return score[:, None] * torch.tensor([1.0, 0, 2])


@pytest.fixture
def corner():
    return SplitModel(Corner(), image_shape=(3, 32, 32))


@pytest.fixture
def corner_share():
    """Share of the positive part of (b, t, h, w) maps that lies in the top left quarter, for each picture and class."""

    def share(maps):
        positive = maps.clamp(min=0)
        h, w = maps.shape[2] // 2, maps.shape[3] // 2
        return positive[:, :, :h, :w].sum((2, 3)) / positive.sum((2, 3))

    return share


@pytest.fixture
def pooled():
    torch.manual_seed(3)
    return SplitModel(Pooled(), image_shape=(3, 16, 16))


@pytest.fixture
def pictures():
    """(b, 3, size, size) of noise."""
    return lambda b, size: torch.randn(b, 3, size, size, generator=torch.Generator().manual_seed(5))


class Residual(nn.Module):
    """A small residual network of timm's form: activations in place, batch norms, a linear head."""

    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.conv, self.bn, self.act = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, classes)

    def forward_features(self, images):
        first = self.stem(images)
        second = self.bn(self.conv(first))
        second += first
        return self.act(second)

    def forward_head(self, feature_map):
        return self.fc(feature_map.mean((2, 3)))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


@pytest.fixture
def small():
    """Residual network with 8x8 maps whose batch norms have statistics, so that the two modes differ."""
    torch.manual_seed(0)
    backbone = Residual()
    for _ in range(5):
        backbone.forward_features(torch.randn(16, 3, 32, 32))
    return SplitModel(backbone, image_shape=(3, 32, 32))


@pytest.fixture
def tiny():
    return MethodSettings(
        smooth_samples=2, ss_samples=2, is_samples=2, ig_steps=4, occlusion_window=0.5, occlusion_stride=0.25,
        rise_masks=20, extremal_steps=3, igos_steps=2, igos_ig_steps=2, igos_cells=8, iba_steps=3, iba_samples=2,
    )  # fmt: skip


@pytest.fixture
def batches():
    """A loader of two batches."""

    def build(size=32, count=8):
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(9))
        return [SimpleNamespace(images=part) for part in images.split(count // 2)]

    return build


@pytest.fixture
def left_behind():
    """State that a call must not change: modes, flags, gradients, hooks, stray tensors on modules, the RNG state."""

    def look(model):
        hooks = 0
        stray = []
        for name, module in model.named_modules():
            hooks += sum(len(getattr(module, kind)) for kind in (
                "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
            ))  # fmt: skip
            stray += [f"{name}.{key}" for key, value in vars(module).items() if isinstance(value, torch.Tensor)]
        return {
            "modes": [module.training for module in model.modules()],
            "flags": [parameter.requires_grad for parameter in model.parameters()],
            "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            "buffers": [buffer.tolist() for buffer in model.buffers()],
            "hooks": hooks,
            "stray": stray,
            "random": torch.get_rng_state().tolist(),
            "grad": torch.is_grad_enabled(),
        }

    return look


@pytest.fixture
def counted(monkeypatch):
    """Counts the pictures that go through a model's features."""

    def watch(model):
        seen = []
        features = model.backbone.forward_features
        monkeypatch.setattr(
            model.backbone, "forward_features", lambda images: (seen.append(len(images)), features(images))[1]
        )
        return seen

    return watch
