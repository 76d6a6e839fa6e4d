"""Measurement of the maps of a head on the features of a split."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.explain.metrics.area import explanation_area
from engine.explain.metrics.batch import upsample
from engine.explain.metrics.complexity import gini
from engine.explain.metrics.exchange import exchanged
from engine.explain.metrics.on_object import on_object
from engine.explain.metrics.random_head import REDRAWS, correlation, redrawn
from sloter.backbone import FeatureModel
from studies.head_study.features import Features
from studies.head_study.grid_game import grid_games
from studies.head_study.heads import class_weights_of, maps_of, parts_of
from studies.head_study.loader import FeatureLoader


def of_classes(maps: Tensor, classes: Tensor) -> Tensor:
    """Map (b, h, w) of one class (b) of each picture, from maps (b, c, h, w)."""
    return maps.gather(1, classes.view(-1, 1, 1, 1).expand(-1, 1, *maps.shape[2:]))[:, 0]


@torch.no_grad()
def measure_maps(head: FeatureModel, val: Features, device: torch.device, *, negative: bool) -> dict[str, float]:
    """Measure the maps of a head.

    The maps are the evidence for each class, for a negative head against it. All values are means over pictures.

    Returns:
        Of the true class's map, or of the others' mean for a negative head: ``area``; ``empty``, the share of empty
        maps; ``gini``; ``precision``, over the pictures with boxes. With two classes or more: ``alike``, the cosine of
        the true class's map and the others' mean, which is 1 where maps ignore the class; ``random_head``, see
        :func:`random_head`. With three or more: ``why_not_alike``, the cosine of the evidence against two classes that
        the picture does not show. With four or more, see :func:`studies.head_study.grid_game.grid_games`.
    """
    head.eval()
    values: dict[str, list[Tensor]] = {}
    c = val.num_classes
    for batch in FeatureLoader(val, batch_size=64, shuffle=False, seed=0, device=device):
        why, why_not = parts_of(head, batch.images)  # (b, c, h, w) each
        maps = why_not if negative else why
        own = of_classes(maps, batch.labels)  # (b, h, w)
        others = (maps.sum(1) - own) / max(c - 1, 1)
        shown = others if negative else own
        found = {
            "area": explanation_area(maps, batch.labels, negative=negative),
            "empty": (shown.flatten(1).amax(1) <= 0).float(),
            "gini": gini(shown),
        }
        if c > 1:
            found["alike"] = F.cosine_similarity(own.flatten(1), others.flatten(1))
        if c > 2:
            one, two = (of_classes(why_not, (batch.labels + shift) % c).flatten(1) for shift in (1, 1 + c // 2))
            found["why_not_alike"] = F.cosine_similarity(one, two)
        if val.boxes is not None:
            boxes = [val.boxes[number].to(device) for number in batch.numbers.tolist()]
            has_box = torch.tensor([len(box) > 0 for box in boxes], device=device)
            if has_box.any():
                large = upsample(shown[has_box], val.img_size)
                found["precision"] = on_object(large, [box for box in boxes if len(box)])["precision"]
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    result = {name: float(torch.cat(of).mean()) for name, of in values.items()}
    if c > 1:
        result["random_head"] = random_head(head, val, device)
    return result | grid_games(head, val, device)


@torch.no_grad()
def random_head(head: FeatureModel, val: Features, device: torch.device, *, seed: int = 0) -> float:
    """Mean correlation of the true class's map with its map after the class weights were redrawn, over several redraws.

    An empty map counts 1, see :func:`engine.explain.metrics.random_head.correlation`.
    """
    weights: nn.Parameter = class_weights_of(head)
    generator = torch.Generator().manual_seed(seed)

    def own_maps() -> Tensor:
        batches = FeatureLoader(val, batch_size=64, shuffle=False, seed=0, device=device)
        return torch.cat([of_classes(maps_of(head, batch.images), batch.labels) for batch in batches])

    own, found = own_maps(), []
    for _ in range(REDRAWS):
        with exchanged([weights], [redrawn(weights, generator)]):
            found.append(correlation(own, own_maps()))
    return float(torch.stack(found).mean())
