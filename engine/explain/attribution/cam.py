"""Class activation maps by torchcam: one forward pass, then for each class a backward pass down to the layer.

CAM: Zhou et al., CVPR 2016, section 2. Grad-CAM: Selvaraju et al., ICCV 2017, section 3. XGrad-CAM: Fu et al., BMVC
2020, section 3. LayerCAM: Jiang et al., TIP 2021, section III.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchcam.methods import CAM, GradCAM, LayerCAM, XGradCAM

from engine.explain.attribution.split_model import SplitModel, frozen, on_output
from engine.explain.interface import Explainer
from tools import ToolError

GRADIENT_CAMS: dict[str, Any] = {"GradCAM": GradCAM, "XGradCAM": XGradCAM, "LayerCAM": LayerCAM}


def _leaf(output: Tensor) -> Tensor:
    return output.detach().requires_grad_()


def build_gradient_cam(name: str, model: SplitModel) -> Explainer:
    """Build one of :data:`GRADIENT_CAMS`, its maps clipped at zero as in the papers."""
    extractor = GRADIENT_CAMS[name]

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        # The graph begins at the layer. torchcam sees the leaf; the next modules get a copy, as they may work in place.
        with on_output(model.layer, _leaf), extractor(model, model.layer) as cam, on_output(model.layer, torch.clone):
            logits = model(images)  # (b, c)
            maps = [cam(column.tolist(), logits, normalized=False, retain_graph=True)[0] for column in targets.T]
        return torch.stack(maps, 1)  # (b, t, h, w)

    return explain


def build_cam(model: SplitModel) -> Explainer:
    """Build CAM: the linear classifier applied at each place, without its bias; not clipped at zero.

    Raises:
        ToolError: see :func:`pooled_linear`.
    """
    classifier = pooled_linear(model)

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad(), CAM(model, model.layer, classifier) as cam:
            model(images)
            maps = [cam(column.tolist(), normalized=False)[0] for column in targets.T]
        return torch.stack(maps, 1)  # (b, t, h, w)

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
