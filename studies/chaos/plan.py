"""Plan of a chaos run: which damage each start gets, repeatable by a seed."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from studies.chaos.checkpoints import CHECKPOINTS
from studies.chaos.disk import DISK
from studies.chaos.flags import FLAGS
from studies.chaos.names import NAMES
from studies.chaos.pictures import PICTURES
from studies.chaos.scene import Scene, Start
from studies.chaos.signals import SIGNALS
from studies.chaos.tables import TABLES

# A damage changes a scene and returns the start that meets it, with what counts as right.
KINDS: dict[str, dict[str, Callable[[Scene], Start]]] = {
    "data": PICTURES | TABLES,
    "names": NAMES,
    "flags": FLAGS,
    "checkpoint": CHECKPOINTS,
    "disk": DISK,
    "signal": SIGNALS,
}


class Planned(NamedTuple):
    """One start of the plan: its number, the kind and the name of its damage, and the seed of its choices."""

    number: int
    kind: str
    damage: str
    seed: int


def plan(starts: int, seed: int) -> list[Planned]:
    """Plan of a number of starts: all damages in random order, then all of them again in another order."""
    random = Random(seed)
    every = [(kind, damage) for kind, damages in KINDS.items() for damage in damages]
    drawn: list[tuple[str, str]] = []
    while len(drawn) < starts:
        drawn += random.sample(every, len(every))
    return [Planned(number, *drawn[number], random.getrandbits(32)) for number in range(starts)]
