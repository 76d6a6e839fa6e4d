"""The grid pointing game (Boehle, Fritz and Schiele, CVPR 2021): does the map of a class point at its own picture?

Boxes cannot tell a map of the class from a map of whatever stands out. Here four pictures of different classes share
one grid, so that everything stands out, and the map of each class should lie on one of them.
"""

import torch
from torch import Tensor

from sloter.backbone import FeatureModel
from studies.head_study.features import Features
from studies.head_study.heads import maps_of

SIDE = 2  # pictures along each edge of a grid


def compose(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Features (b, 4, n, f) of four pictures to those (b, f, 2h, 2w) of their grid, row by row.

    They are put together after the backbone, which saw each picture alone: the game is about the head.
    """
    tiles = maps.unflatten(2, grid).unflatten(1, (SIDE, SIDE))  # (b, 2, 2, h, w, f)
    return tiles.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)  # (b, f, 2h, 2w)


def drawn(labels: Tensor, *, grids: int, seed: int) -> Tensor:
    """Numbers (grids, 4) of pictures of four different classes, classes and pictures at random."""
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
    """Share of a class's map that lies on its own picture of four; one that knows no classes has 1/4.

    Maps of a positive model should be near 1, those of a negative one, which are evidence against, near 0.

    Args:
        head: that is scored.
        val: pictures.
        device: that computes.
        grids: of four pictures each.
        seed: of the draw, the same for all heads.
        batch_size: grids of one forward.

    Returns:
        The mean over all pictures of all grids; None with fewer than four classes.
    """
    if len(val.labels.unique()) < SIDE * SIDE:
        return None
    head.eval()
    shares = []
    for numbers in drawn(val.labels, grids=grids, seed=seed).split(batch_size):  # (b, 4)
        maps = maps_of(head, compose(val.maps[numbers].to(device).float(), val.grid))  # (b, c, 2h, 2w)
        index = val.labels[numbers].to(device)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        shares.append(shares_of_own(maps.gather(1, index)))  # (b, 4)
    return float(torch.cat(shares).mean())


def shares_of_own(maps: Tensor) -> Tensor:
    """Maps (b, 4, 2h, 2w) of the classes of the four pictures to the share (b, 4) in each one's own quarter.

    A map of nothing has no place: 1/4.
    """
    h, w = (size // SIDE for size in maps.shape[2:])
    quarters = maps.unflatten(3, (SIDE, w)).unflatten(2, (SIDE, h)).sum((3, 5)).flatten(2)  # (b, 4, 4)
    own, whole = quarters.diagonal(dim1=1, dim2=2), quarters.sum(2)  # (b, 4) each
    return torch.where(whole > 0, own / whole.clamp_min(torch.finfo(whole.dtype).tiny), 1 / SIDE**2)
