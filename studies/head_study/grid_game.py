"""The grid pointing game of Boehle, Fritz and Schiele (CVPR 2021), played with features.

A box cannot distinguish a map of the class from a map of anything salient. Here four pictures of different classes
share one grid, so that each of them is salient, and the map of a class should lie on its own picture.
"""

import torch
from torch import Tensor

from sloter.backbone import FeatureModel
from studies.head_study.features import Features
from studies.head_study.heads import parts_of

SIDE = 2  # pictures along each edge of a grid


def compose(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Arrange features (b, 4, n, f) of four pictures in a grid (b, f, 2h, 2w), row by row.

    The backbone saw each picture alone: the game tests the head only.
    """
    tiles = maps.unflatten(2, grid).unflatten(1, (SIDE, SIDE))  # (b, 2, 2, h, w, f)
    return tiles.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (b, f, 2h, 2w)


def draw_grids(labels: Tensor, *, grids: int, seed: int) -> Tensor:
    """Draw the numbers (grids, 4) of pictures of four different classes each, at random."""
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == c).flatten() for c in labels.unique()]
    rows = []
    for _ in range(grids):
        chosen = torch.randperm(len(members), generator=generator)[: SIDE * SIDE].tolist()
        rows.append([int(members[c][torch.randint(len(members[c]), (1,), generator=generator)]) for c in chosen])
    return torch.tensor(rows)


@torch.no_grad()
def grid_games(
    head: FeatureModel, val: Features, device: torch.device, *, grids: int = 300, seed: int = 0, batch_size: int = 20
) -> dict[str, float]:
    """Share of a class's map that lies on its own picture of four; a map that ignores the class has 1/4.

    Args:
        head: the head.
        val: features of the pictures.
        device: device of the head.
        grids: number of grids, of four pictures each.
        seed: seed of the drawn pictures, the same for all heads.
        batch_size: grids per forward pass.

    Returns:
        Means over all pictures of all grids: ``grid`` of the evidence for the class, near 1 at best; ``grid_why_not``
        of the evidence against it, near 0 at best, over the maps that are not empty. Nothing with fewer than four
        classes, and no ``grid_why_not`` where no map has evidence against its class.
    """
    if len(val.labels.unique()) < SIDE * SIDE:
        return {}
    head.eval()
    shares: dict[str, list[Tensor]] = {"grid": [], "grid_why_not": []}
    for numbers in draw_grids(val.labels, grids=grids, seed=seed).split(batch_size):  # (b, 4)
        parts = parts_of(head, compose(val.maps[numbers].to(device).float(), val.grid))  # (b, c, 2h, 2w) each
        index = val.labels[numbers].to(device)[:, :, None, None].expand(-1, -1, *parts[0].shape[2:])
        why, why_not = (part.gather(1, index) for part in parts)  # (b, 4, 2h, 2w) each
        shares["grid"].append(shares_of_own(why).flatten())
        shares["grid_why_not"].append(shares_of_own(why_not)[why_not.flatten(2).amax(2) > 0])
    joined = {name: torch.cat(of) for name, of in shares.items()}
    return {name: float(of.mean()) for name, of in joined.items() if len(of)}


def shares_of_own(maps: Tensor) -> Tensor:
    """Shares (b, 4) of the four classes' maps (b, 4, 2h, 2w) that lie in their own quarter; 0 for an empty map."""
    h, w = (size // SIDE for size in maps.shape[2:])
    quarters = maps.unflatten(3, (SIDE, w)).unflatten(2, (SIDE, h)).sum((3, 5)).flatten(2)  # (b, 4, 4)
    own, whole = quarters.diagonal(dim1=1, dim2=2), quarters.sum(2)  # (b, 4) each
    return own / whole.clamp_min(torch.finfo(whole.dtype).tiny)
