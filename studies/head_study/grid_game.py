"""The grid pointing game of Boehle, Fritz and Schiele (CVPR 2021), played with features.

A box cannot distinguish a map of the class from a map of anything salient. Here four pictures of different classes
share one grid, so that each of them is salient, and the map of a class should lie on its own picture.
"""

import torch
from torch import Tensor

from sloter.backbone import FeatureModel
from studies.head_study.features import Features
from studies.head_study.heads import maps_of

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
def grid_game(
    head: FeatureModel, val: Features, device: torch.device, *, grids: int = 300, seed: int = 0, batch_size: int = 20
) -> float | None:
    """Share of a class's map that lies on its own picture of four; a map that ignores the class has 1/4.

    It should be near 1 for a positive head and near 0 for a negative one, whose maps are evidence against a class.

    Args:
        head: the head.
        val: features of the pictures.
        device: device of the head.
        grids: number of grids, of four pictures each.
        seed: seed of the drawn pictures, the same for all heads.
        batch_size: grids per forward pass.

    Returns:
        The mean over all pictures of all grids; None with fewer than four classes.
    """
    if len(val.labels.unique()) < SIDE * SIDE:
        return None
    head.eval()
    shares = []
    for numbers in draw_grids(val.labels, grids=grids, seed=seed).split(batch_size):  # (b, 4)
        maps = maps_of(head, compose(val.maps[numbers].to(device).float(), val.grid))  # (b, c, 2h, 2w)
        index = val.labels[numbers].to(device)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        shares.append(shares_of_own(maps.gather(1, index)))  # (b, 4)
    return float(torch.cat(shares).mean())


def shares_of_own(maps: Tensor) -> Tensor:
    """Shares (b, 4) of the four classes' maps (b, 4, 2h, 2w) that lie in their own quarter; 1/4 for an empty map."""
    h, w = (size // SIDE for size in maps.shape[2:])
    quarters = maps.unflatten(3, (SIDE, w)).unflatten(2, (SIDE, h)).sum((3, 5)).flatten(2)  # (b, 4, 4)
    own, whole = quarters.diagonal(dim1=1, dim2=2), quarters.sum(2)  # (b, 4) each
    return torch.where(whole > 0, own / whole.clamp_min(torch.finfo(whole.dtype).tiny), 1 / SIDE**2)
