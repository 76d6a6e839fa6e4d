"""Class activation maps: one forward pass, then gradients of the classes down to the layer, several at a time.

CAM: Zhou et al., CVPR 2016, section 2. Grad-CAM: Selvaraju et al., ICCV 2017, section 3. XGrad-CAM: Fu et al., BMVC
2020, section 3. LayerCAM: Jiang et al., TIP 2021, section III. The maps equal those of torchcam's extractors.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.explain.attribution.gradients import layer_gradients, weighted_sum
from engine.explain.attribution.split_model import SplitModel, frozen
from engine.explain.interface import Explainer
from tools import ToolError

EPSILON = 1e-8  # added to the sum of a channel


def gradcam(gradients: Tensor, features: Tensor) -> Tensor:
    """Grad-CAM (t, b, h, w): features (b, f, h, w), weighted by their mean gradient (t, b, f, h, w)."""
    return weighted_sum(gradients.mean((3, 4)), features)


def xgradcam(gradients: Tensor, features: Tensor) -> Tensor:
    """XGrad-CAM: the same, the mean weighted by the features."""
    products = torch.einsum("tbfhw,bfhw->tbf", gradients, features)
    return weighted_sum(products / (features.sum((2, 3)) + EPSILON), features)


def layercam(gradients: Tensor, features: Tensor) -> Tensor:
    """LayerCAM: each feature weighted by its own positive gradient."""
    return torch.einsum("tbfhw,bfhw->tbhw", gradients.relu(), features)


GRADIENT_CAMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "GradCAM": gradcam, "XGradCAM": xgradcam, "LayerCAM": layercam,
}  # fmt: skip


def build_gradient_cam(name: str, model: SplitModel) -> Explainer:
    """Build one of :data:`GRADIENT_CAMS`, its maps clipped at zero as in the papers."""
    combine = GRADIENT_CAMS[name]

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        features, gradients = layer_gradients(model, images, targets)
        return torch.cat([combine(part, features) for part in gradients]).relu().transpose(0, 1)  # (b, t, h, w)

    return explain


def build_cam(model: SplitModel) -> Explainer:
    """Build CAM: the linear classifier applied at each place, without its bias; not clipped at zero.

    Raises:
        ToolError: see :func:`pooled_linear`.
    """
    classifier = pooled_linear(model)

    @torch.no_grad()
    def explain(images: Tensor, targets: Tensor) -> Tensor:
        return torch.einsum("btf,bfhw->bthw", classifier.weight[targets], model.features(images))

    return explain


def pooled_linear(model: SplitModel) -> nn.Linear:
    """Find the linear layer that maps the mean over the grid to the logits, by trying a random feature map.

    Raises:
        ToolError: the head is not such a layer, or the explained layer is not the last feature map.
    """
    advice = "CAM needs a classifier of global average pooling and one linear layer"
    if not model.at_tap:
        raise ToolError(f"{advice}, so the last feature map: leave --cam_layer out or use GradCAM or LayerCAM")
    parameter = next(model.parameters(), torch.zeros(()))
    probe = torch.randn(2, *model.map_shape, generator=torch.Generator().manual_seed(0)).to(parameter)
    with frozen(model), torch.no_grad():
        logits = model.head(probe)  # (b, c)
        for module in model.backbone.modules():
            if isinstance(module, nn.Linear) and module.weight.shape == (logits.shape[1], probe.shape[1]):
                pooled = module(probe.mean((2, 3)))  # (b, c)
                if torch.allclose(pooled, logits, rtol=1e-3, atol=1e-4 * float(logits.abs().max())):
                    return module
    raise ToolError(f"{advice}, which {type(model.backbone).__name__} does not have: use GradCAM or LayerCAM")
